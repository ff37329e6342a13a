"""Phong's model: one pixel by hand, the curves, the fused kernels against plain torch."""

import pytest
import torch

from lib.core.pictures import decode_srgb, encode_srgb
from lib.rendering.rasterize import Fragments
from lib.rendering.shading import EXPONENT, SPECULAR, phong, shade, shade_in_torch


def pixels(generator, count=3, size=9):
    """Random fragments, lights, eye and background; a third of the pixels is empty."""

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    albedo = torch.rand(count, size, size, 3, generator=generator)
    ahead = torch.tensor([0.0, 0, 2])
    attributes = torch.cat([albedo, normal(count, size, size, 3) + ahead, 60 * normal(count, size, size, 3)], -1)
    ids = torch.randint(-1, 2, (count, size, size), generator=generator, dtype=torch.int32)
    positions = 700 * normal(count, 2, 3) + 1500 * ahead
    colours, ambient = torch.rand(count, 2, 3, generator=generator), torch.rand(count, 3, generator=generator)
    eye = 20 * normal(count, 3) + 450 * ahead
    background = torch.rand(count, 3, size, size, generator=generator)
    return Fragments(ids, attributes), (positions, colours, ambient), eye, background


def test_one_pixel_by_hand():
    # a surface at the origin facing +z; the eye straight ahead, a lamp at 60 degrees, another behind the surface
    albedo = torch.tensor([0.5, 0.25, 1.0])
    attributes = torch.cat([albedo, torch.tensor([0.0, 0, 3, 0, 0, 0])]).view(1, 1, 1, 9)
    positions = torch.tensor([[[3.0**0.5, 0, 1], [0, 0, -5]]]) * 1000
    colours = torch.tensor([[[0.8, 0.6, 0.4], [9, 9, 9]]])
    ambient = torch.tensor([[0.1, 0.2, 0.3]])
    diffuse = decode_srgb(albedo)
    # n.l = cos 60 = 1/2 and the mirrored ray leaves the eye's direction by 60 degrees as well
    expected = ambient[0] * diffuse + colours[0, 0] * (diffuse / 2 + SPECULAR * (1 - diffuse) * 0.5**EXPONENT)
    picture = phong(attributes, (positions, colours, ambient), torch.tensor([[0.0, 0, 900]]))
    torch.testing.assert_close(picture.view(3), encode_srgb(expected), atol=1e-6, rtol=0)


def test_a_mirror_direction_shows_the_full_highlight():
    black = torch.tensor([0.0, 0, 0, 0, 0, 1, 0, 0, 0]).view(1, 1, 1, 9)
    lights = torch.tensor([[[0.0, 1000, 1000]]]), torch.tensor([[[1.0, 1, 1]]]), torch.zeros(1, 3)
    picture = phong(black, lights, torch.tensor([[0.0, -500, 500]]))
    torch.testing.assert_close(picture.view(3), encode_srgb(torch.full((3,), SPECULAR)), atol=1e-5, rtol=0)


def test_bright_light_is_cut_off_at_white_without_gradient():
    attributes = torch.tensor([0.9, 0.9, 0.9, 0, 0, 1, 0, 0, 0]).view(1, 1, 1, 9).requires_grad_()
    lights = torch.tensor([[[0.0, 0, 1000]]]), torch.full((1, 1, 3), 5.0), torch.zeros(1, 3)
    eye, background = torch.tensor([[0.0, 0, 900]]), torch.zeros(1, 3, 1, 1)
    for function in (shade, shade_in_torch):
        picture = function(Fragments(torch.zeros(1, 1, 1, dtype=torch.int32), attributes), lights, eye, background)
        torch.testing.assert_close(picture, torch.ones(1, 3, 1, 1))
        assert picture.max() <= 1
        assert not torch.autograd.grad(picture.sum(), attributes)[0].any()


def test_empty_pixels_show_the_background(generator):
    fragments, lights, eye, background = pixels(generator)
    empty = ~fragments.covered[:, None].expand_as(background)
    for function in (shade, shade_in_torch):
        picture = function(fragments, lights, eye, background)
        assert torch.equal(picture[empty], background[empty])
        assert not torch.isclose(picture, background)[~empty].all()


def test_fused_kernels_agree_with_torch(generator):
    fragments, (positions, colours, ambient), eye, background = pixels(generator)
    variables = (fragments.attributes, positions, colours, ambient, eye)
    for variable in variables:
        variable.requires_grad_()
    pictures = [
        function(fragments, (positions, colours, ambient), eye, background) for function in (shade, shade_in_torch)
    ]
    torch.testing.assert_close(*pictures, atol=2e-4, rtol=0)
    output_grad = torch.randn(background.shape, generator=generator)
    for ours, theirs in zip(*(torch.autograd.grad(p, variables, output_grad) for p in pictures), strict=True):
        assert (ours - theirs).norm() < 3e-3 * theirs.norm()
        torch.testing.assert_close(ours, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=1e-2)


def test_torch_version_has_right_gradients(generator):
    fragments, (positions, colours, ambient), eye, _ = pixels(generator, count=1, size=2)
    # darker light, lest a pixel is cut off within the step
    variables = [x.double().requires_grad_() for x in (fragments.attributes, positions, colours / 3, ambient / 3, eye)]
    assert torch.autograd.gradcheck(
        lambda attributes, positions, colours, ambient, eye: phong(attributes, (positions, colours, ambient), eye),
        variables,
        eps=1e-6,
        atol=1e-5,
    )


@pytest.mark.parametrize("lamps", [1, 3])
def test_any_number_of_lamps(generator, lamps):
    fragments, (positions, colours, ambient), eye, background = pixels(generator)
    lights = positions.repeat(1, 2, 1)[:, :lamps], colours.repeat(1, 2, 1)[:, :lamps] / lamps, ambient
    ours, theirs = (function(fragments, lights, eye, background) for function in (shade, shade_in_torch))
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


def test_two_lamps_in_one_place_are_one_of_their_sum(generator):
    fragments, (positions, colours, ambient), eye, background = pixels(generator)
    both = shade(fragments, (positions[:, :1].repeat(1, 2, 1), colours, ambient), eye, background)
    one = shade(fragments, (positions[:, :1], colours.sum(1, keepdim=True), ambient), eye, background)
    torch.testing.assert_close(both, one, atol=1e-5, rtol=0)
