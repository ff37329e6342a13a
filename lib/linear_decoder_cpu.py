"""`lib.linear_decoder.decode` for the CPU: the two products that a batch of faces has with a basis, in numba.

A library's matrix product first copies the basis into an order of its own, which for sixteen faces takes longer than
the product. Here the basis is used as it lies in memory, from one end to the other, and what comes next is fetched in
time: half of the time is the memory's.
"""

import numpy as np
import torch

from lib.kernel_memory import prefetch, prefetch_far, recycled_empty
from lib.kernel_vectors import add_up, filled, load, multiply_add, store
from lib.kernels import f32, inlined, kernel, u64
from lib.parallel import for_each

LANES = 16
"""Values of a vector. Processors with shorter vectors take two or four."""
BLOCK = 2 * LANES
"""Values whose components lie together: two vectors of each component."""
OCTET = 8
"""Faces whose values of a block are summed up together: sixteen vectors stay in registers."""
AHEAD = 64
"""So many components ahead, the basis is fetched."""
TOGETHER = 4
"""Components, and faces, whose gradients are summed up together; components are filled up to a multiple of it."""
PANEL = 12
"""Blocks that stay in the second cache while the gradients of all components are summed up."""
GROUP = 16
"""Faces that go through a panel before the next one."""
RUN = 8
"""Panels in a row that a thread takes; their share of a gradient is one sum, whatever the number of threads."""
_VECTOR, _ROW = (0,) * LANES, PANEL * BLOCK


@inlined
def _add_eight(numbers, first, vector, sums):
    """Add to each of eight sums the product of a vector with one of eight numbers in a row."""
    a, b, c, d, e, f, g, h = sums
    return (
        multiply_add(numbers[first], vector, a),
        multiply_add(numbers[first + u64(1)], vector, b),
        multiply_add(numbers[first + u64(2)], vector, c),
        multiply_add(numbers[first + u64(3)], vector, d),
        multiply_add(numbers[first + u64(4)], vector, e),
        multiply_add(numbers[first + u64(5)], vector, f),
        multiply_add(numbers[first + u64(6)], vector, g),
        multiply_add(numbers[first + u64(7)], vector, h),
    )


@inlined
def _store_eight(values, first, step, vectors):
    """Write eight vectors, a step apart."""
    a, b, c, d, e, f, g, h = vectors
    store(values, u64(first), a), store(values, u64(first + step), b)
    store(values, u64(first + 2 * step), c), store(values, u64(first + 3 * step), d)
    store(values, u64(first + 4 * step), e), store(values, u64(first + 5 * step), f)
    store(values, u64(first + 6 * step), g), store(values, u64(first + 7 * step), h)


@kernel
def _decode(coefficients, mean, packed, blocks, limits, sums, values):
    """Fill the values (B, V) of some blocks; coefficients are (octets, K * OCTET), `sums` (OCTET * BLOCK,) scratch."""
    width, none = coefficients.shape[1] // OCTET, filled(f32(0), _VECTOR)
    for block in range(blocks[0], blocks[1]):
        first, count = block * BLOCK, min(BLOCK, len(mean) - block * BLOCK)
        for octet in range(len(coefficients)):
            left = right = (none, none, none, none, none, none, none, none)
            for component in range(width):
                at, k = u64((block * width + component) * BLOCK), u64(component * OCTET)
                prefetch_far(packed, u64(0), at + u64(AHEAD * BLOCK))
                prefetch_far(packed, u64(0), at + u64(AHEAD * BLOCK + LANES))
                left = _add_eight(coefficients[octet], k, load(packed[0], at, _VECTOR), left)
                right = _add_eight(coefficients[octet], k, load(packed[0], at + u64(LANES), _VECTOR), right)
            _store_eight(sums, 0, BLOCK, left)
            _store_eight(sums, LANES, BLOCK, right)
            for i in range(min(OCTET, len(values) - octet * OCTET)):
                for j in range(count):
                    value = mean[u64(first + j)] + sums[u64(i * BLOCK + j)]
                    value = limits[0] if value < limits[0] else value
                    values[u64(octet * OCTET + i), u64(first + j)] = limits[1] if value > limits[1] else value


@inlined
def _add_four(pull, values, sums):
    """Add to each of four sums the product of one face's gradient with one component's values."""
    a, b, c, d = sums
    a, b = multiply_add(pull, values[0], a), multiply_add(pull, values[1], b)
    return a, b, multiply_add(pull, values[2], c), multiply_add(pull, values[3], d)


@inlined
def _load_four(values, first, step):
    """Four vectors, a step apart."""
    return (
        load(values, first, _VECTOR),
        load(values, first + u64(step), _VECTOR),
        load(values, first + u64(2 * step), _VECTOR),
        load(values, first + u64(3 * step), _VECTOR),
    )


@inlined
def _project(pulls, face, faces, packed, panel, to_coefficients):
    """Add the products of gradients (GROUP * _ROW,) with the blocks of a panel, four of four at a time."""
    width, none = to_coefficients.shape[1], filled(f32(0), _VECTOR)
    # the next panel's lines, of which each pass over the blocks fetches its share
    line, lines = u64(panel[1] * width * BLOCK), TOGETHER * BLOCK // LANES // ((faces + TOGETHER - 1) // TOGETHER)
    for component in range(0, width, TOGETHER):
        for i in range(0, faces, TOGETHER):
            a = b = c = d = (none, none, none, none)
            for block in range(panel[0], panel[1]):
                at = u64((block * width + component) * BLOCK)
                place = u64(i * _ROW + (block - panel[0]) * BLOCK)
                next_components = at + u64(TOGETHER * BLOCK + i // TOGETHER * BLOCK)
                prefetch(packed, u64(0), next_components)
                prefetch(packed, u64(0), next_components + u64(LANES))
                for _ in range(lines):
                    prefetch_far(packed, u64(0), line)
                    line += u64(LANES)
                for half in range(0, BLOCK, LANES):
                    values, pull = _load_four(packed[0], at + u64(half), BLOCK), place + u64(half)
                    a = _add_four(load(pulls, pull, _VECTOR), values, a)
                    b = _add_four(load(pulls, pull + u64(_ROW), _VECTOR), values, b)
                    c = _add_four(load(pulls, pull + u64(2 * _ROW), _VECTOR), values, c)
                    d = _add_four(load(pulls, pull + u64(3 * _ROW), _VECTOR), values, d)
            for k, sums in enumerate((a, b, c, d)):
                for m in range(TOGETHER):
                    to_coefficients[u64(face + i + k), u64(component + m)] += add_up(sums[m])


@kernel
def _send_back(gradient, values, packed, blocks, limits, pulls, to_coefficients):
    """Add to the gradient of the coefficients what some blocks send back; `pulls` (GROUP * _ROW,) is scratch."""
    for first in range(blocks[0], blocks[1], PANEL):
        panel, start = (first, min(first + PANEL, blocks[1])), first * BLOCK
        count = min((panel[1] - first) * BLOCK, values.shape[1] - start)
        for face in range(0, len(values), GROUP):
            faces = min(GROUP, len(values) - face)
            pulls[:] = f32(0)
            for i in range(faces):
                for j in range(count):
                    value, pull = values[u64(face + i), u64(start + j)], gradient[u64(face + i), u64(start + j)]
                    pulls[u64(i * _ROW + j)] = pull if (value > limits[0]) & (value < limits[1]) else f32(0)
            _project(pulls, face, faces, packed, panel, to_coefficients)


def _runs(packed):
    """Blocks of each run: a list of (first, last + 1)."""
    return [(first, min(first + RUN * PANEL, len(packed))) for first in range(0, len(packed), RUN * PANEL)]


class DecodeOnCpu(torch.autograd.Function):
    """(coefficients, mean, packed, limits), float32 and contiguous -> values (B, V)."""

    @staticmethod
    def forward(context, coefficients, mean, packed, limits):
        (faces, components), width = coefficients.shape, packed.shape[1]
        octets = -(-faces // OCTET)
        padded = np.zeros((octets * OCTET, width), np.float32)
        padded[:faces, :components] = coefficients.numpy()
        side_by_side = padded.reshape(octets, OCTET, width).transpose(0, 2, 1).reshape(octets, width * OCTET)
        values, runs = recycled_empty((faces, len(mean))), _runs(packed)
        flat, limits = packed.numpy().reshape(1, -1), (f32(limits[0]), f32(limits[1]))

        def decode_run(run):
            sums = np.empty(OCTET * BLOCK, np.float32)
            _decode(side_by_side, mean.numpy(), flat, runs[run], limits, sums, values)

        for_each(decode_run, len(runs))
        values = torch.from_numpy(values)
        context.save_for_backward(packed, values)
        context.limits, context.shape = limits, coefficients.shape
        return values

    @staticmethod
    def backward(context, gradient):
        packed, values = context.saved_tensors
        (faces, components), runs = context.shape, _runs(packed)
        parts = np.zeros((len(runs), -(-faces // GROUP) * GROUP, packed.shape[1]), np.float32)
        gradient, values, flat = gradient.contiguous().numpy(), values.numpy(), packed.numpy().reshape(1, -1)

        def send_back_run(run):
            pulls = np.empty(GROUP * _ROW, np.float32)
            _send_back(gradient, values, flat, runs[run], context.limits, pulls, parts[run])

        for_each(send_back_run, len(runs))
        return torch.from_numpy(parts.sum(0)[:faces, :components].copy()), None, None, None
