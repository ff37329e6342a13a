"""Cutting and Catmull-Clark subdivision of a quad mesh as sparse matrices, to be applied to any shape of the cage."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse


@dataclass(frozen=True)
class Subdivision:
    """One step of refinement; quads 4 f to 4 f + 3 come from face f, whose edge k follows its corner k.

    New vertices are ordered: old vertices, one per edge, one per face. `smooth` makes them by Catmull-Clark's rules
    (open boundaries become cubic B-splines), `linear` at the middles of edges and faces (texture coordinates).
    """

    smooth: sparse.csr_matrix
    linear: sparse.csr_matrix
    faces: np.ndarray
    edges: np.ndarray
    face_edges: np.ndarray


def subdivide(faces, vertex_count):
    """Work out one Catmull-Clark step of consistently oriented quads (F, 4)."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    keys, face_edges = np.unique(sides[:, 0] * vertex_count + sides[:, 1], return_inverse=True)
    edges, face_edges = np.stack(np.divmod(keys, vertex_count), axis=1), face_edges.reshape(-1, 4)
    on_boundary = np.bincount(face_edges.ravel(), minlength=len(edges)) == 1
    of_faces, of_edges, sides = _corners(faces, vertex_count), _corners(edges, vertex_count), _corners(face_edges)
    face_points, edge_middles = of_faces / 4, of_edges / 2
    at_faces, at_edges = of_faces.T.tocsr(), of_edges.T.tocsr()
    # inner edge: mean of its middle and of its two faces' mean; boundary edge: its middle
    inwards = _scale(np.where(on_boundary, 0.0, 0.5)) @ (_mean(sides.T.tocsr()) @ face_points)
    edge_points = _scale(np.where(on_boundary, 1.0, 0.5)) @ edge_middles + inwards
    # inner vertex of valence n: (F + 2 E + (n - 3) v) / n; boundary vertex: half itself, half its boundary edges
    at_boundary = at_edges @ _scale(on_boundary)
    valence, boundary_valence = _sums(at_faces), _sums(at_boundary)
    around = _mean(at_faces) @ face_points + 2 * (_mean(at_edges) @ edge_middles) + _scale(valence - 3)
    around = _scale(1 / np.maximum(valence, 1)) @ around
    along = 0.5 * sparse.eye(vertex_count) + 0.25 * _scale(boundary_valence == 2) @ (at_boundary @ edge_middles)
    inner, curve = (boundary_valence == 0) & (valence > 0), boundary_valence == 2
    # corners of the boundary and unused vertices stay where they are
    vertex_points = _scale(inner) @ around + _scale(curve) @ along + _scale(~inner & ~curve)
    corner_edges, centres = vertex_count + face_edges, vertex_count + len(edges) + np.arange(len(faces))
    quads = [np.stack([faces[:, k], corner_edges[:, k], centres, corner_edges[:, k - 1]], axis=1) for k in range(4)]
    return Subdivision(
        smooth=sparse.vstack([vertex_points, edge_points, face_points]).tocsr(),
        linear=sparse.vstack([sparse.eye(vertex_count), edge_middles, face_points]).tocsr(),
        faces=np.stack(quads, axis=1).reshape(-1, 4),
        edges=edges,
        face_edges=face_edges,
    )


def clip_quads(faces, uv_faces, heights, uv_count):
    """Cut a quad mesh along the curve where `heights` (V,) of its vertices are 0, keeping what is above.

    The nearer end of each edge that the curve crosses is moved onto the crossing. Quads that the curve then cuts from
    corner to corner lose one half; the other becomes a quad by a vertex in the middle of the cut. Returned are the
    operator (new, V) that makes the vertices and the quads over them, the same for the texture coordinates, which have
    indices `uv_faces` of their own (`uv_count` in all), and the old quad of each new one.
    """
    start, end = heights[faces], heights[np.roll(faces, -1, axis=1)]
    crossed = start * end < 0
    share = np.where(crossed, start / np.where(crossed, start - end, 1), 0)
    from_start = share < 0.5
    on_curve = np.zeros(len(heights), bool)
    on_curve[np.where(from_start, faces, np.roll(faces, -1, axis=1))[crossed]] = True
    sides = np.sign(np.where(on_curve, 0, heights))[faces]
    above, below = (sides > 0).any(axis=1), (sides < 0).any(axis=1)
    whole, half = np.flatnonzero(above & ~below), np.flatnonzero(above & below)
    turn = (sides[half].argmax(axis=1)[:, None] + np.arange(4)) % 4

    def apply(indices, count):
        ends = np.stack([indices, np.roll(indices, -1, axis=1)])
        near, far = np.where(from_start, ends, ends[::-1])[:, crossed]
        moved = np.minimum(share, 1 - share)[crossed] / np.bincount(near, minlength=count)[near]
        stay = np.arange(count)
        values = np.concatenate([1 - np.bincount(near, moved, count), moved])
        snap = sparse.csr_matrix((values, (np.r_[stay, near], np.r_[stay, far])), (count, count))
        halves = np.take_along_axis(indices[half], turn, axis=1)
        middles = 0.5 * (snap[halves[:, 1]] + snap[halves[:, 3]])
        halves[:, 2] = count + np.arange(len(half))
        return sparse.vstack([snap, middles]).tocsr(), np.concatenate([indices[whole], halves])

    return apply(faces, len(heights)), apply(uv_faces, uv_count), np.concatenate([whole, half])


def _corners(members, vertex_count=None):
    """0/1 matrix (members, vertices): which vertices each face or edge has, in their order."""
    rows = np.repeat(np.arange(len(members)), members.shape[1])
    shape = len(members), vertex_count or members.max() + 1
    return sparse.csr_matrix((np.ones(members.size), (rows, members.ravel())), shape)


def _mean(incidence):
    """Rows that average what touches a vertex."""
    return _scale(1 / np.maximum(_sums(incidence), 1)) @ incidence


def _sums(matrix):
    return np.asarray(matrix.sum(axis=1)).ravel()


def _scale(values):
    return sparse.diags(np.asarray(values, np.float64))
