"""Rasteriser for the CPU: visibility, interpolation and its adjoint in numba, as one autograd function.

The kernels run on as many threads as torch uses (`lib.rendering.kernels.threads`). What is added up in which order
follows from the shapes alone, so that the same input gives the same bytes at any number of threads.
"""

import threading

import numpy as np
import torch

from lib.rendering.kernels.compile import f32, i32, i64, inlined, kernel, u32, u64
from lib.rendering.kernels.memory import prefetch, recycled_empty
from lib.rendering.kernels.threads import for_each, workers
from lib.rendering.kernels.vectors import add_up, filled, load, multiply_add, store
from lib.rendering.kernels.visibility import nearest_triangles, visibility_buffers
from lib.rendering.kernels.visibility_exact import EMPTY

BLOCK = 1024
"""Pixels whose triangles are looked up before they are worked on."""
AHEAD = u64(12)
"""So many covered pixels ahead, what the work needs is fetched."""


def checked_triangles(triangles, vertices):
    """Return the indices as a contiguous int32 Tensor (T, 3) on the CPU; none leads a kernel out of its arrays.

    Raises
    ------
    ValueError
        An index is negative or not below `vertices`.
    """
    indices = triangles.cpu().contiguous()
    least, most = torch.aminmax(indices) if indices.numel() else (0, -1)
    if least < 0 or most >= vertices:
        raise ValueError(f"triangles name vertices {least} ... {most}, but there are {vertices}")
    return indices.int()


@inlined
def _from_pixel(clip, v, x, y):
    """Vertex v in a frame where the pixel's ray is the axis: small numbers, which cancel well."""
    w = clip[v, 3]
    return clip[v, 0] - x * w, clip[v, 1] - y * w


@inlined
def _barycentrics(ax, ay, bx, by, cx, cy):
    """Perspective-correct barycentrics of the axis, and one over the sum of the edge functions they come from."""
    edge_a, edge_b, edge_c = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
    scale = f32(1) / (edge_a + edge_b + edge_c)
    return edge_a * scale, edge_b * scale, edge_c * scale, scale


@inlined
def _pixel_centre(pixel, height, width):
    row = u32(pixel) // u32(width)
    column = u32(pixel) - row * u32(width)
    return (f32(column) + f32(0.5)) * f32(2.0 / width) - f32(1), f32(1) - (f32(row) + f32(0.5)) * f32(2.0 / height)


@inlined
def _list_covered(ids, triangles, first, last, covered):
    """Note the pixels first ... last - 1 that see a triangle, and its corners, in `covered`; return their number."""
    count = u64(0)
    for p in range(first, last):
        pixel = u64(p)
        if ids[pixel] >= 0:
            t = u32(ids[pixel])
            covered[count, 0] = p
            for k in range(3):
                covered[count, k + 1] = triangles[t, k]
            count += u64(1)
    return count


@inlined
def _look_up(covered, k):
    """Pixel and corners of entry k."""
    return u64(covered[k, 0]), u32(covered[k, 1]), u32(covered[k, 2]), u32(covered[k, 3])


@inlined
def _fetch(clip, attributes, channels, covered, k):
    """Have what belongs to the corners of entry k brought near."""
    for corner in range(1, 4):
        v = u32(covered[k, corner])
        prefetch(clip, v, 0)
        prefetch(attributes, v, 0)
        prefetch(attributes, v, len(channels) - 1)


@inlined
def _corner_values(attributes, a, b, c, channels):
    """Attributes (N * C,) of three vertices, a vector each."""
    of_a, of_b, of_c = a * u64(len(channels)), b * u64(len(channels)), c * u64(len(channels))
    return load(attributes, of_a, channels), load(attributes, of_b, channels), load(attributes, of_c, channels)


@inlined
def _add_to(totals, v, weight, values, channels):
    at = v * u64(len(channels))
    store(totals, at, multiply_add(weight, values, load(totals, at, channels)))


@kernel
def _interpolate(clip, triangles, attributes, channels, keys, rows, size, covered, ids, image):
    """Blend attributes at the pixels of some rows.

    `channels` is a tuple whose length is their number: a part of its type, and so of that of the vectors.
    `covered` (BLOCK, 4) is scratch.
    """
    height, width = size
    none = filled(f32(0), channels)
    for first in range(rows[0] * width, rows[1] * width, BLOCK):
        last = min(first + BLOCK, rows[1] * width)
        for p in range(first, last):
            pixel = u64(p)
            key = keys[0, pixel]
            for part in range(1, keys.shape[0]):
                key = min(key, keys[part, pixel])
            ids[pixel] = i32(-1) if key >= EMPTY else i32(key & i64(0xFFFFFFFF))
            if key >= EMPTY:
                store(image, pixel * u64(len(channels)), none)
        count = _list_covered(ids, triangles, first, last, covered)
        for entry in range(count):
            _fetch(clip, attributes, channels, covered, min(u64(entry) + AHEAD, count - u64(1)))
            pixel, a, b, c = _look_up(covered, u64(entry))
            x, y = _pixel_centre(pixel, height, width)
            ax, ay = _from_pixel(clip, a, x, y)
            bx, by = _from_pixel(clip, b, x, y)
            cx, cy = _from_pixel(clip, c, x, y)
            in_a, in_b, in_c, _ = _barycentrics(ax, ay, bx, by, cx, cy)
            of_a, of_b, of_c = _corner_values(attributes, a, b, c, channels)
            blended = multiply_add(in_a, of_a, multiply_add(in_b, of_b, multiply_add(in_c, of_c, none)))
            store(image, pixel * u64(len(channels)), blended)


@kernel
def _send_back(clip, triangles, attributes, channels, ids, gradient, rows, size, covered, to_clip, to_attributes):
    """Add the gradients at the pixels of some rows to those of vertices and attributes (paper 3.2.1)."""
    height, width = size
    for first in range(rows[0] * width, rows[1] * width, BLOCK):
        count = _list_covered(ids, triangles, first, min(first + BLOCK, rows[1] * width), covered)
        for entry in range(count):
            ahead = min(u64(entry) + AHEAD, count - u64(1))
            _fetch(clip, attributes, channels, covered, ahead)
            _fetch(to_clip, to_attributes, channels, covered, ahead)
            pixel, a, b, c = _look_up(covered, u64(entry))
            x, y = _pixel_centre(pixel, height, width)
            ax, ay = _from_pixel(clip, a, x, y)
            bx, by = _from_pixel(clip, b, x, y)
            cx, cy = _from_pixel(clip, c, x, y)
            in_a, in_b, in_c, scale = _barycentrics(ax, ay, bx, by, cx, cy)
            values_a, values_b, values_c = _corner_values(attributes, a, b, c, channels)
            pull = load(gradient, pixel * u64(len(channels)), channels)
            of_a, of_b, of_c = add_up(pull * values_a), add_up(pull * values_b), add_up(pull * values_c)
            _add_to(to_attributes, a, in_a, pull, channels)
            _add_to(to_attributes, b, in_b, pull, channels)
            _add_to(to_attributes, c, in_c, pull, channels)
            # each barycentric is its edge function over the sum of the three
            mean = in_a * of_a + in_b * of_b + in_c * of_c
            edge_a, edge_b, edge_c = (of_a - mean) * scale, (of_b - mean) * scale, (of_c - mean) * scale
            _add(to_clip, a, edge_c * by - edge_b * cy, edge_b * cx - edge_c * bx, x, y)
            _add(to_clip, b, edge_a * cy - edge_c * ay, edge_c * ax - edge_a * cx, x, y)
            _add(to_clip, c, edge_b * ay - edge_a * by, edge_a * bx - edge_b * ax, x, y)


@inlined
def _add(to_clip, v, along_x, along_y, x, y):
    to_clip[v, 0] += along_x
    to_clip[v, 1] += along_y
    to_clip[v, 3] -= x * along_x + y * along_y


_scratch = threading.local()


def _buffers(vertices):
    """This thread's work space, kept from call to call: fresh pages cost as much time as the work done in them."""
    if getattr(_scratch, "vertices", None) != vertices:
        _scratch.vertices = vertices
        _scratch.buffers = visibility_buffers(vertices), np.empty((BLOCK, 4), np.int32)
    return _scratch.buffers


def _draw(see, blend, pictures, triangles, size):
    """Share the work out: whole pictures, or, if they are fewer than the threads, first triangles and then rows."""
    height, width = size
    parts = workers() // pictures
    if parts <= 1:

        def whole(i):
            keys = np.empty((1, height * width), np.int64)
            see(i, (0, triangles), keys[0])
            blend(i, (0, height), keys)

        for_each(whole, pictures)
        return
    keys = np.empty((pictures, parts, height * width), np.int64)

    def share(total, part):
        return part * total // parts, (part + 1) * total // parts

    def see_part(item):
        i, part = divmod(item, parts)
        see(i, share(triangles, part), keys[i, part])

    def blend_part(item):
        i, part = divmod(item, parts)
        blend(i, share(height, part), keys[i])

    for_each(see_part, pictures * parts)
    for_each(blend_part, pictures * parts)


class RasterizeOnCpu(torch.autograd.Function):
    """`lib.rendering.rasterize.rasterize` for checked, contiguous tensors on the CPU: (int32 ids, attributes)."""

    @staticmethod
    def forward(context, clip_vertices, triangles, attributes, height, width, cull_backfaces):
        clip, corners, values = clip_vertices.numpy(), triangles.numpy(), attributes.numpy()
        pictures, size, channels = len(clip), (height, width), (0,) * values.shape[2]
        ids = recycled_empty((pictures, height * width), np.int32)
        image = recycled_empty((pictures, height * width, len(channels)))

        def see(i, triangle_range, keys):
            (buffers, _), both_sides = _buffers(clip.shape[1]), not cull_backfaces
            nearest_triangles(clip[i], corners, *triangle_range, width, height, both_sides, buffers, keys)

        def blend(i, rows, keys):
            (_, covered), face = _buffers(clip.shape[1]), i % len(values)
            _interpolate(clip[i], corners, values[face], channels, keys, rows, size, covered, ids[i], image[i])

        _draw(see, blend, pictures, len(corners), size)
        ids = torch.from_numpy(ids).view(pictures, height, width)
        context.save_for_backward(clip_vertices, triangles, attributes, ids)
        context.mark_non_differentiable(ids)
        context.set_materialize_grads(False)
        return ids, torch.from_numpy(image).view(pictures, height, width, len(channels))

    @staticmethod
    def backward(context, _, image_gradient):
        if image_gradient is None:
            return (None,) * 6
        clip, corners, values, ids = (tensor.numpy() for tensor in context.saved_tensors)
        (pictures, height, width), channels = ids.shape, (0,) * values.shape[2]
        # few faces: rows are shared out, by a rule that does not know the number of threads
        strips = 2 if len(values) < 4 else 1
        to_clip = recycled_empty((strips, *clip.shape))
        to_attributes = recycled_empty((strips, *values.shape))
        ids = ids.reshape(pictures, -1)
        gradient = image_gradient.contiguous().numpy().reshape(pictures, height * width, -1)

        def send_back(item):
            face, strip = divmod(item, strips)
            rows = strip * height // strips, (strip + 1) * height // strips
            _, covered = _buffers(clip.shape[1])
            to_attributes[strip, face] = 0
            for i in range(face, pictures, len(values)):
                to_clip[strip, i] = 0
                _send_back(
                    clip[i], corners, values[face], channels, ids[i], gradient[i], rows, (height, width), covered,
                    to_clip[strip, i], to_attributes[strip, face],
                )  # fmt: skip

        for_each(send_back, len(values) * strips)
        to_clip, to_attributes = (_sum(parts) for parts in (to_clip, to_attributes))
        return torch.from_numpy(to_clip), None, torch.from_numpy(to_attributes), None, None, None


def _sum(parts):
    """Add up the strips, in the first one."""
    total, rows = parts[0], parts.shape[2]

    def add(part):
        some = slice(part * rows // 2, (part + 1) * rows // 2)
        for other in parts[1:]:
            np.add(total[:, some], other[:, some], out=total[:, some])

    if len(parts) > 1:
        for_each(add, 2)
    return total
