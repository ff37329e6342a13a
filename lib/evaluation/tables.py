"""Tables that compare the metrics written by `dvc repro`."""

from pathlib import Path

import pandas as pd

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.tensors import read_json

METRICS = paths.METRICS

MEASURES = pd.read_csv(Path(__file__).with_name("measures.csv"), index_col="measure")
"""Measures in the order of the tables: `title` there, empty where no table shows it; `paired` where it is `PAIRED`."""

ROWS = MEASURES["title"].dropna().to_dict()
"""Measures of the comparison, in its order, and what the tables call them."""

PAIRED = tuple(MEASURES["paired"].dropna().index)
"""Measures that keep their bootstrap, for differences of methods (`lib.evaluation.bootstrap.difference`)."""

SUMMARY = {
    "similarity": "similarity.all.frontal",
    "random_pose": "similarity.all.random_scene",
    "emd": "earth_movers_distance.all.same",
    "top1": "recall.all.top1",
    "top5": "recall.all.top5",
    "second_similarity": "second_judge.similarity.all.frontal",
    "second_top1": "second_judge.recall.all.top1",
    "face_only_emd": "face_only.earth_movers_distance.all.same",
    "mm": "geometry.all.mean",
    "consistency": "consistency.all.same",
    "shape_mean_square": "coefficients.all.shape_mean_square",
    "texture_mean_square": "coefficients.all.texture_mean_square",
    "reread_shape": "loopback.all.shape",
    "reread_texture": "loopback.all.texture",
}
"""The few measures by which `dvc exp show` compares experiments, and what it calls them."""

GROUP_MEASURES = (
    (("similarity", "frontal"), "similarity"),
    (("earth_movers_distance", "same"), "earth mover's distance to same-person pairs"),
    (("recall", "top1"), "top-1 recall"),
    (("recall", "top5"), "top-5 recall"),
    (("geometry", "mean"), "distance to the true shape, mm"),
    (("exaggeration", "distance"), "distance from the mean face"),
)
"""What is shown of each group of people: table and column, and its title."""
GROUP_FIGURE = ("similarity", "top-1 recall", "distance to the true shape, mm")


def read_metrics(name):
    """Read the metrics of a regressor or of another method; StudyError where it has not been evaluated."""
    for folder in ("evaluate", "methods"):
        path = METRICS / folder / f"{name}.json"
        if path.is_file():
            return read_json(path)
    raise StudyError(
        f"{METRICS} has no metrics of {name}; run `dvc repro evaluate@{name}`, or `dvc repro methods` for those"
    )


def look_up(metrics, key):
    """Look up `table.row.column`, or a sequence of these, in nested metrics; None where it was not measured."""
    for part in key.split(".") if isinstance(key, str) else key:
        if part not in metrics:
            return None
        metrics = metrics[part]
    return metrics


def summary(metrics):
    """Return the values of `SUMMARY` that were measured, a dict of str to float."""
    found = {name: look_up(metrics, key) for name, key in SUMMARY.items()}
    return {name: measured["value"] for name, measured in found.items() if measured is not None}


def comparison_table(metrics):
    """Compare all measures of metrics by method: text such as `0.41 [0.38, 0.44]`, a row per measure that is there."""
    rows = {title: [interval_text(look_up(one, key)) for one in metrics.values()] for key, title in ROWS.items()}
    table = pd.DataFrame(rows, index=list(metrics)).T
    return table[(table != "").any(axis=1)]


def long_table(names):
    """Put every number of several evaluated methods into one table (``docs/metrics.md``), for other programs."""
    return pd.DataFrame(
        [
            dict(table=".".join(table), row=row, column=column, method=name, **leaf)
            for name in names
            for (*table, row, column), leaf in leaves(read_metrics(name))
        ],
        columns=["table", "row", "column", "method", "value", "low", "high", "n"],
    )


def leaves(metrics, path=()):
    """Yield the path (tuple of str) and the measured value (a dict with `value`) of all of a method's metrics."""
    for key, inner in metrics.items():
        if "value" in inner:
            yield (*path, key), inner
        else:
            yield from leaves(inner, (*path, key))


def metrics_table(metrics, tables):
    """Show some tables of one method, by name: measures below one another, photographs side by side, as text."""
    rows = {}
    for (name, row, column), leaf in leaves({name: metrics[name] for name in tables if name in metrics}):
        rows.setdefault((name, column), {})[row] = interval_text(leaf)
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return table.set_axis(pd.MultiIndex.from_tuples(rows, names=["table", "measure"])) if rows else table


def judge_table(metrics, networks):
    """Put one method's likeness under each judge of `NetworksParams` side by side: a DataFrame of text."""
    parts = {networks.evaluation: ""} | {name: f"{part}." for part, name in networks.further_judges.items()}
    keys = [key.removeprefix("second_judge.") for key in ROWS if key.startswith("second_judge.")]
    rows = {ROWS[key]: [interval_text(look_up(metrics, part + key)) for part in parts.values()] for key in keys}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(parts))


def group_table(metrics):
    """Show `GROUP_MEASURES` of one method: text, a row for all people and one per group, (attribute, group)."""
    rows = {("all", "all"): _group_cells(metrics, "all")}
    for attribute, tables in metrics.get("groups", {}).items():
        rows |= {(attribute, group): _group_cells(tables, group) for group in tables["similarity"]}
    table = pd.DataFrame([{title: interval_text(cell) for title, cell in cells.items()} for cells in rows.values()])
    table.insert(0, "photographs", [cells["similarity"]["n"] for cells in rows.values()])
    table.index = pd.MultiIndex.from_tuples(rows, names=["attribute", "group"])
    return table.loc[:, (table != "").any(axis=0)]


def group_measures(metrics):
    """Look up what `lib.figures.group_intervals` takes of one method: values of all people, and cells of the groups."""
    every = _group_cells(metrics, "all")
    overall = {title: every[title]["value"] for title in GROUP_FIGURE if every[title] is not None}
    groups = {
        attribute: {group: _group_cells(tables, group) for group in tables["similarity"]}
        for attribute, tables in metrics["groups"].items()
    }
    return overall, groups


def _group_cells(tables, group):
    """The measured values of a group, or None, by the titles of `GROUP_MEASURES`."""
    return {title: look_up(tables, (table, group, column)) for (table, column), title in GROUP_MEASURES}


def to_markdown(table):
    """Write a table of text as GitHub's Markdown."""
    header = ["", *table.columns]
    lines = [header, ["---"] + ["---:"] * len(table.columns), *([label, *row] for label, row in table.iterrows())]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def interval_text(cell):
    """Write a measured {value, low, high} as `0.41 [0.38, 0.44]`; nothing for None."""
    return "" if cell is None else f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
