"""Random defects of renders: each does what it says, off is off, and gradients pass."""

import math
from dataclasses import replace

import pytest
import torch
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model
from torch.autograd import gradcheck

from lib.face_model.model import Coefficients
from lib.rendering.camera import alignment_points, crop_projection, project
from lib.rendering.renderer import SceneDistribution, frontal_scene, render, sample_scenes
from lib.training.augmentation import Augmentation, AugmentationDraw, gaussian_taps, normal_noise

CROP = SmallNetwork.crop


def defects(count, blur=0.0, noise=0.0, contrast=0.0):
    values = (torch.full((count,), value) for value in (blur, noise, contrast))
    blur, noise, contrast = values
    return AugmentationDraw(blur, noise, torch.arange(count) + 5, contrast)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_face_model(tmp_path_factory.mktemp("model"))


def test_off_is_off_and_draws_nothing(generator):
    state = generator.get_state()
    assert Augmentation().draw(4, generator) is None and torch.equal(generator.get_state(), state)
    plain = sample_scenes(4, generator.set_state(state), SceneDistribution())
    same = sample_scenes(4, generator.set_state(state), Augmentation().scenes(SceneDistribution()))
    assert all(torch.equal(value, vars(same)[name]) for name, value in vars(plain).items())
    assert not plain.framing.any()


def test_defects_stay_within_their_limits(generator):
    augmentation = Augmentation(0.1, 0.2, 20.0, blur=2.0, noise=0.05, contrast=0.25)
    drawn = augmentation.draw(2000, generator)
    for values, low, high in ((drawn.blur, 0, 2), (drawn.noise, 0, 0.05), (drawn.contrast, -0.25, 0.25)):
        assert low <= values.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < values.max() <= high
    framing = sample_scenes(2000, generator, augmentation.scenes(SceneDistribution())).framing
    for values, limit in zip(framing.unbind(1), (0.1, 0.1, 0.2, math.radians(20.0))):
        assert 0.95 * limit < values.abs().max() <= limit and abs(values.mean()) < 0.1 * limit


def test_framing_moves_the_face_as_it_says(model):
    # seen from the front all four landmarks go where the crop wants them, up to a common fit
    points = alignment_points(model.vertices(torch.zeros(1, SHAPE)), model.alignment_vertices).repeat(4, 1, 1)
    framing = torch.tensor([[0.0, 0, 0, 0], [0.1, 0.05, 0, 0], [0, 0, 0.2, 0], [0, 0, 0, 0.3]])
    projection, _, _ = crop_projection(torch.zeros(4, 3), torch.full((4,), 900.0), points, CROP, framing)
    clip = project(points, projection)
    exact, shifted, grown, turned = clip[..., :2] / clip[..., 3:]
    assert torch.allclose(shifted, exact + torch.tensor([0.2, 0.1]), atol=1e-5)
    assert torch.allclose(grown, 1.2 * exact, atol=1e-5)
    cos, sin = math.cos(0.3), math.sin(0.3)
    assert torch.allclose(turned, exact @ torch.tensor([[cos, sin], [-sin, cos]]), atol=1e-5)
    none, _, _ = crop_projection(torch.zeros(4, 3), torch.full((4,), 900.0), points, CROP)
    assert torch.equal(none[0], projection[0])


def test_a_shifted_render_is_the_render_shifted(model):
    coefficients = Coefficients(torch.zeros(1, SHAPE), torch.zeros(1, TEXTURE))
    scene = frontal_scene(1)
    pixels = 4
    moved = replace(scene, framing=torch.tensor([[pixels / CROP.size, -pixels / CROP.size, 0.0, 0.0]]))
    plain, shifted = (render(model, coefficients, each, CROP) for each in (scene, moved))
    inner = shifted[..., pixels:, pixels:]
    assert (inner - plain[..., :-pixels, :-pixels]).abs().mean() < 1e-3 < (shifted - plain).abs().mean()


def test_blur_is_a_gaussian_that_keeps_the_mean():
    images = torch.zeros(2, 3, 33, 33)
    images[:, :, 16, 16] = 1.0
    blurred = replace(defects(2), blur=torch.tensor([0.0, 1.5])).apply(images)
    assert torch.allclose(blurred[0], images[0], atol=1e-6)
    places = torch.arange(33) - 16
    expected = torch.exp(-0.5 * (places / 1.5) ** 2)
    assert torch.allclose(blurred[1, 0, 16] / blurred[1, 0, 16, 16], expected * (expected > 0.01), atol=0.012)
    assert blurred[1].sum() == pytest.approx(3, rel=1e-4)
    plain = torch.full((2, 3, 20, 20), 0.7)
    assert torch.allclose(defects(2, blur=2.0).apply(plain), plain, atol=1e-6)


def test_noise_has_its_deviation_and_hangs_on_its_seed_alone():
    images = torch.full((3, 3, 64, 64), 0.5)
    noisy = defects(3, noise=0.05)
    together = noisy.apply(images)
    assert (together - images).std().item() == pytest.approx(0.05, rel=0.03)
    assert torch.equal(noisy[1:2].apply(images[1:2])[0], together[1])
    assert not torch.equal(together[0], together[1])


def test_contrast_stretches_about_the_mean_and_stays_in_range(generator):
    images = 0.4 + 0.2 * torch.rand(2, 3, 8, 8, generator=generator)
    changed = defects(2, contrast=0.25).apply(images)
    mean = images.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(changed - mean, 1.25 * (images - mean), atol=1e-6)
    hard = defects(2, noise=0.5, contrast=0.5).apply(torch.rand(2, 3, 8, 8, generator=generator))
    assert hard.min() >= 0 and hard.max() <= 1


def test_noise_is_standard_normal_and_without_memory():
    values = normal_noise((40, 3, 50, 50), torch.arange(40)).flatten(1).double()
    assert values.mean().abs() < 0.01 and values.var() == pytest.approx(1, abs=0.01)
    assert (values**3).mean().abs() < 0.02 and (values**4).mean() == pytest.approx(3, abs=0.05)
    assert 4 < values.abs().max() < 6.5
    centred = values - values.mean()
    for step in (1, 2, 3, 4, 50, 2500):
        assert (centred[:, step:] * centred[:, :-step]).mean().abs() < 0.01
    assert (centred[1:] * centred[:-1]).mean().abs() < 0.01


def test_gaussian_taps_sum_to_one_and_end_at_three_deviations():
    deviations, reaches = torch.tensor([0.0, 0.3, 1.0, 1.4]), (0, 1, 3, 5)
    taps = gaussian_taps(deviations)
    assert taps.shape == (4, 11) and torch.equal(taps, taps.flip(1))
    torch.testing.assert_close(taps.sum(1), torch.ones(4))
    assert [int((row[5:] > 0).sum()) - 1 for row in taps] == [*reaches]
    assert taps[2, 6] / taps[2, 5] == pytest.approx(math.exp(-0.5))
    for one, deviation in zip(taps, deviations):
        alone = gaussian_taps(deviation[None])[0]
        torch.testing.assert_close(one[one > 0], alone[alone > 0])


def test_gradients_pass_through_all_defects(generator):
    images = (0.4 + 0.2 * torch.rand(2, 3, 5, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    several = AugmentationDraw(
        *(torch.full((2,), v, dtype=torch.float64) for v in (0.7, 0.01)), torch.arange(2), torch.zeros(2)
    )
    assert gradcheck(several.apply, images)
