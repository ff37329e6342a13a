"""Real face scans through the whole method: drawn with their colours, photographed, reconstructed, measured in mm.

What Table 1 does with MICC Florence, on scans whose photographs are simulated: the true shape is a real one.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import trimesh
from PIL import Image
from scipy.ndimage import map_coordinates

from lib.core.errors import StudyError
from lib.core.pictures import to_tensor
from lib.core.progress import progress
from lib.evaluation.distances import AveragedShapes, averaged_features, shape_errors
from lib.evaluation.scan_fit import fit_scan
from lib.evaluation.surfaces import Surface, make_surface
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import ALIGNMENT_LANDMARKS
from lib.photos.align import iterate_face_crops
from lib.photos.files import Photograph
from lib.photos.simulated.camera import CONDITIONS, photograph_mesh, save_photograph

FIT_COMPONENTS = 50
"""Of the fit that finds the pose and the landmarks of a scan: enough for both."""
MEAN_FACE = "mean face"
BATCH = 32


@dataclass(frozen=True)
class ColouredScan:
    """A scan that can be photographed.

    Attributes
    ----------
    name : str
    surface : Surface
        Model frame, mm.
    albedo : ndarray (N, 3)
        sRGB in [0, 1].
    alignment_vertices : list of list of int
        As `lib.rendering.renderer.render_meshes` wants them.
    """

    name: str
    surface: Surface
    albedo: np.ndarray
    alignment_vertices: list


@dataclass(frozen=True, eq=False)
class ScanTruth:
    """Scans as the true faces of `lib.evaluation.distances.shape_errors`."""

    scans: dict[str, ColouredScan]
    scanned = True

    @property
    def persons(self):
        """Names of the scans."""
        return tuple(self.scans)

    def read(self, person):
        """Vertices (N, 3) in mm and triangles (T, 3)."""
        surface = self.scans[person].surface
        return surface.vertices, surface.triangles


def load_scans(folder, layout, face_model):
    """Read scans of one topology with their colour maps and move them into the model's frame.

    Parameters
    ----------
    folder : path-like
        With ``<name>.ply`` and the colour map ``avg_<name>.png`` of each scan.
    layout : path-like
        An OBJ file with the triangles and texture coordinates that all of them share.
    face_model : FaceModel
        Fitted to each scan for its pose and landmarks.

    Returns
    -------
    dict of str to ColouredScan

    Raises
    ------
    StudyError
        There is no scan, a colour map is missing, or a scan has other triangles than the layout.
    """
    paths = sorted(Path(folder).glob("*.ply"))
    if not paths:
        raise StudyError(f"{folder} holds no scan (.ply)")
    uv, triangles = _texture_coordinates(layout)
    scans = {}
    for path in progress(paths, "scans", unit="scan"):
        mesh, picture = read_mesh(path), path.with_name(f"avg_{path.stem}.png")
        if not picture.is_file():
            raise StudyError(f"{picture} is missing: the colour map of {path.name}")
        scan = make_surface(mesh.vertices, mesh.triangles)
        if not np.array_equal(scan.used[scan.triangles], triangles):
            raise StudyError(f"{path} has other triangles than {layout}, whose texture coordinates it should share")
        scans[path.stem] = coloured_scan(path.stem, scan, _colours(picture, uv)[scan.used], face_model)
    return scans


def coloured_scan(name, scan, albedo, face_model):
    """Fit the model to a scan, move the scan into the model's frame and find its landmarks: a `ColouredScan`.

    Parameters
    ----------
    name : str
    scan : Surface
        mm, roughly upright and frontal.
    albedo : ndarray (N, 3)
        Of its vertices.
    face_model : FaceModel
    """
    coefficients, pose = fit_scan(face_model, scan, min(FIT_COMPONENTS, face_model.shape_dimension))
    scan = scan.moved(pose)
    with torch.no_grad():
        shape = torch.zeros(1, face_model.shape_dimension)
        shape[0, : len(coefficients)] = torch.from_numpy(coefficients)
        fitted = face_model.vertices(shape)[0].numpy()
    landmarks = [[face_model.landmarks[landmark] for landmark in names] for names in ALIGNMENT_LANDMARKS]
    nearest = [scan.tree.query(fitted[vertices])[1].tolist() for vertices in landmarks]
    return ColouredScan(name, scan, albedo, nearest)


def photograph_scans(scans, folder, photographs, size, seed):
    """Photograph each scan several times in each of `lib.photos.simulated.camera.CONDITIONS`.

    Parameters
    ----------
    scans : dict of str to ColouredScan
    folder : Path
        Receives ``<name>/<condition>-<number>.jpg``.
    photographs : int
        Of each scan in each condition.
    size : int
        Pixels per side.
    seed : int

    Returns
    -------
    list of Photograph
        With person and condition.
    """
    result = []
    for number, scan in enumerate(progress(scans.values(), "photographs of scans", unit="scan")):
        rng = np.random.default_rng([seed, number])
        vertices, triangles = scan.surface.vertices.astype(np.float32), scan.surface.triangles
        albedo = scan.albedo.astype(np.float32)
        for condition in CONDITIONS:
            for index in range(photographs):
                picture = photograph_mesh(vertices, albedo, triangles, scan.alignment_vertices, condition, size, rng)
                file = f"{scan.name}/{condition.name}-{index}.jpg"
                save_photograph(picture, Path(folder) / file, condition, rng)
                result.append(Photograph(str(folder), file, scan.name, condition=condition.name))
    return result


@torch.no_grad()
def study_scans(scans, face_model, network, regressor, photographs=4, size=256, seed=1):
    """Photograph scans, reconstruct them from the averaged features of each condition, and measure (Table 1).

    Parameters
    ----------
    scans : dict of str to ColouredScan
    face_model : FaceModel
    network : IdentityNetwork
        That the regressor was trained with.
    regressor : Callable
        Features (B, F) to Coefficients.
    photographs, size, seed : int
        As `photograph_scans`.

    Returns
    -------
    DataFrame
        Symmetric point-to-plane distances in mm: a row per scan, a column per condition, `all` of them together, and
        the mean face. A photograph on which no face is found is left out; nan where none of a condition was found.
    """
    with TemporaryDirectory() as folder:
        taken = photograph_scans(scans, Path(folder), photographs, size, seed)
        features, found = [], []
        for records, pictures in iterate_face_crops(taken, {"crop": network.crop}, BATCH, 0):
            found += [not record["reason"] for record in records]
            images = to_tensor(pictures["crop"])
            features.append(network(images).features)
    used = [photograph for photograph, there in zip(taken, found, strict=True) if there]
    if not used:
        raise StudyError(f"no face was found on any of {len(taken)} photographs of scans")
    persons, conditions = (
        np.array([getattr(photograph, name) for photograph in used], dtype=object) for name in ("person", "condition")
    )
    averaged = averaged_features(regressor, torch.cat(features), persons, conditions)
    mean = torch.zeros(len(scans), face_model.shape_dimension)
    averaged = AveragedShapes(
        np.concatenate([averaged.persons, np.array(list(scans), dtype=object)]),
        np.concatenate([averaged.conditions, np.full(len(scans), MEAN_FACE, dtype=object)]),
        torch.cat([averaged.shape, mean]),
    )
    errors = shape_errors(averaged, face_model, ScanTruth(scans))
    table = pd.Series(errors.distances, [errors.persons, errors.conditions]).unstack()
    return table.reindex(columns=[*(condition.name for condition in CONDITIONS), "all", MEAN_FACE])


def _texture_coordinates(path):
    """Texture coordinates (N, 2) of the vertices and triangles (T, 3) of an OBJ file with one of each per vertex."""
    mesh = trimesh.load_mesh(path, process=False, skip_materials=True)
    if getattr(mesh.visual, "uv", None) is None:
        raise StudyError(f"{path} has no texture coordinates")
    return np.asarray(mesh.visual.uv), np.asarray(mesh.faces)


def _colours(path, uv):
    """Colours (N, 3) in [0, 1] of a colour map at texture coordinates (N, 2): u to the right, v upwards."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    height, width = pixels.shape[:2]
    place = [(1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5]
    return np.stack(
        [map_coordinates(channel, place, order=1, mode="nearest") for channel in pixels.transpose(2, 0, 1)], 1
    )
