"""Normals of a mesh's vertices in float64, to build and measure meshes; the renderer has its own, differentiable."""

import numpy as np

from lib.rendering.kernels.compile import kernel, u64


def unit_normals(vertices, triangles):
    """Average the normals of the triangles about each vertex, weighted with their areas.

    Parameters
    ----------
    vertices : ndarray (N, 3)
    triangles : ndarray (T, 3)
        Counter-clockwise as seen from outside.

    Returns
    -------
    ndarray (N, 3), float64
        Unit vectors that point outwards; zero where there is no triangle with an area.
    """
    vertices = np.ascontiguousarray(vertices, np.float64)
    normals = np.zeros_like(vertices)
    _add_normals(vertices, np.ascontiguousarray(triangles), normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@kernel
def _add_normals(vertices, triangles, normals):
    """Add each triangle's cross product of two edges to its three corners."""
    for triangle in range(len(triangles)):
        t = u64(triangle)
        a, b, c = u64(triangles[t, 0]), u64(triangles[t, 1]), u64(triangles[t, 2])
        px, py, pz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        qx, qy, qz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        normal = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        for corner in (a, b, c):
            for axis in range(3):
                normals[corner, axis] += normal[axis]
