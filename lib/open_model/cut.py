"""Trimming the refined head of the open model to the face, along one smooth curve for all seeds."""

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lib.open_model.mesh import FaceMesh, Part, open_edges

RIM_SMOOTHING_STEPS = 12


def cut(mesh, reference):
    """Trim the head to the face along a smooth curve, smooth the rim and drop unused vertices.

    Parameters
    ----------
    mesh : FaceMesh
        From `assemble`.
    reference : ndarray (C, 3)
        Mirror-symmetric cage of an average person, mm: the curve is drawn on it.

    Returns
    -------
    FaceMesh
    """
    inside = _inside_face(mesh.operator @ reference) | np.isfinite(mesh.eye_angles[:, 0])
    triangles, parts = _trim(mesh.triangles, mesh.parts, inside)
    light_triangles, light_parts = _trim(mesh.light_triangles, mesh.light_parts, inside)
    operator = _rim_smoother(triangles, parts, len(inside)) @ mesh.operator
    used = np.unique(np.concatenate([triangles.ravel(), light_triangles.ravel()]))
    renumber = np.full(len(inside), -1)
    renumber[used] = np.arange(len(used))
    light_rows, light_corners = np.unique(renumber[light_triangles], return_inverse=True)
    operator = operator[used].tocsr()
    return FaceMesh(
        cage=mesh.cage,
        cage_mirror=mesh.cage_mirror,
        operator=operator,
        triangles=renumber[triangles],
        parts=parts,
        texture_coordinates=mesh.texture_coordinates[used],
        eye_angles=mesh.eye_angles[used],
        light_rows=light_rows,
        light_triangles=light_corners.reshape(-1, 3),
        light_parts=light_parts,
        mirror=_mirror_map(operator @ reference),
    )


def _inside_face(points):
    """The face: from behind the ears, below the hairline, above the throat."""
    x, y, z = points.T
    return (z > -30 + 0.15 * np.maximum(-y, 0)) & (y - 0.50 * z < 66) & (y < 84 - 0.004 * x**2) & (y + 0.45 * z > -86)


def _components(triangles, vertex_count):
    sides = np.stack([triangles, np.roll(triangles, 1, axis=1)], axis=2).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(sides)), sides.T), (vertex_count, vertex_count))
    return connected_components(graph, directed=False)[1]


def _trim(triangles, parts, inside):
    """Keep skin inside the curve, and of it only the piece that holds the face, with all inner parts."""
    keep = (parts != Part.SKIN) | inside[triangles].all(axis=1)
    triangles, parts = triangles[keep], parts[keep]
    component = _components(triangles, len(inside))[triangles[:, 0]]
    face = np.bincount(component[parts == Part.SKIN]).argmax()
    keep = (component == face) | (parts >= Part.TEETH)
    return triangles[keep], parts[keep]


def _rim_smoother(triangles, parts, vertex_count):
    """Linear map that moves each vertex of the cut towards its two neighbours along the cut, several times."""
    edges = open_edges(triangles, parts, Part.SKIN)
    both = np.concatenate([edges, edges[:, ::-1]])
    neighbours = sparse.coo_matrix((np.ones(len(both)), both.T), (vertex_count, vertex_count)).tocsr()
    degree = np.asarray(neighbours.sum(axis=1)).ravel()
    share = 0.5 * (degree == 2)
    step = sparse.diags(1 - share) + sparse.diags(share / np.maximum(degree, 1)) @ neighbours
    smoother = sparse.eye(vertex_count, format="csr")
    for _ in range(RIM_SMOOTHING_STEPS):
        smoother = step @ smoother
    return smoother


def _mirror_map(points):
    distances, mirror = cKDTree(points).query(points * [-1, 1, 1])
    if distances.max() > 1e-6 or not np.array_equal(mirror[mirror], np.arange(len(points))):
        raise ValueError(
            f"the mesh is not mirror-symmetric: a vertex lies {distances.max():.3g} mm off its mirror image"
        )
    return mirror
