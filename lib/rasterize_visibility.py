"""Which triangle each pixel sees: the numba kernels of the CPU rasteriser that decide coverage.

Most triangles of a face are smaller than a pixel. Vertices are projected once; triangles that face away or whose
bounding box holds no pixel centre are dropped without a branch; the others are tested at the centres in their box, and
what they cover is noted as a key for the pixel: the upper half is the depth, the lower half the triangle. The smallest
key wins, whatever the order.

Edge functions are exact negatives of each other in the two triangles that share an edge, and a centre that lies on
the edge belongs to the triangle that has it to the right or below: no cracks, no doubly covered pixels. That is why
these kernels are compiled without the fast-math flags that fuse or reorder operations.

A picture with a vertex behind the camera, far off the picture or not finite is drawn by `_draw_carefully` instead: in
homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997), which
need no clipping, and in float64.
"""

import math

import numpy as np

from lib.kernels import exact_inlined, exact_kernel, f32, f64, i32, i64, u32, u64

CHUNK = 8192
"""Triangles that are culled before the rest of them is drawn: their list stays in the cache."""
PENDING = 65536
"""Keys that wait in line, beyond those of one triangle, before the pixels are compared with them."""
NEAREST_W = f32(1e-6)
GUARD_BAND = f32(16)
"""So many half pictures from the centre, float32 pixel coordinates are still fine enough to decide coverage."""
GUARD_DEPTH = f32(2)
DEPTH_STEPS = f32(2**29)
EMPTY = np.int64((2**30 + 1) << 32)
"""Key of a pixel that sees nothing: just behind the farthest depth (-1 <= z / w <= 1 are 0 ... 2^30 steps)."""
_LEAST = f32(1e-45)


@exact_kernel
def nearest_triangles(clip, triangles, first, last, width, height, both_sides, buffers, keys):
    """Fill `keys` (H W,) with the nearest among the triangles first ... last - 1, as ``depth << 32 | triangle``."""
    screen, survivors, pixels, claims = buffers
    keys.fill(EMPTY)
    if _project(clip, width, height, screen):
        _draw_carefully(clip, triangles, first, last, width, height, both_sides, keys)
        return
    for start in range(first, last, CHUNK):
        stop = min(start + CHUNK, last)
        count = _cull(screen, triangles, start, stop, f32(width - 1), f32(height - 1), both_sides, survivors)
        _draw(screen, triangles, survivors, count, width, height, pixels, claims, keys)


@exact_kernel
def _project(clip, width, height, screen):
    """Find pixel coordinates (centres at whole numbers, y down) and depth steps; return whether any are unsafe."""
    half_width, half_height, unsafe = f32(0.5 * width), f32(0.5 * height), 0
    for vertex in range(clip.shape[0]):
        v = u64(vertex)
        x, y, z, w = clip[v, 0], clip[v, 1], clip[v, 2], clip[v, 3]
        safe = (w > NEAREST_W) & (max(abs(x), abs(y)) < w * GUARD_BAND) & (abs(z) < w * GUARD_DEPTH)
        # the largest of two hides a NaN in x or y, their sum does not
        unsafe += i32(not (safe & (x + y == x + y)))
        inverse = f32(1) / w
        screen[v, 0] = (x * inverse + f32(1)) * half_width - f32(0.5)
        screen[v, 1] = (f32(1) - y * inverse) * half_height - f32(0.5)
        screen[v, 2] = (z * inverse + f32(1)) * DEPTH_STEPS
    return unsafe > 0


@exact_inlined
def _corners(screen, triangles, triangle):
    t = u64(triangle)
    a, b, c = u32(triangles[t, 0]), u32(triangles[t, 1]), u32(triangles[t, 2])
    return a, b, c, screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]


@exact_kernel
def _cull(screen, triangles, first, last, right, bottom, both_sides, survivors):
    """List the triangles that may cover a pixel centre, branch-free: half of them face away, at random."""
    count, zero = 0, f32(0)
    for t in range(first, last):
        _, _, _, ax, ay, bx, by, cx, cy = _corners(screen, triangles, t)
        leftmost, rightmost = max(min(ax, min(bx, cx)), zero), min(max(ax, max(bx, cx)), right)
        topmost, lowest = max(min(ay, min(by, cy)), zero), min(max(ay, max(by, cy)), bottom)
        # the last centre before the box's end does not lie before its beginning
        holds_centre = (f32(i32(rightmost)) >= leftmost) & (f32(i32(lowest)) >= topmost)
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)
        survivors[u64(count)] = t
        count += i32(holds_centre & ((area > zero) | (both_sides & (area < zero))))
    return count


@exact_inlined
def _ceil(x):
    """Whole number not below x >= 0 (`math.ceil` is a library call)."""
    whole = i32(x)
    return i32(whole + i32(f32(whole) < x))


@exact_inlined
def _threshold(from_x, from_y, to_x, to_y):
    """What the edge function must reach: centres on a left or top edge belong to the triangle, others do not."""
    return f32(0) if (to_y > from_y) | ((to_y == from_y) & (from_x > to_x)) else _LEAST


@exact_kernel
def _draw(screen, triangles, survivors, count, width, height, pixels, claims, keys):
    """Note what the listed triangles cover; the comparison waits, so that no branch hangs on the coverage."""
    right, bottom, zero, pending = f32(width - 1), f32(height - 1), f32(0), u64(0)
    for k in range(count):
        t = survivors[u64(k)]
        a, b, c, ax, ay, bx, by, cx, cy = _corners(screen, triangles, t)
        az, bz, cz = screen[a, 2], screen[b, 2], screen[c, 2]
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)
        if area < zero:
            bx, by, bz, cx, cy, cz, area = cx, cy, cz, bx, by, bz, -area
        scale = f32(1) / area
        least_a, least_b, least_c = _threshold(bx, by, cx, cy), _threshold(cx, cy, ax, ay), _threshold(ax, ay, bx, by)
        first_row, last_row = _ceil(max(min(ay, min(by, cy)), zero)), i32(min(max(ay, max(by, cy)), bottom))
        first_column, last_column = _ceil(max(min(ax, min(bx, cx)), zero)), i32(min(max(ax, max(bx, cx)), right))
        if pending > u64(PENDING):
            _settle(pixels, claims, pending, keys)
            pending = u64(0)
        for row in range(first_row, last_row + 1):
            y = f32(row)
            for column in range(first_column, last_column + 1):
                x = f32(column)
                edge_a = (cx - x) * (by - y) - (bx - x) * (cy - y)
                edge_b = (ax - x) * (cy - y) - (cx - x) * (ay - y)
                edge_c = (bx - x) * (ay - y) - (ax - x) * (by - y)
                depth = (edge_a * az + edge_b * bz + edge_c * cz) * scale
                pixels[pending] = row * width + column
                claims[pending] = (i64(i32(depth)) << i64(32)) | i64(t)
                pending += u64((edge_a >= least_a) & (edge_b >= least_b) & (edge_c >= least_c) & (depth >= zero))
    _settle(pixels, claims, pending, keys)


@exact_kernel
def _settle(pixels, claims, pending, keys):
    """The depth test."""
    for k in range(pending):
        pixel = u64(pixels[u64(k)])
        keys[pixel] = min(keys[pixel], claims[u64(k)])


@exact_kernel
def _draw_carefully(clip, triangles, first, last, width, height, both_sides, keys):
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
