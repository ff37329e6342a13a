"""Which triangle each pixel sees: the numba kernels of the CPU rasteriser that decide coverage.

Most triangles of a face are smaller than a pixel. Vertices are projected once; triangles that face away or whose
bounding box holds no pixel centre are dropped; the others are listed by the number of centres in their boxes, so that
those of few are tested by the vector, without a branch. What a triangle covers is a key for the pixel: the upper half
is the depth, the lower half the triangle. The smallest key wins, whatever the order.

Edge functions are exact negatives of each other in the two triangles that share an edge, and a centre that lies on
the edge belongs to the triangle that has it to the right or below: no cracks, no doubly covered pixels. That is why
these kernels are compiled without the fast-math flags that fuse or reorder operations.

A picture with a vertex behind the camera, far off the picture or not finite is drawn by
`lib.rendering.kernels.visibility_exact` instead.
"""

import numpy as np

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, f32, i32, i64, u32, u64
from lib.rendering.kernels.vectors import add_up, filled, lane, larger, load, rounded_up, smaller, store, vector_of
from lib.rendering.kernels.visibility_exact import DEPTH_STEPS, EMPTY, NEAREST_W, draw_carefully

CHUNK = 4096
"""Triangles that are listed before those are drawn: their lists stay in the cache."""
ROW = CHUNK + 16
"""From one quantity of a list to the next; a multiple of a page would bring all into the same lines of the cache."""
MOST_CELLS = 0x7FFF
"""Rows and columns that a cell can tell apart."""
LARGE = 4
"""Kind of the triangles whose boxes hold more than two rows or columns of pixel centres."""
GUARD_BAND = f32(16)
"""So many half pictures from the centre, float32 pixel coordinates are still fine enough to decide coverage."""
GUARD_DEPTH = f32(2)
_LEAST = f32(1e-45)
_LANES = (0,) * 4


@exact_kernel
def nearest_triangles(clip, triangles, first, last, width, height, both_sides, buffers, keys):
    """Fill `keys` (H W,) with the nearest among the triangles first ... last - 1, as ``depth << 32 | triangle``.

    `buffers` is what `visibility_buffers` returns.
    """
    screen, cells, found, counts, integers, corners, depths = buffers
    keys.fill(EMPTY)
    if max(width, height) > MOST_CELLS or _project(clip, width, height, screen, cells):
        draw_carefully(clip, triangles, first, last, width, height, both_sides, keys)
        return
    for start in range(first, last, CHUNK):
        count = _find(cells, triangles, start, min(start + CHUNK, last), found)
        _list(screen, cells, triangles, found, count, both_sides, counts, integers, corners)
        _draw_small(integers[0], corners[0], counts[0], (0,), (0,), width, depths, keys)
        _draw_small(integers[1], corners[1], counts[1], (0,), (0, 0), width, depths, keys)
        _draw_small(integers[2], corners[2], counts[2], (0, 0), (0,), width, depths, keys)
        _draw_small(integers[3], corners[3], counts[3], (0, 0), (0, 0), width, depths, keys)
        _draw_large(integers[LARGE], corners[LARGE], counts[LARGE], width, height, keys)


def visibility_buffers(vertices):
    """Return the work space of `nearest_triangles` for a mesh of so many vertices: a tuple of arrays."""
    return (
        np.empty((vertices, 4), np.float32),
        np.empty(vertices, np.int32),
        np.empty(CHUNK, np.int32),
        np.empty(LARGE + 1, np.int64),
        np.empty((LARGE + 1, 3 * ROW), np.int32),
        np.empty((LARGE + 1, 10 * ROW), np.float32),
        np.empty(4 * ROW, np.int32),
    )


@exact_kernel
def _project(clip, width, height, screen, cells):
    """Find pixel coordinates (centres at whole numbers, y down), depth steps and cells; return whether any are unsafe.

    `screen` is (N, 4); its last column means nothing. A cell, ``row << 16 | column``, is the first centre that does
    not lie before the vertex.
    """
    half_width, half_height, none = f32(0.5 * width), f32(0.5 * height), filled(f32(0), _LANES)
    scale = vector_of((half_width, -half_height, DEPTH_STEPS, f32(0)))
    middle = vector_of((half_width - f32(0.5), half_height - f32(0.5), DEPTH_STEPS, f32(0)))
    border = vector_of((f32(width), f32(height), f32(0), f32(0)))
    nearest, farthest, not_finite = filled(f32(np.inf), _LANES), none, none
    for vertex in range(len(clip)):
        at = u64(4 * vertex)
        place = load(clip, at, _LANES)
        seen = place * (f32(1) / clip[u64(vertex), 3])
        nearest, farthest = smaller(place, nearest), larger(larger(seen, none - seen), farthest)
        not_finite = not_finite + (seen - seen)
        place = seen * scale + middle
        store(screen, at, place)
        cell = rounded_up(smaller(larger(place, none), border))
        cells[u64(vertex)] = (i32(lane(cell, 1)) << i32(16)) | i32(lane(cell, 0))
    safe = (lane(nearest, 3) > NEAREST_W) & (add_up(not_finite) == f32(0)) & (lane(farthest, 2) < GUARD_DEPTH)
    return not (safe & (max(lane(farthest, 0), lane(farthest, 1)) < GUARD_BAND))


@exact_inlined
def _ceil(x, most):
    """Whole number not below x, in 0 ... most (`math.ceil` is a library call)."""
    x = min(max(x, f32(0)), most)
    whole = i32(x)
    return whole + i32(f32(whole) < x)


@exact_kernel
def _find(cells, triangles, first, last, found):
    """Note the triangles whose corners are in several rows and columns of cells; return their number.

    The boxes of all others hold no centre, or one on their lower or right border, which is not theirs.
    """
    count = u64(0)
    for triangle in range(first, last):
        t = u64(triangle)
        a, b, c = cells[u32(triangles[t, 0])], cells[u32(triangles[t, 1])], cells[u32(triangles[t, 2])]
        differ = u32((a ^ b) | (a ^ c))
        found[count] = triangle
        count += u64((differ > u32(0xFFFF)) & ((differ & u32(0xFFFF)) > u32(0)))
    return i64(count)


@exact_kernel
def _list(screen, cells, triangles, found, count, both_sides, counts, integers, corners):
    """Sort triangles by how many rows and columns of centres their boxes hold, and collect what drawing them needs.

    Kinds are 2 rows + columns - 3 for up to two of either, and LARGE; what faces away is left out. Of each kind's
    triangles, `integers` takes number, first row and first column, `corners` x, y and depth of the corners (the second
    and third in turn where it faces away) and one over twice the area.
    """
    counts[:] = 0
    for k in range(count):
        t = u64(found[u64(k)])
        a, b, c = u32(triangles[t, 0]), u32(triangles[t, 1]), u32(triangles[t, 2])
        ax, ay = screen[a, 0], screen[a, 1]
        area = (screen[c, 0] - ax) * (screen[b, 1] - ay) - (screen[b, 0] - ax) * (screen[c, 1] - ay)
        if not ((area > f32(0)) | (both_sides & (area < f32(0)))):
            continue
        row_a, row_b, row_c = cells[a] >> i32(16), cells[b] >> i32(16), cells[c] >> i32(16)
        column_a, column_b, column_c = cells[a] & i32(0xFFFF), cells[b] & i32(0xFFFF), cells[c] & i32(0xFFFF)
        row, column = min(row_a, min(row_b, row_c)), min(column_a, min(column_b, column_c))
        rows, columns = max(row_a, max(row_b, row_c)) - row, max(column_a, max(column_b, column_c)) - column
        kind = u64(2) * u64(rows) + u64(columns) - u64(3) if (rows <= 2) & (columns <= 2) else u64(LARGE)
        b, c = c if area < f32(0) else b, b if area < f32(0) else c
        n = u64(counts[kind])
        counts[kind] += 1
        integers[kind, n] = t
        integers[kind, u64(ROW) + n] = row
        integers[kind, u64(2 * ROW) + n] = column
        for axis in range(3):
            corners[kind, u64(axis * ROW) + n] = screen[a, axis]
            corners[kind, u64((3 + axis) * ROW) + n] = screen[b, axis]
            corners[kind, u64((6 + axis) * ROW) + n] = screen[c, axis]
        corners[kind, u64(9 * ROW) + n] = f32(1) / abs(area)


@exact_inlined
def _entry(corners, k):
    """Corners (x, y, depth) of entry k of `corners`, what its edge functions must reach, and one over twice its area.

    Centres on a left or top edge belong to the triangle, others do not.
    """
    ax, ay, az = corners[u64(k)], corners[u64(ROW + k)], corners[u64(2 * ROW + k)]
    bx, by, bz = corners[u64(3 * ROW + k)], corners[u64(4 * ROW + k)], corners[u64(5 * ROW + k)]
    cx, cy, cz = corners[u64(6 * ROW + k)], corners[u64(7 * ROW + k)], corners[u64(8 * ROW + k)]
    least_a = f32(0) if (cy > by) | ((cy == by) & (bx > cx)) else _LEAST
    least_b = f32(0) if (ay > cy) | ((ay == cy) & (cx > ax)) else _LEAST
    least_c = f32(0) if (by > ay) | ((by == ay) & (ax > bx)) else _LEAST
    scale = corners[u64(9 * ROW + k)]
    return (ax, ay, az, bx, by, bz, cx, cy, cz), (least_a, least_b, least_c), scale


@exact_inlined
def _depth(places, least, scale, x, y):
    """Depth steps of a triangle at a centre, those of EMPTY where it does not cover it."""
    ax, ay, az, bx, by, bz, cx, cy, cz = places
    edge_a = (cx - x) * (by - y) - (bx - x) * (cy - y)
    edge_b = (ax - x) * (cy - y) - (cx - x) * (ay - y)
    edge_c = (bx - x) * (ay - y) - (ax - x) * (by - y)
    depth = (edge_a * az + edge_b * bz + edge_c * cz) * scale
    covered = (edge_a >= least[0]) & (edge_b >= least[1]) & (edge_c >= least[2]) & (depth >= f32(0))
    return i32(depth) if covered else i32(EMPTY >> 32)


@exact_kernel
def _draw_small(integers, corners, count, rows, columns, width, depths, keys):
    """Draw the triangles of a kind, whose boxes hold len(rows) x len(columns) centres.

    The numbers are parts of the tuples' types, so that the compiler unrolls these loops and makes vectors of the one
    over triangles; the comparison with what a pixel has seen is left to a second loop.
    """
    for k in range(count):
        places, least, scale = _entry(corners, k)
        row, column = integers[u64(ROW + k)], integers[u64(2 * ROW + k)]
        for i in range(len(rows)):
            for j in range(len(columns)):
                depth = _depth(places, least, scale, f32(column + i32(j)), f32(row + i32(i)))
                depths[u64((i * len(columns) + j) * ROW + k)] = depth
    for i in range(len(rows)):
        for j in range(len(columns)):
            for k in range(count):
                row, column = i64(integers[u64(ROW + k)]) + i, i64(integers[u64(2 * ROW + k)]) + j
                pixel = u64(row * width + column)
                depth = i64(depths[u64((i * len(columns) + j) * ROW + k)])
                keys[pixel] = min(keys[pixel], (depth << i64(32)) | i64(integers[u64(k)]))


@exact_kernel
def _draw_large(integers, corners, count, width, height, keys):
    """Draw the triangles of a kind row by row, between where their edges cross it (and a pixel on either side)."""
    for k in range(count):
        places, least, scale = _entry(corners, k)
        ax, ay, _, bx, by, _, cx, cy, _ = places
        lowest, rightmost = max(ay, max(by, cy)), max(ax, max(bx, cx))
        for row in range(integers[u64(ROW + k)], _ceil(lowest, f32(height))):
            y, leftmost = f32(row), f32(integers[u64(2 * ROW + k)])
            low, high = _between(bx, by, cx, cy, y, leftmost, rightmost)
            low, high = _between(cx, cy, ax, ay, y, low, high)
            low, high = _between(ax, ay, bx, by, y, low, high)
            for column in range(_ceil(low, f32(width)), _ceil(high, f32(width))):
                pixel = u64(row * width + column)
                depth = i64(_depth(places, least, scale, f32(column), y))
                keys[pixel] = min(keys[pixel], (depth << i64(32)) | i64(integers[u64(k)]))


@exact_inlined
def _between(from_x, from_y, to_x, to_y, y, low, high):
    """Narrow low ... high to the inner side of an edge at height y, with a margin for rounding."""
    crossing = from_x + (y - from_y) * ((to_x - from_x) / (to_y - from_y))
    if to_y > from_y:
        low = max(low, crossing - f32(1))
    elif to_y < from_y:
        high = min(high, crossing + f32(1))
    return low, high
