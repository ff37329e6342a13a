"""Pixels that explain a photograph: the terms by hand, where their gradient goes, and what a fit finds again."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import EXPRESSION, SHAPE, TEXTURE, SmallNetwork, small_face_model, write_face_model

from lib.baselines.photometric import (
    NOTHING,
    SMALLEST_DIFFERENCE,
    VIEW_DIMENSION,
    Explanation,
    draw,
    fit,
    fit_photographs,
    photometric_loss,
    pixel_energy,
    scene_of,
)
from lib.baselines.pixel_autoencoder import PixelAutoencoder, teach_views, train_pixel_autoencoder
from lib.core.params import IterativeFitParams, PixelAutoencoderParams
from lib.face_model.model import FaceModel
from lib.photos.store import Photographs
from lib.rendering import renderer
from lib.rendering.crop import fit_similarity, landmarks_in_crop
from lib.rendering.scenes import frontal_scene
from lib.training.regressor import Regressor

CROP = SmallNetwork.crop
FIT = IterativeFitParams(people=1, steps=40, learning_rate=0.1, landmark_weight=20.0, prior_weight=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_face_model(tmp_path_factory.mktemp("world"))


def random_explanation(count, generator, scale=1.0):
    sizes = (SHAPE, TEXTURE, EXPRESSION, VIEW_DIMENSION)
    return Explanation(*(scale * torch.randn(count, size, generator=generator) for size in sizes))


def photographs_of(model, explanation, crop=CROP):
    """Photographs as the renderer takes them: pixels before a grey wall, and where the landmarks are."""
    with torch.no_grad():
        pictures, places = draw(model, explanation, crop)
    return torch.where(pictures >= 0, pictures, 0.5), places


def crops_of(model, explanation, crop=CROP):
    pictures, places = photographs_of(model, explanation, crop)
    pixels = (pictures * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
    return Photographs(torch.zeros(len(pixels), 12), pictures=pixels, landmarks=places)


def test_photometric_loss_by_hand():
    pictures = torch.full((2, 3, 2, 2), NOTHING)
    photographs = torch.rand(2, 3, 2, 2)
    # the first picture shows two pixels of a face: one is right, the other off by (0.3, 0, 0.4), so by 0.5
    pictures[0, :, 0, 0] = photographs[0, :, 0, 0]
    photographs[0, :, 1, 1] = torch.tensor([0.2, 0.7, 0.5])
    pictures[0, :, 1, 1] = torch.tensor([0.5, 0.7, 0.1])
    pictures[1] = 0.25
    photographs[1] = 0.75
    losses = photometric_loss(pictures, photographs)
    assert losses[0].item() == pytest.approx((0 + 0.5) / 2, abs=SMALLEST_DIFFERENCE)
    assert losses[1].item() == pytest.approx(math.sqrt(3) / 2, abs=SMALLEST_DIFFERENCE)


def test_a_perfect_picture_costs_nothing_and_has_a_gradient_of_zero():
    pictures = torch.rand(1, 3, 4, 4).requires_grad_()
    loss = photometric_loss(pictures, pictures.detach().clone())
    loss.sum().backward()
    assert loss.item() == 0 and pictures.grad.abs().max() == 0


def test_landmarks_and_prior_by_hand(model, generator):
    explanation = random_explanation(1, generator)
    pictures, places = photographs_of(model, explanation)
    detected = places + torch.tensor([[[0.3, 0.4], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    terms = pixel_energy(model, explanation, pictures, detected, CROP, FIT)
    assert terms["landmarks"].item() == pytest.approx((0.25 + 1) / 4)
    assert terms["prior"].item() == pytest.approx(
        sum(values.norm().item() ** 2 for values in vars(explanation).values())
    )


def test_a_step_of_a_fit_projects_the_face_once(model, generator, monkeypatch):
    explanation, calls = random_explanation(2, generator), []
    pictures, places = photographs_of(model, explanation)
    project = renderer.crop_projection
    monkeypatch.setattr(renderer, "crop_projection", lambda *given: calls.append(given) or project(*given))
    pixel_energy(model, explanation, pictures, places, CROP, FIT)
    assert len(calls) == 1


def test_an_empty_view_is_the_neutral_studio():
    view = torch.zeros(2, VIEW_DIMENSION)
    scene, studio = scene_of(view), frontal_scene(2)
    for name, values in vars(studio).items():
        if name != "background":
            assert torch.allclose(getattr(scene, name), values, atol=1e-4), name


def test_every_unknown_changes_the_energy(model, generator):
    target, _ = photographs_of(model, random_explanation(3, generator, 0.5))
    unknowns = random_explanation(3, generator, 0.5).each(lambda tensor: tensor.requires_grad_())
    detected = CROP.canonical_points().expand(3, 4, 2)
    pixel_energy(model, unknowns, target, detected, CROP, replace(FIT, landmark_weight=20.0, prior_weight=0.0))[
        "total"
    ].sum().backward()
    for name, values in vars(unknowns).items():
        # each component by itself, pose, light and place among them
        assert (values.grad.abs().sum(0) > 0).all() and values.grad.isfinite().all(), name


@pytest.mark.parametrize("column", [7, 13, 15, 16])
def test_gradients_of_light_agree_with_finite_differences(model, generator, column):
    target, _ = photographs_of(model, random_explanation(1, generator, 0.5))
    start = random_explanation(1, generator, 0.3)
    detected = CROP.canonical_points().expand(1, 4, 2)

    def energy(view):
        explanation = Explanation(start.shape, start.texture, start.expression, view)
        return pixel_energy(
            model, explanation, target, detected, CROP, replace(FIT, landmark_weight=20.0, prior_weight=1e-4)
        )["total"].sum()

    view = start.view.clone().requires_grad_()
    energy(view).backward()
    step = torch.zeros_like(view)
    step[0, column] = 0.02
    with torch.no_grad():
        slope = (energy(view + step) - energy(view - step)) / 0.04
    assert view.grad[0, column].item() == pytest.approx(slope.item(), rel=0.05, abs=2e-4)


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.5, 0.5), st.floats(0.5, 300), st.floats(-500, 500), st.floats(-500, 500))
def test_a_photographs_own_similarity_does_not_move_landmarks_in_the_crop(angle, scale, x, y):
    generator = torch.Generator().manual_seed(0)
    points = CROP.canonical_points() + 0.03 * torch.randn(4, 2, generator=generator)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    photographed = scale * points @ turn.T + torch.tensor([x, y])
    found = landmarks_in_crop(photographed[None], CROP)[0]
    a, b, shift_x, shift_y = fit_similarity(points, CROP.canonical_points())
    wanted = torch.stack(
        [a * points[:, 0] - b * points[:, 1] + shift_x, b * points[:, 0] + a * points[:, 1] + shift_y], 1
    )
    assert torch.allclose(found, wanted, atol=2e-3)


@pytest.fixture(scope="module")
def fine_model(tmp_path_factory):
    """A sheet of more vertices, whose texture shows where it is turned to."""
    path = write_face_model(tmp_path_factory.mktemp("fine") / "model.h5", seed=2, rows=17)
    return FaceModel.load(path, SHAPE, TEXTURE, EXPRESSION)


def test_a_fit_finds_pose_and_light_again(fine_model, generator):
    truth = random_explanation(4, generator, 0.5)
    truth.view[:] = 0
    truth.view[:, 0] = torch.tensor([-1.0, -0.5, 0.6, 1.1])  # yaw
    truth.view[:, 13:16] = torch.tensor([0.8, -0.6, 0.3])  # brightness of the lamps and of the light from everywhere
    crops = crops_of(fine_model, truth)
    neutral = random_explanation(4, generator, 0.0)
    with torch.no_grad():
        before = pixel_energy(fine_model, neutral, crops.images(), crops.landmarks, CROP, FIT)["photometric"]
    found, after = fit(fine_model, crops, CROP, FIT)
    assert (after < 0.3 * before).all()
    assert (found.view[:, 0] - truth.view[:, 0]).abs().max() < 0.5
    # the sum of all light is what a sheet that faces the camera shows: its parts trade with one another
    lit, wanted = (
        scene.ambient.mean(1) + scene.light_colours.mean(2).sum(1)
        for scene in (scene_of(found.view), scene_of(truth.view))
    )
    assert (lit / wanted - 1).abs().max() < 0.25


def test_a_fit_is_kept_and_does_not_depend_on_its_neighbours(tmp_path, model, generator, monkeypatch):
    crops = crops_of(model, random_explanation(3, generator, 0.5))
    params = IterativeFitParams(people=1, steps=3, learning_rate=0.1, landmark_weight=20.0, prior_weight=1e-5)
    together, _ = fit_photographs(model, crops, CROP, params, tmp_path)
    alone, _ = fit(model, crops[[1]], CROP, params)
    assert torch.allclose(together.view[[1]], alone.view, atol=1e-3)
    monkeypatch.setattr("lib.baselines.photometric.fit", lambda *arguments: pytest.fail("was fitted again"))
    again, _ = fit_photographs(model, crops, CROP, params, tmp_path)
    assert all(torch.equal(getattr(again, name), values) for name, values in vars(together).items())


AUTOENCODER = PixelAutoencoderParams(
    seed=1,
    synthetic_faces=10,
    steps=60,
    photographs=8,
    learning_rate=3e-3,
    weight_decay=0.0,
    landmark_weight=20.0,
    prior_weight=1e-6,
    checkpoint_steps=20,
)


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return PixelAutoencoder(Regressor(12, SHAPE, TEXTURE), SHAPE - 1, TEXTURE - 1, EXPRESSION)


@pytest.fixture(scope="module")
def leading(tmp_path_factory):
    """The small model without its last components."""
    path = write_face_model(tmp_path_factory.mktemp("leading") / "model.h5")
    return FaceModel.load(path, SHAPE - 1, TEXTURE - 1, EXPRESSION)


def test_the_autoencoder_learns_pose_and_light_from_synthetic_faces(autoencoder, leading, generator, monkeypatch):
    with monkeypatch.context() as short:
        short.setattr("lib.baselines.pixel_autoencoder.VIEW_EPOCHS", 1)
        first = teach_views(deepcopy(autoencoder), leading, CROP, 200, 1)
    assert teach_views(autoencoder, leading, CROP, 200, 1) < 0.9 * first
    truth = random_explanation(60, generator)
    truth = Explanation(truth.shape[:, :-1], truth.texture[:, :-1], truth.expression, truth.view)
    pictures, _ = photographs_of(leading, truth)
    with torch.no_grad():
        found = autoencoder(torch.zeros(60, 12), pictures)
    # 15: brightness of the light from everywhere, which a picture shows best
    assert np.corrcoef(found.view[:, 15], truth.view[:, 15])[0, 1] > 0.5
    assert found.shape.shape == (60, SHAPE - 1) and found.texture.shape == (60, TEXTURE - 1)


def test_the_autoencoder_lowers_the_difference_and_leaves_missing_components_zero(
    tmp_path, model, leading, autoencoder, generator
):
    crops = crops_of(model, random_explanation(8, generator, 0.7))
    features = torch.randn(8, 12, generator=generator)
    crops = Photographs(features, pictures=crops.pictures, landmarks=crops.landmarks)
    history = train_pixel_autoencoder(autoencoder, leading, crops, CROP, AUTOENCODER, tmp_path / "c.safetensors")
    assert history[-1]["photometric"] < 0.6 * history[0]["photometric"]
    faces = autoencoder.regressor(features)
    assert faces.shape[:, -1].abs().max() == 0 and faces.texture[:, -1].abs().max() == 0
    assert faces.shape[:, 0].abs().max() > 0


def test_a_stopped_autoencoder_goes_on_bit_for_bit(tmp_path, model, leading, generator, monkeypatch):
    crops = crops_of(model, random_explanation(8, generator, 0.7))
    states = []
    for kill in (False, True):
        torch.manual_seed(0)
        autoencoder = PixelAutoencoder(Regressor(12, SHAPE, TEXTURE), SHAPE - 1, TEXTURE - 1, EXPRESSION)
        arguments = (autoencoder, leading, crops, CROP, AUTOENCODER, tmp_path / f"{kill}.safetensors")
        if kill:
            with monkeypatch.context() as patch:
                patch.setattr("lib.baselines.pixel_autoencoder.refuse_nan", _stop_at(27))
                with pytest.raises(KeyboardInterrupt):
                    train_pixel_autoencoder(*arguments)
            torch.manual_seed(0)
            fresh = PixelAutoencoder(Regressor(12, SHAPE, TEXTURE), SHAPE - 1, TEXTURE - 1, EXPRESSION)
            arguments = (fresh, *arguments[1:])
        train_pixel_autoencoder(*arguments)
        states.append(arguments[0].state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def _stop_at(last):
    def stop(values, norm, unit, number, checkpoint):
        if number == last:
            raise KeyboardInterrupt
        assert np.isfinite(list(values.values())).all()

    return stop
