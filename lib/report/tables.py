"""The report's tables, from the files that the stages wrote, beside the paper's; None where nothing was measured.

The paper's numbers come from the Basel Face Model 2017, FaceNet, VGG-Face and other photographs: only their trend can
be compared.
"""

from pathlib import Path

import pandas as pd

from lib.core.params import STAGE1
from lib.core.tensors import read_json
from lib.evaluation import tables
from lib.evaluation.tables import interval_text, look_up, read_metrics
from lib.figures import TITLES, title_of

HELD_OUT = "test photographs"
THIS_RUN, PAPER = "this run", "the paper: another model, network and data"
NOT_MEASURED = "—"
PAPER_TABLES = Path(__file__).with_name("paper")


def _paper(name, **options):
    """Read a table of published numbers, as text."""
    table = pd.read_csv(PAPER_TABLES / f"{name}.csv", index_col=0, dtype=str, **options)
    return table.rename_axis(index=None, columns=[None] * table.columns.nlevels)


GEOMETRY = _paper("geometry", header=[0, 1])
"""Table 1: mm on MICC, point to plane after ICP with isotropic scale."""

EARTH_MOVERS_DISTANCE = _paper("earth_movers_distance", header=[0, 1])
"""Table 2: to the distributions of same-person and different-person pairs of LFW, under VGG-Face."""

RECALL = _paper("recall", header=[0, 1])
"""Table 3: the person's photograph among the nearest, under VGG-Face."""

BESIDE = _paper("beside")
"""Measures by title: this run's `measure`, a key of `look_up`, and the `published` numbers with the data that they are
of, from Tables 1 to 3 and the text."""


def read_methods(names):
    """Read the metrics of regressors by name, and after them those of the stage `methods`, a dict of str to dict."""
    others = [path.stem for path in sorted((tables.METRICS / "methods").glob("*.json"))]
    # in the order of their titles' list, then those of one's own
    others.sort(key=lambda name: list(TITLES).index(name) if name in TITLES else len(TITLES))
    found = {name: read_metrics(name) for name in (*names, *others)}
    skin = tables.METRICS / "skin.json"
    for name, cell in (read_json(skin) if skin.is_file() else {}).items():
        if name in found:
            found[name]["skin"] = dict(all=dict(delta_e=cell))
    # empty: true faces are known of simulated people only
    return {name: metrics for name, metrics in found.items() if metrics}


def read_robustness():
    """Read the metrics of the stress test; empty where it has not been run."""
    path = tables.METRICS / "robustness.json"
    return read_json(path) if path.is_file() else dict.fromkeys(("changes", "consistency", "found", "likeness"), {})


def summary(methods):
    """Say in Markdown what training on photographs changed, from the metrics of stage 1 and of the full method."""
    first, full = methods[STAGE1], methods["full"]
    frontal, before = (look_up(metrics, "similarity.all.frontal") for metrics in (full, first))
    recall, recall_before = (look_up(metrics, "recall.all.top1") for metrics in (full, first))
    moved = "nearer to" if frontal["value"] > before["value"] else "no nearer to"
    return (
        f"On photographs of people it has never seen, training on photographs (stage 2, “full”) brings the "
        f"faces {moved} the photographs than synthetic training alone (stage 1): the similarity of photograph and face "
        f"is {interval_text(frontal)} instead of {interval_text(before)}, and the right person's photograph is the "
        f"nearest one for {recall['value']:.0%} of the faces instead of {recall_before['value']:.0%}."
    )


def geometry_table(methods):
    """Table 1: distance to the true face in mm by condition and test set, this run's methods above the paper's."""
    names, blocks = {"mean": "mean", "std.": "deviation"}, {}
    for title, at in _test_sets(methods).items():
        keys = {(condition, part): f"{at}geometry.{condition}.{names[part]}" for condition, part in GEOMETRY}
        blocks[THIS_RUN if title == HELD_OUT else f"{THIS_RUN}: {title}"] = _measures(methods, keys)
    blocks = {name: rows for name, rows in blocks.items() if rows is not None}
    return pd.concat(blocks | {PAPER: GEOMETRY}).fillna("") if blocks else None


def distance_table(methods):
    """Table 2: earth mover's distance to same-person and different-person pairs of photographs, by test set."""
    table = "earth_movers_distance.all"
    ours = _measures(methods, _by_test_set(methods, {"same": f"{table}.same", "diff.": f"{table}.different"}))
    return None if ours is None else _above(ours, EARTH_MOVERS_DISTANCE)


def recall_table(methods):
    """Table 3: recall of the right person among the photographs, and that of a random order, by test set."""
    ours, chance = (
        _measures(some, _by_test_set(some, {f"top-{k}": f"recall.all.{order}top{k}" for k in (1, 5)}))
        for some, order in ((methods, ""), (dict(list(methods.items())[:1]), "random_"))
    )
    return None if ours is None else _above(pd.concat([chance.set_axis(["random"]), ours]), RECALL)


def stress_table(robustness):
    """Consistency of the faces under each change at its strongest, a row per regressor (and the photographs)."""
    rows = {}
    for name, kinds in robustness["consistency"].items():
        steps = {change: kinds[change] for change in robustness["changes"] if kinds.get(change)}
        title = "the photographs themselves" if name == "photographs" else title_of(name)
        rows[title] = {change: interval_text(cells[max(cells, key=int)]) for change, cells in steps.items()}
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def style_table(robustness):
    """Likeness and consistency of the faces of redrawn photographs, a row per regressor."""
    styles = [kind for kind in robustness["found"] if kind not in robustness["changes"]]
    columns = [(style, measured) for style in styles for measured in ("likeness", "consistency")]
    rows = {
        title_of(name): {of: interval_text(robustness[of[1]][name].get(of[0], {}).get("1")) for of in columns}
        for name in robustness["likeness"]
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def found_table(robustness):
    """Share of the changed photographs in which a face was found, a row per change and a column per strength."""
    found = robustness["found"].items()
    rows = {kind: {f"step {step}": f"{one['value']:.2f}" for step, one in cells.items()} for kind, cells in found}
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def verification_table():
    """How well the identity networks separate the test people; None where no person has two photographs."""
    networks = read_json(tables.METRICS / "photos.json").get("verification")
    if not networks:
        return None
    titles = dict(same="cosine, same person", different="cosine, different people")
    titles |= dict(auc="area under the ROC curve", raw_auc="… before centring")
    rows = {name: [f"{values[key]:.3f}" for key in titles] for name, values in networks.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(titles.values()))


def paper_table(name):
    """Put one regressor's measures beside the paper's, which come from another model, network and data."""
    metrics = read_metrics(name)
    ours = [interval_text(look_up(metrics, key)) for key in BESIDE["measure"]]
    return pd.DataFrame({"this run": ours, "paper": BESIDE["published"]})


def run_table(params):
    """List what a run was made of: model, networks, photographs and the sizes of both stages."""
    model, photos = (read_json(tables.METRICS / f"{stage}.json") for stage in ("face_model", "photos"))
    networks, stage1, stage2 = params.networks, params.stage1, params.stage2
    rows = {
        "face model": f"{params.face_model.source}, {model['vertices']:,} vertices",
        "networks": f"{networks.training} trains, {networks.evaluation} and {networks.second_evaluation} judge",
        "photographs": f"{params.photos.source}; {photos['files']:,} files, {photos['skipped']:,} skipped",
        "training": f"{photos['train']['photographs']:,} photographs of {photos['train']['people']:,} people",
        "test": f"{photos['test']['photographs']:,} photographs of {photos['test']['people']:,} other people",
        "stage 1": f"{stage1.faces:,} synthetic faces, {stage1.epochs} epochs",
        "stage 2": f"{stage2.steps:,} steps of {stage2.photographs} photographs × {stage2.views} views",
    }
    return pd.DataFrame({"run": rows})


def _test_sets(methods):
    """What keys begin with, by test set: the held-out people, and each source that any method was measured on."""
    return {HELD_OUT: ""} | {name: f"sources.{name}." for each in methods.values() for name in each.get("sources", ())}


def _by_test_set(methods, keys):
    """Keys by (test set, column), of keys by column."""
    sets = _test_sets(methods).items()
    return {(title, column): f"{at}{key}" for title, at in sets for column, key in keys.items()}


def _measures(methods, keys):
    """One row per method, one column per key; None where nothing was measured."""
    rows = [[interval_text(look_up(metrics, key)) for key in keys.values()] for metrics in methods.values()]
    table = pd.DataFrame(rows, [*map(title_of, methods)], pd.MultiIndex.from_tuples(keys))
    table = table[(table != "").any(axis=1)].replace("", NOT_MEASURED)
    return None if table.empty else table


def _above(ours, papers):
    """Put this run's rows above the paper's, in blocks that say which is which."""
    return pd.concat({THIS_RUN: ours, PAPER: papers}).fillna("")
