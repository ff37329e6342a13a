"""Fast twin of `lib.rendering.vertices.vertex_normals` for the CPU: one face per thread."""

import numpy as np
import torch

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, f32
from lib.rendering.kernels.threads import for_each


@exact_inlined
def _cross(px, py, pz, qx, qy, qz):
    return py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx


@exact_inlined
def _edges(places, a, b, c):
    """From the first corner of a triangle to the second and to the third."""
    ax, ay, az = places[a, 0], places[a, 1], places[a, 2]
    return (
        places[b, 0] - ax, places[b, 1] - ay, places[b, 2] - az,
        places[c, 0] - ax, places[c, 1] - ay, places[c, 2] - az,
    )  # fmt: skip


@exact_inlined
def _add(totals, i, x, y, z):
    totals[i, 0] += x
    totals[i, 1] += y
    totals[i, 2] += z


@exact_kernel
def _fill_normals(places, triangles, normals, inverses):
    """Fill the unit normals (N, 3) of a face, and one over the lengths of the sums that they come from, (N,)."""
    normals[:] = f32(0)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        px, py, pz, qx, qy, qz = _edges(places, a, b, c)
        x, y, z = _cross(px, py, pz, qx, qy, qz)
        _add(normals, a, x, y, z)
        _add(normals, b, x, y, z)
        _add(normals, c, x, y, z)
    for v in range(len(places)):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        inverses[v] = f32(1) / max(np.sqrt(x * x + y * y + z * z), f32(1e-12))
        for k in range(3):
            normals[v, k] *= inverses[v]


@exact_kernel
def _normals_backward(places, normals, inverses, triangles, gradient, of_sums, to_places):
    """Fill the gradient of the places (N, 3); `of_sums` (N, 3) is scratch: that of the summed normals."""
    for v in range(len(places)):
        along = normals[v, 0] * gradient[v, 0] + normals[v, 1] * gradient[v, 1] + normals[v, 2] * gradient[v, 2]
        for k in range(3):
            of_sums[v, k] = (gradient[v, k] - along * normals[v, k]) * inverses[v]
    to_places[:] = f32(0)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        gx = of_sums[a, 0] + of_sums[b, 0] + of_sums[c, 0]
        gy = of_sums[a, 1] + of_sums[b, 1] + of_sums[c, 1]
        gz = of_sums[a, 2] + of_sums[b, 2] + of_sums[c, 2]
        px, py, pz, qx, qy, qz = _edges(places, a, b, c)
        bx, by, bz = _cross(qx, qy, qz, gx, gy, gz)
        cx, cy, cz = _cross(gx, gy, gz, px, py, pz)
        _add(to_places, a, -bx - cx, -by - cy, -bz - cz)
        _add(to_places, b, bx, by, bz)
        _add(to_places, c, cx, cy, cz)


class VertexNormalsOnCpu(torch.autograd.Function):
    """(vertices (B, N, 3), checked triangles), contiguous -> unit normals (B, N, 3)."""

    @staticmethod
    def forward(context, vertices, triangles):
        places, corners = vertices.numpy(), triangles.numpy().view(np.uint32)
        normals, inverses = np.empty_like(places), np.empty(places.shape[:2], np.float32)
        for_each(lambda i: _fill_normals(places[i], corners, normals[i], inverses[i]), len(places))
        normals, inverses = torch.from_numpy(normals), torch.from_numpy(inverses)
        context.save_for_backward(vertices, triangles, normals, inverses)
        return normals

    @staticmethod
    def backward(context, gradient):
        places, triangles, normals, inverses = (tensor.numpy() for tensor in context.saved_tensors)
        corners, gradient, to_places = triangles.view(np.uint32), gradient.contiguous().numpy(), np.empty_like(places)

        def backward_of_face(i):
            scratch = np.empty_like(places[i])
            _normals_backward(places[i], normals[i], inverses[i], corners, gradient[i], scratch, to_places[i])

        for_each(backward_of_face, len(places))
        return torch.from_numpy(to_places), None
