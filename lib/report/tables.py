"""The report's tables, from the JSON and CSV files that the stages wrote; None where a stage measured nothing."""

import pandas as pd

from lib.core.params import STAGE1
from lib.core.tensors import read_json
from lib.evaluation import paper_numbers, tables
from lib.evaluation.tables import comparison_table, interval_text, look_up, read_metrics
from lib.figures import TITLES, title_of

THIS_RUN, PAPER = "this run", "the paper: another model, network and data"


def read_methods(names):
    """Read the metrics of regressors by name, and after them those of the stage `methods`, a dict of str to dict."""
    others = [path.stem for path in sorted((tables.METRICS / "methods").glob("*.json"))]
    # in the order of their titles' list, then those of one's own
    others.sort(key=lambda name: list(TITLES).index(name) if name in TITLES else len(TITLES))
    found = {name: read_metrics(name) for name in (*names, *others)}
    # empty: true faces are known of simulated people only
    return {name: metrics for name, metrics in found.items() if metrics}


def read_robustness():
    """Read the metrics of the stress test; None where it has not been run."""
    path = tables.METRICS / "robustness.json"
    return read_json(path) if path.is_file() else None


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
    """Table 1: distance to the true face in mm by condition, this run's methods above the paper's."""
    columns = [
        (f"{condition}.{part}", condition, label)
        for condition in ("cooperative", "indoor", "outdoor")
        for part, label in (("mean", "mean"), ("deviation", "std."))
    ]
    ours = _measures(methods, {(group, label): f"geometry.{key}" for key, group, label in columns})
    return None if ours is None else _above(ours, paper_numbers.GEOMETRY)


def distance_table(methods):
    """Table 2: earth mover's distance to same-person and different-person pairs of photographs."""
    keys = {
        ("test photographs", "same"): "earth_movers_distance.all.same",
        ("test photographs", "diff."): "earth_movers_distance.all.different",
    }
    ours = _measures(methods, keys)
    return None if ours is None else _above(ours, paper_numbers.EARTH_MOVERS_DISTANCE)


def recall_table(methods):
    """Table 3: recall of the right person among the photographs, and that of a random order."""
    keys = {("test photographs", "top-1"): "recall.all.top1", ("test photographs", "top-5"): "recall.all.top5"}
    ours = _measures(methods, keys)
    if ours is None:
        return None
    first = next(iter(methods.values()))
    random = [interval_text(look_up(first, f"recall.all.random_{key}")) for key in ("top1", "top5")]
    ours = pd.concat([pd.DataFrame([random], index=["random"], columns=ours.columns), ours])
    return _above(ours, paper_numbers.RECALL)


def methods_table(methods):
    """All measures of some methods in one table."""
    return comparison_table(methods).rename(columns=title_of)


def stress_table(robustness):
    """Consistency of the faces under each change at its strongest, a row per regressor (and the photographs)."""
    if robustness is None:
        return None
    rows = {}
    for name, kinds in robustness["consistency"].items():
        cells = {
            change: kinds[change][max(kinds[change], key=int)] for change in robustness["changes"] if kinds.get(change)
        }
        rows["the photographs themselves" if name == "photographs" else title_of(name)] = {
            change: interval_text(cell) for change, cell in cells.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def style_table(robustness):
    """Likeness and consistency of the faces of redrawn photographs, a row per regressor."""
    if robustness is None:
        return None
    styles = [kind for kind in robustness["found"] if kind not in robustness["changes"]]
    rows = {
        title_of(name): {
            (style, label): interval_text(robustness[measured][name].get(style, {}).get("1"))
            for style in styles
            for label, measured in (("likeness", "likeness"), ("consistency", "consistency"))
        }
        for name in robustness["likeness"]
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def found_table(robustness):
    """Share of the changed photographs in which a face was found, a row per change and a column per strength."""
    if robustness is None:
        return None
    rows = {
        kind: {f"step {step}": f"{cell['value']:.2f}" for step, cell in cells.items()}
        for kind, cells in robustness["found"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def verification_table():
    """How well the identity networks separate the test people; None where no person has two photographs."""
    networks = read_json(tables.METRICS / "photos.json").get("verification")
    if not networks:
        return None
    titles = {
        "same": "cosine, same person",
        "different": "cosine, different people",
        "auc": "area under the ROC curve",
        "raw_auc": "… before centring",
    }
    rows = {
        name: {title: interval_text(values.get(key)) for key, title in titles.items()}
        for name, values in networks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _measures(methods, keys):
    """One row per method, one column per key; None where nothing was measured."""
    rows = {
        title_of(name): [interval_text(look_up(metrics, key)) for key in keys.values()]
        for name, metrics in methods.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=pd.MultiIndex.from_tuples(keys))
    table = table[(table != "").any(axis=1)].replace("", paper_numbers.NOT_MEASURED)
    return None if table.empty else table


def _above(ours, papers):
    """Put this run's rows above the paper's, in blocks that say which is which."""
    return pd.concat({THIS_RUN: ours, PAPER: papers}).fillna("")
