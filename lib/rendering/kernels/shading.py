"""Fast twin of `lib.rendering.shading.shade` for the CPU: one picture per thread.

In torch some sixty elementwise steps would stream full-size pictures through memory, and a step of stage 2 take twice
as long. Here the covered pixels are worked on by the block (`lib.rendering.kernels.shading_block`).
"""

import numpy as np
import torch

from lib.rendering.kernels import shading_block as block
from lib.rendering.kernels.compile import f32, for_each, kernel, u64


@kernel
def _shade(attributes, ids, lamps, ambient, eye, background, specular, linear, picture):
    """Fill `picture` (3, P) and, for the backward pass, `linear` (P, 3); lamps (L, 6) are positions and colours."""
    s, listed = np.empty(block.ROWS * block.BLOCK, np.float32), np.empty(block.BLOCK, np.int64)
    picture[:] = background
    for first in range(0, len(ids), block.BLOCK):
        count = block.gather(attributes, ids, first, min(first + block.BLOCK, len(ids)), listed, s)
        block.prepare(s, count, eye)
        block.add_ambient(s, count, ambient)
        for lamp in range(len(lamps)):
            block.turn_to_lamp(s, count, lamps[lamp], specular)
            block.add_lamp(s, count, lamps[lamp])
        block.encode_light(s, count)
        for p in range(count):
            pixel = u64(listed[p])
            for k in range(3):
                linear[pixel, k] = s[block.LIGHT_RED + u64(k * block.BLOCK) + p]
                picture[k, pixel] = s[block.SEEN_RED + u64(k * block.BLOCK) + p]


@kernel
def _shade_backward(
    attributes, ids, lamps, ambient, eye, specular, linear, picture, gradient,
    to_attributes, to_lamps, to_ambient, to_eye,
):  # fmt: skip
    """Fill the gradient of the attributes (P, 9) and add to those of lamps (L, 6), ambient and eye (3,)."""
    s, listed = np.empty(block.ROWS * block.BLOCK, np.float32), np.empty(block.BLOCK, np.int64)
    to_attributes[:] = f32(0)
    for first in range(0, len(ids), block.BLOCK):
        count = block.gather(attributes, ids, first, min(first + block.BLOCK, len(ids)), listed, s)
        block.prepare(s, count, eye)
        block.gather_gradient(linear, picture, gradient, listed, s, count)
        block.light_backward(s, count, ambient, to_ambient)
        for lamp in range(len(lamps)):
            block.turn_to_lamp(s, count, lamps[lamp], specular)
            block.colours_backward(s, count, lamps[lamp], to_lamps[lamp])
            block.directions_backward(s, count, lamps[lamp], to_lamps[lamp])
        block.surface_backward(s, count, to_eye)
        block.scatter(s, count, listed, to_attributes)


class ShadeOnCpu(torch.autograd.Function):
    """(attributes, ids, lamps (S, L, 6), ambient, eye, background, specular), contiguous -> picture (S, 3, H, W)."""

    @staticmethod
    def forward(context, attributes, ids, lamps, ambient, eye, background, specular):
        count, height, width = ids.shape
        flat = attributes.view(count, -1, 9).numpy(), ids.view(count, -1).numpy()
        fixed = lamps.numpy(), ambient.numpy(), eye.numpy(), background.view(count, 3, -1).numpy()
        linear = np.empty((count, height * width, 3), np.float32)
        picture = np.empty((count, 3, height * width), np.float32)
        for_each(lambda i: _shade(*(x[i] for x in flat + fixed), f32(specular), linear[i], picture[i]), count)
        picture = torch.from_numpy(picture).view(count, 3, height, width)
        context.save_for_backward(attributes, ids, lamps, ambient, eye, torch.from_numpy(linear), picture)
        context.specular = specular
        return picture

    @staticmethod
    def backward(context, gradient):
        attributes, ids, lamps, ambient, eye, linear, picture = context.saved_tensors
        count = len(ids)
        before = attributes.view(count, -1, 9), ids.view(count, -1), lamps, ambient, eye
        after = linear, picture.view(count, 3, -1), gradient.contiguous().view(count, 3, -1)
        before, after = ([tensor.numpy() for tensor in tensors] for tensors in (before, after))
        to_attributes = np.empty(before[0].shape, np.float32)
        sums = [np.zeros(tensor.shape) for tensor in (lamps, ambient, eye)]

        def backward_of_picture(i):
            _shade_backward(
                *(x[i] for x in before), f32(context.specular), *(x[i] for x in after), to_attributes[i],
                *(total[i] for total in sums),
            )  # fmt: skip

        for_each(backward_of_picture, count)
        sums = [torch.from_numpy(total).float() for total in sums]
        return torch.from_numpy(to_attributes).view_as(attributes), None, *sums, None, None
