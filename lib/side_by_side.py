"""Faces of one mesh side by side, for numba kernels that do the same to all of them (`lib.kernel_vectors`).

Value k of face i is number k * lanes + i: what a triangle asks for is one vector instruction for all faces, where the
places of its corners in a single face are scattered.
"""

import numpy as np

from lib.kernel_memory import recycled_empty
from lib.kernel_vectors import load, store, transposed
from lib.kernels import exact_inlined, exact_kernel, u64

BLOCK = 8
"""Vertices that are laid together or apart at once: three squares of eight values of eight faces."""
_EIGHT = (0,) * 8


@exact_inlined
def _turn(values, first, step, result, to, to_step):
    """Transpose eight vectors of eight numbers, `step` apart, into eight others."""
    at, by = u64(first), u64(step)
    a, b, c, d, e, f, g, h = transposed((
        load(values, at, _EIGHT), load(values, at + by, _EIGHT),
        load(values, at + u64(2) * by, _EIGHT), load(values, at + u64(3) * by, _EIGHT),
        load(values, at + u64(4) * by, _EIGHT), load(values, at + u64(5) * by, _EIGHT),
        load(values, at + u64(6) * by, _EIGHT), load(values, at + u64(7) * by, _EIGHT),
    ))  # fmt: skip
    at, by = u64(to), u64(to_step)
    store(result, at, a), store(result, at + by, b)
    store(result, at + u64(2) * by, c), store(result, at + u64(3) * by, d)
    store(result, at + u64(4) * by, e), store(result, at + u64(5) * by, f)
    store(result, at + u64(6) * by, g), store(result, at + u64(7) * by, h)


@exact_inlined
def lay_together(block, first, count, lanes, side):
    """From a block (lanes, BLOCK * 3) of `count` vertices' values to where they belong side by side."""
    at = u64(first * 3 * len(lanes))
    if (len(lanes) == 8) & (count == BLOCK):
        flat = block.reshape(-1)
        for k in range(0, BLOCK * 3, 8):
            _turn(flat, k, BLOCK * 3, side, at + u64(k * 8), 8)
    else:
        for k in range(count * 3):
            for i in range(len(lanes)):
                side[at + u64(k * len(lanes) + i)] = block[u64(i), u64(k)]


@exact_inlined
def lay_apart(side, first, count, lanes, block):
    """From side by side to a block (lanes, BLOCK * 3) of `count` vertices' values."""
    at = u64(first * 3 * len(lanes))
    if (len(lanes) == 8) & (count == BLOCK):
        flat = block.reshape(-1)
        for k in range(0, BLOCK * 3, 8):
            _turn(side, at + u64(k * 8), 8, flat, k, BLOCK * 3)
    else:
        for k in range(count * 3):
            for i in range(len(lanes)):
                block[u64(i), u64(k)] = side[at + u64(k * len(lanes) + i)]


@exact_kernel
def _join(faces, lanes, block, side):
    block[:] = 0
    vertices = faces.shape[1] // 3
    for first in range(0, vertices, BLOCK):
        count = min(BLOCK, vertices - first)
        for i in range(len(faces)):
            for k in range(count * 3):
                block[u64(i), u64(k)] = faces[u64(i), u64(first * 3 + k)]
        lay_together(block, first, count, lanes, side)


def join(faces, lanes):
    """Lay faces (F, N * 3), F <= len(lanes), side by side: ndarray (N * 3 * lanes,); lanes without a face are 0."""
    if len(lanes) == 1:
        return faces[0]
    side = recycled_empty(faces.shape[1] * len(lanes))
    _join(faces, lanes, np.empty((len(lanes), BLOCK * 3), np.float32), side)
    return side


@exact_kernel
def add_apart(side, lanes, block, faces):
    """Add what lies side by side to faces (F, N * 3)."""
    vertices = faces.shape[1] // 3
    for first in range(0, vertices, BLOCK):
        count = min(BLOCK, vertices - first)
        lay_apart(side, first, count, lanes, block)
        for i in range(len(faces)):
            for k in range(count * 3):
                faces[u64(i), u64(first * 3 + k)] += block[u64(i), u64(k)]
