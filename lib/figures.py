"""One function per plot, written as SVG, with the methods in the same order everywhere."""

import textwrap
from itertools import cycle
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SAME, DIFFERENT = "#009E73", "#999999"
PIXELS_PER_INCH = 120
SHARES = np.linspace(0, 1, 501)
PHOTOGRAPHS = "photographs"  # the row of the stress test that compares the photographs themselves
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
    ground_truth="true face",
)


def title_of(name):
    """Return how figures and tables call a regressor; an added variant goes by its name in `params.yaml`."""
    return TITLES.get(name, name.replace("_", " "))


def save_figure(figure, path):
    """Write a figure (the ending chooses the format) with the same bytes at every run, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    vector = path.suffix == ".svg"
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, dpi=PIXELS_PER_INCH, metadata={"Date": None} if vector else {"Software": None})
    return path


def _plots(rows, columns, size, labels=8, **options):
    """A figure, `size` in inches, and its axes (rows, columns) without boxes, with numbers of `labels` points."""
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for axis in axes.flat:
        axis.tick_params(which="both", labelsize=labels)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def similarity_distributions(same, different, similarities, edges):
    """Distributions of cosine similarity between photograph and render, over those of photographs (Fig. 5).

    `same` and `different` are histograms (K,) of all pairs of photographs, with the bins `edges` (K + 1,);
    `similarities` are the cosines (N,) of photograph and render by regressor.
    """
    coarse, count = np.linspace(-0.6, 1.0, 65), len(similarities) + 1
    figure, axes = _plots(count, 1, (7, 0.9 + 0.95 * count), labels=10, sharex=True)
    axes = axes[:, 0]
    for mean, colour in zip(_draw_pairs(axes[0], same, different, edges, coarse), (SAME, DIFFERENT)):
        axes[0].axvline(mean, color=colour, linewidth=1)
    axes[0].set_title("all pairs of photographs", fontsize=9, loc="left")
    # on the line of the title, at its right end: it must not lie over what is drawn
    place = dict(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, ncols=2)
    axes[0].legend(fontsize=8, frameon=False, handlelength=1.2, columnspacing=1.2, **place)
    for axis, colour, (name, values) in zip(axes[1:], cycle(COLOURS), similarities.items()):
        axis.hist(values, coarse, density=True, histtype="stepfilled", color=colour, alpha=0.8)
        axis.axvline(values.mean(), color="black", linewidth=1)
        axis.set_title(f"photograph and render: {title_of(name)} ({values.mean():.2f})", fontsize=9, loc="left")
    for axis in axes:
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    axes[-1].set_xlabel("cosine similarity under the evaluation network (mean in brackets)", fontsize=9)
    return figure


def _draw_pairs(axis, same, different, edges, coarse):
    """Histograms of pairs of photographs in coarser bins; return their two means."""
    centres, means = (edges[:-1] + edges[1:]) / 2, []
    for counts, colour, label in ((same, SAME, "same person"), (different, DIFFERENT, "different people")):
        means.append(counts @ centres / counts.sum())
        look = dict(histtype="stepfilled", color=colour, alpha=0.6)  # one shape in place of each bin's own: seconds
        axis.hist(centres, coarse, weights=counts, density=True, label=f"{label} ({means[-1]:.2f})", **look)
    return means


def verification(networks, edges):
    """What recognition networks say of pairs of photographs: cosines before and after centring, and the ROC curves.

    By network: `raw` and `centred`, each (same, different) of histograms (K,) with the bins `edges`, and `roc`
    (false accepts, true accepts), arrays.
    """
    figure, axes = _plots(len(networks), 3, (10, 2.7 * len(networks)), labels=7)
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
    return figure


def loss_curves(histories, names=("identity", "batch", "loop", "parameter"), logarithmic=True):
    """Each loss, a column of DataFrames by variant, over `step` or `epoch`; `logarithmic` where all are positive."""
    figure, axes = _plots(1, len(names), (3.1 * len(names), 2.7))
    for axis, name in zip(axes[0], names):
        for colour, (variant, history) in zip(COLOURS[1:], histories.items()):
            x = "step" if "step" in history else "epoch"
            axis.plot(history[x], history[name], color=colour, linewidth=1.2, label=title_of(variant))
        if logarithmic and min(history[name].min() for history in histories.values()) > 0:
            axis.set_yscale("log")
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlabel(x, fontsize=8)
    if len(histories) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=len(histories), **_LEGEND_BELOW)
    return figure


def interval_bars(table, titles):
    """Compare regressors on several measures: by name one {value, low, high} per measure, in the order of `titles`."""
    figure, axes = _plots(1, len(titles), (2.5 * len(titles), 2.4))
    for axis, title, column in zip(axes[0], titles, zip(*table.values())):
        _intervals(axis, list(zip(COLOURS, column)))
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(table)), [title_of(name) for name in table] if axis is axes[0, 0] else [])
        axis.tick_params(axis="y", length=0)
    return figure


def validation_curves(curves, units):
    """Compactness, generalisation, specificity (`validate` of each linear model) over the number of components."""
    figure, axes = _plots(len(curves), 3, (9, 2.5 * len(curves)), labels=7)
    for row, colour, (name, curve) in zip(axes, COLOURS, curves.items()):
        for axis, measure in zip(row, ("compactness", "generalisation", "specificity")):
            axis.plot(curve[measure], "o-", color=colour, linewidth=1.2, markersize=3)
            unit = "share of the variance" if measure == "compactness" else units[name]
            axis.set_title(f"{name}: {measure}", fontsize=9)
            axis.set_ylabel(unit, fontsize=8)
        row[2].axhline(
            curve["floor"].max(), color=DIFFERENT, linestyle="--", linewidth=1, label="of the people themselves"
        )
        row[2].legend(fontsize=7, frameon=False)
        for axis in row[1:]:
            axis.set_ylim(bottom=0)
    for axis in axes[-1]:
        axis.set_xlabel("components", fontsize=8)
    return figure


def group_intervals(overall, groups):
    """Each measure of each group of people with its 95 % interval, beside the value of all people.

    `overall` has a value by title, a column each; `groups` {value, low, high} or None by attribute (a row each), group
    and title.
    """
    heights = [len(by_group) for by_group in groups.values()]
    size = (2.6 * len(overall) + 1, 0.32 * sum(heights) + 0.5 * len(groups) + 0.4)
    figure, axes = _plots(len(groups), len(overall), size, height_ratios=heights, sharex="col")
    for row, colour, (attribute, by_group) in zip(axes, COLOURS, groups.items()):
        for axis, (title, everyone) in zip(row, overall.items()):
            axis.axvline(everyone, color=DIFFERENT, linewidth=1)
            _intervals(axis, [(colour, measures[title]) for measures in by_group.values()])
            axis.set_yticks(range(len(by_group)), by_group if axis is row[0] else [])
        row[0].set_ylabel(attribute, fontsize=9)
    for axis, title in zip(axes[0], overall):
        axis.set_title(title, fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def _intervals(axis, rows):
    """Draw a dot and its interval per row, a (colour, cell or None)."""
    for y, (colour, cell) in enumerate(rows):
        if cell is not None:
            axis.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=3, alpha=0.45)
            axis.plot(cell["value"], y, "o", color=colour, markersize=5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.spines["left"].set_visible(False)


def stress_curves(changes, steps, consistency, between_people):
    """Consistency of the faces over the strength of each `Change`, one line per regressor, with 95 % intervals.

    `consistency` is what `lib.robustness.protocol.consistency` gives, by regressor (and `PHOTOGRAPHS`);
    `between_people` by regressor the mean cosine of two people's faces, the floor.
    """
    figure, axes = _plots(1, len(changes), (2.3 * len(changes), 3.0), sharey=True)
    names = [name for name in consistency if name != PHOTOGRAPHS]
    for axis, change in zip(axes[0], changes):
        for colour, name in zip(COLOURS, names):
            _curve(axis, change, steps, consistency[name].get(change.name, {}), color=colour, label=title_of(name))
        if PHOTOGRAPHS in consistency:
            style = dict(color="#555555", linestyle=":", label="the photographs themselves")
            _curve(axis, change, steps, consistency[PHOTOGRAPHS].get(change.name, {}), **style)
        floor = sum(between_people[name] for name in names) / len(names)
        axis.axhline(floor, color=DIFFERENT, linestyle="--", linewidth=1, label="faces of two people (mean)")
        axis.set_title(change.name, fontsize=10)
        axis.set_xlabel(textwrap.fill(change.unit, 18), fontsize=8)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes[0, 0].set_ylabel("cosine to the face of the\nunchanged photograph", fontsize=8)
    axes[0, 0].set_ylim(top=1.02)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=4, **_LEGEND_BELOW)
    return figure


def _curve(axis, change, steps, cells, **style):
    """Values over strengths, from 1 at the strength that changes nothing."""
    measured = {0: dict(value=1.0, low=1.0, high=1.0)} | {int(step): cell for step, cell in cells.items()}
    strengths = [change.none, *change.strengths(steps)]
    x = [strengths[step] for step in measured]
    values, low, high = ([cell[key] for cell in measured.values()] for key in ("value", "low", "high"))
    axis.plot(x, values, marker="o", markersize=3, linewidth=1.3, **style)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def cumulative_errors(distances):
    """Share of points nearer than a distance: one line for each array of distances in mm, which are given by name."""
    figure, ((axis,),) = _plots(1, 1, (5, 3.5), labels=10)
    for colour, (name, values) in zip(COLOURS, distances.items()):
        label = f"scale {name} (median {np.median(values):.2f} mm)"
        axis.plot(np.quantile(values, SHARES), 100 * SHARES, color=colour, linewidth=1.5, label=label)
    axis.set(xlim=(0, 8), ylim=(0, 100), xlabel="distance in mm", ylabel="% of the points")
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure
