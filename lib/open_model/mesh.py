"""The mesh of the open face model: MakeHuman's head, cut to the face, refined, with eyeballs and a closed mouth cavity.

Every vertex is a fixed linear combination of the vertices of a coarse cage (`FaceMesh.operator`), so that shapes are
sampled, aligned and analysed on some five thousand cage vertices and refined only at the end.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from lib.open_model.eyeball import eyeball
from lib.open_model.subdivision import subdivide

LONGEST_LIGHT_EDGE = 5.0
"""Cage edges longer than this (mm) are split once in the light mesh."""


class Part(IntEnum):
    """What a triangle belongs to."""

    SKIN = 0
    LID_RIM = 1
    MOUTH = 2
    TEETH = 3
    RIGHT_EYE = 4
    LEFT_EYE = 5


@dataclass(frozen=True)
class FaceMesh:
    """Topology of the open face model, at both resolutions.

    Attributes
    ----------
    cage : ndarray (C,)
        Vertices of the base mesh that shape the face.
    cage_mirror : ndarray (C,)
        The cage vertex at the mirrored place.
    operator : csr_matrix (N, C)
        Rows make the full mesh's vertices from the cage.
    triangles, parts : ndarray (T, 3), (T,)
        The full mesh, counter-clockwise from outside, and the `Part` of each triangle.
    texture_coordinates : ndarray (N, 2)
        Of the skin, for the masks; NaN elsewhere.
    eye_angles : ndarray (N, 3)
        Eye (0 right, 1 left), angle from the pupil and angle around it in radians; NaN off the eyeballs.
    light_rows, light_triangles : ndarray (n,), (t, 3)
        The light mesh: vertices taken from the full one, and its own triangles over them.
    mirror : ndarray (N,) or None
        The full vertex at the mirrored place; None before the mesh is cut.
    """

    cage: np.ndarray
    cage_mirror: np.ndarray
    operator: sparse.csr_matrix
    triangles: np.ndarray
    parts: np.ndarray
    texture_coordinates: np.ndarray
    eye_angles: np.ndarray
    light_rows: np.ndarray
    light_triangles: np.ndarray
    light_parts: np.ndarray
    mirror: np.ndarray | None = None


def assemble(base):
    """Build the refined head with its inner parts; `lib.open_model.cut` trims it to the face.

    Parameters
    ----------
    base : BaseMesh

    Returns
    -------
    FaceMesh
        Uncut, with unused rows; `mirror` is None and `light_rows` are all rows.
    """
    faces, face_parts, teeth = _choose_faces(base)
    eye_vertices = [np.unique(base.faces[base.groups == f"helper-{side}-eye"]) for side in "rl"]
    cage = np.unique(np.concatenate([faces.ravel(), teeth.ravel(), *eye_vertices]))
    to_cage = np.full(len(base.vertices), -1)
    to_cage[cage] = np.arange(len(cage))
    pieces = [_skin(base, cage, to_cage[faces], face_parts), _teeth(to_cage[teeth], len(cage))]
    for side, vertices in enumerate(eye_vertices):
        pieces.append(_eye(base.vertices[vertices], to_cage[vertices], len(cage), side))
    starts = np.cumsum([0] + [piece.operator.shape[0] for piece in pieces])
    operator = sparse.vstack([piece.operator for piece in pieces]).tocsr()
    return FaceMesh(
        cage=cage,
        cage_mirror=to_cage[base.mirror[cage]],
        operator=operator,
        triangles=np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts)]),
        parts=np.concatenate([piece.parts for piece in pieces]),
        texture_coordinates=np.concatenate([piece.texture_coordinates for piece in pieces]),
        eye_angles=np.concatenate([piece.eye_angles for piece in pieces]),
        light_rows=np.arange(operator.shape[0]),
        light_triangles=np.concatenate([piece.light_triangles + start for piece, start in zip(pieces, starts)]),
        light_parts=np.concatenate([piece.light_parts for piece in pieces]),
    )


@dataclass(frozen=True)
class _Piece:
    operator: sparse.csr_matrix
    triangles: np.ndarray
    parts: np.ndarray
    light_triangles: np.ndarray
    light_parts: np.ndarray
    texture_coordinates: np.ndarray
    eye_angles: np.ndarray


def _choose_faces(base):
    """Pick quads of the head: skin, the rim of the lids, the mouth cavity; and of the teeth."""
    centres = base.vertices[base.faces].mean(axis=1)
    x, y, z = centres.T
    head, mouth, sockets, neck = _islands(base, centres)
    skin = (head | (neck & (y > -100))) & (z > -55) & (y < 100) & (y - 0.5 * z < 80) & (y + 0.45 * z > -115)
    on_head = np.zeros(len(base.vertices), bool)
    on_head[base.faces[head]] = True
    rim = sockets & on_head[base.faces].any(axis=1)
    mouth &= z > 62
    parts = np.select([skin, rim, mouth], [Part.SKIN, Part.LID_RIM, Part.MOUTH], default=-1)
    chosen = np.flatnonzero(parts >= 0)
    teeth = np.isin(base.groups, ["helper-upper-teeth", "helper-lower-teeth"]) & (np.abs(x) < 17)
    return base.faces[chosen], parts[chosen], base.faces[teeth]


def _islands(base, centres):
    """Tell head, mouth cavity, eye sockets and neck apart: each is an island of the texture coordinates."""
    body = base.groups == "body"
    sides = np.stack([base.texture_faces[body], np.roll(base.texture_faces[body], 1, axis=1)], axis=2).reshape(-1, 2)
    count = len(base.texture_coordinates)
    graph = sparse.coo_matrix((np.ones(len(sides)), sides.T), (count, count))
    island = np.full(len(base.faces), -1)
    island[body] = connected_components(graph, directed=False)[1][base.texture_faces[body, 0]]
    names = np.unique(island[body])
    middle = {name: centres[island == name].mean(axis=0) for name in names}
    highest = sorted(names, key=lambda name: -middle[name][1])
    sockets = [name for name in highest[:4] if abs(middle[name][0]) > 10]
    central = sorted(set(highest[:4]) - set(sockets), key=lambda name: -(island == name).sum())
    torso = next(name for name in highest[4:] if abs(middle[name][0]) < 10)
    return island == central[0], island == central[1], np.isin(island, sockets), island == torso


def _halve(quads):
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _skin(base, cage, faces, face_parts):
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
    return _Piece(
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


def _teeth(faces, cage_count):
    step = subdivide(faces, cage_count)
    triangles, light = _halve(step.faces), _halve(faces)
    rows = step.smooth.shape[0]
    return _Piece(
        step.smooth,
        triangles,
        np.full(len(triangles), Part.TEETH),
        light,
        np.full(len(light), Part.TEETH),
        np.full((rows, 2), np.nan),
        np.full((rows, 3), np.nan),
    )


def _eye(helper_points, cage_indices, cage_count, side):
    ball = eyeball(helper_points)
    spread = sparse.csr_matrix(
        (np.ones(len(cage_indices)), (np.arange(len(cage_indices)), cage_indices)), (len(cage_indices), cage_count)
    )
    rows, part = len(ball.weights), Part.RIGHT_EYE + side
    return _Piece(
        sparse.csr_matrix(ball.weights) @ spread,
        ball.triangles,
        np.full(len(ball.triangles), part),
        ball.light_triangles,
        np.full(len(ball.light_triangles), part),
        np.full((rows, 2), np.nan),
        np.c_[np.full(rows, side), ball.angle_from_pupil, ball.angle_around_pupil],
    )


def open_edges(triangles, parts, part):
    """Edges (E, 2) that only one triangle has, that being of one part; against the direction of that triangle."""
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2)
    low, high = np.sort(sides.reshape(-1, 2), axis=1).astype(np.int64).T
    _, index, count = np.unique(low * (high.max() + 1) + high, return_inverse=True, return_counts=True)
    alone = (count[index].reshape(-1, 3) == 1) & (parts == part)[:, None]
    return sides[alone][:, ::-1]
