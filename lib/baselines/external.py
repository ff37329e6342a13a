"""Faces that other methods made of the same photographs, read from a folder (``docs/compare-your-method.md``)."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lib.baselines.external_meshes import place_meshes, read_landmarks
from lib.core.errors import StudyError
from lib.core.pictures import to_tensor
from lib.core.processes import best_device
from lib.core.progress import progress
from lib.evaluation.distances import EVERY_CONDITION, SurfaceErrors, surface_errors
from lib.evaluation.protocol import Reconstructed, evaluate_pictures, see_faces
from lib.evaluation.surfaces import make_surface
from lib.face_model.mesh_reading import read_mesh
from lib.photos.align import iterate_face_crops
from lib.photos.files import Photograph
from lib.rendering.crop import POINT_NAMES
from lib.rendering.renderer import render_meshes

MESH_SUFFIXES, PICTURE_SUFFIXES = (".obj", ".ply", ".glb"), (".png",)
DETECTION_BATCH = 16
SOME = 3  # names that an error message lists


@dataclass(frozen=True)
class ExternalResults:
    """What another method gives for M of the photographs."""

    which: np.ndarray  # (M,): numbers of the photographs, ascending
    reconstructed: Reconstructed  # faces without coefficients
    placed: dict  # `PlacedMesh` by the photograph's number; none for a folder of pictures


def find_results(folder, photographs, all_photographs):
    """List the results in a folder by the number of the photograph they are named after, ascending.

    ``folder/<photograph's path without its ending>.<obj, ply, glb or png>``, the paths as in the feature store's index.
    Where there is a mesh, pictures are taken for its textures. StudyError where the folder, a name, or a result is
    wrong.
    """
    folder = Path(folder)
    example = Path(photographs[0]).with_suffix(".obj")
    if not folder.is_dir():
        raise StudyError(
            f"{folder}, named in methods.external of params.yaml, is no folder; put results such as {example} into it"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    meshes = [path for path in files if path.suffix.lower() in MESH_SUFFIXES]
    found = meshes or [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    known = Counter(str(Path(name).with_suffix("")) for name in all_photographs)
    stems = {path: path.relative_to(folder).with_suffix("").as_posix() for path in found}
    strange = [str(path.relative_to(folder)) for path, stem in stems.items() if stem not in known]
    if strange:
        raise StudyError(
            f"{folder}: {len(strange)} files are named after no photograph ({', '.join(strange[:SOME])}). Name each "
            f"result as its photograph, folders too, such as {example}, and take other meshes and pictures away"
        )
    if len(set(stems.values())) < len(stems):
        twice = sorted(stem for stem, count in Counter(stems.values()).items() if count > 1)
        raise StudyError(
            f"{folder} has several results of one photograph ({', '.join(twice[:SOME])}): keep one of each"
        )
    if shared := sorted(stem for stem in stems.values() if known[stem] > 1):
        raise StudyError(
            f"{folder}: {shared[0]} may be of several photographs that differ in their ending: rename them"
        )
    by_stem = {stem: path for path, stem in stems.items()}
    results = {n: by_stem.get(str(Path(name).with_suffix(""))) for n, name in enumerate(photographs)}
    results = {number: path for number, path in results.items() if path}
    if not results:
        raise StudyError(
            f"{folder} has no result of a test photograph ({len(found)} of others). Expected {folder / example} and "
            "so on; data/photos/index.parquet lists the test photographs"
        )
    return results


def read_results(setup, folder, photographs, all_photographs):
    """Read, place, draw and embed the results of another method in a folder (as `find_results`): `ExternalResults`."""
    results = find_results(folder, photographs, all_photographs)
    if next(iter(results.values())).suffix.lower() in PICTURE_SUFFIXES:
        return _read_pictures(results, setup.render_judges(), setup.reader.network.crop)
    meshes = {path: read_mesh(path, with_colours=True) for path in progress(results.values(), "meshes", unit="mesh")}
    placed = place_meshes(meshes, setup.face_model, read_landmarks(Path(folder)))
    placed = {number: placed[path] for number, path in results.items()}
    return ExternalResults(np.array(list(placed)), _draw(setup, list(placed.values())), placed)


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
    numbers, embeddings, pictures = [], {name: [] for name in judges}, []
    waiting = iter(results)
    with progress(description="pictures", total=len(files), unit="picture") as bar:
        for records, cut in iterate_face_crops(files, crops, DETECTION_BATCH, workers=0):
            numbers += [number for record, number in zip(records, waiting) if not record["reason"]]
            if len(cut["picture"]):
                for name, judge in judges.items():
                    embeddings[name].append(judge(to_tensor(cut[name])).embedding.cpu().numpy())
                pictures.append(cut["picture"])
            bar.update(len(records))
    if not numbers:
        raise StudyError(f"no face was found in any of the {len(files)} pictures, such as {files[0].path}")
    judged = {name: np.concatenate(parts) for name, parts in embeddings.items()}
    faces = Reconstructed(judged.pop(""), np.concatenate(pictures), {}, judged=judged)
    return ExternalResults(np.array(numbers), faces, {})


def evaluate_results(setup, results):
    """Evaluate another method on the photographs that have a result: metrics and `Reconstructed`."""
    reconstructed, seen = results.reconstructed, setup.photographed[results.which]
    if setup.truth is not None and results.placed:
        reconstructed = replace(reconstructed, errors=_errors(results, setup.photographed, setup.truth))
    return evaluate_pictures(reconstructed, seen, setup.protocol, setup.groups(seen)), reconstructed


def _errors(results, photographed, truth):
    """`SurfaceErrors`; None where nobody's truth is known."""
    numbers = [number for person in truth.persons for number in results.which if photographed.persons[number] == person]
    if not numbers:
        return None
    faces = (results.placed[number] for number in numbers)
    surfaces = (
        (photographed.persons[number], make_surface(face.mesh.vertices, face.mesh.triangles), face.nose_tip)
        for number, face in zip(numbers, faces)
    )
    measured = surface_errors(surfaces, truth, len(numbers))
    sorted_by = {}
    for number, distance in zip(numbers, measured):
        for condition in {EVERY_CONDITION, photographed.conditions[number]} - {""}:
            sorted_by.setdefault((photographed.persons[number], condition), []).append(distance)
    persons, conditions = (np.array(names, dtype=object) for names in zip(*sorted_by))
    return SurfaceErrors(persons, conditions, np.array([np.mean(distances) for distances in sorted_by.values()]))
