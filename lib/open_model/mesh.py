"""The mesh of the open face model: a head cut to the face, refined, with eyeballs and a closed mouth cavity.

Every vertex is a fixed linear combination of the vertices of a coarse cage (`FaceMesh.operator`), so that shapes are
sampled, aligned and analysed on the cage and refined only at the end. The mesh is the same whatever people are drawn:
`derivations/base_mesh.py` makes `base_mesh.npz` and `landmarks.csv` of MakeHuman's base mesh (CC0).
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sparse

BASE_MESH = Path(__file__).with_name("base_mesh.npz")
LANDMARKS = Path(__file__).with_name("landmarks.csv")
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
    """Topology of the open face model, at both resolutions: N full vertices, n light ones, C of the cage."""

    cage: np.ndarray  # (C,): vertices of MakeHuman's base mesh that shape the face
    base: np.ndarray  # (C, 3): their places there, mm
    cage_mirror: np.ndarray  # (C,): vertices at the mirrored places
    operator: sparse.csr_matrix  # (N, C): the full mesh's vertices from the cage's, in the order of a Morton curve
    triangles: np.ndarray  # (T, 3): counter-clockwise from outside
    parts: np.ndarray  # (T,): the `Part` of each triangle
    uv: np.ndarray  # (U, 2): in [0, 1], v upwards; several rows for a vertex on a seam
    uv_triangles: np.ndarray  # (T, 3): into `uv`
    light_rows: np.ndarray  # (n,): full vertices of the light mesh
    light_triangles: np.ndarray  # (t, 3): into `light_rows`
    light_uv_triangles: np.ndarray  # (t, 3): into `uv`
    eye_angles: np.ndarray  # (N, 2): angle from the pupil and around it, radians; NaN off the eyes
    jaw: np.ndarray  # (C,): 1 for the upper teeth, 2 for the lower ones, else 0
    lip_middle: np.ndarray  # (2,): vertices of the cage where the lips meet
    lips: np.ndarray  # (N,): mask in [0, 1]; so are `eyelids` and `ears`
    eyelids: np.ndarray
    ears: np.ndarray
    mirror: np.ndarray  # (N,): vertices at the mirrored places
    upper_lip: np.ndarray  # full vertices
    lower_lip: np.ndarray
    lip_moves: np.ndarray  # (C,): how far the cage follows, per mm of a gap between the lips


def load_mesh():
    """Read the `FaceMesh`; its file has small integers, and `uv` in float32, which become 64 bits wide."""
    with np.load(BASE_MESH) as file:
        arrays = dict(file)
    weights, columns, starts = (arrays.pop(f"operator_{name}") for name in ("data", "indices", "indptr"))
    operator = sparse.csr_matrix((weights, columns, starts), (len(starts) - 1, len(arrays["cage"])))
    wide = {name: each.astype(np.promote_types(each.dtype, np.int64)) for name, each in arrays.items()}
    return FaceMesh(operator=operator, **wide)


@cache
def named_points():
    """Read the table `LANDMARKS`, by name."""
    return pd.read_csv(LANDMARKS, index_col="name")


def find_landmarks():
    """Look up the full mesh's vertex of each landmark: dict of name to vertex."""
    points = named_points()
    return points["vertex"].to_dict() | points.dropna().set_index("basel")["vertex"].to_dict()


def vertex_parts(mesh):
    """Part of each vertex (N,): vertices between parts count to the skin first, then to the lower part."""
    parts = np.full(mesh.operator.shape[0], len(Part))
    np.minimum.at(parts, mesh.triangles, mesh.parts[:, None])
    return parts


def border(mesh, part):
    """Vertices between the skin and another part: the lip line (mouth), the lid margins (lid rim)."""
    return np.intersect1d(mesh.triangles[mesh.parts == Part.SKIN], mesh.triangles[mesh.parts == part])
