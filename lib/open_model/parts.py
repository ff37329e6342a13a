"""Parts of the open model's head over the cage: refined skin, teeth and eyeballs, at both resolutions."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from lib.open_model.subdivision import subdivide

LONGEST_LIGHT_EDGE = 5.0
"""Cage edges longer than this (mm) are split once in the light mesh."""

RINGS_DEGREES = np.array(
    [3, 6, 7.4, 8.6, 10, 12.5, 15, 17.5, 20, 22, 23.4, 24.4, 25.4, 26.6, 28, 30, 33, 37, 42, 48, 54, 60, 66, 73, 80]
)
LIGHT_RINGS = [0, 3, 5, 7, 9, 11, 12, 13, 15, 17, 19, 21, 24]
SEGMENTS, LIGHT_STRIDE = 48, 2


class Part(IntEnum):
    """What a triangle belongs to."""

    SKIN = 0
    LID_RIM = 1
    MOUTH = 2
    TEETH = 3
    RIGHT_EYE = 4
    LEFT_EYE = 5


@dataclass(frozen=True)
class Piece:
    """One part of the head over the cage, fields as in `lib.open_model.mesh.FaceMesh`."""

    operator: sparse.csr_matrix
    triangles: np.ndarray
    parts: np.ndarray
    light_triangles: np.ndarray
    light_parts: np.ndarray
    texture_coordinates: np.ndarray
    eye_angles: np.ndarray


def _halve(quads):
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def skin_piece(base, cage, faces, face_parts):
    first = subdivide(faces, len(cage))
    second = subdivide(first.faces, first.smooth.shape[0])
    smooth, linear = (second.smooth @ first.smooth).tocsr(), (second.linear @ first.linear).tocsr()
    triangles, parts = _halve(second.faces), np.tile(np.repeat(face_parts, 16), 2)
    light, light_parts = _light_skin(first, faces, face_parts, smooth @ base.vertices[cage], len(cage))
    # the mouth cavity is cut open at the back: one vertex in the middle of the hole closes it, at both resolutions
    hole, light_hole = (open_edges(*each, Part.MOUTH) for each in ((triangles, parts), (light, light_parts)))
    middle = sparse.csr_matrix(smooth[np.unique(hole)].mean(axis=0))
    cap = smooth.shape[0]
    coordinates = np.vstack([_skin_coordinates(base, cage, faces[face_parts == Part.SKIN], linear), [[np.nan] * 2]])
    return Piece(
        operator=sparse.vstack([smooth, middle]).tocsr(),
        triangles=np.concatenate([triangles, np.c_[hole, np.full(len(hole), cap)]]),
        parts=np.concatenate([parts, np.full(len(hole), Part.MOUTH)]),
        light_triangles=np.concatenate([light, np.c_[light_hole, np.full(len(light_hole), cap)]]),
        light_parts=np.concatenate([light_parts, np.full(len(light_hole), Part.MOUTH)]),
        texture_coordinates=coordinates,
        eye_angles=np.full((cap + 1, 3), np.nan),
    )


def _skin_coordinates(base, cage, skin_faces, linear):
    """Texture coordinates of refined skin vertices; NaN where a neighbour in the cage is not skin."""
    texture_index = np.full(len(cage), -1)
    to_cage = np.full(len(base.vertices), -1)
    to_cage[cage] = np.arange(len(cage))
    is_skin = np.zeros(len(cage), bool)
    is_skin[skin_faces] = True
    inside = is_skin[to_cage[base.faces]].all(axis=1) & (to_cage[base.faces] >= 0).all(axis=1)
    texture_index[to_cage[base.faces[inside]]] = base.texture_faces[inside]
    known = texture_index >= 0
    coordinates = np.where(known[:, None], base.texture_coordinates[texture_index], 0.0)
    refined = linear @ coordinates
    refined[linear @ (known & is_skin).astype(float) < 0.999] = np.nan
    return refined


def _light_skin(first, faces, face_parts, points, cage_count):
    """Triangles of the light skin: a cage quad in two, or a fan around its centre if it has long edges."""
    lengths = np.round(np.linalg.norm(points[first.edges[:, 0]] - points[first.edges[:, 1]], axis=1), 6)
    split = lengths > LONGEST_LIGHT_EDGE
    triangles, parts = [], []
    for index, (quad, edges) in enumerate(zip(faces, first.face_edges)):
        if lengths[edges].max() < 0.95 * LONGEST_LIGHT_EDGE:
            fan = [(quad[0], quad[1], quad[2]), (quad[0], quad[2], quad[3])]
        else:
            centre, fan = cage_count + len(first.edges) + index, []
            for k in range(4):
                start, end, middle = quad[k], quad[(k + 1) % 4], cage_count + edges[k]
                halves = [(start, middle, centre), (middle, end, centre)]
                fan += halves if split[edges[k]] else [(start, end, centre)]
        triangles += fan
        parts += [face_parts[index]] * len(fan)
    return np.array(triangles), np.array(parts)


def teeth_piece(faces, cage_count):
    step = subdivide(faces, cage_count)
    triangles, light = _halve(step.faces), _halve(faces)
    rows = step.smooth.shape[0]
    return Piece(
        step.smooth,
        triangles,
        np.full(len(triangles), Part.TEETH),
        light,
        np.full(len(light), Part.TEETH),
        np.full((rows, 2), np.nan),
        np.full((rows, 3), np.nan),
    )


def eye_piece(helper_points, cage_indices, cage_count, side):
    ball = _eyeball(helper_points)
    spread = sparse.csr_matrix(
        (np.ones(len(cage_indices)), (np.arange(len(cage_indices)), cage_indices)), (len(cage_indices), cage_count)
    )
    rows, part = len(ball.weights), Part.RIGHT_EYE + side
    return Piece(
        sparse.csr_matrix(ball.weights) @ spread,
        ball.triangles,
        np.full(len(ball.triangles), part),
        ball.light_triangles,
        np.full(len(ball.light_triangles), part),
        np.full((rows, 2), np.nan),
        np.c_[np.full(rows, side), ball.angle_from_pupil, ball.angle_around_pupil],
    )


@dataclass(frozen=True)
class _Eyeball:
    """The visible cap of one eyeball.

    Attributes
    ----------
    weights : ndarray (P, H)
        Rows make its vertices from MakeHuman's helper vertices, exactly under any affine motion of them.
    angle_from_pupil, angle_around_pupil : ndarray (P,)
        Radians.
    triangles, light_triangles : ndarray (T, 3), (t, 3)
    """

    weights: np.ndarray
    angle_from_pupil: np.ndarray
    angle_around_pupil: np.ndarray
    triangles: np.ndarray
    light_triangles: np.ndarray


def _eyeball(helper_points):
    """Fit a sphere to an eye's helper vertices (H, 3), which look along +z; cover its front with a polar grid."""
    centre = helper_points.mean(axis=0)
    radius = np.linalg.norm(helper_points - centre, axis=1).mean()
    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    theta = np.r_[0, np.repeat(np.deg2rad(RINGS_DEGREES), SEGMENTS)]
    phi = np.r_[0, np.tile(around, len(RINGS_DEGREES))]
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    homogeneous = np.c_[np.ones(len(helper_points)), helper_points]
    weights = np.c_[np.ones(len(theta)), centre + radius * directions] @ np.linalg.pinv(homogeneous)
    return _Eyeball(weights, theta, phi, _grid(list(range(len(RINGS_DEGREES))), 1), _grid(LIGHT_RINGS, LIGHT_STRIDE))


def _grid(rings, stride):
    """Triangles over some of the rings and every `stride`-th segment, counter-clockwise seen from the front."""
    count = SEGMENTS // stride

    def vertex(ring, segment):
        return 1 + rings[ring] * SEGMENTS + (segment % count) * stride

    triangles = [(0, vertex(0, s), vertex(0, s + 1)) for s in range(count)]
    for ring in range(len(rings) - 1):
        for s in range(count):
            inner, outer = vertex(ring, s), vertex(ring + 1, s)
            outer_next, inner_next = vertex(ring + 1, s + 1), vertex(ring, s + 1)
            triangles += [(inner, outer, outer_next), (inner, outer_next, inner_next)]
    return np.array(triangles)


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
