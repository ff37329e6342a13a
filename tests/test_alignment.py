"""The crop: similarity fits against known transforms, warps against pictures whose every pixel is known."""

import math
import platform
import sys

import numpy as np
import psutil
import pytest
import torch

from lib.photos.align import _return_free_memory, warp_to_crop
from lib.rendering.crop import POINT_NAMES, Crop, fit_similarity

CROP = Crop(60, ((0.3, 0.35), (0.7, 0.35), (0.35, 0.7), (0.65, 0.7)))


def transform(points, scale, angle, shift):
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([a * x - b * y + shift[0], b * x + a * y + shift[1]], -1)


def gradient_picture(height, width):
    """Red is the x of a pixel's centre, green its y; blue is 100."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 100)], -1).astype(np.uint8)


def test_points_are_named_as_the_subject_sees_them():
    assert POINT_NAMES == ("right_eye", "left_eye", "right_mouth", "left_mouth")
    points = CROP.canonical_points()
    assert points[0, 0] < points[1, 0]  # the subject's right eye is on the left of the picture
    assert points[0, 1] < points[2, 1]  # y points down


@pytest.mark.parametrize("scale, angle, shift", [(1, 0, (0, 0)), (2.5, 0.4, (3, -7)), (0.1, -3, (100, 5))])
def test_a_similarity_is_recovered(scale, angle, shift):
    source = CROP.canonical_points()
    a, b, shift_x, shift_y = fit_similarity(source, transform(source, scale, angle, shift))
    found = torch.stack([a, b, shift_x, shift_y])
    expected = torch.tensor([scale * math.cos(angle), scale * math.sin(angle), *map(float, shift)])
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_fit_is_the_least_squares_solution():
    generator = torch.Generator().manual_seed(3)
    source, target = torch.randn(2, 5, 4, 2, generator=generator, dtype=torch.float64)
    found = torch.stack(fit_similarity(source, target), -1)
    for s, t, solution in zip(source, target, found, strict=True):
        x, y, one, zero = s[:, 0], s[:, 1], torch.ones(4), torch.zeros(4)
        rows = torch.cat([torch.stack([x, -y, one, zero], 1), torch.stack([y, x, zero, one], 1)])
        expected = torch.linalg.lstsq(rows, torch.cat([t[:, 0], t[:, 1]])[:, None]).solution[:, 0]
        assert torch.allclose(solution, expected)


def test_the_fit_is_differentiable():
    generator = torch.Generator().manual_seed(4)
    source, target = torch.randn(2, 4, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: torch.stack(fit_similarity(s, t)), (source, target))


def test_a_warp_without_a_change_gives_the_picture_back():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    warped = warp_to_crop(picture, CROP.canonical_points() * 60, CROP)
    assert np.allclose(warped.permute(1, 2, 0).numpy() * 255, picture, atol=2e-2)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4, 3.0])
def test_the_pixels_come_from_where_the_landmarks_say(scale):
    """Each pixel of a linear picture holds its own position, whatever the size and the antialiasing."""
    picture = gradient_picture(250, 240)
    points = transform(CROP.canonical_points() * 60, scale, 0.1, (40, 30))
    warped = warp_to_crop(picture, points, CROP) * 255
    centres = torch.arange(60) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    expected = transform(torch.stack([x, y], -1), scale, 0.1, (40, 30)) - 0.5  # a centre at 0.5 holds 0
    inside = torch.ones(60, 60, dtype=torch.bool)
    for value, side in ((expected[..., 0], 240), (expected[..., 1], 250)):
        inside &= (value > 3) & (value < side - 4)
    assert inside.float().mean() > 0.9
    assert (warped[0] - expected[..., 0])[inside].abs().max() < 0.1
    assert (warped[1] - expected[..., 1])[inside].abs().max() < 0.1
    assert (warped[2] - 100)[inside].abs().max() < 0.1


def test_fine_patterns_are_averaged_not_aliased():
    picture = np.zeros((600, 600, 3), np.uint8)
    picture[:, ::2] = 255
    warped = warp_to_crop(picture, CROP.canonical_points() * 600, CROP)
    assert (warped[:, 3:-3, 3:-3] - 0.5).abs().max() < 0.02


def test_beyond_the_border_is_black():
    picture = np.full((60, 60, 3), 255, np.uint8)
    warped = warp_to_crop(picture, CROP.canonical_points() * 60 + torch.tensor([30.0, 0.0]), CROP)
    assert torch.allclose(warped[:, :, :29], torch.ones(1)) and torch.all(warped[:, :, 31:] == 0)


def test_a_crop_does_not_depend_on_what_is_far_from_the_face():
    y, x = np.mgrid[:400, :500]
    picture = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 13))[..., None].repeat(3, -1).astype(np.uint8)
    points = CROP.canonical_points() * 100 + torch.tensor([200.0, 150.0])
    other = picture.copy()
    other[:130], other[:, 320:] = 0, 255
    assert torch.equal(warp_to_crop(picture, points, CROP), warp_to_crop(other, points, CROP))
    cut = warp_to_crop(picture[100:300, 150:350], points - torch.tensor([150.0, 100.0]), CROP)
    assert torch.allclose(warp_to_crop(picture, points, CROP), cut, atol=0.01)


def test_a_face_outside_the_photograph_is_black():
    picture = np.full((50, 50, 3), 255, np.uint8)
    for far in (-500.0, 500.0):
        assert warp_to_crop(picture, CROP.canonical_points() * 60 + far, CROP).abs().max() == 0


# ------------------------------------------------------------------------------------------ memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_free_memory_is_returned():
    blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]
    last = blocks.pop()  # above it in the heap: what is below cannot be given back by shrinking the heap
    blocks.clear()
    before = psutil.Process().memory_info().rss
    _return_free_memory()
    assert before - psutil.Process().memory_info().rss > 100e6
    assert last.all()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    _return_free_memory()
