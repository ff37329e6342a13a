"""Small meshes of the things that simulated people wear: rolled-up grids, tubes and lofts, joined to the face.

Each is a `Mesh` with an albedo, in mm in the face model's frame.
"""

import numpy as np

from lib.face_model.mesh_reading import Mesh


def join(meshes):
    """Make one mesh of several; the first one's vertices keep their numbers."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts)]),
        np.concatenate([mesh.albedo for mesh in meshes]).astype(np.float32),
    )


def rolled_grid(points, albedo):
    """Join points (R, C, 3), rows downwards and columns counter-clockwise from above, into a closed surface."""
    rows, columns = points.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b = number[:-1], np.roll(number, -1, axis=1)[:-1]
    c, d = number[1:], np.roll(number, -1, axis=1)[1:]
    triangles = np.concatenate([np.stack([a, c, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)])
    return Mesh(points.reshape(-1, 3), triangles, np.broadcast_to(albedo, points.shape).reshape(-1, 3).copy())


def tube(curve, radius, colour, sides=6):
    """Lay a tube of constant radius (mm) about an open curve (K, 3) that is not vertical everywhere."""
    along = np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # the direction that the curve takes least keeps the cross product away from zero
    least = np.eye(3)[np.abs(along).mean(0).argmin()]
    across = np.cross(along, least)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    other = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    mesh = rolled_grid(curve[:, None] + radius * ring, colour)
    return Mesh(mesh.vertices, mesh.triangles[:, ::-1].copy(), mesh.albedo)


def loft(heights, half_widths, half_depths, middles, colour):
    """Stack ellipses about the vertical axis: heights, half widths, half depths and z of their middles (R,), mm."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = np.outer(half_widths, np.sin(angle)), np.outer(heights, np.ones(48))
    z = np.outer(half_depths, np.cos(angle)) + np.asarray(middles)[:, None]
    return rolled_grid(np.stack([x, y, z], -1), colour)
