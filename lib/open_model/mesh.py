"""The mesh of the open face model: a head cut to the face, refined, with eyeballs and a closed mouth cavity.

Every vertex is a fixed linear combination of the vertices of a coarse cage (`FaceMesh.operator`), so that shapes are
sampled, aligned and analysed on the cage and refined only at the end. The mesh is the same whatever people are drawn:
`derivations/base_mesh.py` makes `base_mesh.npz` and `landmarks.csv` of MakeHuman's base mesh (CC0).
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sparse

BASE_MESH = Path(__file__).with_name("base_mesh.npz")
LANDMARKS = Path(__file__).with_name("landmarks.csv")
NAMED_POINTS = pd.read_csv(LANDMARKS, index_col="name")
"""The `vertex` of the full mesh, one that the light mesh has too, of the 68 points of 300-W (`IBUG_LANDMARKS`), the tip
of the chin and the pupils; `basel` is the Basel Face Model's name of the same point, where it has one."""


class Part(IntEnum):
    """What a triangle belongs to."""

    SKIN = 0
    LID_RIM = 1
    MOUTH = 2
    TEETH = 3
    RIGHT_EYE = 4
    LEFT_EYE = 5


@dataclass(frozen=True)
class FaceMesh:
    """Topology of the open face model, at both resolutions: N full vertices, n light ones, C of the cage.

    `cage` (C,) are the vertices of MakeHuman's base mesh that shape the face, `base` (C, 3) their places there in mm,
    `cage_mirror` those at the mirrored places; `operator` (N, C) makes the full mesh's vertices, in the order of a
    space-filling curve, `mirror` (N,) are those at the mirrored places. `parts` is the `Part` of each triangle, which
    are counter-clockwise from outside; `uv` (U, 2) in [0, 1], v upwards, has several rows for a vertex on a seam.
    `light_rows` (n,) are the full vertices of the light mesh.

    `lips`, `eyelids` and `ears` (N,) are masks in [0, 1]; `eye_angles` (N, 2) the angle from the pupil and around it in
    radians, NaN off the eyes. `upper_lip` and `lower_lip` are vertices of the full mesh; `lip_moves` (C,) says how far
    the cage follows when a gap of 1 between them opens; `lip_middle` (2,) are vertices of the cage where they meet;
    `jaw` (C,) is 1 for the upper teeth, 2 for the lower ones.
    """

    cage: np.ndarray
    base: np.ndarray
    cage_mirror: np.ndarray
    operator: sparse.csr_matrix
    mirror: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    uv: np.ndarray
    uv_triangles: np.ndarray
    light_rows: np.ndarray
    light_triangles: np.ndarray
    light_uv_triangles: np.ndarray
    lips: np.ndarray
    eyelids: np.ndarray
    ears: np.ndarray
    eye_angles: np.ndarray
    upper_lip: np.ndarray
    lower_lip: np.ndarray
    lip_moves: np.ndarray
    lip_middle: np.ndarray
    jaw: np.ndarray


def load_mesh():
    """Read the `FaceMesh`."""
    with np.load(BASE_MESH) as file:
        arrays = {name: file[name] for name in file.files}
    weights, columns, starts = (arrays.pop(f"operator_{name}") for name in ("data", "indices", "indptr"))
    operator = sparse.csr_matrix((weights, columns, starts), (len(starts) - 1, len(arrays["cage"])))
    wide = {name: each.astype(np.promote_types(each.dtype, np.int64)) for name, each in arrays.items()}
    return FaceMesh(operator=operator, **wide)


def find_landmarks():
    """Look up the full mesh's vertex of each landmark: dict of name to vertex."""
    named = NAMED_POINTS.dropna().set_index("basel")
    return NAMED_POINTS["vertex"].to_dict() | named["vertex"].to_dict()


def vertex_parts(mesh):
    """Part of each vertex (N,): vertices between parts count to the skin first, then to the lower part."""
    parts = np.full(mesh.operator.shape[0], len(Part))
    np.minimum.at(parts, mesh.triangles, mesh.parts[:, None])
    return parts


def border(mesh, part):
    """Vertices between the skin and another part: the lip line (mouth), the lid margins (lid rim)."""
    return np.intersect1d(mesh.triangles[mesh.parts == Part.SKIN], mesh.triangles[mesh.parts == part])
