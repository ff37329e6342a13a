"""Faces that other methods made of the same photographs, read from a folder (``docs/compare-your-method.md``)."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from skimage.transform import SimilarityTransform

from lib.core.errors import StudyError
from lib.core.pictures import to_tensor
from lib.core.processes import best_device
from lib.core.progress import progress
from lib.evaluation.distances import SurfaceErrors, average_by_condition, surface_errors
from lib.evaluation.mesh_files import LANDMARKS_FILE, read_points
from lib.evaluation.protocol import Reconstructed, see_faces
from lib.evaluation.scan_fit import NOSE_TIP, fit_scan, outer_skin
from lib.evaluation.surfaces import crop_to_sphere, make_surface, point_to_plane, register
from lib.face_model.mesh_reading import Mesh, read_mesh
from lib.photos.align import iterate_face_crops
from lib.photos.files import Photograph
from lib.rendering.crop import POINT_NAMES
from lib.rendering.renderer import render_meshes

MESH_SUFFIXES, PICTURE_SUFFIXES = (".obj", ".ply", ".glb"), (".png",)
DETECTION_BATCH = 16
LANDMARK_NAMES = (*POINT_NAMES, "nose_tip")
FIT_COMPONENTS = 60
MATCHED_RADIUS = 70.0  # mm around the nose tip of the mean face in which a mesh is brought into place
LARGEST_OFFSET, LARGEST_MEAN_OFFSET = 20.0, 10.0
"""mm from the mean face's landmarks at which a placed mesh may have its own, each and all five on average: of 19
simulated people each is within 12, and of a face upside down the mean is 13."""
HEIGHTS = (110.0, 140.0, 175.0, 220.0, 275.0, 345.0)
"""mm that a mesh may measure from top to bottom, since its unit is not known: from a mask to a head with its neck."""


@dataclass(frozen=True)
class PlacedMesh:
    """A mesh in the face model's frame, in mm, and the vertices whose mean is each of its `LANDMARK_NAMES`."""

    mesh: Mesh
    landmarks: dict

    def landmark_places(self):
        """Where the landmarks are: (5, 3) mm, the nose tip last."""
        return np.stack([self.mesh.vertices[list(self.landmarks[name])].mean(0) for name in LANDMARK_NAMES])


def find_results(folder, photographs, all_photographs):
    """Find the results by the number of the photograph that each is named after; StudyError: a wrong folder or name.

    ``folder/<photograph's path without its ending>.<obj, ply, glb or png>``, the paths as in the feature store's index.
    Where there is a mesh, pictures are taken for its textures.
    """
    example = Path(photographs[0]).with_suffix(".obj")
    if not folder.is_dir():
        raise StudyError(
            f"{folder}, named in methods.external of params.yaml, is no folder; put results such as {example} into it"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    meshes = [path for path in files if path.suffix.lower() in MESH_SUFFIXES]
    found = defaultdict(list)
    for path in meshes or [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]:
        found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    known = Counter(str(Path(name).with_suffix("")) for name in all_photographs)
    for stem, (path, *others) in found.items():
        if stem not in known:
            raise StudyError(
                f"{path} is named after no photograph. Name each result as its photograph, folders too, such as "
                f"{example}, and take other meshes and pictures away"
            )
        if others:
            raise StudyError(f"{path} and {others[0]} are results of one photograph: keep one of them")
        if known[stem] > 1:
            raise StudyError(f"{path} may be of several photographs that differ in their ending: rename them")
    stems = [str(Path(name).with_suffix("")) for name in photographs]
    results = {number: found[stem][0] for number, stem in enumerate(stems) if stem in found}
    if not results:
        raise StudyError(
            f"{folder} has no result of a test photograph ({len(found)} of others). Expected {folder / example} and "
            "so on; data/photos/index.parquet lists the test photographs"
        )
    return results


def read_results(setup, folder, photographs, all_photographs):
    """Read, place, draw and embed the results in a folder (as `find_results`), and measure them where truth is known.

    Numbers (M,) of the photographs that have one, ascending, and `Reconstructed`, faces without coefficients.
    """
    folder = Path(folder)
    results = find_results(folder, photographs, all_photographs)
    if next(iter(results.values())).suffix.lower() in PICTURE_SUFFIXES:
        return _read_pictures(results, setup.render_judges(), setup.reader.network.crop)
    meshes = {path: read_mesh(path, with_colours=True) for path in progress(results.values(), "meshes", unit="mesh")}
    placed = place_meshes(meshes, setup.face_model, read_landmarks(folder))
    which, faces = np.array(list(results)), [placed[path] for path in results.values()]
    errors = _errors(faces, setup.photographed[which], setup.truth) if setup.truth else None
    return which, replace(_draw(setup, faces), errors=errors)


def _draw(setup, faces):
    """Draw placed meshes as all faces are drawn: `Reconstructed`."""

    def drawing(rows):
        meshes = [_parts(faces[row]) for row in rows.tolist()]

        def draw(scene, crop):  # one by one, since topologies may differ
            return torch.cat([render_meshes(*mesh, scene[n : n + 1], crop) for n, mesh in enumerate(meshes)])

        return draw

    return replace(see_faces(setup, len(faces), drawing), distances=None)


def _parts(face):
    """A `PlacedMesh` as `render_meshes` takes it."""
    mesh, device = face.mesh, best_device()
    vertices, albedo = (torch.from_numpy(values).float()[None].to(device) for values in (mesh.vertices, mesh.albedo))
    return vertices, albedo, torch.from_numpy(mesh.triangles).to(device), [face.landmarks[name] for name in POINT_NAMES]


@torch.no_grad()
def _read_pictures(results, judges, picture_crop):
    """Renders go the way of photographs: detected, cropped, embedded."""
    files = [Photograph(str(path.parent), path.name, path.stem) for path in results.values()]
    crops = dict(picture=picture_crop) | {name: judge.crop for name, judge in judges.items()}
    found, waiting = [], iter(results)
    with progress(description="pictures", total=len(files), unit="picture") as bar:
        for records, cut in iterate_face_crops(files, crops, DETECTION_BATCH, workers=0):
            numbers = [number for record, number in zip(records, waiting) if not record["reason"]]
            if numbers:
                embedded = {name: judge(to_tensor(cut[name])).embedding.cpu().numpy() for name, judge in judges.items()}
                found.append(dict(numbers=numbers, pictures=cut["picture"]) | embedded)
            bar.update(len(records))
    if not found:
        raise StudyError(f"no face was found in any of the {len(files)} pictures, such as {files[0].path}")
    judged = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    return judged.pop("numbers"), Reconstructed(judged.pop(""), judged.pop("pictures"), {}, judged=judged)


def _errors(faces, photographed, truth):
    """`SurfaceErrors` of placed meshes, a mean over each person's; None where nobody's truth is known."""
    known = np.flatnonzero(np.isin(photographed.persons, truth.persons))
    if not len(known):
        return None
    persons, conditions = photographed.persons[known], photographed.conditions[known]
    surfaces = (
        (person, make_surface(face.mesh.vertices, face.mesh.triangles), face.landmark_places()[-1])
        for person, face in zip(persons, (faces[row] for row in known))
    )
    measured = torch.from_numpy(surface_errors(surfaces, truth, len(known)))
    persons, conditions, means = average_by_condition(measured[:, None], persons, conditions)
    return SurfaceErrors(persons, conditions, means[:, 0].numpy())


def read_landmarks(folder):
    """Read the vertices of `LANDMARK_NAMES` that a folder names for all its meshes; None where it has no such file."""
    path = folder / LANDMARKS_FILE
    if not path.is_file():
        return None
    try:
        points = read_points(path)
    except StudyError:  # its advice is for another command
        points = {}
    if not all(name in points and points[name].dtype.kind == "i" for name in LANDMARK_NAMES):
        raise StudyError(f"{path} must map each of {', '.join(LANDMARK_NAMES)} to vertex numbers, counted from 0")
    return {name: tuple(points[name].ravel()) for name in LANDMARK_NAMES}


def place_meshes(meshes, face_model, landmarks=None):
    """Bring upright, frontal meshes into the face model's frame: `PlacedMesh` by name; StudyError where it fails.

    Without given landmarks, the model is fitted to the mean of the meshes of the same triangles, and its own landmarks
    say where theirs are.
    """
    (rows, triangles), mean_face = outer_skin(face_model), _face(face_model)
    wanted = _landmark_places(mean_face, face_model)
    target = crop_to_sphere(make_surface(mean_face[rows], triangles), wanted[-1], MATCHED_RADIUS)
    alike = defaultdict(list)
    for name, mesh in meshes.items():
        alike[hashlib.sha256(mesh.triangles.tobytes()).digest(), len(mesh.vertices)].append(name)
    placed = {}
    for names in alike.values():
        name, mean = names[0], np.mean([meshes[name].vertices for name in names], axis=0)
        try:
            known = landmarks or _fitted_landmarks(mean, meshes[name].triangles, target, face_model)
            for name in names:
                # the similarity that brings its landmarks nearest (Umeyama 1991), then closest points
                places = PlacedMesh(meshes[name], known).landmark_places()
                vertices = SimilarityTransform.from_estimate(places, wanted)(meshes[name].vertices)
                vertices = register(make_surface(vertices, meshes[name].triangles), target).apply(vertices)
                placed[name] = PlacedMesh(replace(meshes[name], vertices=vertices), known)
                _check_place(placed[name], wanted)
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:
            raise StudyError(
                f"{name} cannot be placed on the mean face: {error}. Meshes must be upright (+y up), frontal (+z out "
                f"of the face) and whole, and {LANDMARKS_FILE} must name its own vertices, left and right the subject's"
            ) from None
    return placed


def _check_place(placed, wanted):
    """Raise ValueError where the landmarks are not near those of the mean face."""
    offsets = np.linalg.norm(placed.landmark_places() - wanted, axis=1)
    if not (offsets.max() <= LARGEST_OFFSET and offsets.mean() <= LARGEST_MEAN_OFFSET):
        raise ValueError(
            f"its {LANDMARK_NAMES[offsets.argmax()]} lies {offsets.max():.0f} mm off, and its landmarks "
            f"{offsets.mean():.0f} on average: more than {LARGEST_OFFSET:.0f} or {LARGEST_MEAN_OFFSET:.0f}"
        )


@torch.no_grad()
def _face(face_model, coefficients=()):
    """Vertices (N, 3) of the face of some leading shape coefficients."""
    shape = torch.zeros(1, face_model.shape_dimension)
    shape[0, : len(coefficients)] = torch.as_tensor(coefficients)
    return face_model.vertices(shape)[0].double().numpy()


def _landmark_places(face, face_model):
    """Places (5, 3) of `LANDMARK_NAMES` on a face (N, 3) of the model."""
    indices = [*face_model.alignment_vertices.values(), (face_model.landmarks[NOSE_TIP],)]
    return np.stack([face[list(vertices)].mean(0) for vertices in indices])


def _fitted_landmarks(vertices, triangles, target, face_model):
    """Vertices of a mesh that are nearest to the landmarks of the model's face that fits it best."""
    tip = _face(face_model)[face_model.landmarks[NOSE_TIP]]
    foremost = vertices[vertices[:, 2].argmax()]
    best, least = None, np.inf
    for height in HEIGHTS:
        scale = height / np.ptp(vertices[:, 1])
        surface = make_surface(scale * (vertices - foremost) + tip, triangles)
        moved = surface.moved(register(surface, target))
        distance = point_to_plane(target, moved).mean()
        if distance < least:
            best, least = moved, distance
    coefficients, pose = fit_scan(face_model, best, min(FIT_COMPONENTS, face_model.shape_dimension))
    _, nearest = best.moved(pose).tree.query(_landmark_places(_face(face_model, coefficients), face_model))
    return {name: (int(vertex),) for name, vertex in zip(LANDMARK_NAMES, best.used[nearest])}
