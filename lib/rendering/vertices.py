"""From decoded faces to the rasteriser's input: clip coordinates per view, surface attributes per face; mirroring."""

import numpy as np
import torch

from lib.rendering.camera import project
from lib.rendering.kernels.rasterize import checked_triangles
from lib.rendering.kernels.vertices import VertexStageOnCpu
from lib.rendering.visible import in_parts


def vertex_stage(vertices, albedo, triangles, projection):
    """Project meshes and collect what shading needs: clip coordinates (S, N, 4), attributes (B, N, 9).

    Meshes are those of `lib.rendering.renderer.render_meshes`; projection i of (S, 4, 4) belongs to mesh i % B. The
    attributes are albedo, unit normal, vertex: in the model's frame, so that all views of a face share them.
    """
    if vertices.device.type == "cpu":
        triangles = checked_triangles(triangles.cpu(), vertices.shape[1])
        return VertexStageOnCpu.apply(vertices.contiguous(), albedo.contiguous(), triangles, projection.contiguous())

    def attributes(vertices, albedo):
        return torch.cat([albedo, vertex_normals(vertices, triangles), vertices], 2)

    return project(vertices, projection), in_parts(attributes, vertices, albedo)


def vertex_normals(vertices, triangles):
    """Average the normals of the triangles (T, 3) about each vertex, weighted with their areas, differentiably.

    Of meshes (B, N, 3), triangles counter-clockwise from outside: outward unit vectors (B, N, 3), zero where there is
    no triangle with an area.
    """
    corners = triangles.long().unbind(1)
    a, b, c = (vertices.index_select(1, corner) for corner in corners)
    weighted = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in corners:
        total = total.index_add(1, corner, weighted)
    return torch.nn.functional.normalize(total, dim=2)


def unit_normals(vertices, triangles):
    """Do the same as `vertex_normals` for one mesh (N, 3) in NumPy and float64, to build and measure meshes."""
    vertices, triangles = np.asarray(vertices, np.float64), np.asarray(triangles)
    return vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(triangles))[0].numpy()


def mirror_vertices(points):
    """For each vertex (N, 3) of a symmetric face the one nearest to its mirror image: (N,)."""
    from scipy.spatial import cKDTree  # takes a quarter of a second

    return cKDTree(points).query(points * [-1, 1, 1])[1]
