"""A face model of a folder of meshes, such as ICT-FaceKit's: their shapes and expressions, and the open model's skin.

`docs/face-model.md` says what the folder holds.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from lib.core.errors import StudyError
from lib.core.progress import progress
from lib.face_model.file import FaceModelFile, LinearModel, landmark_vertices
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import IBUG_LANDMARKS
from lib.open_model.build import EXPRESSION_COMPONENTS, SHAPE_COMPONENTS
from lib.open_model.mesh import named_points
from lib.rendering.vertices import unit_normals

NEUTRAL, INDICES, LANDMARKS = "generic_neutral_mesh.obj", "vertex_indices.json", "idx_to_landmark_verts"
ICT_VERTICES, ICT_LEFT_OUT = 26_719, np.r_[9_409:11_248, 24_591:26_719]
"""ICT-FaceKit's number of vertices; those outside the face area, and of tears, shadows and lashes (transparent)."""

EXPRESSION_SPREAD = 0.1  # rms weight of each expression: ICT-FaceKit's lips then move as far as the open model's, 5 mm
PLACED = [8, *range(17, 68)]  # rows of the landmarks that place the face: of the jaw, annotated differently, the chin
LARGEST_MISFIT, LARGEST_MOVE = 12.0, 0.5  # of landmarks, mm; of half of the vertices by a mode, as a share of the size
NORMAL_WEIGHT, SMOOTHING = 6.0, 1.0  # half the mm by which an opposite normal makes a vertex more distant; of the warp


class MeshBasis(NamedTuple):
    """What a folder holds, in its own unit and frame; modes are displacements of the mean."""

    folder: Path
    mean: np.ndarray  # (N, 3)
    triangles: np.ndarray  # (T, 3)
    landmarks: np.ndarray  # (68,) vertices of IBUG_LANDMARKS
    identities: np.ndarray  # (M, N, 3)
    expressions: np.ndarray  # (E, N, 3)


def read_mesh_basis(folder):
    """Read a folder of meshes in ICT-FaceKit's layout: `MeshBasis`.

    StudyError names a missing or damaged file, or a mesh whose vertices differ in number or order from the mean's.
    """
    if missing := [name for name in (NEUTRAL, INDICES) if not (folder / name).is_file()]:
        lacking = " and ".join(missing)
        raise StudyError(f"{folder}: {lacking} missing. Put ICT-FaceKit's FaceXModel there (docs/face-model.md).")
    neutral = read_mesh(folder / NEUTRAL, in_order=True)
    mean = neutral.vertices
    kept = np.setdiff1d(np.arange(len(mean)), ICT_LEFT_OUT if len(mean) == ICT_VERTICES else [])
    landmarks, moved = _read_landmarks(folder / INDICES, kept), {"identity": [], "expression": []}
    for path in progress(sorted({*folder.glob("*.obj")} - {folder / NEUTRAL}), "meshes"):
        vertices = read_mesh(path, in_order=True).vertices
        if len(vertices) != len(mean):
            raise StudyError(f"{path}: {len(vertices)} vertices, but {NEUTRAL} has {len(mean)}. Export both alike.")
        move = (vertices - mean)[kept]
        if np.median(np.linalg.norm(move, axis=1)) > LARGEST_MOVE * _size(mean[landmarks]):
            raise StudyError(
                f"{path}: its vertices lie far from those of {NEUTRAL}: in another order, unit or pose. Export both "
                "alike, or remove the file."
            )
        moved["identity" if path.name.startswith("identity") else "expression"].append(move)
    if not moved["identity"]:
        raise StudyError(f"{folder}: no identity*.obj. Put the mean there, moved by a standard deviation of each mode.")
    modes = (np.array(moves).reshape(-1, len(kept), 3) for moves in moved.values())
    triangles = neutral.triangles[np.isin(neutral.triangles, kept).all(axis=1)]
    return MeshBasis(folder, mean[kept], *(np.searchsorted(kept, each) for each in (triangles, landmarks)), *modes)


def dress_mesh_basis(basis, open_model):
    """Make a `FaceModelFile` of a `MeshBasis`, in the frame of another, the open model's, and with its skin.

    The unit is the power of ten of a millimetre that brings the face nearest to the open model's size. A smooth warp
    brings the landmarks together; then each vertex has the skin of the nearest, by the same texture coefficients. There
    are no texture coordinates, and components that the basis lacks have variance zero. StudyError where the landmarks
    are in another order, or the face has no plausible size.
    """
    target = open_model.shape.mean.reshape(-1, 3).astype(np.float64)
    named = landmark_vertices("the open model", open_model.landmarks, target)
    goal, own = target[[named[IBUG_LANDMARKS[row]] for row in PLACED]], basis.mean[basis.landmarks[PLACED]]
    centre, origin = goal.mean(axis=0), own.mean(axis=0)
    unit = 10.0 ** np.round(np.log10(_size(goal) / max(_size(own), 1e-9)))
    turn, misfit = Rotation.align_vectors(goal - centre, unit * (own - origin))
    if misfit > LARGEST_MISFIT * np.sqrt(len(goal)):
        raise StudyError(
            f"{basis.folder / INDICES}: the vertices of {LANDMARKS} are no face's if {NEUTRAL} is in units of {unit:g} "
            "mm. Give the 68 points of 300-W in their order, the subject's right first, and all meshes in mm, cm or m."
        )
    frame = unit * turn.as_matrix().T
    mean, identities = (basis.mean - origin) @ frame + centre, basis.identities @ frame
    expressions = EXPRESSION_SPREAD * basis.expressions @ frame
    warp = RBFInterpolator(mean[basis.landmarks[PLACED]], goal, kernel="linear", degree=1, smoothing=SMOOTHING)
    skin = _nearest(warp(mean), basis.triangles, target, open_model.cells.T)
    places = dict(zip(IBUG_LANDMARKS, mean[basis.landmarks].tolist()))
    places |= {basel: places[name] for name, basel in named_points()["basel"].dropna().items()}
    return FaceModelFile(
        LinearModel(mean.ravel(), *_components(identities, SHAPE_COMPONENTS), np.zeros(1)),
        open_model.color.take(skin),
        LinearModel(np.zeros(mean.size), *_components(expressions, EXPRESSION_COMPONENTS), np.zeros(1)),
        basis.triangles.T,
        mean.T,
        json.dumps([{"id": name, "coordinates": place} for name, place in places.items()]),
    )


def _read_landmarks(path, known):
    """Vertices (68,) of the landmarks, among those `known`."""
    try:
        vertices = [int(vertex) for vertex in json.loads(path.read_text(encoding="utf-8-sig"))[LANDMARKS]]
    except (OSError, ValueError, KeyError, TypeError):
        vertices = []
    if len(vertices) == 68 == len({*vertices} & {*known.tolist()}):
        return np.array(vertices)
    raise StudyError(
        f"{path}: expected {LANDMARKS}, a list of the vertices (0 to {known[-1]}, each once) of the 68 points of "
        "300-W, from the subject's right to the left."
    )


def _size(points):
    """Root mean square distance of points to their middle."""
    return np.sqrt(points.var(axis=0).sum())


def _components(modes, count):
    """Principal directions (3N, count) and variances (count,) where each of modes (M, N, 3) has a normal weight."""
    flat = modes.reshape(-1, 3 * modes.shape[1])
    weights, deviations, directions = np.linalg.svd(flat, full_matrices=False)
    signs = np.sign([column[np.abs(column).argmax()] for column in weights.T])  # else they depend on the solver
    missing = max(count - len(flat), 0)
    basis = (directions * signs.reshape(-1, 1))[:count].T
    return np.pad(basis, ((0, 0), (0, missing))), np.pad(deviations[:count] ** 2, (0, missing))


def _nearest(points, triangles, target, cells):
    """The vertices (N,) of a mesh `target` that are nearest to those of another and turned alike."""
    meshes = ((target, cells), (points, triangles))
    theirs, own = (np.hstack([each, NORMAL_WEIGHT * unit_normals(each, corners)]) for each, corners in meshes)
    return cKDTree(theirs).query(own)[1]
