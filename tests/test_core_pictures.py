"""Pictures as tensors and bytes, and the sRGB transfer function, against values computed by hand."""

import numpy as np
import pytest
import torch

from lib.core.pictures import decode_srgb, encode_srgb, to_pictures, to_tensor, to_uint8


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_srgb_at_known_points(kind):
    """IEC 61966-2-1: the middle grey 119 / 255 is 0.1845 of the light; both pieces meet at 0.04045."""
    values = [0.0, 0.04045, 119 / 255, 1.0, 1.5, -0.5]
    light = [0.0, 0.0031308, 0.184475, 1.0, 1.0, 0.0]
    np.testing.assert_allclose(decode_srgb(kind(values)), light, atol=2e-6)
    np.testing.assert_allclose(encode_srgb(kind(light)), np.clip(values, 0, 1), atol=2e-5)
    every = np.linspace(0, 1, 1000)
    np.testing.assert_allclose(encode_srgb(decode_srgb(kind(every))), every, atol=1e-5)


def test_the_slope_of_srgb_at_black_is_finite():
    black = torch.zeros(1, requires_grad=True)
    encode_srgb(black).backward()
    assert black.grad == pytest.approx(12.92)


def test_pictures_and_tensors_by_hand():
    picture = np.array([[[0, 51, 255], [102, 204, 153]]], np.uint8)  # one row of two pixels
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, torch.tensor([[[0, 0.4]], [[0.2, 0.8]], [[1, 0.6]]]))
    assert (to_pictures(tensor) == picture).all()
    assert (to_pictures(to_tensor(torch.from_numpy(picture[None]))) == picture[None]).all()


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_values_are_rounded_and_cut_off(kind):
    values = to_uint8(kind([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.5]))
    assert list(map(int, values)) == [0, 0, 0, 1, 128, 255, 255] and str(values.dtype).endswith("uint8")
