"""Results of other methods, from files to numbers: every format, any unit, and what is said when a folder is wrong."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation
from skimage import data
from small_world import SmallNetwork, small_face_model, small_protocol

from lib.baselines.external import LANDMARK_NAMES, find_results, place_meshes, read_landmarks, read_results
from lib.core.errors import StudyError
from lib.evaluation.protocol import evaluate_pictures
from lib.evaluation.setup import EvaluationSetup
from lib.face_model.file import FaceModelFile, LinearModel
from lib.face_model.mesh_reading import Mesh, read_mesh
from lib.face_model.meshes import save_mesh
from lib.face_model.model import ALIGNMENT_LANDMARKS, FaceModel
from lib.open_model.generator import FaceGenerator
from lib.photos.people import load_truth
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution

PEOPLE = 6
NAMES = ["ann/1.jpg", "ann/2.jpg", "bob/1.jpg"]
PROTOCOL = small_protocol(photographs_per_person=3)


@pytest.fixture(scope="module")
def faces():
    """-> the generator, and two people whom the face model has never seen."""
    generator = FaceGenerator("light")
    return generator, [generator.person(np.random.default_rng([3, number])) for number in range(2)]


@pytest.fixture(scope="module")
def model(faces):
    """A face model of a few people of the generator."""
    generator, _ = faces
    people = [generator.person(np.random.default_rng([4, number])) for number in range(PEOPLE)]
    landmarks = json.dumps(
        [
            {"id": name, "coordinates": np.mean([p.vertices[vertex] for p in people], 0).tolist()}
            for name, vertex in generator.landmarks.items()
        ]
    )

    def linear(values):
        values = np.asarray([value.ravel() for value in values], np.float64)
        mean = values.mean(0)
        left, size, rows = np.linalg.svd(values - mean, full_matrices=False)
        parts = mean, rows[: PEOPLE - 1].T, size[: PEOPLE - 1] ** 2 / (PEOPLE - 1), np.zeros(1)
        return LinearModel(*(np.ascontiguousarray(part, np.float32) for part in parts))

    shape, texture = linear([p.vertices for p in people]), linear([p.albedo for p in people])
    points = shape.mean.reshape(-1, 3)
    cells = np.asarray(generator.triangles).T.astype(np.int32)
    return FaceModel(FaceModelFile(shape, texture, shape, cells, points.T, landmarks))


def places_of(generator, person):
    """The true places (5, 3) of `LANDMARK_NAMES`."""
    names = [*ALIGNMENT_LANDMARKS, ("center.nose.tip",)]
    return np.stack([np.mean([person.vertices[generator.landmarks[n]] for n in group], 0) for group in names])


def turned(person, unit):
    """A person's vertices in another unit, turned and elsewhere."""
    turn = Rotation.from_euler("YXZ", (8, -6, 4), degrees=True).as_matrix()
    return (person.vertices @ turn.T + [40, -900, 15]) * unit


@pytest.mark.parametrize(("kind", "unit"), [("obj", 0.01), ("ply", 1.0), ("glb", 1.0)])
def test_a_mesh_of_any_unit_comes_into_the_models_frame_with_its_landmarks(tmp_path, faces, model, kind, unit):
    generator, people = faces
    meshes = {}
    for number, person in enumerate(people):
        path = tmp_path / f"{number}.{kind}"
        save_mesh(path, turned(person, unit), person.albedo, np.asarray(generator.triangles, np.int64))
        meshes[str(number)] = read_mesh(path, with_colours=True)
        assert np.abs(meshes[str(number)].albedo - person.albedo).max() < (0.04 if kind == "glb" else 0.005)
    placed = place_meshes(meshes, model)
    for number, person in enumerate(people):
        face = placed[str(number)]
        found = np.stack([face.mesh.vertices[list(face.landmarks[name])].mean(0) for name in LANDMARK_NAMES])
        # the frame is that of the mean face: a person's own place in it differs by a few mm
        assert np.linalg.norm(face.mesh.vertices - person.vertices, axis=1).mean() < 8
        assert np.linalg.norm(found - places_of(generator, person), axis=1).max() < 12
        vertices = [person.vertices[list(face.landmarks[name])].mean(0) for name in LANDMARK_NAMES]
        assert np.linalg.norm(np.stack(vertices) - places_of(generator, person), axis=1).max() < 8


def test_a_landmarks_file_is_used(tmp_path, faces, model):
    generator, people = faces
    vertices = [[generator.landmarks[n] for n in group] for group in (*ALIGNMENT_LANDMARKS, ("center.nose.tip",))]
    (tmp_path / "landmarks.json").write_text(json.dumps(dict(zip(LANDMARK_NAMES, vertices))))
    landmarks = read_landmarks(tmp_path)
    path = tmp_path / "a.ply"
    save_mesh(path, turned(people[0], 0.1), people[0].albedo, np.asarray(generator.triangles, np.int64))
    placed = place_meshes({"a": read_mesh(path, with_colours=True)}, model, landmarks)["a"]
    assert placed.landmarks == {name: tuple(group) for name, group in zip(LANDMARK_NAMES, vertices)}
    assert np.linalg.norm(placed.mesh.vertices - people[0].vertices, axis=1).mean() < 8
    for wrong in ('{"left_eye": [3]}', "[1, 2, 3, 4, 5]", "null", "no JSON"):
        (tmp_path / "landmarks.json").write_text(wrong)
        with pytest.raises(StudyError, match="right_eye, left_eye, right_mouth, left_mouth, nose_tip"):
            read_landmarks(tmp_path)


def photographed():
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.nn.functional.normalize(torch.randn(3, 6, generator=generator), dim=1).numpy()
    persons, conditions = np.array(["ann", "ann", "bob"], dtype=object), np.array(["indoor", "outdoor", "indoor"])
    return Photographs(torch.zeros(3, 12), embeddings, persons, conditions.astype(object), np.arange(3))


def setup_of(model, truth=None):
    network, seen = SmallNetwork(), photographed()
    return EvaluationSetup(seen, seen, {}, model, network, FeatureReader(network), SceneDistribution(), PROTOCOL, truth)


def truth_of(faces, path):
    """The true faces of the two people, as `lib.evaluation.distances` reads them."""
    generator, people = faces
    with h5py.File(path, "w") as file:
        file["vertices"] = np.stack([p.vertices for p in people]).astype(np.float32)
        file["triangles"] = np.asarray(generator.triangles, np.int32)
        file["persons"] = ["ann", "bob"]
    return load_truth(path, 2)


def test_meshes_whose_triangles_share_no_vertices_are_placed_alike(tmp_path, faces, model):
    generator, people = faces
    triangles = np.asarray(generator.triangles)
    shared, places = trimesh.Trimesh(people[0].vertices, triangles, process=False), {}
    shared.export(tmp_path / "shared.ply")
    split = people[0].vertices[triangles].reshape(-1, 3)
    flat = trimesh.Trimesh(split, np.arange(triangles.size).reshape(-1, 3), process=False)
    for name in ("flat.ply", "flat.obj"):
        flat.export(tmp_path / name)
    for name in ("shared.ply", "flat.ply", "flat.obj"):
        read = read_mesh(tmp_path / name, with_colours=True)
        places[name] = place_meshes({name: read}, model)[name].landmark_places()[-1]
    assert all(np.abs(place - places["shared.ply"]).max() < 1 for place in places.values()), places


@pytest.mark.parametrize(
    "wrong", ["y down", "z away", "z up", "half a face", "swapped", "a number too large", "a wrong one"]
)
def test_meshes_that_do_not_fit_are_named(faces, model, wrong):
    generator, people = faces
    vertices, triangles = people[0].vertices.copy(), np.asarray(generator.triangles, np.int64)
    landmarks = {name: tuple(rows) for name, rows in model.alignment_vertices.items()}
    landmarks["nose_tip"] = (model.landmarks["center.nose.tip"],)
    known = None
    if wrong in ("y down", "z away"):
        vertices *= [1, -1, 1] if wrong == "y down" else [1, 1, -1]
    elif wrong == "z up":
        vertices = Rotation.from_euler("x", 90, degrees=True).apply(vertices)
    elif wrong == "half a face":
        triangles = triangles[:3]
    elif wrong == "swapped":
        other = {"right": "left", "left": "right"}
        known = {n: landmarks["_".join(other.get(part, part) for part in n.split("_"))] for n in LANDMARK_NAMES}
    else:
        known = landmarks | {"nose_tip": (10**6 if wrong == "a number too large" else 100,)}
    mesh = Mesh(vertices, triangles, np.full_like(vertices, 0.6))
    with pytest.raises(StudyError, match="ada.obj cannot be placed"):
        place_meshes({"ada.obj": mesh}, model, known)


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_a_folder_of_meshes_is_measured_like_every_method(tmp_path, faces, model, kind):
    generator, people = faces
    for name, person in (("ann/1", people[0]), ("bob/1", people[1])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_mesh(
            tmp_path / f"{name}.{kind}", turned(person, 1), person.albedo, np.asarray(generator.triangles, np.int64)
        )
    (tmp_path / "ann/1.png").write_bytes(b"a texture, not a result")
    setup = setup_of(model, truth_of(faces, tmp_path / "truth.h5"))
    which, kept = read_results(setup, tmp_path, NAMES, [*NAMES, "eve/1.jpg"])
    assert which.tolist() == [0, 2]
    assert kept.pictures.shape == (2, 20, 20, 3) and kept.pictures.std() > 10
    assert kept.views["side"].shape == (2, 2, 6)
    metrics = evaluate_pictures(replace(setup, photographed=setup.photographed[which]), kept)
    assert metrics["similarity"]["all"]["frontal"]["n"] == 2
    # the meshes are the truth itself, in another place
    assert metrics["geometry"]["all"]["mean"]["value"] < 0.1
    assert set(kept.errors.conditions) == {"all", "indoor"} and kept.errors.distances.max() < 0.1
    assert metrics["geometry"]["indoor"]["mean"]["n"] == 2 and "outdoor" not in metrics["geometry"]


def test_a_folder_of_pictures_goes_the_way_of_photographs(tmp_path):
    face = data.astronaut()[:250, 100:350]
    for name, pixels in (("ann/1", face), ("bob/1", face[:, ::-1]), ("ann/2", np.full_like(face, 90))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "model").mkdir()
    setup = setup_of(small_face_model(tmp_path / "model"))
    which, kept = read_results(setup, tmp_path, NAMES, NAMES)
    # no face on a wall
    assert which.tolist() == [0, 2]
    assert kept.views == {} and kept.pictures.shape == (2, 20, 20, 3)
    metrics = evaluate_pictures(replace(setup, photographed=setup.photographed[which]), kept)
    assert metrics["recall"]["all"]["top1"]["n"] == 2 and "geometry" not in metrics and kept.errors is None


def test_a_wrong_folder_is_told_with_the_remedy(tmp_path):
    with pytest.raises(StudyError, match="named in methods.external .* is no folder; put results such as ann/1.obj"):
        find_results(tmp_path / "nowhere", NAMES, NAMES)
    (tmp_path / "eve").mkdir()
    with pytest.raises(StudyError, match="no result of a test photograph"):
        find_results(tmp_path, NAMES, NAMES)
    (tmp_path / "eve/1.obj").write_text("")
    with pytest.raises(StudyError, match=r"eve/1.obj is named after no photograph. Name each .* such as ann/1.obj"):
        find_results(tmp_path, NAMES, NAMES)
    # of a training photograph: left alone
    with pytest.raises(StudyError, match="1 of others"):
        find_results(tmp_path, NAMES, [*NAMES, "eve/1.jpg"])
    (tmp_path / "ann").mkdir()
    for kind in ("obj", "ply"):
        (tmp_path / f"ann/1.{kind}").write_text("")
    with pytest.raises(StudyError, match="ann/1.ply are results of one photograph"):
        find_results(tmp_path, NAMES, [*NAMES, "eve/1.jpg"])
    (tmp_path / "ann/1.ply").unlink()
    shutil.rmtree(tmp_path / "eve")
    with pytest.raises(StudyError, match="ann/1.obj may be of several photographs"):
        find_results(tmp_path, NAMES, [*NAMES, "ann/1.png"])
    assert find_results(tmp_path, NAMES, NAMES) == {0: tmp_path / "ann/1.obj"}
