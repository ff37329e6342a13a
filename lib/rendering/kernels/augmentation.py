"""Fast twin of `lib.training.augmentation.AugmentationDraw.apply` for the CPU: one picture per thread.

In torch a dozen passes would stream all pictures through memory, which takes seven times as long.
"""

import math

import numpy as np
import torch
from scipy.special import ndtri

from lib.rendering.kernels.compile import f32, inlined, kernel, u64
from lib.rendering.kernels.threads import for_each

_BITS = 12
_MASK = u64(2**_BITS - 1)
_quantiles = ndtri((np.arange(2**_BITS) + 0.5) / 2**_BITS)
NORMAL = (_quantiles / np.sqrt(np.mean(_quantiles**2))).astype(np.float32)
"""Equally probable values of a standard normal variable: mean 0, variance 1, at most 3.7."""


@inlined
def _mixed(seed, place):
    """64 bits that depend on seed and place alone (splitmix64: Steele, Lea and Flood 2014)."""
    z = u64(seed) + (u64(place) + u64(1)) * u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
    return z ^ (z >> u64(31))


@inlined
def _add_noise(values, deviation, seed, normal):
    """Add noise to flat `values`; each mixing of bits serves four."""
    for place in range((len(values) + 3) // 4):
        bits = _mixed(seed, place)
        for k in range(min(4, len(values) - 4 * place)):
            values[u64(4 * place + k)] += deviation * normal[(bits >> u64(16 * k)) & _MASK]


@inlined
def _scale(row, tap, result):
    for x in range(len(result)):
        result[u64(x)] = tap * row[u64(x)]


@inlined
def _add_both(one, other, tap, result):
    for x in range(len(result)):
        result[u64(x)] += tap * (one[u64(x)] + other[u64(x)])


@inlined
def _add_to_both(row, tap, one, other):
    for x in range(len(row)):
        one[u64(x)] += tap * row[u64(x)]
    # in a loop of its own: at the edge both are the same row
    for x in range(len(row)):
        other[u64(x)] += tap * row[u64(x)]


@inlined
def _blur(source, taps, across, wide, blurred):
    """Blur a channel (H, W) up and down, then along its rows.

    `taps` (R + 1,) are the weights of a pixel itself and of those at distances up to R; beyond an edge its pixels go
    on. `across` (H, W) and `wide` (W + 2 R,) are work space.
    """
    height, width = source.shape
    radius = len(taps) - 1
    for y in range(height):
        _scale(source[y], taps[0], across[y])
        for k in range(1, radius + 1):
            _add_both(source[max(y - k, 0)], source[min(y + k, height - 1)], taps[k], across[y])
    for y in range(height):
        wide[:radius], wide[radius : radius + width], wide[radius + width :] = across[y, 0], across[y], across[y, -1]
        _scale(across[y], taps[0], blurred[y])
        for k in range(1, radius + 1):
            _add_both(wide[radius - k :], wide[radius + k :], taps[k], blurred[y])


@inlined
def _blur_backward(gradient, taps, across, wide, to_source):
    """Fill the gradient of a channel from that of the blurred one."""
    height, width = gradient.shape
    radius = len(taps) - 1
    for y in range(height):
        wide[:] = f32(0)
        _scale(gradient[y], taps[0], wide[radius : radius + width])
        for k in range(1, radius + 1):
            _add_to_both(gradient[y], taps[k], wide[radius - k :], wide[radius + k :])
        across[y] = wide[radius : radius + width]
        across[y, 0] += wide[:radius].sum()
        across[y, -1] += wide[radius + width :].sum()
    to_source[:] = f32(0)
    for y in range(height):
        for k in range(radius + 1):
            tap = taps[k] if k else f32(0.5) * taps[k]
            _add_to_both(across[y], tap, to_source[max(y - k, 0)], to_source[min(y + k, height - 1)])


@kernel
def _augment(image, taps, deviation, seed, contrast, normal, result):
    """Fill `result` (3, H, W) with an image's blurred, noisy copy of another contrast."""
    _, height, width = image.shape
    across, wide = np.empty((height, width), np.float32), np.empty(width + 2 * len(taps) - 2, np.float32)
    for channel in range(3):
        _blur(image[channel], taps, across, wide, result[channel])
    values = result.reshape(-1)
    if deviation > 0:
        _add_noise(values, deviation, seed, normal)
    kept, moved = f32(1) + contrast, -contrast * (f32(values.mean()) if contrast != 0 else f32(0))
    for i in range(len(values)):
        values[i] = min(max(kept * values[i] + moved, f32(0)), f32(1))


@kernel
def _augment_backward(result, gradient, taps, contrast, to_image):
    """Fill `to_image` (3, H, W) with the gradient of the image from that of the result."""
    _, height, width = result.shape
    across, wide = np.empty((height, width), np.float32), np.empty(width + 2 * len(taps) - 2, np.float32)
    passed = np.empty((3, height, width), np.float32)
    flat, seen, given = passed.reshape(-1), result.reshape(-1), gradient.reshape(-1)
    for i in range(len(flat)):
        inside = (seen[i] > 0) & (seen[i] < 1)
        flat[i] = given[i] if inside else f32(0)
    kept, moved = f32(1) + contrast, -contrast * (f32(flat.mean()) if contrast != 0 else f32(0))
    for i in range(len(flat)):
        flat[i] = kept * flat[i] + moved
    for channel in range(3):
        _blur_backward(passed[channel], taps, across, wide, to_image[channel])


def gaussian_taps(deviation):
    """Weights of a pixel itself and of those at distances 1 ... ceil(3 deviation); all of both sides sum to 1."""
    places = np.arange(math.ceil(3 * deviation) + 1)
    weights = np.exp(-0.5 * (places / max(deviation, 1e-3)) ** 2)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


class AugmentOnCpu(torch.autograd.Function):
    """(contiguous float32 images (S, 3, H, W), and the fields of `AugmentationDraw`) -> augmented images."""

    @staticmethod
    def forward(context, images, blur, deviations, seeds, contrast):
        taps = [gaussian_taps(deviation) for deviation in blur.tolist()]
        fixed = [values.numpy() for values in (deviations, seeds, contrast)]
        pictures, result = images.numpy(), np.empty(images.shape, np.float32)
        for_each(lambda i: _augment(pictures[i], taps[i], *(x[i] for x in fixed), NORMAL, result[i]), len(result))
        result = torch.from_numpy(result)
        context.save_for_backward(result, contrast)
        context.taps = taps
        return result

    @staticmethod
    def backward(context, gradient):
        result, contrast = (tensor.numpy() for tensor in context.saved_tensors)
        gradient, to_images = gradient.contiguous().numpy(), np.empty_like(result)

        def backward_of_picture(i):
            _augment_backward(result[i], gradient[i], context.taps[i], contrast[i], to_images[i])

        for_each(backward_of_picture, len(result))
        return torch.from_numpy(to_images), None, None, None, None
