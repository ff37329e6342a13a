"""The kernel of the CPU rasteriser for pictures that need care: nothing about their triangles is taken for granted.

It draws in homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates",
1997), which need no clipping, and in float64; pixel by pixel, since such pictures are rare.
"""

import math

import numpy as np

from lib.rendering.kernels.compile import exact_kernel, f32, f64, i64

NEAREST_W = f32(1e-6)
DEPTH_STEPS = f32(2**29)
EMPTY = np.int64((2**30 + 1) << 32)
"""Key of a pixel that sees nothing: just behind the farthest depth (-1 <= z / w <= 1 are 0 ... 2^30 steps)."""


@exact_kernel
def draw_carefully(clip, triangles, first, last, width, height, both_sides, keys):
    """Draw triangles of any kind: those that reach behind the camera too, none that has no area or is not finite."""
    for t in range(first, last):
        a, b, c = clip[triangles[t, 0]], clip[triangles[t, 1]], clip[triangles[t, 2]]
        if _misses(a, b, c):
            continue
        edge_a, edge_b, edge_c = _edge(b, c), _edge(c, a), _edge(a, b)
        volume = edge_a[0] * f64(a[0]) + edge_a[1] * f64(a[1]) + edge_a[2] * f64(a[3])
        if volume < 0 and both_sides:
            b, c, edge_a, edge_b, edge_c = c, b, _edge(c, b), _edge(b, a), _edge(a, c)
        elif not volume > 0:
            continue
        first_column, last_column = _span(a[0], b[0], c[0], a[3], b[3], c[3], width)
        rows_from_below, rows_to = _span(a[1], b[1], c[1], a[3], b[3], c[3], height)
        for row in range(height - 1 - rows_to, height - rows_from_below):
            y = 1.0 - (row + 0.5) * (2.0 / height)
            for column in range(first_column, last_column + 1):
                x = (column + 0.5) * (2.0 / width) - 1.0
                at_a, at_b, at_c = _at(edge_a, x, y), _at(edge_b, x, y), _at(edge_c, x, y)
                if not (_inside(at_a, edge_a) and _inside(at_b, edge_b) and _inside(at_c, edge_c)):
                    continue
                depth = at_a * a[2] + at_b * b[2] + at_c * c[2]
                depth = (depth / (at_a * a[3] + at_b * b[3] + at_c * c[3]) + 1.0) * DEPTH_STEPS
                if depth >= 0 and depth < 2.0**31:
                    keys[row * width + column] = min(keys[row * width + column], (i64(depth) << i64(32)) | i64(t))


@exact_kernel
def _misses(a, b, c):
    """Is the triangle not finite, or wholly beyond one plane of the visible volume?"""
    for k in range(4):
        if not (math.isfinite(a[k]) and math.isfinite(b[k]) and math.isfinite(c[k])):
            return True
    for k in range(3):
        if (a[k] > a[3] and b[k] > b[3] and c[k] > c[3]) or (a[k] < -a[3] and b[k] < -b[3] and c[k] < -c[3]):
            return True
    return False


@exact_kernel
def _edge(p, q):
    """Coefficients (of x, y and 1) of the edge function from p to q: positive to the left of it."""
    px, py, pw, qx, qy, qw = f64(p[0]), f64(p[1]), f64(p[3]), f64(q[0]), f64(q[1]), f64(q[3])
    return py * qw - pw * qy, pw * qx - px * qw, px * qy - py * qx


@exact_kernel
def _at(edge, x, y):
    return edge[0] * x + edge[1] * y + edge[2]


@exact_kernel
def _inside(value, edge):
    return value > 0 or (value == 0 and (edge[0] > 0 or (edge[0] == 0 and edge[1] < 0)))


@exact_kernel
def _span(a, b, c, a_w, b_w, c_w, size):
    """First and last pixel that a triangle may cover along one axis: all of them if it reaches behind the camera."""
    if min(a_w, b_w, c_w) <= NEAREST_W:
        return 0, size - 1
    a, b, c = f64(a) / a_w, f64(b) / b_w, f64(c) / c_w
    low, high = max(min(a, b, c), -1.0), min(max(a, b, c), 1.0)
    return max(int((low + 1) * 0.5 * size - 1.5), 0), min(int((high + 1) * 0.5 * size + 0.5), size - 1)
