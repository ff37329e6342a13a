"""Fast twin of `lib.rendering.visible.nearest_in_torch`: which triangle each pixel of a picture sees.

A pixel's key is ``depth << 32 | triangle``: the smallest key wins, whatever the order of the triangles. Edge functions
are exact negatives of each other in the two triangles that share an edge, and a centre that lies on the edge belongs
to the triangle that has it to the right or below: no cracks, no doubly covered pixels. That is why nothing here may be
compiled with operations fused or reordered.

Where all vertices are well in front of the camera, triangles are drawn in float32 pixel coordinates. Other pictures
are drawn with care: in float64 and in homogeneous coordinates, which need no clipping (Olano and Greer, "Triangle scan
conversion using 2D homogeneous coordinates", 1997).
"""

import math

import numpy as np

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, f32, f64, i32, i64

DEPTH_STEPS = f32(2**29)
EMPTY = np.int64((2**30 + 1) << 32)
"""Key of a pixel that sees nothing: just behind the farthest depth (-1 <= z / w <= 1 are 0 ... 2^30 steps)."""
NEAREST_W = f32(1e-6)
GUARD_BAND, GUARD_DEPTH = f32(16), f32(2)
"""Within this many half-widths of the centre, float32 pixel coordinates are precise enough to decide coverage."""


@exact_kernel
def nearest_triangles(clip, triangles, width, height, both_sides, keys):
    """Fill `keys` (H W,) with the nearest triangle of each pixel."""
    keys[:] = EMPTY
    screen, cells = np.empty((len(clip), 3), np.float32), np.empty((len(clip), 2), np.int32)
    if _project(clip, width, height, screen, cells):
        _draw(screen, cells, triangles, width, both_sides, keys)
    else:
        _draw_carefully(clip, triangles, width, height, both_sides, keys)


@exact_inlined
def _covers(edge, along_x, along_y):
    """Does a triangle cover a point, as far as one edge goes? By its edge function there, and the function's slopes."""
    return edge > 0 or (edge == 0 and (along_x > 0 or (along_x == 0 and along_y > 0)))


@exact_kernel
def _project(clip, width, height, screen, cells):
    """Find pixel coordinates (y down, centres at whole numbers), depth steps and cells; return whether all are safe."""
    safe = True
    for v in range(len(clip)):
        inverse = f32(1) / clip[v, 3]
        x, y, z = clip[v, 0] * inverse, clip[v, 1] * inverse, clip[v, 2] * inverse
        # false as well for what is not a number
        safe &= (clip[v, 3] > NEAREST_W) & (abs(x) < GUARD_BAND) & (abs(y) < GUARD_BAND) & (abs(z) < GUARD_DEPTH)
        x, y = (x + f32(1)) * f32(0.5 * width) - f32(0.5), (f32(1) - y) * f32(0.5 * height) - f32(0.5)
        screen[v, 0], screen[v, 1], screen[v, 2] = x, y, (z + f32(1)) * DEPTH_STEPS
        # first column and row of centres, within the picture, that do not lie before the vertex
        cells[v, 0] = i32(np.ceil(min(max(x, f32(0)), f32(width))))
        cells[v, 1] = i32(np.ceil(min(max(y, f32(0)), f32(height))))
    return safe


@exact_kernel
def _draw(screen, cells, triangles, width, both_sides, keys):
    """Draw the triangles that do not face away."""
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        left, right = min(cells[a, 0], cells[b, 0], cells[c, 0]), max(cells[a, 0], cells[b, 0], cells[c, 0])
        top, bottom = min(cells[a, 1], cells[b, 1], cells[c, 1]), max(cells[a, 1], cells[b, 1], cells[c, 1])
        if left == right or top == bottom:
            continue  # the box holds no centre: most triangles of a face are smaller than a pixel
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)
        if not (area > 0 or (both_sides and area < 0)):
            continue
        if area < 0:
            b, c, bx, by, cx, cy = c, b, cx, cy, bx, by
        az, bz, cz, scale = screen[a, 2], screen[b, 2], screen[c, 2], f32(1) / abs(area)
        for row in range(top, bottom):
            for column in range(left, right):
                x, y = f32(column), f32(row)
                edge_a = (cx - x) * (by - y) - (bx - x) * (cy - y)
                edge_b = (ax - x) * (cy - y) - (cx - x) * (ay - y)
                edge_c = (bx - x) * (ay - y) - (ax - x) * (by - y)
                covered = (edge_a >= 0) & (edge_b >= 0) & (edge_c >= 0)
                if covered & (edge_a * edge_b * edge_c == 0):
                    covered = (
                        _covers(edge_a, cy - by, bx - cx)
                        and _covers(edge_b, ay - cy, cx - ax)
                        and _covers(edge_c, by - ay, ax - bx)
                    )
                depth = (edge_a * az + edge_b * bz + edge_c * cz) * scale
                key, pixel = (i64(depth) << 32) | i64(t), row * width + column
                if covered & (depth >= 0) & (key < keys[pixel]):
                    keys[pixel] = key


@exact_kernel
def _draw_carefully(clip, triangles, width, height, both_sides, keys):
    """Draw triangles of any kind: those that reach behind the camera too, none that has no area or is not finite."""
    for t in range(len(triangles)):
        a, b, c = clip[triangles[t, 0]], clip[triangles[t, 1]], clip[triangles[t, 2]]
        if _misses(a, b, c):
            continue
        edge_a, edge_b, edge_c = _edge(b, c), _edge(c, a), _edge(a, b)
        volume = edge_a[0] * f64(a[0]) + edge_a[1] * f64(a[1]) + edge_a[2] * f64(a[3])
        if volume < 0 and both_sides:
            b, c, edge_a, edge_b, edge_c = c, b, _edge(c, b), _edge(b, a), _edge(a, c)
        elif not volume > 0:
            continue
        left, right = _span(a[0], b[0], c[0], a[3], b[3], c[3], width)
        from_below, to = _span(a[1], b[1], c[1], a[3], b[3], c[3], height)
        for row in range(height - 1 - to, height - from_below):
            y = 1.0 - (row + 0.5) * (2.0 / height)
            for column in range(left, right + 1):
                x = (column + 0.5) * (2.0 / width) - 1.0
                at_a, at_b, at_c = _at(edge_a, x, y), _at(edge_b, x, y), _at(edge_c, x, y)
                # y points up here
                if not (
                    _covers(at_a, edge_a[0], -edge_a[1])
                    and _covers(at_b, edge_b[0], -edge_b[1])
                    and _covers(at_c, edge_c[0], -edge_c[1])
                ):
                    continue
                depth = at_a * a[2] + at_b * b[2] + at_c * c[2]
                depth = (depth / (at_a * a[3] + at_b * b[3] + at_c * c[3]) + 1.0) * DEPTH_STEPS
                if depth >= 0 and depth < 2.0**31:
                    key, pixel = (i64(depth) << 32) | i64(t), row * width + column
                    keys[pixel] = min(keys[pixel], key)


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
def _span(a, b, c, a_w, b_w, c_w, size):
    """First and last pixel that a triangle may cover along one axis: all of them if it reaches behind the camera."""
    if min(a_w, b_w, c_w) <= NEAREST_W:
        return 0, size - 1
    a, b, c = f64(a) / a_w, f64(b) / b_w, f64(c) / c_w
    low, high = max(min(a, b, c), -1.0), min(max(a, b, c), 1.0)
    return max(int((low + 1) * 0.5 * size - 1.5), 0), min(int((high + 1) * 0.5 * size + 0.5), size - 1)
