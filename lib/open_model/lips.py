"""Closed lips for neutral faces: sliders of mouth and jaw often part them slightly."""

import numpy as np

from lib.open_model.assets import sample_mask
from lib.open_model.parts import Part, connected_parts

HALF_WIDTH = 23.5
"""Only lips within this distance (mm) of the middle are checked: the corners are closed anyway."""

COLUMN_WIDTH = 4.0
OVERLAP = 0.5
"""The upper lip ends this far (mm) below the start of the lower one, seen from the front."""


class LipClosure:
    """Moves the lips of a cage together until no gap is seen from the front."""

    def __init__(self, mesh, vertices):
        points = mesh.operator @ vertices
        upper, lower = _lips(mesh, points)
        self._columns = np.arange(-22.0, 23.0, COLUMN_WIDTH)
        self._upper_rows, self._lower_rows = mesh.operator[upper], mesh.operator[lower]
        self._upper_column = self._column(points[upper, 0])
        self._lower_column = self._column(points[lower, 0])
        low, high = self._facing_edges(points[upper, 1], points[lower, 1])
        line = 0.5 * (low + high)
        height = np.interp(vertices[:, 0], self._columns, line)
        self._side = np.sign(vertices[:, 1] - height)
        depth = points[upper, 2].max() - 6
        self._share = self._influence(mesh, vertices, line, height, depth)
        self._x = vertices[:, 0]

    def gap(self, cage):
        """Return the gap between the lips of a cage (C, 3) in each column, mm; negative where they overlap."""
        low, high = self._facing_edges(self._upper_rows @ cage[:, 1], self._lower_rows @ cage[:, 1])
        return low - high

    def close(self, cage, steps=3):
        """Return a copy of the cage (C, 3) with closed lips."""
        cage = cage.copy()
        for _ in range(steps):
            gap = np.maximum(self.gap(cage) + OVERLAP, 0)
            cage[:, 1] -= 0.5 * self._side * self._share * np.interp(self._x, self._columns, gap)
        return cage

    def _column(self, x):
        return np.abs(x[:, None] - self._columns).argmin(axis=1)

    def _facing_edges(self, upper_y, lower_y):
        """Lowest point of the upper lip and highest of the lower one, column by column."""
        low, high = np.full(len(self._columns), np.inf), np.full(len(self._columns), -np.inf)
        np.minimum.at(low, self._upper_column, upper_y)
        np.maximum.at(high, self._lower_column, lower_y)
        return low, high

    def _influence(self, mesh, vertices, line, height, depth):
        """How far each cage vertex of the skin follows the lips: 1 at the line where they meet, fading around it."""
        x = np.linspace(-26, 26, 60)
        contact = np.c_[x, np.interp(x, self._columns, line), np.full(len(x), depth)]
        offsets = (vertices[:, None] - contact) * [1, 1, 0.5]
        distance = np.linalg.norm(offsets, axis=2).min(axis=1)
        is_surface = np.zeros(len(vertices), bool)
        surface = mesh.triangles[mesh.parts <= Part.MOUTH]
        is_surface[np.unique(mesh.operator[np.unique(surface)].indices)] = True
        fade = np.exp(-0.5 * (distance / 6) ** 2) * np.clip((27 - np.abs(vertices[:, 0])) / 5, 0, 1)
        on_line = np.abs(vertices[:, 1] - height) < 0.05
        return np.where(is_surface & (distance < 20) & ~on_line, fade, 0.0)


def _lips(mesh, points):
    """Vertices of the upper and the lower lip: the two largest pieces of skin under the lip mask."""
    skin = mesh.triangles[mesh.parts == Part.SKIN]
    is_lip = sample_mask("lips", mesh.texture_coordinates) > 0.15
    is_lip &= np.abs(points[:, 0]) < HALF_WIDTH
    triangles = skin[is_lip[skin].all(axis=1)]
    component = connected_parts(triangles, len(points))
    largest = np.bincount(component[triangles[:, 0]]).argsort()[::-1][:2]
    lips = [np.flatnonzero(component == name) for name in largest]
    return sorted(lips, key=lambda lip: -points[lip, 1].mean())
