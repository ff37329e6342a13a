"""Grids of faces: photographs beside renders (paper Figs. 1, 3, 4, 6, 7), written as PNG."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np

CELL = 1.25  # inches per picture: shows 150 pixels as they are
GRID_TEXT, TITLE_HEIGHT, GAP = 11, 0.3, 0.1  # points; inches for a line of titles and between groups
ERROR_COLOURS, UNMEASURED = "viridis", 0.6  # colour map of errors; grey of places without one
LETTER = 0.0078  # inches that a letter takes, for each point of its size


def face_grid(rows, titles=None, row_titles=None, group=None):
    """Show pictures in rows and columns: photographs beside renders (Figs. 1, 3, 4, 6, 7) or random faces.

    `rows` of one length hold pictures (H, W, 3), uint8 or float in [0, 1], or None where no face was found. `group`
    rows belong together (None: all). `titles` stand above the columns, or sequences of them above each group.
    """
    columns, group = len(rows[0]), group or len(rows)
    groups = -(-len(rows) // group)
    if titles is None or isinstance(titles[0], str):
        titles = [titles] + [None] * (groups - 1)
    # the longest line of the titles beside the rows, in steps of a tenth of an inch
    letters = max((len(line) for title in row_titles or () for line in title.split("\n")), default=0)
    left = round(0.25 + LETTER * GRID_TEXT * letters, 1) if row_titles else 0.0
    above = [TITLE_HEIGHT if names else 0.0 for names in titles]
    tops = [CELL * r + GAP * (r // group) + sum(above[: r // group + 1]) for r in range(len(rows))]
    width, height = left + CELL * columns, tops[-1] + CELL
    figure = plt.figure(figsize=(width, height))
    # one plot in inches: one for each picture would take longer than most of the notebooks' work
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    lefts = left + CELL * np.arange(columns)
    for r, (top, row) in enumerate(zip(tops, rows)):
        for x, picture in zip(lefts, row):
            if picture is None:
                look = dict(ha="center", va="center", fontsize=9, color="#777777")
                axes.text(x + CELL / 2, top + CELL / 2, "no face found", **look)
            else:
                axes.imshow(np.asarray(picture), extent=(x, x + CELL, top + CELL, top), aspect="auto")
        if row_titles:
            axes.text(left - 0.1, top + CELL / 2, row_titles[r], ha="right", va="center", fontsize=GRID_TEXT)
        if r % group == 0 and titles[r // group]:
            size = min(GRID_TEXT, CELL / (LETTER * max(map(len, titles[r // group]))))
            for x, title in zip(lefts, titles[r // group]):
                axes.text(x + CELL / 2, top - 0.07, title, ha="center", va="bottom", fontsize=size)
    return figure


def stress_grid(changes, steps, pictures):
    """One person under growing changes: each photograph above the face that it gives (Fig. 6).

    For each `Change` by name `pictures` has photograph and face (or None), unchanged first, then by growing strength.
    """
    rows, titles, names = [], [], []
    for change in changes:
        photographs, faces = zip(*pictures[change.name])
        rows += [photographs, faces]
        titles.append(["unchanged", *(f"{strength:g}" for strength in change.strengths(steps))])
        names += [f"{change.name}\n{textwrap.fill(change.unit, 18)}", ""]
    return face_grid(rows, titles, names, group=2)


def style_grid(styles, pictures):
    """Photographs redrawn in several styles, a pair of rows each, and the faces that they give, or None (Fig. 7)."""
    rows, names = [], []
    for style, pairs in zip(styles, pictures):
        rows += list(zip(*pairs))
        names += [style, ""]
    return face_grid(rows, row_titles=names, group=2)


def error_colours(errors, largest):
    """Colours (N, 3), sRGB, of errors (N,) from 0 to `largest` mm; grey where they are not numbers."""
    colours = plt.colormaps[ERROR_COLOURS](np.nan_to_num(errors) / largest)[:, :3]
    return np.where(np.isnan(errors)[:, None], UNMEASURED, colours)


def error_map(pictures, title, largest):
    """Show pictures (V, H, W, 3) of a mesh in its `error_colours`, above their scale in mm."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(2.7 * len(pictures), 3.4), layout="constrained")
    for axis, picture in zip(axes, pictures):
        axis.imshow(picture)
        axis.axis("off")
    figure.suptitle(title, fontsize=GRID_TEXT)
    scale = plt.cm.ScalarMappable(plt.Normalize(0, largest), ERROR_COLOURS)
    figure.colorbar(scale, ax=axes, location="bottom", label="mm (grey: not measured)", extend="max", aspect=50)
    return figure
