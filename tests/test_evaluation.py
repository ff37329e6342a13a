"""The protocol on a small world: known faces give known numbers."""

import numpy as np
import pytest
import torch
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model

from lib.evaluation import (
    Photographed,
    coefficient_metrics,
    geometry_errors,
    likeness_metrics,
    load_evaluation,
    load_truth,
    reconstruct_all,
    save_evaluation,
    shape_of_people,
)
from lib.face_model import Coefficients
from lib.scenes import SceneDistribution
from lib.simulated import save_truth


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    model, network = small_face_model(tmp_path_factory.mktemp("world")), SmallNetwork()
    generator = torch.Generator().manual_seed(0)
    faces = Coefficients(*(torch.randn(8, n, generator=generator).repeat_interleave(2, 0) for n in (SHAPE, TEXTURE)))
    reconstructed = reconstruct_all(faces, model, network, network.crop, SceneDistribution(), 3)
    persons = np.repeat(list("abcdefgh"), 2)
    return model, faces, reconstructed, persons


def test_a_perfect_likeness(world):
    _, _, reconstructed, persons = world
    photographed = Photographed(persons, torch.zeros(16, 1), reconstructed.frontal)
    metrics = likeness_metrics(photographed, reconstructed, 20, 0)
    assert metrics["similarity"]["frontal"]["value"] == pytest.approx(1, abs=1e-5)
    assert metrics["recall"]["top1"]["value"] == 1
    assert metrics["earth_movers_distance"]["same"]["value"] < 2e-3
    assert metrics["similarity"]["random_scene"]["value"] < 1
    assert metrics["recall"]["random_top1"] == pytest.approx(2 / 16)


def test_a_wrong_likeness(world):
    _, _, reconstructed, persons = world
    others = np.roll(reconstructed.frontal, 2, axis=0)
    metrics = likeness_metrics(Photographed(persons, torch.zeros(16, 1), others), reconstructed, 20, 0)
    assert metrics["recall"]["top1"]["value"] == 0
    assert metrics["earth_movers_distance"]["different"]["value"] < metrics["earth_movers_distance"]["same"]["value"]


def test_unlabelled_photographs_have_fewer_measures(world):
    _, faces, reconstructed, _ = world
    persons = np.arange(16).astype(str)
    metrics = likeness_metrics(Photographed(persons, torch.zeros(16, 1), reconstructed.frontal), reconstructed, 20, 0)
    assert "same" not in metrics["earth_movers_distance"] and "photographs_same" not in metrics["similarity"]
    assert "shape_within_person" not in coefficient_metrics(faces, persons)


def test_variance_within_a_person(world, generator):
    _, faces, _, persons = world
    assert coefficient_metrics(faces, persons)["shape_within_person"] == pytest.approx(0, abs=1e-6)
    random = Coefficients(torch.randn(400, 3, generator=generator), torch.randn(400, 3, generator=generator))
    share = coefficient_metrics(random, np.repeat(np.arange(200), 2))["shape_within_person"]
    assert share == pytest.approx(1, abs=0.1)


def test_evaluation_is_kept(tmp_path, world):
    _, faces, reconstructed, persons = world
    save_evaluation(tmp_path / "e.h5", Photographed(persons, torch.zeros(16, 1), reconstructed.frontal), reconstructed)
    kept = load_evaluation(tmp_path / "e.h5")
    assert (kept["pictures"] == reconstructed.pictures).all() and kept["pictures"].dtype == np.uint8
    assert np.allclose(kept["coefficients"], faces.cat().numpy()) and np.allclose(kept["similarity"], 1, atol=1e-5)


class Generator:
    """Draws the small model's own faces."""

    def __init__(self, model):
        self.model, self.triangles = model, model.triangles.numpy()

    def person(self, random):
        self.shape = torch.from_numpy(random.normal(size=(1, SHAPE))).float()
        return type("Person", (), {"vertices": self.model.vertices(self.shape)[0].numpy()})


def test_geometry_is_zero_for_the_truth_and_grows_away_from_it(tmp_path, world):
    model, generator = world[0], Generator(world[0])
    persons = ["person-0000", "person-0003"]
    save_truth(generator, tmp_path / "truth.h5", persons, 7)
    truth = load_truth(tmp_path / "truth.h5", 5)
    assert list(truth[0]) == persons
    shapes = torch.cat(
        [torch.from_numpy(np.random.default_rng([7, n]).normal(size=(1, SHAPE))).float() for n in (0, 3)]
    )
    assert geometry_errors(shapes, model, truth).max() < 0.05
    assert geometry_errors(shapes + 2, model, truth).min() > 0.1
    assert len(load_truth(tmp_path / "truth.h5", 1)[0]) == 1
    assert load_truth(tmp_path / "nowhere.h5", 1) is None


def test_a_persons_shape_comes_from_the_mean_of_the_features():
    photographed = Photographed(np.array(["a", "b", "a"]), torch.tensor([[1.0], [5.0], [3.0]]), None)
    shape = shape_of_people(lambda features: Coefficients(features, features), photographed, ["a", "b"])
    assert shape.tolist() == [[2.0], [5.0]]
