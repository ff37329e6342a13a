"""Pieces of the open model's head over the cage: refined skin, teeth and eyeballs, at both resolutions.

Each is a dict of what `lib.open_model.mesh.FaceMesh` says of it.
"""

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from derivations.subdivision import clip_quads, subdivide
from lib.open_model.mesh import Part

LONGEST_LIGHT_EDGE = 5.0  # cage edges longer than this (mm) are split once in the light mesh

RINGS_DEGREES = np.array(
    [3, 5, 6, 7, 8.2, 10, 12, 14, 16, 18, 19.4, 20.3, 21.2, 22.2, 23.4, 25.5, 29, 33, 39, 46, 53, 60, 66, 73, 80]
)
LIGHT_RINGS = [0, 3, 5, 7, 9, 11, 12, 13, 15, 17, 19, 21, 24]
SEGMENTS, LIGHT_STRIDE = 48, 2
EYE_UV_RADIUS = 0.024  # in units of the base mesh's texture, where it makes an eyeball's texture as fine as the face's


def _halve(quads):
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def skin_piece(base, cage, faces, face_parts, heights):
    """Skin, lid rims and mouth cavity of quads `faces` of the base mesh, cut where `heights` (C,) of the cage is 0."""
    to_cage = np.full(len(base.vertices), -1)
    to_cage[cage] = np.arange(len(cage))
    known, uv_faces = np.unique(base.texture_faces[faces], return_inverse=True)
    (snap, quads), (uv_snap, uv_quads), source = clip_quads(
        to_cage[base.faces[faces]], uv_faces.reshape(-1, 4), heights, len(known)
    )
    component = connected_parts(quads, snap.shape[0])[quads[:, 0]]
    face = component == np.bincount(component).argmax()
    quads, uv_quads, face_parts = quads[face], uv_quads[face], face_parts[source[face]]
    first = subdivide(quads, snap.shape[0])
    second = subdivide(first.faces, first.smooth.shape[0])
    uv_first = subdivide(uv_quads, uv_snap.shape[0])
    uv_second = subdivide(uv_first.faces, uv_first.linear.shape[0])
    operator = (second.smooth @ first.smooth @ snap).tocsr()
    uv = uv_second.linear @ (uv_first.linear @ (uv_snap @ base.texture_coordinates[known]))
    triangles, parts = _halve(second.faces), np.tile(np.repeat(face_parts, 16), 2)
    quad, corners = _light_corners(first, operator @ base.vertices[cage])
    light, light_parts = _nine_points(quads, first)[quad[:, None], corners], face_parts[quad]
    uv_triangles, light_uv = _halve(uv_second.faces), _nine_points(uv_quads, uv_first)[quad[:, None], corners]
    # the mouth cavity is cut open at the back: one vertex in the middle of the hole closes it, at both resolutions
    hole, light_hole = (open_edges(*each, Part.MOUTH) for each in ((triangles, parts), (light, light_parts)))
    cap, uv_cap = operator.shape[0], len(uv)
    uv_of = np.zeros(cap, np.int64)
    uv_of[triangles[parts == Part.MOUTH]] = uv_triangles[parts == Part.MOUTH]
    return dict(
        operator=sparse.vstack([operator, sparse.csr_matrix(operator[np.unique(hole)].mean(axis=0))]).tocsr(),
        triangles=np.concatenate([triangles, np.c_[hole, np.full(len(hole), cap)]]),
        parts=np.concatenate([parts, np.full(len(hole), Part.MOUTH)]),
        light_triangles=np.concatenate([light, np.c_[light_hole, np.full(len(light_hole), cap)]]),
        uv=np.vstack([uv, uv[uv_of[np.unique(hole)]].mean(axis=0)]),
        uv_triangles=np.concatenate([uv_triangles, np.c_[uv_of[hole], np.full(len(hole), uv_cap)]]),
        light_uv_triangles=np.concatenate([light_uv, np.c_[uv_of[light_hole], np.full(len(light_hole), uv_cap)]]),
        eye_angles=np.full((cap + 1, 2), np.nan),
    )


def _nine_points(quads, step):
    """Corners, edge points and centre (F, 9) of each quad after one subdivision."""
    count = step.linear.shape[1]
    return np.c_[quads, count + step.face_edges, count + len(step.edges) + np.arange(len(quads))]


def _light_corners(first, points):
    """Triangles of the light skin: the quad (t,) of each and three of its nine points (t, 3); long edges are split."""
    lengths = np.round(np.linalg.norm(points[first.edges[:, 0]] - points[first.edges[:, 1]], axis=1), 6)
    split = lengths > LONGEST_LIGHT_EDGE
    quads, corners = [], []
    for index, edges in enumerate(first.face_edges):
        if lengths[edges].max() < 0.95 * LONGEST_LIGHT_EDGE:
            fan = [(0, 1, 2), (0, 2, 3)]
        else:
            fan = []
            for k in range(4):
                start, middle, end = k, 4 + k, (k + 1) % 4
                fan += [(start, middle, 8), (middle, end, 8)] if split[edges[k]] else [(start, end, 8)]
        quads += [index] * len(fan)
        corners += fan
    return np.array(quads), np.array(corners)


def teeth_piece(base, cage, faces):
    """Teeth from quads `faces` of the base mesh."""
    known, uv_faces = np.unique(base.texture_faces[faces], return_inverse=True)
    quads, uv_quads = np.searchsorted(cage, base.faces[faces]), uv_faces.reshape(-1, 4)
    step, uv_step = subdivide(quads, len(cage)), subdivide(uv_quads, len(known))
    triangles, light = _halve(step.faces), _halve(quads)
    return dict(
        operator=step.smooth,
        triangles=triangles,
        parts=np.full(len(triangles), Part.TEETH),
        light_triangles=light,
        uv=uv_step.linear @ base.texture_coordinates[known],
        uv_triangles=_halve(uv_step.faces),
        light_uv_triangles=_halve(uv_quads),
        eye_angles=np.full((step.smooth.shape[0], 2), np.nan),
    )


def eye_piece(helper_points, cage_indices, cage_count, side):
    """The visible cap of an eyeball that looks along +z: a polar grid; its texture is a disc about the pupil."""
    theta = np.r_[0, np.repeat(np.deg2rad(RINGS_DEGREES), SEGMENTS)]  # angle from the pupil
    phi = np.r_[0, np.tile(2 * np.pi * np.arange(SEGMENTS) / SEGMENTS, len(RINGS_DEGREES))]  # and around it
    around = np.stack([np.cos(phi), np.sin(phi)], axis=1)
    directions = np.c_[np.sin(theta)[:, None] * around, np.cos(theta)]
    # the helper vertices lie on a sphere; weights of these make the cap of its front
    centre, count = helper_points.mean(axis=0), len(helper_points)
    radius = np.linalg.norm(helper_points - centre, axis=1).mean()
    homogeneous = np.c_[np.ones(count), helper_points]
    weights = np.c_[np.ones(len(theta)), centre + radius * directions] @ np.linalg.pinv(homogeneous)
    spread = sparse.csr_matrix((np.ones(count), (np.arange(count), cage_indices)), (count, cage_count))
    triangles, light = _grid(range(len(RINGS_DEGREES)), 1), _grid(LIGHT_RINGS, LIGHT_STRIDE)
    return dict(
        operator=sparse.csr_matrix(weights) @ spread,
        triangles=triangles,
        parts=np.full(len(triangles), Part.RIGHT_EYE + side),
        light_triangles=light,
        uv=EYE_UV_RADIUS * around * theta[:, None] / theta.max(),
        uv_triangles=triangles,
        light_uv_triangles=light,
        eye_angles=np.c_[theta, phi],
    )


def _grid(rings, stride):
    """Triangles over some of the rings and every `stride`-th segment, counter-clockwise seen from the front."""
    vertices = 1 + SEGMENTS * np.array(rings)[:, None] + np.arange(0, SEGMENTS, stride)
    following = np.roll(vertices, -1, axis=1)
    middle = np.stack([np.zeros_like(vertices[0]), vertices[0], following[0]], axis=1)
    (inner, outer), (inner_next, outer_next) = ((each[:-1], each[1:]) for each in (vertices, following))
    quads = np.stack([inner, outer, outer_next, inner, outer_next, inner_next], axis=2)
    return np.concatenate([middle, quads.reshape(-1, 3)])


def open_edges(triangles, parts, part):
    """Edges (E, 2) that only one triangle has, that being of one part; against the direction of that triangle."""
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2)
    low, high = np.sort(sides.reshape(-1, 2), axis=1).astype(np.int64).T
    _, index, count = np.unique(low * (high.max() + 1) + high, return_inverse=True, return_counts=True)
    alone = (count[index].reshape(-1, 3) == 1) & (parts == part)[:, None]
    return sides[alone][:, ::-1]


def connected_parts(polygons, vertex_count):
    """Number the connected components of a mesh: ndarray (vertex_count,), one number for the vertices of each."""
    sides = np.stack([polygons, np.roll(polygons, 1, axis=1)], axis=2).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(sides)), sides.T), (vertex_count, vertex_count))
    return connected_components(graph, directed=False)[1]
