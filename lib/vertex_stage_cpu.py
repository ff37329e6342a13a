"""`lib.vertex_stage.vertex_stage` for the CPU: one pass over a face forward, one backward, a face a thread.

In torch the gathers, scatters and concatenations over 100,000 triangles cost more than drawing the picture.
"""

import numpy as np
import torch

from lib.kernel_memory import recycled_empty
from lib.kernels import f32, inlined, kernel, u32, u64
from lib.parallel import for_each

_SHORTEST = f32(1e-12)
BLOCK = 512
"""Vertices whose products are added up before they join the sum over all: shorter sums round less."""


@inlined
def _normal(vertices, a, b, c):
    """Two edges of a triangle and their cross product: the normal times twice the area."""
    px, py, pz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    qx, qy, qz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    return px, py, pz, qx, qy, qz, py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx


@kernel
def _collect(vertices, albedo, triangles, sums, attributes, inverses):
    """Fill attributes (N, 9) and one over the lengths (N,) of the summed normals; `sums` (N, 3) is scratch."""
    sums[:] = f32(0)
    for triangle in range(len(triangles)):
        t = u64(triangle)
        a, b, c = u32(triangles[t, 0]), u32(triangles[t, 1]), u32(triangles[t, 2])
        _, _, _, _, _, _, x, y, z = _normal(vertices, a, b, c)
        for corner in (a, b, c):
            sums[corner, 0] += x
            sums[corner, 1] += y
            sums[corner, 2] += z
    for vertex in range(len(vertices)):
        v = u64(vertex)
        x, y, z = sums[v, 0], sums[v, 1], sums[v, 2]
        inverse = f32(1) / max(np.sqrt(x * x + y * y + z * z), _SHORTEST)
        inverses[v] = inverse
        for k in range(3):
            attributes[v, k] = albedo[v, k]
            attributes[v, 3 + k] = sums[v, k] * inverse
            attributes[v, 6 + k] = vertices[v, k]


@kernel
def _project(vertices, projection, clip):
    for vertex in range(len(vertices)):
        v = u64(vertex)
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        for k in range(4):
            clip[v, k] = projection[k, 0] * x + projection[k, 1] * y + projection[k, 2] * z + projection[k, 3]


@kernel
def _send_back_clip(vertices, projection, gradient, to_vertices, to_projection):
    """Add the gradient of clip coordinates (N, 4) to that of the vertices, and fill that of the projection.

    Written out, since the compiler makes vectors of four equal lines; half of the vertices are not seen and skipped.
    """
    a0, a1, a2, a3 = projection[0, 0], projection[1, 0], projection[2, 0], projection[3, 0]
    b0, b1, b2, b3 = projection[0, 1], projection[1, 1], projection[2, 1], projection[3, 1]
    c0, c1, c2, c3 = projection[0, 2], projection[1, 2], projection[2, 2], projection[3, 2]
    to_projection[:] = f32(0)
    for first in range(0, len(vertices), BLOCK):
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = z0 = z1 = z2 = z3 = w0 = w1 = w2 = w3 = f32(0)
        for vertex in range(first, min(first + BLOCK, len(vertices))):
            v = u64(vertex)
            g0, g1, g2, g3 = gradient[v, 0], gradient[v, 1], gradient[v, 2], gradient[v, 3]
            if (g0 == f32(0)) & (g1 == f32(0)) & (g2 == f32(0)) & (g3 == f32(0)):
                continue
            x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
            x0, x1, x2, x3 = x0 + g0 * x, x1 + g1 * x, x2 + g2 * x, x3 + g3 * x
            y0, y1, y2, y3 = y0 + g0 * y, y1 + g1 * y, y2 + g2 * y, y3 + g3 * y
            z0, z1, z2, z3 = z0 + g0 * z, z1 + g1 * z, z2 + g2 * z, z3 + g3 * z
            w0, w1, w2, w3 = w0 + g0, w1 + g1, w2 + g2, w3 + g3
            to_vertices[v, 0] += a0 * g0 + a1 * g1 + a2 * g2 + a3 * g3
            to_vertices[v, 1] += b0 * g0 + b1 * g1 + b2 * g2 + b3 * g3
            to_vertices[v, 2] += c0 * g0 + c1 * g1 + c2 * g2 + c3 * g3
        columns = (x0, x1, x2, x3), (y0, y1, y2, y3), (z0, z1, z2, z3), (w0, w1, w2, w3)
        for column in range(4):
            for row in range(4):
                to_projection[row, column] += columns[column][row]


@kernel
def _send_back_attributes(vertices, triangles, attributes, inverses, gradient, of_sums, to_vertices, to_albedo):
    """Fill the gradients of vertices and albedo from that of the attributes (N, 9); `of_sums` (N, 3) is scratch."""
    for vertex in range(len(vertices)):
        v = u64(vertex)
        nx, ny, nz = attributes[v, 3], attributes[v, 4], attributes[v, 5]
        along = nx * gradient[v, 3] + ny * gradient[v, 4] + nz * gradient[v, 5]
        for k in range(3):
            to_albedo[v, k] = gradient[v, k]
            of_sums[v, k] = (gradient[v, 3 + k] - along * attributes[v, 3 + k]) * inverses[v]
            to_vertices[v, k] = gradient[v, 6 + k]
    for triangle in range(len(triangles)):
        t = u64(triangle)
        a, b, c = u32(triangles[t, 0]), u32(triangles[t, 1]), u32(triangles[t, 2])
        gx = of_sums[a, 0] + of_sums[b, 0] + of_sums[c, 0]
        gy = of_sums[a, 1] + of_sums[b, 1] + of_sums[c, 1]
        gz = of_sums[a, 2] + of_sums[b, 2] + of_sums[c, 2]
        if (gx == f32(0)) & (gy == f32(0)) & (gz == f32(0)):
            continue
        px, py, pz, qx, qy, qz, _, _, _ = _normal(vertices, a, b, c)
        to_bx, to_by, to_bz = qy * gz - qz * gy, qz * gx - qx * gz, qx * gy - qy * gx
        to_cx, to_cy, to_cz = gy * pz - gz * py, gz * px - gx * pz, gx * py - gy * px
        to_vertices[a, 0] -= to_bx + to_cx
        to_vertices[a, 1] -= to_by + to_cy
        to_vertices[a, 2] -= to_bz + to_cz
        to_vertices[b, 0] += to_bx
        to_vertices[b, 1] += to_by
        to_vertices[b, 2] += to_bz
        to_vertices[c, 0] += to_cx
        to_vertices[c, 1] += to_cy
        to_vertices[c, 2] += to_cz


class VertexStageOnCpu(torch.autograd.Function):
    """(vertices, albedo, int32 triangles, projection), contiguous -> (clip_vertices, attributes)."""

    @staticmethod
    def forward(context, vertices, albedo, triangles, projection):
        places, colours, corners, cameras = (x.numpy() for x in (vertices, albedo, triangles, projection))
        faces, count = places.shape[:2]
        attributes = recycled_empty((faces, count, 9))
        inverses = recycled_empty((faces, count))
        clip = recycled_empty((len(cameras), count, 4))

        def prepare(face):
            sums = np.empty((count, 3), np.float32)
            _collect(places[face], colours[face], corners, sums, attributes[face], inverses[face])
            for i in range(face, len(cameras), faces):
                _project(places[face], cameras[i], clip[i])

        for_each(prepare, faces)
        attributes = torch.from_numpy(attributes)
        context.save_for_backward(vertices, triangles, projection, attributes, torch.from_numpy(inverses))
        return torch.from_numpy(clip), attributes

    @staticmethod
    def backward(context, clip_gradient, attributes_gradient):
        places, corners, cameras, attributes, inverses = (x.numpy() for x in context.saved_tensors)
        clip_gradient, attributes_gradient = (x.contiguous().numpy() for x in (clip_gradient, attributes_gradient))
        to_vertices, to_albedo, to_projection = (recycled_empty(x.shape) for x in (places, places, cameras))

        def send_back(face):
            _send_back_attributes(
                places[face], corners, attributes[face], inverses[face], attributes_gradient[face],
                np.empty_like(places[face]), to_vertices[face], to_albedo[face],
            )  # fmt: skip
            for i in range(face, len(cameras), len(places)):
                _send_back_clip(places[face], cameras[i], clip_gradient[i], to_vertices[face], to_projection[i])

        for_each(send_back, len(places))
        to_vertices, to_albedo, to_projection = (torch.from_numpy(x) for x in (to_vertices, to_albedo, to_projection))
        return to_vertices, to_albedo, None, to_projection
