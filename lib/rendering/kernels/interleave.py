"""Faces of one mesh side by side, for numba kernels that do the same to all of them (`lib.rendering.kernels.vectors`).

Value k of face i is number k * lanes + i: what a triangle asks for is one vector instruction for all faces, where the
places of its corners in a single face are scattered. What lies side by side has room for whole blocks of vertices.
"""

import numpy as np

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, u64
from lib.rendering.kernels.memory import recycled_empty
from lib.rendering.kernels.vectors import turn

BLOCK = 128
"""Vertices that are laid together or apart at once; a multiple of all numbers of lanes. With fewer, the processor sees
too many short runs of memory, in every array of every face, to fetch any of them in time."""


def empty_side(vertices, lanes):
    """Return room for three numbers of each vertex: ndarray (whole blocks of vertices * 3 * lanes,)."""
    return recycled_empty(-(-vertices // BLOCK) * BLOCK * 3 * len(lanes))


@exact_inlined
def lay_together(block, first, lanes, side):
    """From a block (lanes, BLOCK * 3) to where the vertices `first` ... belong side by side."""
    for k in range(0, BLOCK * 3, len(lanes)):
        turn(block, k, BLOCK * 3, side, u64((first * 3 + k) * len(lanes)), len(lanes), lanes)


@exact_inlined
def lay_apart(side, first, lanes, block):
    """From side by side to a block (lanes, BLOCK * 3) of the vertices `first` ..."""
    for k in range(0, BLOCK * 3, len(lanes)):
        turn(side, u64((first * 3 + k) * len(lanes)), len(lanes), block, k, BLOCK * 3, lanes)


@exact_kernel
def _join(faces, lanes, block, side):
    block[:] = 0
    vertices = faces.shape[1] // 3
    for first in range(0, vertices, BLOCK):
        for i in range(len(faces)):
            for k in range(min(BLOCK, vertices - first) * 3):
                block[u64(i), u64(k)] = faces[u64(i), u64(first * 3 + k)]
        lay_together(block, first, lanes, side)


def join(faces, lanes):
    """Lay faces (F, N * 3), F <= len(lanes), side by side; lanes without a face are 0."""
    side = empty_side(faces.shape[1] // 3, lanes)
    _join(faces, lanes, np.empty((len(lanes), BLOCK * 3), np.float32), side)
    return side


@exact_kernel
def add_apart(side, lanes, block, faces):
    """Add what lies side by side to faces (F, N * 3)."""
    vertices = faces.shape[1] // 3
    for first in range(0, vertices, BLOCK):
        lay_apart(side, first, lanes, block)
        for i in range(len(faces)):
            for k in range(min(BLOCK, vertices - first) * 3):
                faces[u64(i), u64(first * 3 + k)] += block[u64(i), u64(k)]
