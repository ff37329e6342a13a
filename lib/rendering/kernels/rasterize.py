"""Fast twin of `lib.rendering.visible` for the CPU: visibility, blending and its gradient, as one autograd function.

A picture is drawn by one thread, and all gradients of a face are added up by one thread: the same input gives the same
bytes at any number of threads.
"""

import numpy as np
import torch

from lib.rendering.kernels.compile import f32, for_each, i64, inlined, kernel
from lib.rendering.kernels.visibility import EMPTY, nearest_triangles


def checked_triangles(triangles, vertices):
    """Return the indices as a contiguous int32 Tensor (T, 3); none leads a kernel out of its arrays."""
    least, most = triangles.aminmax() if triangles.numel() else (0, -1)
    if least < 0 or most >= vertices:
        raise ValueError(f"triangles name vertices {least} ... {most}, but there are {vertices}")
    return triangles.contiguous().int()


@inlined
def _from_pixel(clip, v, x, y):
    """Vertex v in a frame where the pixel's ray is the axis: small numbers, which cancel well."""
    return clip[v, 0] - x * clip[v, 3], clip[v, 1] - y * clip[v, 3]


@inlined
def _corners(clip, triangles, t, row, column, height, width):
    """Vertices of a triangle, a pixel's centre in half pictures from the middle, y up, and the vertices from there."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    x, y = (f32(column) + f32(0.5)) * f32(2.0 / width) - f32(1), f32(1) - (f32(row) + f32(0.5)) * f32(2.0 / height)
    return (a, b, c), (x, y), _from_pixel(clip, a, x, y), _from_pixel(clip, b, x, y), _from_pixel(clip, c, x, y)


@inlined
def _barycentrics(ax, ay, bx, by, cx, cy):
    """Perspective-correct barycentrics of the axis, and one over the sum of the edge functions they come from."""
    edge_a, edge_b, edge_c = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
    scale = f32(1) / (edge_a + edge_b + edge_c)
    return edge_a * scale, edge_b * scale, edge_c * scale, scale


@kernel
def _interpolate(clip, triangles, attributes, keys, ids, image):
    """Fill the ids (H, W) and the blended attributes (H, W, C) of a picture."""
    height, width, channels = image.shape
    for row in range(height):
        for column in range(width):
            key = keys[row * width + column]
            if key >= EMPTY:
                ids[row, column] = -1
                image[row, column] = f32(0)
                continue
            t = key & i64(0xFFFFFFFF)
            ids[row, column] = t
            (a, b, c), (x, y), (ax, ay), (bx, by), (cx, cy) = _corners(clip, triangles, t, row, column, height, width)
            in_a, in_b, in_c, _ = _barycentrics(ax, ay, bx, by, cx, cy)
            for k in range(channels):
                image[row, column, k] = in_a * attributes[a, k] + in_b * attributes[b, k] + in_c * attributes[c, k]


@kernel
def _interpolate_backward(clip, triangles, attributes, ids, gradient, to_clip, to_attributes):
    """Add the gradient of a picture (H, W, C) to those of its vertices and attributes (paper 3.2.1)."""
    height, width = gradient.shape[:2]
    for row in range(height):
        for column in range(width):
            if ids[row, column] < 0:
                continue
            t = ids[row, column]
            (a, b, c), (x, y), (ax, ay), (bx, by), (cx, cy) = _corners(clip, triangles, t, row, column, height, width)
            in_a, in_b, in_c, scale = _barycentrics(ax, ay, bx, by, cx, cy)
            grad = gradient[row, column]
            of_a = _corner_backward(grad, in_a, attributes[a], to_attributes[a])
            of_b = _corner_backward(grad, in_b, attributes[b], to_attributes[b])
            of_c = _corner_backward(grad, in_c, attributes[c], to_attributes[c])
            # each barycentric is its edge function over the sum of the three
            mean = in_a * of_a + in_b * of_b + in_c * of_c
            edge_a, edge_b, edge_c = (of_a - mean) * scale, (of_b - mean) * scale, (of_c - mean) * scale
            _add(to_clip, a, edge_c * by - edge_b * cy, edge_b * cx - edge_c * bx, x, y)
            _add(to_clip, b, edge_a * cy - edge_c * ay, edge_c * ax - edge_a * cx, x, y)
            _add(to_clip, c, edge_b * ay - edge_a * by, edge_a * bx - edge_b * ax, x, y)


@inlined
def _corner_backward(gradient, share, attributes, to_attributes):
    """Add a corner's share of a pixel's gradient (C,) to that of its attributes; return the share's own gradient."""
    of_share = f32(0)
    for k in range(len(gradient)):
        of_share += gradient[k] * attributes[k]
        to_attributes[k] += share * gradient[k]
    return of_share


@inlined
def _add(to_clip, v, along_x, along_y, x, y):
    """Add the gradient of a vertex in the frame of a pixel at x, y."""
    to_clip[v, 0] += along_x
    to_clip[v, 1] += along_y
    to_clip[v, 3] -= x * along_x + y * along_y


class RasterizeOnCpu(torch.autograd.Function):
    """`lib.rendering.rasterize.rasterize` for checked, contiguous tensors on the CPU: (int32 ids, attributes)."""

    @staticmethod
    def forward(context, clip_vertices, triangles, attributes, height, width, cull_backfaces):
        clip, corners, values = clip_vertices.numpy(), triangles.numpy().view(np.uint32), attributes.numpy()
        ids = np.empty((len(clip), height, width), np.int32)
        image = np.empty((len(clip), height, width, values.shape[2]), np.float32)

        def draw(i):
            keys = np.empty(height * width, np.int64)
            nearest_triangles(clip[i], corners, width, height, not cull_backfaces, keys)
            _interpolate(clip[i], corners, values[i % len(values)], keys, ids[i], image[i])

        for_each(draw, len(clip))
        ids = torch.from_numpy(ids)
        context.save_for_backward(clip_vertices, triangles, attributes, ids)
        context.mark_non_differentiable(ids)
        return ids, torch.from_numpy(image)

    @staticmethod
    def backward(context, _, gradient):
        clip, triangles, values, ids = (tensor.numpy() for tensor in context.saved_tensors)
        corners, gradient = triangles.view(np.uint32), gradient.contiguous().numpy()
        to_clip, to_attributes = np.empty_like(clip), np.empty_like(values)

        def backward_of_face(face):
            to_attributes[face] = 0
            for i in range(face, len(clip), len(values)):
                to_clip[i] = 0
                _interpolate_backward(
                    clip[i], corners, values[face], ids[i], gradient[i], to_clip[i], to_attributes[face]
                )

        for_each(backward_of_face, len(values))
        return torch.from_numpy(to_clip), None, torch.from_numpy(to_attributes), None, None, None
