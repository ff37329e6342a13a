"""How far meshes of any method are from scans, by the conventions of MICC, of NoW and, by region, of REALY."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from lib.evaluation import surfaces
from lib.evaluation.surfaces import IDENTITY, Similarity, Surface, make_surface, register
from lib.face_model.model import IBUG_LANDMARKS, NOW_LANDMARKS

ALIGNMENTS = ("icp", "landmarks", "none")
SCALINGS = ("mesh", "global", "none")
DISTANCES = ("point-to-plane", "point-to-point", "scan-to-mesh")
REGIONS = ("nose", "mouth", "forehead", "cheeks")
NOW_CROP = "now"
NOSE_TIP_NAMES = ("nose_tip", "center.nose.tip", IBUG_LANDMARKS[30])
NOSE_REACH = 40.0  # mm from the point under the nose within which its tip is looked for


@dataclass(frozen=True)
class Protocol:
    """How meshes are placed, what of a scan is measured, and how."""

    align: str  # of `ALIGNMENTS`: "icp" starts from three or more landmarks that both have, else from the noses' tips
    scalings: tuple  # of `SCALINGS`: each mesh has its scale, all one (the geometric mean of theirs), or their own
    crop: float | str | None  # mm around the tip of the scan's nose; `NOW_CROP`, NoW's region; None: the whole scan
    # of `DISTANCES`: "scan-to-mesh" is of all vertices of the scan, to the closest points of triangles; the others are
    # between vertices, in both directions, in the region of intersection (paper 4.2)
    distance: str
    # also measure each of `REGIONS`, to which the mesh is registered once more, rigidly (REALY, Chai et al. 2022)
    regions: bool = False


PROTOCOLS = dict(
    micc=Protocol("icp", ("mesh", "global"), surfaces.CROP_RADIUS, "point-to-plane"),
    now=Protocol("icp", ("mesh",), NOW_CROP, "scan-to-mesh"),
    plain=Protocol("none", ("none",), None, "scan-to-mesh"),
)


@dataclass(frozen=True)
class Face:
    """A reconstruction or a scan in mm, and the points (3,) on it that are known by name."""

    surface: Surface
    points: dict

    def scaled(self, factor):
        """The face, `factor` times as large."""
        surface = self.surface.moved(replace(IDENTITY, scale=factor))
        return Face(surface, {name: factor * point for name, point in self.points.items()})

    @property
    def seven(self):
        """The points (7, 3) of `NOW_LANDMARKS`, or None."""
        known = self.points.keys() >= {*NOW_LANDMARKS}
        return np.stack([self.points[name] for name in NOW_LANDMARKS]) if known else None

    @property
    def nose_tip(self):
        """The point (3,) of that name, or the foremost vertex: as the seven landmarks look, else along +z."""
        named = [self.points[name] for name in NOSE_TIP_NAMES if name in self.points]
        if named:
            return named[0]
        vertices, forwards = self.surface.vertices, np.array([0, 0, 1])
        if self.seven is not None:
            forwards = _axes(self.seven)[2]
            vertices = vertices[np.linalg.norm(vertices - self.seven[4], axis=1) < NOSE_REACH]
        return vertices[(vertices @ forwards).argmax()]


@dataclass(frozen=True)
class MeshErrors:
    """How far a face is from a scan, mm."""

    part: Surface  # of the scan: what was measured
    distances: np.ndarray  # (N,), of the part's vertices; not a number where they do not count
    mean: float  # of both directions where the protocol measures both
    scale: float  # that multiplies the mesh
    regions: dict  # means


def measure(face, scan, protocol, scaled):
    """Place a `Face` on a scan, with its best scale if `scaled`, and measure it: `MeshErrors`.

    ValueError where the surfaces do not overlap. The landmarks that the protocol needs are there.
    """
    part, placing = place(face, scan, protocol, scaled)
    moved = face.surface.moved(placing)
    if protocol.distance == "scan-to-mesh":
        distances = surfaces.surface_distances(part.vertices, moved)
        mean = distances.mean()
    else:
        to_plane = protocol.distance == "point-to-plane"
        distances, back = (surfaces.vertex_distances(*pair, to_plane) for pair in ((part, moved), (moved, part)))
        if np.isnan(distances).all() or np.isnan(back).all():
            raise ValueError("the surfaces do not overlap")
        mean = (np.nanmean(distances) + np.nanmean(back)) / 2
    regions = _by_region(moved, scan) if protocol.regions else {}
    return MeshErrors(part, distances, float(mean), placing.scale, regions)


def place(face, scan, protocol, scaled):
    """Find the measured part of a scan, and the `Similarity` that moves a face there."""
    part = scan.surface
    if protocol.crop is not None:
        sphere = now_sphere(scan.seven) if protocol.crop == NOW_CROP else (scan.nose_tip, protocol.crop)
        part = surfaces.crop_to_sphere(part, *sphere)
    if protocol.align == "none":
        return part, IDENTITY
    common = sorted(face.points.keys() & scan.points.keys())
    if len(common) >= 3:
        start = _onto_points(*(np.stack([one.points[name] for name in common]) for one in (face, scan)), scaled)
    else:
        start = replace(IDENTITY, shift=scan.nose_tip - face.nose_tip)
    return part, start if protocol.align == "landmarks" else register(face.surface, part, start, scaled)


def _onto_points(source, target, scaled):
    """The similarity that brings points (N, 3) nearest to others in least squares (Umeyama 1991)."""
    middle, other = source.mean(0), target.mean(0)
    rotation = Rotation.align_vectors(target - other, source - middle)[0].as_matrix()
    turned = (source - middle) @ rotation.T
    scale = float((turned * (target - other)).sum() / np.square(turned).sum()) if scaled else 1.0
    return Similarity(scale, rotation, other - scale * rotation @ middle)


def now_sphere(seven):
    """Centre and radius in mm of what NoW measures, from its landmarks (7, 3) (Sanyal et al. 2019, published code)."""
    bridge, bottom = seven[1:3].mean(0), seven[4]
    radius = 0.7 * (np.linalg.norm(seven[0] - seven[3]) + np.linalg.norm(bridge - bottom))
    return bottom + 0.3 * (bridge - bottom), radius


def _axes(seven):
    """Unit vectors (3, 3) to the subject's left, up and out of the face."""
    left, up = seven[3] - seven[0], seven[1:3].mean(0) - seven[4]
    forwards = np.cross(left, up)
    return np.stack([axis / np.linalg.norm(axis) for axis in (left, np.cross(forwards, left), forwards)])


def regions_of(vertices, seven):
    """Name the one of `REGIONS`, or "", of each vertex (N, 3) of a scan within NoW's sphere, from landmarks (7, 3).

    Forehead: above the inner corners of the eyes. Nose: down to 15 % below the point under it, 1.3 times as wide as
    those corners are apart. Mouth: from there to half a nose's length below its corners, 1.3 times as wide as they are
    apart. Cheeks: beside both.
    """
    axes, bridge = _axes(seven), seven[1:3].mean(0)
    (x, y, _), corners = axes @ (vertices - bridge).T, (seven - bridge) @ axes.T
    nose, mouth = corners[4], corners[5:].mean(0)
    half_nose, half_mouth = 0.65 * np.ptp(corners[1:3, 0]), 0.65 * np.ptp(corners[5:, 0])
    in_nose = (np.abs(x - nose[0]) <= half_nose) & (y > 1.15 * nose[1])
    in_mouth = (np.abs(x - mouth[0]) <= half_mouth) & (y <= 1.15 * nose[1])
    outside = y < mouth[1] + 0.5 * nose[1]
    centre, radius = now_sphere(seven)
    outside |= np.linalg.norm(vertices - centre, axis=1) > radius
    return np.select([outside, y > 0, in_nose, in_mouth], ["", "forehead", "nose", "mouth"], "cheeks")


def _by_region(moved, scan):
    surface, means = scan.surface, {}
    names = regions_of(surface.vertices, scan.seven)[surface.triangles]
    for region in REGIONS:
        part = make_surface(surface.vertices, surface.triangles[(names == region).all(1)])
        placed = moved.moved(register(moved, part, scaled=False))
        means[region] = float(surfaces.surface_distances(part.vertices, placed).mean())
    return means
