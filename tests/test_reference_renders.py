"""What a network sees of renders of random faces: their centre, and how far they are from the mean face."""

import pytest
import torch
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model

import lib.recognition.render_centre
from lib.face_model.model import Coefficients
from lib.recognition.render_centre import FACES, centred_on_renders, reference_renders
from lib.rendering.renderer import frontal_scene, render


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_face_model(tmp_path_factory.mktemp("world")), SmallNetwork()


def draw(model, network, shape, texture):
    return render(model, Coefficients(shape, texture), frontal_scene(len(shape)), network.crop)


def test_other_random_faces_are_centred_too(world, generator):
    model, network = world
    images = draw(model, network, *(torch.randn(64, n, generator=generator) for n in (SHAPE, TEXTURE)))
    together, apart = network(images).embedding, centred_on_renders(network, model)(images).embedding
    # before, any two are alike; after, they point everywhere
    assert together.mean(0).norm() > 0.9 and apart.mean(0).norm() < 0.4


def test_the_mean_face_is_where_coefficients_are_zero(world):
    model, network = world
    reference = reference_renders(model, network)
    features = network(draw(model, network, torch.zeros(1, SHAPE), torch.zeros(1, TEXTURE))).features[0]
    assert torch.allclose(reference.mean_face, features, atol=1e-6) and reference.distance > 0


def test_faces_are_drawn_once_for_each_network(world, monkeypatch):
    model, network = world
    before = reference_renders(model, network)
    assert reference_renders(model, network) is before
    other = reference_renders(model, SmallNetwork())
    assert other is not before and torch.equal(other.centre, before.centre)


def test_another_process_finds_what_was_seen(world, monkeypatch, tmp_path):
    model, network = world
    monkeypatch.setattr(lib.recognition.render_centre, "KEPT", tmp_path)
    reference_renders.cache_clear()
    before = reference_renders(model, network)
    (kept,) = tmp_path.iterdir()
    reference_renders.cache_clear()
    monkeypatch.setattr(lib.recognition.render_centre, "_see", None)  # nothing is drawn
    after = reference_renders(model, network)
    assert torch.equal(after.centre, before.centre) and torch.equal(after.mean_face, before.mean_face)
    assert after.distance == before.distance and kept.suffix == ".safetensors"


@pytest.mark.parametrize("change", ["face model", "network", "code"])
def test_what_was_seen_of_something_else_is_not_taken(world, monkeypatch, tmp_path, change):
    model, network = world
    monkeypatch.setattr(lib.recognition.render_centre, "KEPT", tmp_path)
    reference_renders.cache_clear()
    reference_renders(model, network)
    if change == "face model":
        model = small_face_model(tmp_path, seed=1)
    elif change == "network":
        network = SmallNetwork()
        network.fingerprint = "another"
    else:
        monkeypatch.setattr(lib.recognition.render_centre, "digest_of_sources", lambda *folders: "edited")
    reference_renders.cache_clear()
    reference_renders(model, network)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_the_photographs_network_stays_as_it_is(world):
    model, network = world
    centred = centred_on_renders(network, model)
    assert network.centre.abs().max() == 0 and FACES >= 100
    assert torch.equal(centred.centre, reference_renders(model, network).centre)
