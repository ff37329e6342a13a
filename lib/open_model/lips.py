"""Lips that close, for sliders of mouth and jaw often part them slightly, and teeth that stand right behind them."""

import numpy as np

from lib.open_model.assets import sample_mask
from lib.open_model.landmarks import NAMED_POINTS
from lib.open_model.parts import Part, connected_parts

# mm
HALF_WIDTH = 23.5  # from the middle to where lips are checked: the corners are closed anyway
COLUMN_WIDTH = 4.0
OVERLAP = 0.5  # the upper lip ends this far below the start of the lower one, seen from the front
LARGEST_OVERLAP = 1.5  # beyond it, lips pass through one another
LIP_THICKNESS = 10.0  # from where the lips meet to the front teeth
SHOWN, OVERBITE, OVERJET = 2.5, 2.5, 2.0  # of the upper front teeth below the lips, over and before the lower ones
FRONT_TEETH = 5.0  # from the middle
STEPS = 3  # of moving the lips: neighbouring columns share vertices


class LipClosure:
    """Moves the lips of a cage together until no gap is seen from the front."""

    def __init__(self, mesh, vertices):
        points = mesh.operator @ vertices
        upper, lower = _lips(mesh, points)
        self._columns = np.arange(-22.0, 23.0, COLUMN_WIDTH)
        self._upper_rows, self._lower_rows = mesh.operator[upper], mesh.operator[lower]
        self._upper_column, self._lower_column = (
            np.abs(points[lip, :1] - self._columns).argmin(axis=1) for lip in (upper, lower)
        )
        low, high = self._facing_edges(points[upper, 1], points[lower, 1])
        line, depth = 0.5 * (low + high), points[upper, 2].max() - 6
        self._x = vertices[:, 0]
        above = vertices[:, 1] - np.interp(self._x, self._columns, line)
        self._moves = 0.5 * np.sign(above) * self._influence(mesh, vertices, line, depth, above)

    def gap(self, cage):
        """Return the gap between the lips of a cage (C, 3) in each column, mm; negative where they overlap."""
        low, high = self._facing_edges(self._upper_rows @ cage[:, 1], self._lower_rows @ cage[:, 1])
        return low - high

    def close(self, cage):
        """Return a copy of the cage (C, 3) with closed lips."""
        return self._bring(cage, OVERLAP, 0, np.inf)

    def separate(self, cage):
        """Return a copy of the cage (C, 3) in which lips no longer pass through one another."""
        return self._bring(cage, LARGEST_OVERLAP, -np.inf, 0)

    def _bring(self, cage, overlap, least, most):
        cage = cage.copy()
        for _ in range(STEPS):
            gap = np.clip(self.gap(cage) + overlap, least, most)
            cage[:, 1] -= self._moves * np.interp(self._x, self._columns, gap)
        return cage

    def _facing_edges(self, upper_y, lower_y):
        """Lowest point of the upper lip and highest of the lower one, column by column."""
        low, high = np.full(len(self._columns), np.inf), np.full(len(self._columns), -np.inf)
        np.minimum.at(low, self._upper_column, upper_y)
        np.maximum.at(high, self._lower_column, lower_y)
        return low, high

    def _influence(self, mesh, vertices, line, depth, above):
        """How far each cage vertex of the skin follows the lips: 1 at the line where they meet, fading around it."""
        x = np.linspace(-26, 26, 60)
        contact = np.c_[x, np.interp(x, self._columns, line), np.full(len(x), depth)]
        offsets = (vertices[:, None] - contact) * [1, 1, 0.5]
        distance = np.linalg.norm(offsets, axis=2).min(axis=1)
        is_surface = np.zeros(len(vertices), bool)
        surface = mesh.triangles[mesh.parts <= Part.MOUTH]
        is_surface[np.unique(mesh.operator[np.unique(surface)].indices)] = True
        fade = np.exp(-0.5 * (distance / 6) ** 2) * np.clip((27 - np.abs(vertices[:, 0])) / 5, 0, 1)
        return np.where(is_surface & (distance < 20) & (np.abs(above) >= 0.05), fade, 0.0)


class Teeth:
    """Puts the teeth of cages where people have them: MakeHuman's are apart, too high, and deep in the mouth."""

    def __init__(self, base, cage):
        quads = (base.faces[base.groups == f"helper-{jaw}-teeth"] for jaw in ("upper", "lower"))
        self._jaws = [np.searchsorted(cage, np.intersect1d(each, cage)) for each in quads]
        self._front = [jaw[np.abs(base.vertices[cage[jaw], 0]) < FRONT_TEETH] for jaw in self._jaws]
        self._lips = np.searchsorted(cage, NAMED_POINTS.loc[["ibug.63", "ibug.67"], "vertex"])

    def place(self, cage):
        """Return a copy of the cage (C, 3), whose lips are closed, with its teeth behind them."""
        cage = cage.copy()
        line, depth = cage[self._lips, 1].mean(), cage[self._lips, 2].mean() - LIP_THICKNESS
        edges = (np.min, line - SHOWN, depth), (np.max, line - SHOWN + OVERBITE, depth - OVERJET)
        for jaw, front, (edge, height, place) in zip(self._jaws, self._front, edges):
            cage[jaw] += [0, height - edge(cage[front, 1]), place - cage[front, 2].max()]
        return cage


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
