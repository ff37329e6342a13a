"""Lips that close, for sliders of mouth and jaw often part them slightly, and teeth that stand right behind them."""

import numpy as np

# mm
COLUMNS = np.arange(-22.0, 23.0, 4.0)  # distances from the middle at which the gap between the lips is measured
OVERLAP = 0.5  # the upper lip ends this far below the start of the lower one, seen from the front
LARGEST_OVERLAP = 1.5  # beyond it, lips pass through one another
LIP_THICKNESS = 10.0  # from where the lips meet to the front teeth
SHOWN, OVERBITE, OVERJET = 2.5, 2.5, 2.0  # of the upper front teeth below the lips, over and before the lower ones
FRONT_TEETH = 5.0  # from the middle
STEPS = 3  # of moving the lips: neighbouring columns share vertices


class LipClosure:
    """Moves the lips of a cage together until no gap is seen from the front."""

    def __init__(self, mesh):
        self._x, self._moves = mesh.base[:, 0], mesh.lip_moves
        self._rows = [mesh.operator[lip] for lip in (mesh.upper_lip, mesh.lower_lip)]
        self._columns = [nearest_columns(rows @ self._x) for rows in self._rows]

    def gap(self, cage):
        """Return the gap between the lips of a cage (C, 3) in each column, mm; negative where they overlap."""
        low, high = facing_edges(*(rows @ cage[:, 1] for rows in self._rows), *self._columns)
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
            cage[:, 1] -= self._moves * np.interp(self._x, COLUMNS, gap)
        return cage


def place_teeth(mesh, cage):
    """Return a copy of the cage (C, 3), whose lips are closed, with the teeth where people have them.

    MakeHuman's are apart, too high, and deep in the mouth.
    """
    cage, lips = cage.copy(), cage[mesh.lip_middle]
    line, depth = lips[:, 1].mean(), lips[:, 2].mean() - LIP_THICKNESS
    edges = (np.min, line - SHOWN, depth), (np.max, line - SHOWN + OVERBITE, depth - OVERJET)
    for number, (edge, height, place) in enumerate(edges, 1):
        jaw = mesh.jaw == number
        front = cage[jaw & (np.abs(mesh.base[:, 0]) < FRONT_TEETH)]
        cage[jaw] += [0, height - edge(front[:, 1]), place - front[:, 2].max()]
    return cage


def nearest_columns(x):
    """Which of `COLUMNS` is nearest to each of x (n,)."""
    return np.abs(x[:, None] - COLUMNS).argmin(axis=1)


def facing_edges(upper_y, lower_y, upper_column, lower_column):
    """Lowest point of the upper lip and highest of the lower one in each of `COLUMNS`, from the lips' y and columns."""
    low, high = np.full(len(COLUMNS), np.inf), np.full(len(COLUMNS), -np.inf)
    np.minimum.at(low, upper_column, upper_y)
    np.maximum.at(high, lower_column, lower_y)
    return low, high
