"""Figures of the stress test: how a face holds out when only the photograph changes (paper Figs. 6 and 7)."""

import matplotlib.pyplot as plt

from lib.figures import COLOURS, DIFFERENT, face_grid, title_of

PHOTOGRAPHS = "photographs"
"""The row of the metrics that compares the photographs themselves, as the evaluation network sees them."""


def stress_grid(changes, steps, pictures):
    """One person under growing changes: each photograph above the face that it gives (Fig. 6).

    Parameters
    ----------
    changes : sequence of lib.robustness.changes.Change
    steps : int
        Strengths of each.
    pictures : dict of str to list of (ndarray, ndarray or None)
        For each change by name photograph and face, unchanged first and then by growing strength; no face where none
        was found.

    Returns
    -------
    Figure
    """
    rows, titles, names = [], [], []
    for change in changes:
        photographs, faces = zip(*pictures[change.name])
        strengths = change.strengths(steps)
        rows += [photographs, faces]
        titles.append(["unchanged", *(f"{strength:g}" for strength in strengths)])
        names += [f"{change.name}\n{_wrapped(change.unit)}", ""]
    return face_grid(rows, titles, names, group=2)


def style_grid(styles, pictures):
    """Photographs redrawn in several styles, and the faces that they give (Fig. 7).

    Parameters
    ----------
    styles : sequence of str
        What each pair of rows shows.
    pictures : list of list of (ndarray or None, ndarray or None)
        For each style photograph and face of each person; None where no face was found.

    Returns
    -------
    Figure
    """
    rows, names = [], []
    for style, pairs in zip(styles, pictures):
        rows += list(zip(*pairs))
        names += [style, ""]
    return face_grid(rows, row_titles=names, group=2)


def stress_curves(changes, steps, consistency, between_people):
    """Consistency of the faces over the strength of each change, one line a regressor, with 95 % intervals.

    Parameters
    ----------
    changes : sequence of lib.robustness.changes.Change
    steps : int
        Strengths of each.
    consistency : dict of str to dict
        By regressor (and `PHOTOGRAPHS`) what `lib.robustness.protocol.consistency` gives.
    between_people : dict of str to float
        By regressor the mean cosine of two people's faces: the floor.

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(
        1, len(changes), figsize=(2.3 * len(changes), 3.0), sharey=True, layout="constrained", squeeze=False
    )
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
        axis.set_xlabel(_wrapped(change.unit), fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("cosine to the face of the\nunchanged photograph", fontsize=8)
    axes[0, 0].set_ylim(top=1.02)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _curve(axis, change, steps, cells, **style):
    """Values over strengths, from 1 at the strength that changes nothing."""
    measured = {0: dict(value=1.0, low=1.0, high=1.0)} | {int(step): cell for step, cell in cells.items()}
    strengths = [change.none, *change.strengths(steps)]
    x = [strengths[step] for step in measured]
    values, low, high = ([cell[key] for cell in measured.values()] for key in ("value", "low", "high"))
    axis.plot(x, values, marker="o", markersize=3, linewidth=1.3, **style)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _wrapped(text, width=18):
    """Break a text into lines of about `width` characters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
