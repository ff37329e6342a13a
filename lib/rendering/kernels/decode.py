"""`lib.face_model.linear_decoder.decode` for the CPU: the two products of a batch of faces with a basis, in numba.

A library's matrix product first copies the basis into an order of its own, which for sixteen faces takes longer than
the product. Here the basis is used as it lies in memory, from one end to the other, and what comes next is fetched in
time: the memory alone takes more than half as long as the products. How much is worked on at once goes by the
processor's registers. Values are the same bytes whatever they are, since each is summed up by itself; gradients are so
among processors of one kind.
"""

import numpy as np
import torch

from lib.rendering.kernels.compile import f32, inlined, kernel, u64
from lib.rendering.kernels.memory import prefetch, prefetch_far, recycled_empty
from lib.rendering.kernels.threads import for_each
from lib.rendering.kernels.tiles import add_products, add_up_each, load_each, no_earlier, zeros
from lib.rendering.kernels.vectors import WIDE, load, store

LANES = 16 if WIDE else 8
"""Values of a vector."""
FACES, VECTORS = (8, 2) if WIDE else (4, 3)
"""Faces, and vectors of each, that are decoded together: as many sums, and what is added to them, as registers hold."""
BLOCK = VECTORS * LANES
"""Values whose components lie together."""
PULLS, TOGETHER = (4, 4) if WIDE else (4, 3)
"""Faces, and components, whose gradients are summed up together; components are filled up to a multiple."""
PANEL = 384 // BLOCK
"""Blocks that stay in the second cache while the gradients of all components are summed up."""
GROUP = 16
"""Faces that go through a panel before the next one."""
RUN = 8
"""Panels in a row that a thread takes; their share of a gradient is one sum, whatever the number of threads."""
_LINE, _ROW = 16, PANEL * BLOCK
_VECTOR, _NUMBER, _FACES, _VECTORS = (0,) * LANES, (), (0,) * FACES, (0,) * VECTORS
_PULLS, _TOGETHER, _TILE = (0,) * PULLS, (0,) * TOGETHER, (0,) * (PULLS * TOGETHER)


@inlined
def _fetch(packed, line, first, count):
    """Have so many lines of the basis brought near, from the `first` after `line` on."""
    for i in range(count):
        prefetch_far(packed, u64(0), line + u64((first + i) * _LINE))


@kernel
def _decode(coefficients, mean, packed, fetched, blocks, limits, sums, values):
    """Fill the values (B, V) of some blocks; coefficients are (groups, K * FACES), `sums` (FACES * BLOCK,) scratch."""
    groups, width = len(coefficients), coefficients.shape[1] // FACES
    steps, lines = width // TOGETHER, -(-width * BLOCK // (_LINE * groups))
    for block in range(blocks[0], blocks[1]):
        first, count = block * BLOCK, min(BLOCK, len(mean) - block * BLOCK)
        # each group's pass over this block fetches its share, so many lines, of the next one
        line = u64((block + 1) * width * BLOCK)
        for group in range(groups):
            totals = zeros(_FACES, _VECTORS, _VECTOR)
            for step in range(steps):
                _fetch(packed, line, step * len(fetched), len(fetched))
                for k in range(step * TOGETHER, (step + 1) * TOGETHER):
                    no_earlier()
                    numbers = load_each(coefficients[group], u64(k * FACES), 1, _FACES, _NUMBER)
                    at = u64((block * width + k) * BLOCK)
                    totals = add_products(numbers, load_each(packed[0], at, LANES, _VECTORS, _VECTOR), totals)
            _fetch(packed, line, steps * len(fetched), lines - steps * len(fetched))
            line += u64(lines * _LINE)
            for i in range(FACES * VECTORS):
                store(sums, u64(i * LANES), totals[i])
            for i in range(min(FACES, len(values) - group * FACES)):
                for j in range(count):
                    value = mean[u64(first + j)] + sums[u64(i * BLOCK + j)]
                    value = limits[0] if value < limits[0] else value
                    values[u64(group * FACES + i), u64(first + j)] = limits[1] if value > limits[1] else value


@inlined
def _project(pulls, faces, packed, fetched, panel, sums):
    """Add the products of gradients (GROUP * _ROW,) with the blocks of a panel, some faces and components at a time.

    `sums` (GROUP * K,) has those of PULLS faces and TOGETHER components in a row, and goes on with the next components.
    """
    width, blocks, passes = len(sums) // GROUP, panel[1] - panel[0], (faces + PULLS - 1) // PULLS
    # each pass over the blocks fetches its share, so many lines, of the next panel
    line, lines = u64(panel[1] * width * BLOCK), -(-blocks * TOGETHER * BLOCK // (_LINE * passes))
    for component in range(0, width, TOGETHER):
        for face in range(0, faces, PULLS):
            totals = zeros(_PULLS, _TOGETHER, _VECTOR)
            for block in range(blocks):
                at = u64(((panel[0] + block) * width + component) * BLOCK)
                place = u64(face * _ROW + block * BLOCK)
                next_components = at + u64(TOGETHER * BLOCK + face // PULLS * BLOCK)
                prefetch(packed, u64(0), next_components)
                prefetch(packed, u64(0), next_components + u64(_LINE))
                _fetch(packed, line, block * len(fetched), len(fetched))
                for part in range(0, BLOCK, LANES):
                    columns = load_each(pulls, place + u64(part), _ROW, _PULLS, _VECTOR)
                    rows = load_each(packed[0], at + u64(part), BLOCK, _TOGETHER, _VECTOR)
                    totals = add_products(columns, rows, totals)
            _fetch(packed, line, blocks * len(fetched), lines - blocks * len(fetched))
            line += u64(lines * _LINE)
            tile = u64(face * width + component * PULLS)
            store(sums, tile, load(sums, tile, _TILE) + add_up_each(totals))


@kernel
def _send_back(gradient, values, packed, fetched, blocks, limits, pulls, sums):
    """Add to `sums` (groups, GROUP * K), as `_project` has them, what some blocks send back to the coefficients.

    `pulls` (GROUP * _ROW,) is scratch.
    """
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
            _project(pulls, faces, packed, fetched, panel, sums[face // GROUP])


def _runs(packed):
    """Blocks of each run: a list of (first, last + 1)."""
    return [(first, min(first + RUN * PANEL, len(packed))) for first in range(0, len(packed), RUN * PANEL)]


def _fetched(passes):
    """Lines of the basis that each step fetches, if it is gone through so often: a tuple, whose length counts.

    That is a part of its type, so that the compiler knows it: in a loop of an unknown number of them, sixteen faces'
    gradients took an eighth longer.
    """
    return (0,) * max(1, TOGETHER * BLOCK // (_LINE * max(passes, 1)))


class DecodeOnCpu(torch.autograd.Function):
    """(coefficients, mean, packed, limits), float32 and contiguous -> values (B, V)."""

    @staticmethod
    def forward(context, coefficients, mean, packed, limits):
        (faces, components), width = coefficients.shape, packed.shape[1]
        groups = -(-faces // FACES)
        padded = np.zeros((groups * FACES, width), np.float32)
        padded[:faces, :components] = coefficients.numpy()
        side_by_side = padded.reshape(groups, FACES, width).transpose(0, 2, 1).reshape(groups, width * FACES)
        values, runs = recycled_empty((faces, len(mean))), _runs(packed)
        flat, limits = packed.numpy().reshape(1, -1), (f32(limits[0]), f32(limits[1]))
        fetched = _fetched(groups)

        def decode_run(run):
            sums = np.empty(FACES * BLOCK, np.float32)
            _decode(side_by_side, mean.numpy(), flat, fetched, runs[run], limits, sums, values)

        for_each(decode_run, len(runs))
        values = torch.from_numpy(values)
        context.save_for_backward(packed, values)
        context.limits, context.shape = limits, coefficients.shape
        return values

    @staticmethod
    def backward(context, gradient):
        packed, values = context.saved_tensors
        (faces, components), runs, width = context.shape, _runs(packed), packed.shape[1]
        parts = np.zeros((len(runs), -(-faces // GROUP), GROUP * width), np.float32)
        gradient, values, flat = gradient.contiguous().numpy(), values.numpy(), packed.numpy().reshape(1, -1)
        fetched = _fetched(-(-min(faces, GROUP) // PULLS))

        def send_back_run(run):
            pulls = np.empty(GROUP * _ROW, np.float32)
            _send_back(gradient, values, flat, fetched, runs[run], context.limits, pulls, parts[run])

        for_each(send_back_run, len(runs))
        tiles = parts.sum(0).reshape(-1, width // TOGETHER, PULLS, TOGETHER).swapaxes(1, 2)
        return torch.from_numpy(tiles.reshape(-1, width)[:faces, :components].copy()), None, None, None
