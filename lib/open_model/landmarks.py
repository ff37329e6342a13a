"""Named points of the open model, chosen among the vertices of MakeHuman's base mesh (`hm08`)."""

import numpy as np
from scipy.spatial import cKDTree

from lib.face_model.model import IBUG_LANDMARKS
from lib.open_model.mesh import vertex_parts
from lib.open_model.parts import Part

IBUG = {
    # jaw, from the chin to the front of the left ear
    9: 5296, 10: 7616, 11: 7593, 12: 7462, 13: 7460, 14: 7613, 15: 11712, 16: 12332, 17: 12366,
    # left brow, from its inner to its outer end; bridge of the nose and under it
    23: (7001, 7006), 24: (7006, 6997), 25: (6997, 7002), 26: 7004, 27: (7005, 11869),
    28: 132, 29: 131, 30: 201, 31: 5054, 34: 343, 35: 7077, 36: 7095,
    # left eye: inner corner, upper lid, outer corner, lower lid
    43: 7795, 44: 7791, 45: 7773, 46: 11718, 47: 7786, 48: 7788,
    # lips: outer edge from the middle above over the left corner to the middle below, then the inner edge
    52: 455, 53: 7210, 54: 11956, 55: 7250, 56: 7235, 57: 7241, 58: 492,
    63: 474, 64: 7227, 65: 7190, 66: 7237, 67: 493,
}  # fmt: skip
"""Of the 68 points of 300-W (Sagonas et al. 2013), counted from 1, those on the left and in the middle; two vertices
mean the place between them."""

MIRROR_SUMS = ((1, 17, 18), (18, 27, 45), (28, 31, None), (32, 36, 68), (37, 40, 83), (41, 42, 89), (43, 46, 83))
MIRROR_SUMS += ((47, 48, 89), (49, 55, 104), (56, 60, 116), (61, 65, 126), (66, 68, 134))
"""In each run of numbers, from the first to the last, a landmark and its mirror image have this sum."""

BASEL_NAMES = {
    "center.nose.tip": 31,
    "center.lips.upper.outer": 52,
    "center.lips.lower.outer": 58,
    "right.lips.corner": 49,
    "left.lips.corner": 55,
    "right.eye.corner_inner": 40,
    "right.eye.corner_outer": 37,
    "left.eye.corner_inner": 43,
    "left.eye.corner_outer": 46,
}
CHIN_TIP = 5162


def find_landmarks(mesh, base):
    """Find the full mesh's vertex of each landmark, one that the light mesh has too: dict of name to vertex."""
    sums = {number: total for first, last, total in MIRROR_SUMS for number in range(first, last + 1)}
    vertices = {number: np.atleast_1d(places) for number, places in IBUG.items()}
    for number, places in list(vertices.items()):
        if sums[number] is not None:
            vertices.setdefault(sums[number] - number, base.mirror[places])
    points = mesh.operator @ base.vertices[mesh.cage]
    candidates = mesh.light_rows[vertex_parts(mesh)[mesh.light_rows] <= Part.MOUTH]
    tree = cKDTree(points[candidates])
    numbers = sorted(vertices)
    wanted = [[*vertices[number]] for number in numbers] + [[CHIN_TIP]]
    rows = [mesh.cage_rows[np.searchsorted(mesh.cage, places)] for places in wanted]
    nearest = candidates[tree.query([points[each].mean(axis=0) for each in rows])[1]]
    landmarks = {IBUG_LANDMARKS[number - 1]: int(row) for number, row in zip(numbers, nearest)}
    landmarks |= {name: landmarks[IBUG_LANDMARKS[number - 1]] for name, number in BASEL_NAMES.items()}
    landmarks["center.chin.tip"] = int(nearest[-1])
    for eye, side in enumerate(("right", "left")):
        pupil = np.flatnonzero((mesh.eye_angles[:, 0] == eye) & (mesh.eye_angles[:, 1] == 0))
        landmarks[f"{side}.eye.pupil.center"] = int(pupil[0])
    return landmarks
