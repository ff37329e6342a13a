"""Fast twin of `lib.rendering.vertices.vertex_stage` for the CPU: plain loops over triangles and vertices.

In torch the gathers, scatters and concatenations over 100,000 triangles cost more than drawing the picture.
"""

import numpy as np
import torch

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, f32, for_each, kernel


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
def _fill_attributes(places, colours, triangles, sums, inverses, attributes):
    """Fill the attributes (N, 9) of a face, and one over the lengths of the summed normals, (N,); `sums` is scratch."""
    sums[:] = f32(0)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        px, py, pz, qx, qy, qz = _edges(places, a, b, c)
        x, y, z = _cross(px, py, pz, qx, qy, qz)
        _add(sums, a, x, y, z)
        _add(sums, b, x, y, z)
        _add(sums, c, x, y, z)
    for v in range(len(places)):
        x, y, z = sums[v, 0], sums[v, 1], sums[v, 2]
        inverses[v] = f32(1) / max(np.sqrt(x * x + y * y + z * z), f32(1e-12))
        for k in range(3):
            attributes[v, k] = colours[v, k]
            attributes[v, 3 + k] = sums[v, k] * inverses[v]
            attributes[v, 6 + k] = places[v, k]


@exact_kernel
def _attributes_backward(places, attributes, inverses, triangles, gradient, of_sums, to_places, to_colours):
    """Fill the gradients of places and colours, (N, 3); `of_sums` (N, 3) is scratch: that of the summed normals."""
    for v in range(len(places)):
        along = f32(0)
        for k in range(3):
            along += attributes[v, 3 + k] * gradient[v, 3 + k]
        for k in range(3):
            to_colours[v, k] = gradient[v, k]
            of_sums[v, k] = (gradient[v, 3 + k] - along * attributes[v, 3 + k]) * inverses[v]
            to_places[v, k] = gradient[v, 6 + k]
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


@kernel
def _project(places, projection, clip):
    """Fill clip coordinates (N, 4)."""
    for v in range(len(places)):
        for k in range(4):
            row = projection[k]
            clip[v, k] = row[0] * places[v, 0] + row[1] * places[v, 1] + row[2] * places[v, 2] + row[3]


@kernel
def _project_backward(places, projection, gradient, to_places, to_projection):
    """Add the gradient of clip coordinates (N, 4) to that of the places; fill that of the projection, in float64."""
    to_projection[:] = 0.0
    for v in range(len(places)):
        gx, gy, gz, gw = gradient[v, 0], gradient[v, 1], gradient[v, 2], gradient[v, 3]
        if gx == 0 and gy == 0 and gz == 0 and gw == 0:
            continue  # half of the vertices are not seen
        for axis in range(3):
            of_x, of_y, of_z, of_w = projection[0, axis], projection[1, axis], projection[2, axis], projection[3, axis]
            to_places[v, axis] += gx * of_x + gy * of_y + gz * of_z + gw * of_w
        for k in range(4):
            for axis in range(3):
                to_projection[k, axis] += gradient[v, k] * places[v, axis]
            to_projection[k, 3] += gradient[v, k]


class VertexStageOnCpu(torch.autograd.Function):
    """(vertices, albedo, int32 triangles, projection), contiguous -> (clip_vertices, attributes)."""

    @staticmethod
    def forward(context, vertices, albedo, triangles, projection):
        places, colours, cameras = vertices.numpy(), albedo.numpy(), projection.numpy()
        (faces, count, _), corners = places.shape, triangles.numpy().view(np.uint32)
        clip, attributes = (np.empty(shape, np.float32) for shape in ((len(cameras), count, 4), (faces, count, 9)))
        inverses = np.empty((faces, count), np.float32)

        def fill_attributes(i):
            _fill_attributes(places[i], colours[i], corners, np.empty_like(places[i]), inverses[i], attributes[i])

        for_each(fill_attributes, faces)
        for_each(lambda i: _project(places[i % faces], cameras[i], clip[i]), len(cameras))
        clip, attributes, inverses = (torch.from_numpy(array) for array in (clip, attributes, inverses))
        context.save_for_backward(vertices, triangles, projection, attributes, inverses)
        return clip, attributes

    @staticmethod
    def backward(context, clip_gradient, attributes_gradient):
        places, triangles, cameras, attributes, inverses = (tensor.numpy() for tensor in context.saved_tensors)
        faces, corners = len(places), triangles.view(np.uint32)
        of_clip, of_attributes = (x.contiguous().numpy() for x in (clip_gradient, attributes_gradient))
        to_places, to_colours = np.empty_like(places), np.empty_like(places)
        to_cameras = np.empty(cameras.shape)

        def backward_of_face(i):
            _attributes_backward(
                places[i], attributes[i], inverses[i], corners, of_attributes[i], np.empty_like(places[i]),
                to_places[i], to_colours[i],
            )  # fmt: skip
            for view in range(i, len(cameras), faces):
                _project_backward(places[i], cameras[view], of_clip[view], to_places[i], to_cameras[view])

        for_each(backward_of_face, faces)
        return torch.from_numpy(to_places), torch.from_numpy(to_colours), None, torch.from_numpy(to_cameras).float()
