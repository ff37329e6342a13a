"""Maps of regions, folds and hair on the reference face, which the skin painter blends with.

All maps are mirror-symmetric but for the fixed fine grain; distances are in mm of a face of one size, `EYE_DISTANCE`.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.linalg
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from lib.core.pictures import smooth_step
from lib.open_model.mesh import Part, border, vertex_parts
from lib.open_model.targets import load_targets

SIDES = ("right", "left")
EYE_DISTANCE = 59.5  # mm between the pupils of the face that lengths in maps and paint refer to
BAKED = Path(__file__).with_name("baked_maps.npz")
"""Maps (N,), float32, that cost more to draw than to keep: `openness`, `grain`, `freckles` and `spots`, made by
`derivations/baked_maps.py`."""


class FaceMaps(SimpleNamespace):
    """Maps (N,) by name, values in [0, 1] unless said otherwise.

    part : Part of each vertex.
    across, height : |x|, and y above the eyes, in mm.
    lips, eyelids, ears, cheeks, nose, chin, forehead, flank, under_eye, around_eye : regions.
    laugh_lines, eye_bags, crow_feet, frown_lines : places of folds; forehead_lines (N, 3): three patterns of furrows.
    chin_beard, side_beard, moustache : regions of facial hair.
    lid_distance : mm to where the lids end, behind the front of the eyeball; eye_distance : mm to the eyeball.
    upper_lid : 1 above the eye's axis, 0 below.
    cavity_depth : mm behind the lips in the mouth, 0 elsewhere.
    openness : 1 - ambient occlusion.
    grain : uniform noise; freckles, spots : fixed fine fields of variance 1.
    eye_angles (N, 2) : angle from the pupil and around it, radians; NaN off the eyes.
    coarse (N, 36), medium (N, 80) : bases of random fields.
    """

    def take(self, rows):
        """Return the maps of some vertices, in the order of `rows`."""
        return FaceMaps(**{name: values[rows] for name, values in vars(self).items()})


def draw_maps(mesh, points, landmarks):
    """Draw `FaceMaps` on the mirror-symmetric reference (N, 3), mm, whose landmarks are a dict of name to vertex.

    The four of `BAKED` are read and do not depend on `points`: derive them again where the reference has changed.
    """
    part = vertex_parts(mesh)
    mouth_line = border(mesh, Part.MOUTH)
    lips = smooth_step(mesh.lips, 0.12, 0.8)
    lips[mouth_line] = np.maximum(lips[mouth_line], 0.9)
    points = of_one_size(points, landmarks)
    place = _Places(points, landmarks, mouth_line)
    candidates = points[mesh.light_rows]
    with np.load(BAKED) as file:
        baked = dict(file)
    values = {
        "across": place.across,
        "height": place.height,
        "lips": lips,
        "eyelids": mesh.eyelids,
        "ears": mesh.ears,
        **_regions(place),
        **_folds(place, mesh),
        **_beard(place, lips),
        **_lids(mesh, part, points, landmarks),
        "cavity_depth": np.where(part == Part.MOUTH, cKDTree(points[mouth_line]).query(points)[0], 0.0),
        **baked,
        "eye_angles": mesh.eye_angles,
        "coarse": random_field_basis(points, candidates, length=34.0, count=36, inducing_count=200),
        "medium": random_field_basis(points, candidates, length=13.0, count=80, inducing_count=600),
    }
    return FaceMaps(part=part, **{name: value.astype(np.float32) for name, value in values.items()})


def of_one_size(points, landmarks):
    """Scale faces (N, 3) so that pupils are `EYE_DISTANCE` apart."""
    return points * (EYE_DISTANCE / np.ptp(points[[landmarks[f"{side}.eye.pupil.center"] for side in SIDES], 0]))


class _Places:
    """Coordinates relative to the features of the face."""

    def __init__(self, points, landmarks, mouth_line):
        self.x, self.y, self.z = points.T
        self.across = np.abs(self.x)
        corners = points[[landmarks[f"left.eye.corner_{end}"] for end in ("inner", "outer")]]
        self.eye_across, self.eye_y = corners[:, 0].mean(), corners[:, 1].mean()
        self.height = self.y - self.eye_y
        self.mouth_y = points[mouth_line, 1].mean()
        self.tip = points[landmarks["center.nose.tip"]]

    def bump(self, across, y, wide, high, nearest=20.0):
        """Symmetric soft spot, only on what lies further forward than z = `nearest`."""
        return gaussian_bump(self.across, self.y, (across, y), (wide, high)) * (self.z > nearest)


def _regions(place):
    eye_across, eye_y = place.eye_across, place.eye_y
    return {
        "cheeks": place.bump(38, place.tip[1] - 2, 15, 13),
        "nose": place.bump(0, place.tip[1] + 1, 11, 10, nearest=place.tip[2] - 30),
        "chin": place.bump(0, place.mouth_y - 32, 14, 9),
        "forehead": smooth_step(place.height, 25, 55) * smooth_step(place.across, 75, 45),
        "flank": smooth_step(place.across, 30, 70),
        "under_eye": place.bump(eye_across - 1, eye_y - 11, 13, 5, nearest=30),
        "around_eye": place.bump(eye_across, eye_y + 2, 19, 13, nearest=30),
    }


def _folds(place, mesh):
    across, height = place.across, place.height

    def moved_by(target):
        """Where a morph target moves the skin, scaled to [0, 1]."""
        length = np.linalg.norm(mesh.operator @ load_targets([target], mesh.cage)[0], axis=1)
        return np.clip(length / np.quantile(length[length > 1e-9], 0.97), 0, 1)

    def furrows(period, phase, bend):
        waves = (height + place.eye_y - bend * place.x**2) * 2 * np.pi / period + phase
        wavy = 0.5 + 0.5 * np.cos(waves + 0.6 * np.sin(across / 11 + phase))
        return gaussian_bump(across, height, (0, 42), (32, 11)) * wavy**4

    temple = gaussian_bump(across, height, (place.eye_across + 24, 1), (8, 11)) * (place.z > 15)
    return {
        "laugh_lines": moved_by("mouth/mouth-laugh-lines-in"),
        "eye_bags": np.maximum(moved_by("eyes/l-eye-bag-incr"), moved_by("eyes/r-eye-bag-incr")),
        "crow_feet": temple * (0.5 + 0.5 * np.cos(1.1 * height + 0.05 * (across - place.eye_across))),
        "frown_lines": gaussian_bump(across, height, (6.5, 17), (1.6, 8)) * (place.z > 50),
        "forehead_lines": np.stack([furrows(10, 0, 0.003), furrows(12.5, 2, 0.0015), furrows(9, 4, -0.001)], axis=1),
    }


def _beard(place, lips):
    across, y, z, mouth_y = place.across, place.y, place.z, place.mouth_y
    below = smooth_step(mouth_y + 7 - y + 0.256 * np.maximum(across - 20, 0), -4, 16)
    bare_patch = 1 - 0.7 * gaussian_bump(across, y, (9, mouth_y - 15), (7, 5))
    side = smooth_step(across, 38, 54) * smooth_step(y, place.eye_y - 8, place.eye_y - 30)
    side *= smooth_step(z, -8, 10) * smooth_step(z, 68, 40)
    # arched over the lip, its ends hang down beside the corners of the mouth
    moustache = np.exp(-0.5 * ((y - mouth_y - 13 + 0.014 * across**2) / 6) ** 4)
    moustache = moustache * smooth_step(across, 36, 22) * (z > 55)
    philtrum = 1 - 0.4 * np.exp(-0.5 * (across / 3) ** 2)
    return {
        "chin_beard": below * smooth_step(z, -5, 18) * smooth_step(y, -102, -86) * bare_patch * (1 - lips),
        "side_beard": side * (1 - below),
        "moustache": moustache * philtrum * (1 - lips),
    }


def _lids(mesh, part, points, landmarks):
    """Distances to lids and eyeball of the same side, and whether a vertex lies above the axis of its eye."""
    margin, ball = border(mesh, Part.LID_RIM), np.flatnonzero(part >= Part.RIGHT_EYE)
    (distance, eye_distance), upper = np.full((2, len(points)), 99.0), np.zeros(len(points))
    for side, sign in (("right", -1), ("left", 1)):
        here = points[:, 0] * sign > 0
        own = margin[points[margin, 0] * sign > 0]
        distance[here] = cKDTree(points[own]).query(points[here])[0]
        eye_distance[here] = cKDTree(points[ball[points[ball, 0] * sign > 0]]).query(points[here])[0]
        inner, outer = (points[landmarks[f"{side}.eye.corner_{end}"]] for end in ("inner", "outer"))
        axis = np.interp(points[here, 0] * sign, [inner[0] * sign, outer[0] * sign], [inner[1], outer[1]])
        upper[here] = points[here, 1] > axis
    return {"lid_distance": distance, "eye_distance": eye_distance, "upper_lid": upper}


def clipped_normal(random, mean, deviation, low=-np.inf, high=np.inf):
    """Draw one normal number, moved into [low, high]; a Python float, so that float32 maps stay float32."""
    return float(min(max(random.normal(mean, deviation), low), high))


def gaussian_bump(x, y, centre, radii):
    """exp of minus half the squared distance from `centre`, in units of the two `radii`."""
    return np.exp(-0.5 * (((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2))


def random_field_basis(points, candidates, length, count, inducing_count):
    """Basis of smooth random fields: the leading eigenfunctions of a Gaussian kernel (Nystrom's method), (N, count)."""
    chosen, distance = [0], np.full(len(candidates), np.inf)
    for _ in range(inducing_count - 1):
        distance = np.minimum(distance, ((candidates - candidates[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    inducing = candidates[chosen]
    kernel = np.exp(-cdist(inducing, inducing, "sqeuclidean") / (2 * length**2))
    values, vectors = scipy.linalg.eigh(kernel, subset_by_index=[inducing_count - count, inducing_count - 1])
    weights = vectors / np.sqrt(values)
    blocks = np.array_split(points, 1 + len(points) // 8192)
    kernels = (np.exp(-cdist(block, inducing, "sqeuclidean") / (2 * length**2)) for block in blocks)
    basis = np.concatenate([kernel @ weights for kernel in kernels])
    return (basis / np.sqrt((basis**2).sum(axis=1).mean())).astype(np.float32)
