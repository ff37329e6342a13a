"""Distances to true faces: averages as the paper takes them, scans of any topology, zero for the truth."""

import h5py
import numpy as np
import pytest
import torch
import trimesh
from small_world import EXPRESSION, SHAPE, TEXTURE, write_face_model

from lib.evaluation import distances as ground_truth
from lib.evaluation.distances import (
    AveragedShapes,
    average_by_condition,
    averaged_features,
    shape_errors,
    surface_errors,
    true_face,
)
from lib.evaluation.surfaces import make_surface
from lib.face_model.model import Coefficients, FaceModel
from lib.photos.people import load_truth, save_scans, save_truth
from lib.photos.simulated.camera import true_faces

PERSONS = ["person-0000", "person-0003"]


class Generator:
    """Draws the small model's own faces."""

    def __init__(self, model):
        self.model, self.triangles = model, model.triangles.numpy()

    def person(self, random):
        shape = torch.from_numpy(random.normal(size=(1, SHAPE))).float()
        return type("Person", (), {"vertices": self.model.vertices(shape)[0].numpy()})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = write_face_model(tmp_path_factory.mktemp("model") / "model.h5", rows=25)
    return FaceModel.load(path, SHAPE, TEXTURE, EXPRESSION)


@pytest.fixture
def true_shapes():
    draws = [np.random.default_rng([7, number]).normal(size=(1, SHAPE)) for number in (0, 3)]
    return torch.from_numpy(np.concatenate(draws)).float()


def _save(model, path):
    generator = Generator(model)
    save_truth(path, PERSONS, true_faces(generator, PERSONS, 7), generator.triangles)


def shapes_of(persons, shape):
    return AveragedShapes(np.array(persons, object), np.full(len(persons), "all", object), shape)


def test_the_error_is_zero_for_the_truth_and_grows_away_from_it(tmp_path, model, true_shapes):
    _save(model, tmp_path / "truth.h5")
    truth = load_truth(tmp_path / "truth.h5", 5)
    assert truth.persons == tuple(PERSONS)
    assert shape_errors(shapes_of(PERSONS, true_shapes), model, truth).distances.max() < 0.05
    assert shape_errors(shapes_of(PERSONS, true_shapes + 2), model, truth).distances.min() > 0.1
    # in any order, and nan for those whose truth is not known
    errors = shape_errors(shapes_of(["x", *PERSONS[::-1]], true_shapes[[0, 1, 0]] + 2), model, truth).distances
    expected = shape_errors(shapes_of(PERSONS, true_shapes + 2), model, truth).distances
    assert np.isnan(errors[0]) and errors[1:] == pytest.approx(expected[::-1])
    assert load_truth(tmp_path / "truth.h5", 1).persons == ("person-0000",)
    assert load_truth(tmp_path / "nowhere.h5", 1) is None


def test_scans_of_their_own_topology_are_as_good(tmp_path, model, true_shapes):
    faces, scans = model.vertices(true_shapes).numpy(), {}
    for person, face in zip(PERSONS, faces):
        finer = trimesh.Trimesh(face, model.triangles.numpy(), process=False).subdivide()
        scans[person] = tmp_path / f"{person}.obj"
        finer.export(scans[person])
    save_scans(tmp_path / "truth.h5", scans)
    truth = load_truth(tmp_path / "truth.h5", 2)
    assert len(true_face(truth, "person-0003")[0].vertices) > len(faces[0])
    assert shape_errors(shapes_of(PERSONS, true_shapes), model, truth).distances.max() < 0.2
    assert shape_errors(shapes_of(PERSONS, true_shapes + 2), model, truth).distances.min() > 0.4


def test_a_face_that_is_the_same_in_all_conditions_is_measured_once(tmp_path, model, true_shapes, monkeypatch):
    _save(model, tmp_path / "truth.h5")
    measured = []

    def counted(faces, truth, total):
        measured.append(total)
        return surface_errors(faces, truth, total)

    monkeypatch.setattr(ground_truth, "surface_errors", counted)
    one, other = PERSONS
    shapes = shapes_of([one, other, one, other], torch.stack([true_shapes[0] + 1] * 3 + [true_shapes[1] + 1]))
    errors = shape_errors(shapes, model, load_truth(tmp_path / "truth.h5", 2)).distances
    assert measured == [3] and errors[0] == errors[2] and len(set(errors)) == 3


def test_faces_in_another_unit_and_place_are_registered(tmp_path, model, true_shapes):
    _save(model, tmp_path / "truth.h5")
    truth, nose = load_truth(tmp_path / "truth.h5", 2), model.landmarks["center.nose.tip"]
    faces = [0.95 * face + [30, -20, 400] for face in model.vertices(true_shapes).numpy()]
    meshes = [(person, make_surface(face, model.triangles.numpy()), face[nose]) for person, face in zip(PERSONS, faces)]
    assert surface_errors(meshes, truth).max() < 0.1


def test_features_are_averaged_before_one_reconstruction():
    features = torch.tensor([[1.0], [5.0], [3.0], [7.0]])
    persons = np.array(["a", "b", "a", "a"], object)
    conditions = np.array(["indoor", "", "indoor", "outdoor"], object)
    averaged = averaged_features(lambda mean: Coefficients(mean**2, mean), features, persons, conditions)
    found = {(p, c): s for p, c, [s] in zip(averaged.persons, averaged.conditions, averaged.shape.tolist())}
    assert found == {
        ("a", "all"): pytest.approx((11 / 3) ** 2),
        ("b", "all"): 25,
        ("a", "indoor"): 4,
        ("a", "outdoor"): 49,
    }
    # averaging the shapes is another thing
    persons, conditions, shapes = average_by_condition(features**2, persons, conditions)
    assert shapes[(persons == "a") & (conditions == "indoor")].item() == 5


def test_averages_of_many_rows_keep_their_precision():
    values = torch.full((1000, 2), 0.1)
    _, _, means = average_by_condition(values, np.full(1000, "a", object), np.full(1000, "", object))
    assert means.tolist() == values[:1].tolist()


def test_the_layout_of_both_files_is_as_documented(tmp_path, model):
    _save(model, tmp_path / "one.h5")
    with h5py.File(tmp_path / "one.h5") as file:
        assert set(file) == {"persons", "vertices", "triangles"}
