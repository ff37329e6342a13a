"""`lib.linear_decoder.decode` for the CPU: the two products that a batch of faces has with a basis, in numba.

A library's matrix product first copies the basis into an order of its own, which for sixteen faces takes longer than
the product. Here a panel of the basis is used as it lies in memory: each number is read once for all faces of a group.
"""

import numpy as np
import torch

from lib.kernel_memory import prefetch, recycled_empty
from lib.kernel_vectors import LANES, add_up, load, multiply_add, store, zeros
from lib.kernels import f32, inlined, kernel, u64
from lib.parallel import for_each

PANEL = 384
"""Values whose components lie together: a group's values of one and the components at work fit the nearest cache."""
TOGETHER = 8
"""Components that are worked on together: so many products are added before a sum goes back to memory."""
GROUP = 16
"""Faces that are worked on together."""
RUN = 8
"""Panels in a row that a thread takes; their share of a gradient is one sum, whatever the number of threads."""


@inlined
def _add_products(coefficients, face, faces, packed, panel, sums):
    """Add to `sums` (GROUP * PANEL,) the products of some faces with a panel; TOGETHER components of two at a time."""
    width = coefficients.shape[1]
    for component in range(0, width, TOGETHER):
        rows = u64((panel * width + component) * PANEL)
        for pair in range(0, faces, 2):
            one, other = u64(face + pair), u64(face + pair + 1)
            to_one = u64(pair * PANEL)
            to_other = to_one + u64(PANEL)
            ahead = rows + u64((TOGETHER + pair // 2) * PANEL)
            for column in range(0, PANEL, LANES):
                j = u64(column)
                prefetch(packed, u64(0), ahead + j)
                of_one, of_other = load(sums, to_one + j), load(sums, to_other + j)
                for k in range(TOGETHER):
                    values = load(packed[0], rows + u64(k * PANEL) + j)
                    of_one = multiply_add(coefficients[one, u64(component + k)], values, of_one)
                    of_other = multiply_add(coefficients[other, u64(component + k)], values, of_other)
                store(sums, to_one + j, of_one)
                store(sums, to_other + j, of_other)


@kernel
def _decode(coefficients, mean, packed, panels, limits, sums, values):
    """Fill the values (B, V) of the panels panels[0] ... panels[1] - 1; `sums` (GROUP * PANEL,) is scratch."""
    for panel in range(panels[0], panels[1]):
        start, count = panel * PANEL, min(PANEL, len(mean) - panel * PANEL)
        for face in range(0, len(values), GROUP):
            faces = min(GROUP, len(values) - face)
            for i in range(faces):
                for j in range(count):
                    sums[u64(i * PANEL + j)] = mean[u64(start + j)]
            _add_products(coefficients, face, faces, packed, panel, sums)
            for i in range(faces):
                for j in range(count):
                    value = sums[u64(i * PANEL + j)]
                    value = limits[0] if value < limits[0] else value
                    values[u64(face + i), u64(start + j)] = limits[1] if value > limits[1] else value


@inlined
def _four(pull, v0, v1, v2, v3, sum0, sum1, sum2, sum3):
    """Add the products of one face's gradient with four components."""
    sum0, sum1 = multiply_add(pull, v0, sum0), multiply_add(pull, v1, sum1)
    return sum0, sum1, multiply_add(pull, v2, sum2), multiply_add(pull, v3, sum3)


@inlined
def _project(gradient, face, faces, packed, panel, to_coefficients):
    """Add the products of gradients (GROUP * PANEL,) with a panel; four components of four faces at a time."""
    width = to_coefficients.shape[1]
    for component in range(0, width, 4):
        first = u64((panel * width + component) * PANEL)
        second, third, fourth = first + u64(PANEL), first + u64(2 * PANEL), first + u64(3 * PANEL)
        for i in range(0, faces, 4):
            row, ahead = u64(i * PANEL), first + u64((4 + i // 4) * PANEL)
            a0, a1, a2, a3, b0, b1, b2, b3 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
            c0, c1, c2, c3, d0, d1, d2, d3 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
            for column in range(0, PANEL, LANES):
                j = u64(column)
                prefetch(packed, u64(0), ahead + j)
                v0, v1 = load(packed[0], first + j), load(packed[0], second + j)
                v2, v3 = load(packed[0], third + j), load(packed[0], fourth + j)
                pull = load(gradient, row + j)
                a0, a1, a2, a3 = _four(pull, v0, v1, v2, v3, a0, a1, a2, a3)
                pull = load(gradient, row + u64(PANEL) + j)
                b0, b1, b2, b3 = _four(pull, v0, v1, v2, v3, b0, b1, b2, b3)
                pull = load(gradient, row + u64(2 * PANEL) + j)
                c0, c1, c2, c3 = _four(pull, v0, v1, v2, v3, c0, c1, c2, c3)
                pull = load(gradient, row + u64(3 * PANEL) + j)
                d0, d1, d2, d3 = _four(pull, v0, v1, v2, v3, d0, d1, d2, d3)
            for k, sums in enumerate(((a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3))):
                for m in range(4):
                    to_coefficients[u64(face + i + k), u64(component + m)] += add_up(sums[m])


@kernel
def _send_back(gradient, values, packed, panels, limits, scratch, to_coefficients):
    """Add to the gradient of the coefficients what the panels panels[0] ... panels[1] - 1 send back."""
    for panel in range(panels[0], panels[1]):
        start, count = panel * PANEL, min(PANEL, values.shape[1] - panel * PANEL)
        for face in range(0, len(values), GROUP):
            faces = min(GROUP, len(values) - face)
            scratch[:] = f32(0)
            for i in range(faces):
                for j in range(count):
                    value, pull = values[u64(face + i), u64(start + j)], gradient[u64(face + i), u64(start + j)]
                    scratch[u64(i * PANEL + j)] = pull if (value > limits[0]) & (value < limits[1]) else f32(0)
            _project(scratch, face, faces, packed, panel, to_coefficients)


def _runs(packed):
    """Panels of each run: a list of (first, last + 1)."""
    return [(first, min(first + RUN, len(packed))) for first in range(0, len(packed), RUN)]


def _padded(shape, packed):
    """Shape of coefficients (B, K) filled up to whole groups of faces and of components."""
    return -(-shape[0] // GROUP) * GROUP, packed.shape[1]


class DecodeOnCpu(torch.autograd.Function):
    """(coefficients, mean, packed, limits), float32 and contiguous -> values (B, V)."""

    @staticmethod
    def forward(context, coefficients, mean, packed, limits):
        padded = np.zeros(_padded(coefficients.shape, packed), np.float32)
        padded[: len(coefficients), : coefficients.shape[1]] = coefficients.numpy()
        values, runs = recycled_empty((len(coefficients), len(mean))), _runs(packed)
        flat, limits = packed.numpy().reshape(1, -1), (f32(limits[0]), f32(limits[1]))

        def decode_run(run):
            _decode(padded, mean.numpy(), flat, runs[run], limits, np.empty(GROUP * PANEL, np.float32), values)

        for_each(decode_run, len(runs))
        values = torch.from_numpy(values)
        context.save_for_backward(packed, values)
        context.limits, context.shape = limits, coefficients.shape
        return values

    @staticmethod
    def backward(context, gradient):
        packed, values = context.saved_tensors
        runs, gradient = _runs(packed), gradient.contiguous().numpy()
        parts = np.zeros((len(runs), *_padded(context.shape, packed)), np.float32)
        flat, values = packed.numpy().reshape(1, -1), values.numpy()

        def send_back_run(run):
            scratch = np.empty(GROUP * PANEL, np.float32)
            _send_back(gradient, values, flat, runs[run], context.limits, scratch, parts[run])

        for_each(send_back_run, len(runs))
        faces, components = context.shape
        return torch.from_numpy(parts.sum(0)[:faces, :components].copy()), None, None, None
