"""The measurements of the NIOSH head-and-face survey (Zhuang and Bradtmiller, 2005) on MakeHuman's head.

Calipers become distances between vertices, tapes become paths that are taut on the average head. All are measured on
the refined head before it is cut to the face: the cut mesh lacks what head circumference, head length, neck
circumference and bitragion coronal arc need.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sparse
from scipy.spatial import ConvexHull

from derivations.makehuman import load_base_mesh
from derivations.subdivision import subdivide
from lib.open_model.shape import ShapeSampler

TABLES = Path(__file__).with_name("survey_tables")
"""What the survey says of people, by sex, race and age: `groups.csv` (mm) and `correlations.csv`, derived from data of
the US Government, in the public domain, by `derivations/survey_table.py`."""

SELLION, GLABELLA, OPISTHOCRANION, PRONASALE, SUBNASALE, POGONION, MENTON = 132, 227, 5389, 5054, 343, 5162, 5296
SEPTUM, TRAGION, LARYNX = 317, 12258, (0.0, -105.0, 35.0)
"""Vertices of MakeHuman's base mesh (`hm08`), those of the sides on the left; a place on the front of the neck, mm. The
survey's length of the nose fits the septum: to the corner between septum and lip, noses of scans are 3 mm longer than
the survey's, while their faces are not."""

DISTANCES = {
    "HEADBR": 7565,
    "HEADLTH": (GLABELLA, OPISTHOCRANION),
    "MINFRBR": 11868,
    "MAXFRBR": 6986,
    "BIZYGOBR": 7572,
    "BIGONLBR": 7459,
    "NOSEBR": 11669,
    "LIPLTH": 7272,
    "SUBNASAL": (SEPTUM, SELLION),
    "MENSELL": (MENTON, SELLION),
    "NOSEPRO": (SUBNASALE, PRONASALE),
}
"""Calipers by the survey's codes: two vertices, or a vertex and its mirror image (euryon, frontotemporale,
zygofrontale, zygion, gonion, alare, cheilion)."""

ROOT_OF_NOSE = (SELLION, 6904, 6898, 6893, 6888)
"""From the bridge of the nose to its side, at the height of the sellion."""

ARCS = {"BITCOR": None, "BITFRONT": GLABELLA, "BITSUBN": SUBNASALE, "BITCHIN": POGONION}
"""Tapes from tragion to tragion: over a vertex, or straight upwards over the top of the head."""

LOOPS = {"HEADCIRC": ((0.0, 1.0, -0.02), GLABELLA), "NECKCIRC": ((0.0, 0.95, 0.3), LARYNX)}
"""Tapes around the head and the neck: normal of their plane, and a vertex or place in it."""

MEASUREMENTS = (*LOOPS, *ARCS, *DISTANCES, "NROOTBR", "INTPUPBR")
"""The survey's codes. NROOTBR is the breadth of the nose half as deep behind the sellion as the eyes are, INTPUPBR the
distance between the centres of the eyeballs."""

EAR_RADIUS = 36.0
"""The tape passes under what lies farther out than the tragion within this distance (mm) of it: the ear."""


@dataclass(frozen=True)
class Tape:
    """A path over the refined head: its points (P, 3) are `operator` (P, V) times the vertices."""

    operator: sparse.csr_matrix
    closed: bool

    def length(self, vertices):
        """Length (n,) in mm of the path on heads (n, V, 3)."""
        points = place(self.operator, vertices)
        if self.closed:
            points = np.concatenate([points, points[:, :1]], axis=1)
        return np.linalg.norm(np.diff(points, axis=1), axis=2).sum(axis=1)


class HeadSurvey:
    """Measures heads; made of MakeHuman's base mesh.

    Attributes
    ----------
    vertices : ndarray (V,)
        Vertices of the base mesh that the measurements are made of: head, neck and eyeballs.
    base : ndarray (V, 3)
        Their places on the base mesh, mm.
    mirror : ndarray (V,)
        The vertices of the base mesh at the mirrored places.
    """

    def __init__(self):
        mesh = load_base_mesh()
        x, y, _ = mesh.vertices[mesh.faces].mean(axis=1).T
        faces = mesh.faces[(mesh.groups == "body") & (y > -190) & (np.abs(x) < 130)]
        eyes = [np.unique(mesh.faces[mesh.groups == f"helper-{side}-eye"]) for side in "rl"]
        self.vertices = np.unique(np.concatenate([faces.ravel(), *eyes]))
        self.base, self.mirror = mesh.vertices[self.vertices], mesh.mirror[self.vertices]
        self._row, self._mirror = np.full(len(mesh.vertices), -1), mesh.mirror
        self._row[self.vertices] = np.arange(len(self.vertices))
        first = subdivide(self._row[faces], len(self.vertices))
        second = subdivide(first.faces, first.smooth.shape[0])
        self._refine = (second.smooth @ first.smooth).tocsr()
        self._corneas = [self._row[eye[mesh.vertices[eye, 2].argmax()]] for eye in eyes]
        centres = [np.full(len(eye), 1 / len(eye)) for eye in eyes]
        columns = self._row[np.concatenate(eyes)]
        rows = np.repeat([0, 1], [len(eye) for eye in eyes])
        self._eyeballs = sparse.csr_matrix((np.concatenate(centres), (rows, columns)), (2, len(self.vertices)))
        points = self._refine @ self.base
        self._tapes = {name: self._loop(points, second.faces, *rest) for name, rest in LOOPS.items()}
        self._tapes |= {name: self._arc(points, second.faces, over) for name, over in ARCS.items()}

    def measure(self, heads):
        """Measure heads.

        Parameters
        ----------
        heads : ndarray (n, V, 3)
            `vertices` of the base mesh after morphing, mm.

        Returns
        -------
        ndarray (n, 19)
            In mm, in the order of `MEASUREMENTS`.
        """
        values = {name: tape.length(heads) for name, tape in self._tapes.items()}
        for name, ends in DISTANCES.items():
            ends = ends if isinstance(ends, tuple) else (ends, self._mirror[ends])
            values[name] = _distance(self.locate(ends, heads))
        values["NROOTBR"] = self._root_breadth(heads)
        values["INTPUPBR"] = _distance(place(self._eyeballs, heads))
        return np.stack([values[name] for name in MEASUREMENTS], axis=1)

    def locate(self, vertices, heads):
        """Places (n, P, 3) mm on heads (n, V, 3), refined, of P vertices by their numbers on the base mesh."""
        return place(self._refine[self._row[list(vertices)]], heads)

    def _root_breadth(self, heads):
        """Breadth (n,) of the nasal root, where its sides are half as deep as the eyes."""
        breadth = 0.0
        for row, cornea in zip((self._mirror[list(ROOT_OF_NOSE)], ROOT_OF_NOSE), self._corneas, strict=True):
            points = place(self._refine[self._row[list(row)]], heads)
            depths = points[:, :1, 2] - points[:, :, 2]
            wanted = 0.5 * (points[:, :1, 2] - heads[:, [cornea], 2])
            shares = np.clip((wanted - depths[:, :-1]) / np.diff(depths, axis=1), 0, 1)
            breadth += np.abs((shares * np.diff(points[:, :, 0], axis=1)).sum(axis=1))
        return breadth

    def _loop(self, points, quads, normal, through):
        """The tape around the head in a plane."""
        origin = points[self._row[through]] if isinstance(through, int) else np.array(through)
        section = plane_section(points, quads, origin, np.array(normal))
        places = section @ points
        side = np.cross(normal, [1.0, 0, 0])
        return Tape((section[ConvexHull(np.c_[places[:, 0], places @ side]).vertices] @ self._refine).tocsr(), True)

    def _arc(self, points, quads, over):
        """The tape from the right tragion to the left one, taut over the section of the plane that they span."""
        tragions = self._row[[self._mirror[TRAGION], TRAGION]]
        start = points[tragions].mean(axis=0)
        forward = np.array([0.0, 1.0, 0.0]) if over is None else points[self._row[over]] - start
        forward[0] = 0.0
        section = plane_section(points, quads, start, np.cross([1.0, 0, 0], forward))
        places = section @ points
        beyond = np.c_[np.abs(places[:, 0]), places[:, 1:]] - points[tragions[1]]
        ear = (beyond[:, 0] > 0) & (np.linalg.norm(beyond, axis=1) < EAR_RADIUS)
        kept = ((places - start) @ forward > 0) & ~ear
        ends = sparse.identity(len(points), format="csr")[tragions]
        path = sparse.vstack([ends, section[np.flatnonzero(kept)]]).tocsr()
        places = path @ points
        hull = ConvexHull(np.c_[places[:, 0], places @ forward]).vertices
        # the hull turns counter-clockwise: from the left tragion (row 1) over the face to the right one (row 0)
        hull = np.roll(hull, -np.flatnonzero(hull == 1)[0])
        return Tape((path[hull[: np.flatnonzero(hull == 0)[0] + 1]] @ self._refine).tocsr(), False)


@cache
def head_survey():
    """Make the `HeadSurvey` once per process (some seconds)."""
    return HeadSurvey()


def survey_beside_people(people, random):
    """Means and standard deviations in mm of the survey and of random people, and differences of their correlations.

    Parameters
    ----------
    people : int
    random : numpy.random.Generator

    Returns
    -------
    tuple of DataFrame
        By sex and measurement: `survey_mean`, `survey_sd` (races weighted alike), `model_mean`, `model_sd`; and how far
        the correlations (19, 19) of both sexes, one below the other, are off the survey's.
    """
    survey = head_survey()
    sampler = ShapeSampler(survey.base, survey.vertices)
    amounts, traits = zip(*(sampler.sample(random) for _ in range(people)), strict=True)
    blocks = np.array_split(np.stack(amounts), 1 + people // 50)
    values = np.concatenate([survey.measure(sampler.cages(block)) for block in blocks])
    values = pd.DataFrame(values, columns=MEASUREMENTS).groupby([one.group["gender"] for one in traits])
    groups = pd.read_csv(TABLES / "groups.csv")
    correlations = pd.read_csv(TABLES / "correlations.csv", index_col=["sex", "measurement"])[list(MEASUREMENTS)]
    tables, off = {}, []
    for sex, own in values:
        races = groups[(groups.sex == sex) & (groups.age == "all") & groups.race.isin(["white", "black", "other"])]
        means, spreads = (races[[f"{name}_{part}" for name in MEASUREMENTS]].to_numpy() for part in ("mean", "sd"))
        columns = means.mean(0), np.sqrt((spreads**2).mean(0) + means.var(0)), own.mean(), own.std()
        names = "survey_mean", "survey_sd", "model_mean", "model_sd"
        tables[sex] = pd.DataFrame(dict(zip(names, map(np.asarray, columns), strict=True)), index=list(MEASUREMENTS))
        off.append(own.corr() - correlations.loc[sex].loc[list(MEASUREMENTS)])
    return pd.concat(tables, names=["sex", "measurement"]), pd.concat(off)


def plane_section(points, quads, origin, normal):
    """Where a plane cuts the edges of a mesh: sparse rows (P, N) that make the points of the section."""
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    heights = (points - origin) @ normal
    edges = edges[heights[edges[:, 0]] * heights[edges[:, 1]] < 0]
    start, end = heights[edges].T
    share = start / (start - end)
    rows = np.repeat(np.arange(len(edges)), 2)
    return sparse.csr_matrix((np.c_[1 - share, share].ravel(), (rows, edges.ravel())), (len(edges), len(points)))


def place(operator, vertices):
    """Apply sparse rows (P, V) to vertices (n, V, 3): ndarray (n, P, 3)."""
    count, size = vertices.shape[:2]
    flat = operator @ vertices.transpose(1, 0, 2).reshape(size, -1)
    return flat.reshape(-1, count, 3).transpose(1, 0, 2)


def _distance(points):
    """Distance (n,) of two points (n, 2, 3)."""
    return np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
