"""The HDF5 layout of the Basel Face Model 2017: read strictly, written exactly.

Groups `shape`, `color` and `expression` each hold a linear model (`model/mean`, `pcaBasis`, `pcaVariance`,
`noiseVariance`); `shape/representer` holds the mesh (`cells` (3, T), `points` (3, N)) and `metadata/landmarks/json`
named points of the mean face. BFM 2017 and 2019 files have this layout, and so have the files of the open model, which
add a texture layout: `shape/representer/texture/points` (2, U) and, for the corners of each of `cells`, `cells` (3, T).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lib.core.errors import StudyError
from lib.core.files import write_hdf5

GROUPS = ("shape", "color", "expression")
TEXTURE = "shape/representer/texture"
SMALLEST_EXTENT, LARGEST_EXTENT = 60.0, 1200.0  # mm: plausible longest side of the mean's bounding box
LARGEST_LANDMARK_GAP = 10.0  # mm to the nearest vertex: beyond it, a landmark belongs to another frame or unit


@dataclass(frozen=True)
class LinearModel:
    """One linear model of Eq. 1, as the file holds it: x = mean + basis (sqrt(variance) * coefficients)."""

    mean: np.ndarray  # (3N,), mm, or sRGB in [0, 1]; the three coordinates of a vertex are neighbours
    basis: np.ndarray  # (3N, K): principal directions, one per column, without their standard deviations
    variance: np.ndarray  # (K,): eigenvalues, squares of the standard deviations
    noise_variance: np.ndarray  # that the basis leaves unexplained, per coordinate

    def take(self, vertices):
        """Return the model of some vertices, in this order."""
        rows = (3 * vertices[:, None] + np.arange(3)).ravel()
        return LinearModel(self.mean[rows], self.basis[rows], self.variance, self.noise_variance)


@dataclass(frozen=True)
class FaceModelFile:
    """What a file of the layout holds: three linear models, the mesh and the landmarks."""

    shape: LinearModel
    color: LinearModel
    expression: LinearModel
    cells: np.ndarray  # (3, T): vertices from 0, one triangle a column, counter-clockwise seen from outside
    points: np.ndarray  # (3, N): the reference mesh in mm
    landmarks: str  # JSON: a list of {"id": name, "coordinates": [x, y, z]}, on the mean face, in mm
    # (U, 2) texture coordinates in [0, 1], v upwards, and which of them the corners of each triangle have, (T, 3)
    texture_layout: tuple[np.ndarray, np.ndarray] | None = None


def read_face_model(path, shape_dimension, texture_dimension, expression_dimension):
    """Read a file of the BFM 2017 layout: a `FaceModelFile` of float32 arrays, cells int32.

    The dimensions are how many of the components to keep, those of largest variance. StudyError: missing or truncated
    file, missing dataset, wrong shape, unit, triangle indices or colours, too few components, values that are not
    finite.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(
            f"{path}: there is no such face model. Run the stage face_model, or put a BFM 2017 file "
            "(model2017-1_bfm_nomouth.h5) or a folder of meshes (docs/face-model.md) at this place."
        )
    dimensions = zip(GROUPS, (shape_dimension, texture_dimension, expression_dimension))
    try:
        with h5py.File(path, "r") as file, np.errstate(over="ignore"):
            models = {name: _read_linear_model(file, path, name, dimension) for name, dimension in dimensions}
            cells = _numbers(file, path, "shape/representer/cells")[()]
            points = _numbers(file, path, "shape/representer/points")[()]
            # writers store it as variable-length, fixed-length or an array of one entry
            landmarks = str(np.ravel(_dataset(file, path, "metadata/landmarks/json").asstr()[()])[0])
            layout = _read_texture_layout(file, path) if TEXTURE in file else None
    except StudyError:
        raise
    except Exception as error:  # of damaged files HDF5 raises nearly anything
        raise StudyError(
            f"{path}: {path.stat().st_size} bytes that HDF5 cannot read ({error}). Expected a complete HDF5 file in "
            "the BFM 2017 layout: the file may be truncated or another kind of file; copy or build it again."
        ) from error
    _check_means(path, models)
    vertex_count = models["shape"].mean.size // 3
    _check_cells(path, cells, vertex_count)
    if points.shape != (3, vertex_count):
        raise StudyError(f"{path}: shape/representer/points is {points.shape}, expected (3, {vertex_count}).")
    if layout and layout[1].shape != cells.T.shape:
        raise StudyError(f"{path}: {TEXTURE}/cells is {layout[1].T.shape}, expected {cells.shape}, as the triangles.")
    return FaceModelFile(*models.values(), cells.astype(np.int32), points.astype(np.float32), landmarks, layout)


def write_face_model(path, model):
    """Write a `FaceModelFile` in the BFM 2017 layout, uncompressed (a full model loads in under two seconds).

    The file appears under its name only when it is complete.
    """

    def fill(file):
        for name in GROUPS:
            group, arrays = file.create_group(f"{name}/model"), vars(getattr(model, name)).values()
            for part, values in zip(("mean", "pcaBasis", "pcaVariance", "noiseVariance"), arrays):
                group[part] = values.astype(np.float32)
        file["shape/representer/cells"] = model.cells.astype(np.int32)
        file["shape/representer/points"] = model.points.astype(np.float32)
        file["metadata/landmarks/json"] = np.bytes_(model.landmarks.encode())
        if model.texture_layout:
            coordinates, triangles = model.texture_layout
            file[f"{TEXTURE}/points"] = coordinates.T.astype(np.float32)
            file[f"{TEXTURE}/cells"] = triangles.T.astype(np.int32)

    write_hdf5(path, fill)


def landmark_vertices(path, text, mean):
    """Find the vertex of the mean (N, 3) that is nearest to each landmark in JSON `text`; StudyError names `path`."""
    try:
        named = {str(entry["id"]): np.array(entry["coordinates"], np.float64) for entry in json.loads(text)}
        columns = np.array(mean.T, np.float64, order="C")  # norm(axis=1) of rows takes ten times as long
        distances = {name: np.sqrt(((columns - point[:, None]) ** 2).sum(0)) for name, point in named.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path}: metadata/landmarks/json is {text[:80]!r}…; expected a JSON list of "
            '{"id": name, "coordinates": [x, y, z]}.'
        ) from error
    for name, distance in distances.items():
        if not distance.min() <= LARGEST_LANDMARK_GAP:
            raise StudyError(
                f"{path}: landmark {name} lies {distance.min():.1f} from the nearest vertex of the mean, expected at "
                f"most {LARGEST_LANDMARK_GAP:.0f} mm. Landmarks and mean differ in unit or origin: check the file."
            )
    return {name: int(distance.argmin()) for name, distance in distances.items()}


def _dataset(file, path, name):
    if name not in file or not isinstance(file[name], h5py.Dataset):
        raise StudyError(
            f"{path}: dataset {name} is missing; found {sorted(file)} at the top. Expected the BFM 2017 layout "
            "(shape|color|expression/model, shape/representer, metadata/landmarks/json): BFM 2009 .mat files "
            "and other models need converting."
        )
    return file[name]


def _numbers(file, path, name):
    dataset = _dataset(file, path, name)
    if dataset.shape is None or dataset.dtype.kind not in "iuf":
        raise StudyError(f"{path}: {name} has type {dataset.dtype}, expected numbers.")
    return dataset


def _read_linear_model(file, path, name, dimension):
    mean, variance, noise = (
        np.asarray(_numbers(file, path, f"{name}/model/{part}")[()], np.float32)
        for part in ("mean", "pcaVariance", "noiseVariance")
    )
    basis = _numbers(file, path, f"{name}/model/pcaBasis")
    if mean.ndim != 1 or mean.size % 3 or mean.size == 0:
        raise StudyError(f"{path}: {name}/model/mean is {mean.shape}, expected (3N,): x, y, z of vertex after vertex.")
    if basis.ndim != 2 or basis.shape[0] != mean.size:
        found = "transposed: " if basis.ndim == 2 and basis.shape[1] == mean.size else ""
        raise StudyError(f"{path}: {name}/model/pcaBasis is {found}{basis.shape}, expected ({mean.size}, components).")
    if variance.shape != (basis.shape[1],):
        raise StudyError(f"{path}: {name}/model/pcaVariance is {variance.shape}, expected ({basis.shape[1]},).")
    if basis.shape[1] < dimension:
        raise StudyError(
            f"{path}: {name} has {basis.shape[1]} components, expected at least {dimension}. Ask for fewer "
            "components or use a model with more."
        )
    offset = basis.id.get_offset()  # none where it is compressed
    # mapped: processes share 330 MB of a full model, which take half a second to copy
    values = basis if offset is None else np.memmap(path, basis.dtype, "c", offset, basis.shape)
    model = LinearModel(mean, np.asarray(values[:, :dimension], np.float32), variance[:dimension], noise)
    for part, values in (("mean", mean), ("pcaBasis", model.basis), ("pcaVariance", variance)):
        # a sum is enough to see a NaN or an infinity, and needs no array of a hundred million booleans
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise StudyError(f"{path}: {name}/model/{part} holds NaN or infinite values, expected finite numbers.")
    if (variance < 0).any():
        raise StudyError(f"{path}: {name}/model/pcaVariance has {variance.min()}, expected eigenvalues of 0 or more.")
    return model


def _read_texture_layout(file, path):
    coordinates, cells = (_numbers(file, path, f"{TEXTURE}/{name}")[()] for name in ("points", "cells"))
    if coordinates.ndim != 2 or len(coordinates) != 2 or not (coordinates >= 0).all() or not (coordinates <= 1).all():
        raise StudyError(f"{path}: {TEXTURE}/points is {coordinates.shape}, expected (2, U) with values in [0, 1].")
    if cells.dtype.kind not in "iu" or cells.min(initial=0) < 0 or cells.max(initial=0) >= coordinates.shape[1]:
        raise StudyError(f"{path}: {TEXTURE}/cells are not indices from 0 into {coordinates.shape[1]} coordinates.")
    return coordinates.T.astype(np.float32), cells.T.astype(np.int32)


def _check_means(path, models):
    shape, color, expression = (models[name].mean for name in GROUPS)
    if not shape.size == color.size == expression.size:
        sizes = ", ".join(f"{name} {models[name].mean.size // 3}" for name in GROUPS)
        raise StudyError(f"{path}: the numbers of vertices differ ({sizes}), expected one mesh for all three.")
    extent = float(np.ptp(shape.reshape(-1, 3), axis=0).max())
    if not SMALLEST_EXTENT <= extent <= LARGEST_EXTENT:
        small = "metres" if extent < 2 else "centimetres"
        guess = small if extent < SMALLEST_EXTENT else "micrometres (as in BFM 2009)"
        raise StudyError(
            f"{path}: the mean face is {extent:.4g} units long: {guess}? Expected millimetres, "
            f"{SMALLEST_EXTENT:.0f} to {LARGEST_EXTENT:.0f}. Scale mean, points and landmarks by the factor to mm "
            "and the variances of shape and expression by its square."
        )
    if color.min() < -0.05 or color.max() > 1.05:
        raise StudyError(
            f"{path}: color/model/mean runs from {color.min():.3g} to {color.max():.3g}, expected sRGB in [0, 1]. "
            "Colours in 0..255 need dividing by 255, their variances by 255²."
        )


def _check_cells(path, cells, vertex_count):
    name = f"{path}: shape/representer/cells"
    if cells.ndim != 2 or cells.shape[0] != 3 or not cells.size:
        hint = " (transposed?)" if cells.ndim == 2 and cells.shape[1] == 3 else ""
        raise StudyError(f"{name} is {cells.shape}{hint}, expected (3, T): one triangle a column.")
    if cells.dtype.kind not in "iu":
        raise StudyError(f"{name} has type {cells.dtype}, expected integers.")
    smallest, largest = int(cells.min()), int(cells.max())
    if smallest < 0 or largest >= vertex_count:
        hint = " (counted from 1? subtract 1)" if smallest >= 1 and largest == vertex_count else ""
        raise StudyError(f"{name} runs from {smallest} to {largest}{hint}, expected 0 to {vertex_count - 1}.")
