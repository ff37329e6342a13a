"""`lib.rendering.vertices.vertex_stage` for the CPU, in numba.

In torch the gathers, scatters and concatenations over 100,000 triangles cost more than drawing the picture. Here eight
faces go through the triangles side by side (`lib.rendering.kernels.interleave`); a few go one by one.
"""

import numpy as np
import torch

from lib.rendering.kernels.compile import exact_inlined, exact_kernel, f32, kernel, u64
from lib.rendering.kernels.interleave import BLOCK, add_apart, empty_side, join, lay_apart, lay_together
from lib.rendering.kernels.memory import recycled_empty
from lib.rendering.kernels.threads import for_each
from lib.rendering.kernels.vectors import add_up, filled, larger, load, multiply_add, square_root, store

FEW = 7
"""Up to so many faces go through the triangles one by one, shared out among the threads."""
LONGEST_SUM = 512
"""Vertices whose products are added up before they join the sum over all: shorter sums round less."""
_SHORTEST = f32(1e-12)
_ONE, _THREE, _FOUR, _EIGHT = (0,), (0,) * 3, (0,) * 4, (0,) * 8


@exact_inlined
def _three(values, vertex, lanes):
    """x, y and z of a vertex."""
    at, step = u64(3 * len(lanes)) * vertex, u64(len(lanes))
    return load(values, at, lanes), load(values, at + step, lanes), load(values, at + u64(2) * step, lanes)


@exact_inlined
def _add_three(values, vertex, lanes, x, y, z):
    at, step = u64(3 * len(lanes)) * vertex, u64(len(lanes))
    store(values, at, load(values, at, lanes) + x)
    store(values, at + step, load(values, at + step, lanes) + y)
    store(values, at + u64(2) * step, load(values, at + u64(2) * step, lanes) + z)


@exact_inlined
def _cross(px, py, pz, qx, qy, qz):
    return py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx


@exact_inlined
def _edges(places, a, b, c, lanes):
    """From the first corner of a triangle to the second and to the third."""
    ax, ay, az = _three(places, a, lanes)
    bx, by, bz = _three(places, b, lanes)
    cx, cy, cz = _three(places, c, lanes)
    return bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az


@exact_kernel
def _sum_normals(places, triangles, lanes, sums):
    """Fill the sums (N * 3 * lanes,) of the normals about each vertex, as long as twice the triangles' areas."""
    sums[:] = f32(0)
    for triangle in range(len(triangles)):
        t = u64(triangle)
        a, b, c = u64(triangles[t, 0]), u64(triangles[t, 1]), u64(triangles[t, 2])
        px, py, pz, qx, qy, qz = _edges(places, a, b, c, lanes)
        x, y, z = _cross(px, py, pz, qx, qy, qz)
        _add_three(sums, a, lanes, x, y, z)
        _add_three(sums, b, lanes, x, y, z)
        _add_three(sums, c, lanes, x, y, z)


@exact_kernel
def _attributes(places, colours, sums, lanes, block, inverses, attributes):
    """Fill attributes (F, N * 9) of the faces (F, N * 3) that go together, and one over the sums' lengths (N * lanes,).

    `block` (2, lanes, BLOCK * 3) is scratch.
    """
    vertices, step, normals = places.shape[1] // 3, u64(len(lanes)), block[0].reshape(-1)
    shortest = filled(_SHORTEST, lanes)
    for first in range(0, vertices, BLOCK):
        count = min(BLOCK, vertices - first)
        for vertex in range(count):
            x, y, z = _three(sums, u64(first + vertex), lanes)
            inverse = f32(1) / larger(square_root(x * x + y * y + z * z), shortest)
            store(inverses, u64(first + vertex) * step, inverse)
            at = u64(3 * vertex) * step
            store(normals, at, x * inverse)
            store(normals, at + step, y * inverse)
            store(normals, at + u64(2) * step, z * inverse)
        lay_apart(normals, 0, lanes, block[1])
        for face in range(len(places)):
            i = u64(face)
            for vertex in range(count):
                v = u64(first + vertex)
                at, of = u64(9) * v, u64(3) * v
                store(attributes[i], at, load(colours[i], of, _THREE))
                store(attributes[i], at + u64(3), load(block[1, i], u64(3 * vertex), _THREE))
                store(attributes[i], at + u64(6), load(places[i], of, _THREE))


@kernel
def _project(places, projection, clip):
    """Fill clip coordinates (N * 4,) of places (N * 3,); the projection (16,) is transposed."""
    along_x, along_y = load(projection, 0, _FOUR), load(projection, 4, _FOUR)
    along_z, shift = load(projection, 8, _FOUR), load(projection, 12, _FOUR)
    for vertex in range(len(clip) // 4):
        v = u64(vertex)
        x, y, z = places[u64(3) * v], places[u64(3) * v + u64(1)], places[u64(3) * v + u64(2)]
        store(clip, u64(4) * v, multiply_add(x, along_x, multiply_add(y, along_y, multiply_add(z, along_z, shift))))


@kernel
def _send_back_clip(places, projection, gradient, to_places, to_projection):
    """Add the gradient of clip coordinates (N * 4,) to that of the places (N * 3,), and fill that of the projection.

    That is (16,) by x, y, z and 1, while the projection is by rows. Half of the vertices are not seen and skipped.
    """
    of_x, of_y = load(projection, 0, _THREE), load(projection, 4, _THREE)
    of_z, of_w = load(projection, 8, _THREE), load(projection, 12, _THREE)
    to_projection[:] = f32(0)
    for first in range(0, len(gradient) // 4, LONGEST_SUM):
        sum_x = sum_y = sum_z = total = filled(f32(0), _FOUR)
        for vertex in range(first, min(first + LONGEST_SUM, len(gradient) // 4)):
            v, at = u64(3 * vertex), u64(4 * vertex)
            gx, gy, gz, gw = gradient[at], gradient[at + u64(1)], gradient[at + u64(2)], gradient[at + u64(3)]
            if (gx == f32(0)) & (gy == f32(0)) & (gz == f32(0)) & (gw == f32(0)):
                continue
            pull = load(gradient, at, _FOUR)
            sum_x, sum_y = multiply_add(places[v], pull, sum_x), multiply_add(places[v + u64(1)], pull, sum_y)
            sum_z, total = multiply_add(places[v + u64(2)], pull, sum_z), total + pull
            back = multiply_add(gx, of_x, multiply_add(gy, of_y, load(to_places, v, _THREE)))
            store(to_places, v, multiply_add(gz, of_z, multiply_add(gw, of_w, back)))
        for column, sums in enumerate((sum_x, sum_y, sum_z, total)):
            at = u64(4 * column)
            store(to_projection, at, load(to_projection, at, _FOUR) + sums)


@exact_kernel
def _through_attributes(attributes, inverses, gradient, lanes, block, of_sums, to_places, to_colours):
    """Fill what comes back of attributes (F, N * 9) directly, and `of_sums`, what comes back to the summed normals."""
    vertices = to_places.shape[1] // 3
    block[:] = f32(0)
    for first in range(0, vertices, BLOCK):
        count = min(BLOCK, vertices - first)
        for face in range(len(to_places)):
            i = u64(face)
            for vertex in range(count):
                v = u64(first + vertex)
                at, to = u64(9) * v, u64(3) * v
                normal, pull = load(attributes[i], at + u64(3), _THREE), load(gradient[i], at + u64(3), _THREE)
                store(block[i], u64(3 * vertex), pull - normal * add_up(normal * pull))
                store(to_colours[i], to, load(gradient[i], at, _THREE))
                store(to_places[i], to, load(gradient[i], at + u64(6), _THREE))
        lay_together(block, first, lanes, of_sums)
        for vertex in range(first, first + count):
            inverse = load(inverses, u64(vertex * len(lanes)), lanes)
            for k in range(3):
                at = u64((3 * vertex + k) * len(lanes))
                store(of_sums, at, load(of_sums, at, lanes) * inverse)


@exact_kernel
def _through_triangles(places, of_sums, triangles, lanes, to_places):
    """Fill what the summed normals send back to the places (N * 3 * lanes,)."""
    to_places[:] = f32(0)
    for triangle in range(len(triangles)):
        t = u64(triangle)
        a, b, c = u64(triangles[t, 0]), u64(triangles[t, 1]), u64(triangles[t, 2])
        ax, ay, az = _three(of_sums, a, lanes)
        bx, by, bz = _three(of_sums, b, lanes)
        cx, cy, cz = _three(of_sums, c, lanes)
        gx, gy, gz = ax + bx + cx, ay + by + cy, az + bz + cz
        px, py, pz, qx, qy, qz = _edges(places, a, b, c, lanes)
        to_bx, to_by, to_bz = _cross(qx, qy, qz, gx, gy, gz)
        to_cx, to_cy, to_cz = _cross(gx, gy, gz, px, py, pz)
        _add_three(to_places, a, lanes, f32(0) - to_bx - to_cx, f32(0) - to_by - to_cy, f32(0) - to_bz - to_cz)
        _add_three(to_places, b, lanes, to_bx, to_by, to_bz)
        _add_three(to_places, c, lanes, to_cx, to_cy, to_cz)


def _groups(faces):
    """Faces that go together: a list of slices, and a tuple of as many lanes."""
    lanes = _ONE if faces <= FEW else _EIGHT
    return [slice(first, first + len(lanes)) for first in range(0, faces, len(lanes))], lanes


class VertexStageOnCpu(torch.autograd.Function):
    """(vertices, albedo, int32 triangles, projection), contiguous -> (clip_vertices, attributes)."""

    @staticmethod
    def forward(context, vertices, albedo, triangles, projection):
        faces, count = vertices.shape[:2]
        places, colours = (x.view(faces, -1).numpy() for x in (vertices, albedo))
        corners, cameras = triangles.numpy(), projection.mT.reshape(len(projection), -1).numpy()
        groups, lanes = _groups(faces)
        attributes = recycled_empty((faces, count * 9))
        inverses = recycled_empty((len(groups), count * len(lanes)))
        clip = recycled_empty((len(cameras), count * 4))
        together = [None] * len(groups)

        def prepare(i):
            some, sums = groups[i], empty_side(count, lanes)
            together[i] = join(places[some], lanes)
            _sum_normals(together[i], corners, lanes, sums)
            block = np.empty((2, len(lanes), BLOCK * 3), np.float32)
            _attributes(places[some], colours[some], sums, lanes, block, inverses[i], attributes[some])

        for_each(prepare, len(groups))
        for_each(lambda i: _project(places[i % faces], cameras[i], clip[i]), len(cameras))
        clip, attributes = torch.from_numpy(clip), torch.from_numpy(attributes)
        context.save_for_backward(vertices, triangles, projection, attributes, torch.from_numpy(inverses))
        context.together = together
        return clip.view(-1, count, 4), attributes.view(faces, count, 9)

    @staticmethod
    def backward(context, clip_gradient, attributes_gradient):
        vertices, triangles, projection, attributes, inverses = context.saved_tensors
        faces, count = vertices.shape[:2]
        places, corners, inverses = vertices.view(faces, -1).numpy(), triangles.numpy(), inverses.numpy()
        attributes, pulls = attributes.numpy(), attributes_gradient.contiguous().view(faces, -1).numpy()
        cameras = projection.reshape(len(projection), -1).numpy()
        clip_pulls = clip_gradient.contiguous().view(len(cameras), -1).numpy()
        to_places, to_colours, to_cameras = (recycled_empty(x.shape) for x in (places, places, cameras))
        groups, lanes = _groups(faces)

        def send_back_attributes(i):
            some, block = groups[i], np.empty((len(lanes), BLOCK * 3), np.float32)
            of_sums, to_normals = empty_side(count, lanes), empty_side(count, lanes)
            _through_attributes(
                attributes[some], inverses[i], pulls[some], lanes, block, of_sums, to_places[some], to_colours[some]
            )
            _through_triangles(context.together[i], of_sums, corners, lanes, to_normals)
            add_apart(to_normals, lanes, block, to_places[some])

        def send_back_clip(face):
            for i in range(face, len(cameras), faces):
                _send_back_clip(places[face], cameras[i], clip_pulls[i], to_places[face], to_cameras[i])

        for_each(send_back_attributes, len(groups))
        for_each(send_back_clip, faces)
        # no views of tensors: autograd adds what else comes back to the vertices in place
        to_vertices, to_albedo = (torch.from_numpy(x.reshape(vertices.shape)) for x in (to_places, to_colours))
        return to_vertices, to_albedo, None, torch.from_numpy(to_cameras).view(-1, 4, 4).mT
