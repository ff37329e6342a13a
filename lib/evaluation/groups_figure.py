"""The figure of the measures by group of people."""

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from lib.evaluation.tables import GROUP_MEASURES, measure
from lib.figures import COLOURS

SHOWN = ("similarity", "top-1 recall", "distance to the true shape, mm")


def group_intervals(metrics):
    """Each measure of each group of people with its interval, beside the value of all people.

    Parameters
    ----------
    metrics : dict
        Of one method, with `groups`.

    Returns
    -------
    Figure
        A column a measure of `SHOWN` that was taken, a row an attribute.
    """
    groups = metrics["groups"]
    keys = [key for key, title in GROUP_MEASURES if title in SHOWN]
    shown = [(table, column) for table, column in keys if measure(metrics, f"{table}.all.{column}") is not None]
    titles = dict(GROUP_MEASURES)
    heights = [len(tables["similarity"]) for tables in groups.values()]
    figure, axes = plt.subplots(
        len(groups),
        len(shown),
        figsize=(2.6 * len(shown) + 1, 0.32 * sum(heights) + 0.5 * len(groups) + 0.4),
        height_ratios=heights,
        sharex="col",
        layout="constrained",
        squeeze=False,
    )
    for row, colour, (attribute, tables) in zip(axes, COLOURS, groups.items()):
        names = list(tables["similarity"])
        for axis, (table, column) in zip(row, shown):
            axis.axvline(measure(metrics, f"{table}.all.{column}")["value"], color="#999999", linewidth=1)
            for y, name in enumerate(names):
                cell = measure(tables, (table, name, column))
                if cell is not None:  # a group may have nobody whose true face is known
                    axis.plot([cell["low"], cell["high"]], [y, y], color=colour, linewidth=3, alpha=0.45)
                    axis.plot(cell["value"], y, "o", color=colour, markersize=5)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.set_yticks(range(len(names)), names if axis is row[0] else [])
            axis.tick_params(labelsize=8)
            axis.grid(axis="x", color="#dddddd", linewidth=0.6)
            axis.spines[["top", "right", "left"]].set_visible(False)
        row[0].set_ylabel(attribute, fontsize=9)
    for axis, key in zip(axes[0], shown):
        axis.set_title(titles[key], fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure
