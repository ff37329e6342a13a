"""One function a figure. Faces are written as PNG, plots as SVG; the order of the methods is the same everywhere."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SAME, DIFFERENT = "#009E73", "#999999"
GRID_TEXT, TITLE_HEIGHT, GAP = 11, 0.3, 0.1
"""Of grids of faces: size of the titles in points, and inches for a line of titles and between groups of rows."""
LETTER = 0.0078
"""Inches that a letter takes, for each point of its size."""
PIXELS_PER_INCH = 120
_LEGEND_BELOW = dict(loc="outside lower center", fontsize=8, frameon=False)
TITLES = dict(
    stage1="stage 1 only",
    full="full",
    no_batch="no batch loss",
    no_loopback="no loopback",
    single_view="single view",
    mean_face="mean face",
    pixel_autoencoder="pixel autoencoder",
    iterative_fit="iterative fit",
    fit_regressed="fits regressed",
)


def title_of(name):
    """Return how figures and tables call a regressor; a variant of one's own goes by its name in `params.yaml`."""
    return TITLES.get(name, name.replace("_", " "))


def save_figure(figure, path):
    """Write a figure (the ending chooses the format) with the same bytes at every run, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    vector = path.suffix == ".svg"
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, dpi=PIXELS_PER_INCH, metadata={"Date": None} if vector else {"Software": None})
    return path


def face_grid(rows, titles=None, row_titles=None, cell=1.25, group=None):
    """Show pictures in rows and columns: photographs beside renders (Figs. 1, 3, 4, 6, 7) or random faces.

    Parameters
    ----------
    rows : sequence of sequence of ndarray (H, W, 3) or None
        uint8 or float in [0, 1]; rows of one length. None is a place of which is said that there is no face.
    titles : sequence of str, or sequence of such sequences, or None
        Above the columns; of several sequences each stands above a group of rows.
    row_titles : sequence of str or None
        Beside the rows.
    cell : float
        Inches a picture; 1.25 shows 150 pixels as they are.
    group : int or None
        Rows that belong together; a gap parts them from the next ones. None: all.

    Returns
    -------
    Figure
    """
    columns, group = len(rows[0]), group or len(rows)
    groups = -(-len(rows) // group)
    if titles is not None and isinstance(titles[0], str):
        titles = [titles] + [None] * (groups - 1)
    left = _width_of(row_titles) if row_titles else 0.0
    above = [0.0] * groups if titles is None else [TITLE_HEIGHT if names else 0.0 for names in titles]
    tops = [cell * r + GAP * (r // group) + sum(above[: r // group + 1]) for r in range(len(rows))]
    width, height = left + cell * columns, tops[-1] + cell
    figure = plt.figure(figsize=(width, height))
    for r, (top, row) in enumerate(zip(tops, rows)):
        for c, picture in enumerate(row):
            if picture is None:
                x, y = (left + (c + 0.5) * cell) / width, 1 - (top + cell / 2) / height
                figure.text(x, y, "no face found", ha="center", va="center", fontsize=9, color="#777777")
                continue
            place = [(left + c * cell) / width, 1 - (top + cell) / height, cell / width, cell / height]
            axes = figure.add_axes(place)
            axes.imshow(np.asarray(picture))
            axes.axis("off")
        if row_titles:
            y = 1 - (top + cell / 2) / height
            figure.text((left - 0.1) / width, y, row_titles[r], ha="right", va="center", fontsize=GRID_TEXT)
        if titles is not None and r % group == 0 and titles[r // group]:
            size = min(GRID_TEXT, cell / (LETTER * max(map(len, titles[r // group]))))
            for c, title in enumerate(titles[r // group]):
                x, y = (left + (c + 0.5) * cell) / width, 1 - (top - 0.07) / height
                figure.text(x, y, title, ha="center", va="bottom", fontsize=size)
    return figure


def _width_of(texts):
    """Inches that the longest line of some texts takes at the size of a grid's titles, in steps of a tenth."""
    longest = max(len(line) for text in texts for line in text.split("\n"))
    return round(0.25 + LETTER * GRID_TEXT * longest, 1)


def similarity_distributions(same, different, similarities, edges):
    """Distributions of cosine similarity between photograph and render, over those of photographs (Fig. 5).

    Parameters
    ----------
    same, different : ndarray (K,)
        Histograms of all pairs of photographs, with the bins `edges` (K + 1,).
    similarities : dict of str to ndarray (N,)
        Cosines of photograph and render for each regressor.
    edges : ndarray

    Returns
    -------
    Figure
    """
    coarse = np.linspace(-0.6, 1.0, 65)
    figure, axes = plt.subplots(
        len(similarities) + 1, 1, figsize=(7, 0.9 + 0.95 * (len(similarities) + 1)), sharex=True, layout="constrained"
    )
    for mean, colour in zip(_draw_pairs(axes[0], same, different, edges, coarse), (SAME, DIFFERENT)):
        axes[0].axvline(mean, color=colour, linewidth=1)
    axes[0].set_title("all pairs of photographs", fontsize=9, loc="left")
    _legend_above(axes[0], ncols=2)
    for axis, colour, (name, values) in zip(axes[1:], COLOURS, similarities.items()):
        axis.hist(values, coarse, density=True, color=colour, alpha=0.8)
        axis.axvline(values.mean(), color="black", linewidth=1)
        axis.set_title(f"photograph and render: {title_of(name)} ({values.mean():.2f})", fontsize=9, loc="left")
    for axis in axes:
        axis.set_yticks([])
        axis.spines[["top", "left", "right"]].set_visible(False)
    axes[-1].set_xlabel("cosine similarity under the evaluation network (mean in brackets)", fontsize=9)
    return figure


def _legend_above(axis, ncols, size=8):
    """Put the legend on the line of the title, at its right end: it must not lie over what is drawn."""
    place = dict(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, ncols=ncols)
    axis.legend(fontsize=size, frameon=False, handlelength=1.2, columnspacing=1.2, **place)


def _draw_pairs(axis, same, different, edges, coarse):
    """Histograms of pairs of photographs in coarser bins; return their two means."""
    centres, means = (edges[:-1] + edges[1:]) / 2, []
    for counts, colour, label in ((same, SAME, "same person"), (different, DIFFERENT, "different people")):
        mean = counts @ centres / counts.sum()
        label = f"{label} ({mean:.2f})"
        axis.hist(centres, coarse, weights=counts, density=True, color=colour, alpha=0.6, label=label)
        means.append(mean)
    return means


def verification(networks, edges):
    """What recognition networks say of pairs of photographs: cosines before and after centring, and the ROC curves.

    Parameters
    ----------
    networks : dict of str to dict
        By network: `raw` and `centred`, each (same, different) of histograms (K,) with the bins `edges`, and `roc`
        (false accepts, true accepts), arrays.
    edges : ndarray (K + 1,)

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(
        len(networks), 3, figsize=(10, 2.7 * len(networks)), layout="constrained", squeeze=False
    )
    coarse = np.linspace(-0.6, 1.0, 81)
    for row, (name, results) in zip(axes, networks.items()):
        for axis, key, title in zip(row, ("raw", "centred"), ("as published", "mean descriptor subtracted")):
            _draw_pairs(axis, *results[key], edges, coarse)
            axis.set_title(f"{name}: {title}", fontsize=9, loc="left", pad=18)
            axis.set_xlabel("cosine (mean in brackets)", fontsize=8)
            axis.set_yticks([])
            axis.legend(frameon=False, fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
        false_accepts, true_accepts = results["roc"]
        row[2].plot(false_accepts, true_accepts, color=COLOURS[0], linewidth=1.5)
        row[2].set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1.02))
        row[2].set_title(f"{name}: ROC curve", fontsize=9, loc="left", pad=18)
        row[2].set_xlabel("false accepts", fontsize=8)
        row[2].set_ylabel("true accepts", fontsize=8)
        row[2].grid(color="#dddddd", linewidth=0.6)
        for axis in row:
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    return figure


def loss_curves(histories, names=("identity", "batch", "loop", "parameter"), logarithmic=True):
    """Each loss over the steps of training, one line a variant.

    Parameters
    ----------
    histories : dict of str to DataFrame
        With a column `step` (or `epoch`) and the columns `names`.
    names : sequence of str
    logarithmic : bool
        Where all values are positive.

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(1, len(names), figsize=(3.1 * len(names), 2.7), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names):
        for colour, (variant, history) in zip(COLOURS[1:], histories.items()):
            x = "step" if "step" in history else "epoch"
            axis.plot(history[x], history[name], color=colour, linewidth=1.2, label=title_of(variant))
        if logarithmic and min(history[name].min() for history in histories.values()) > 0:
            axis.set_yscale("log")
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlabel(x, fontsize=8)
        axis.tick_params(which="both", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if len(histories) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=len(histories), **_LEGEND_BELOW)
    return figure


def interval_bars(table, titles):
    """Compare regressors on several measures, with their 95 % intervals.

    Parameters
    ----------
    table : dict of str to list of dict
        For each regressor one {value, low, high} a measure, in the order of `titles`.
    titles : sequence of str

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(1, len(titles), figsize=(2.5 * len(titles), 2.4), layout="constrained", squeeze=False)
    for axis, title, column in zip(axes[0], titles, zip(*table.values())):
        for y, (colour, cell) in enumerate(zip(COLOURS, column)):
            axis.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=3, alpha=0.45)
            axis.plot(cell["value"], y, "o", color=colour, markersize=5)
        axis.set_title(title, fontsize=9)
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.set_yticks(range(len(table)), [title_of(name) for name in table] if axis is axes[0, 0] else [])
        axis.tick_params(labelsize=8)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def validation_curves(curves, units):
    """Compactness, generalisation and specificity over the number of components, one row a linear model.

    Parameters
    ----------
    curves : dict of str to lib.face_model.validation.ValidationCurves
    units : dict of str to str
        Of each model's distances.

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(len(curves), 3, figsize=(9, 2.5 * len(curves)), layout="constrained", squeeze=False)
    for row, colour, (name, curve) in zip(axes, COLOURS, curves.items()):
        for axis, measure in zip(row, ("compactness", "generalisation", "specificity")):
            axis.plot(curve.components, getattr(curve, measure), "o-", color=colour, linewidth=1.2, markersize=3)
            unit = "share of the variance" if measure == "compactness" else units[name]
            axis.set_title(f"{name}: {measure}", fontsize=9)
            axis.set_ylabel(unit, fontsize=8)
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
        row[2].axhline(curve.floor, color=DIFFERENT, linestyle="--", linewidth=1, label="of the people themselves")
        row[2].legend(fontsize=7, frameon=False)
        for axis in row[1:]:
            axis.set_ylim(bottom=0)
    for axis in axes[-1]:
        axis.set_xlabel("components", fontsize=8)
    return figure
