"""The paper's numbers: all rows of Tables 1 to 3, and those in its text.

They come from the Basel Face Model 2017, FaceNet, VGG-Face and other photographs: only their trend can be compared.
"""

import pandas as pd

NOT_MEASURED = "—"
PAPER = "Genova et al. (the paper)"


def _table(columns, rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.MultiIndex.from_tuples(columns))


GEOMETRY = _table(
    [(condition, part) for condition in ("cooperative", "indoor", "outdoor") for part in ("mean", "std.")],
    {
        "Tran et al. [29]": ["1.93", "0.27", "2.02", "0.25", "1.86", "0.23"],
        PAPER: ["1.50", "0.13", "1.50", "0.11", "1.48", "0.11"],
    },
)
"""Table 1: mm on MICC, point to plane after ICP with isotropic scale."""

EARTH_MOVERS_DISTANCE = _table(
    [(data, part) for data in ("LFW", "MICC", "MoFA-Test") for part in ("same", "diff.")],
    {
        "MoFA [27]": [NOT_MEASURED] * 4 + ["0.30", "0.11"],
        "Tran et al. [29]": ["0.32", "0.09", "0.32", "0.09", "0.27", "0.14"],
        PAPER: ["0.14", "0.26", "0.09", "0.32", "0.09", "0.32"],
        "ground-truth scans": [NOT_MEASURED] * 2 + ["0.03", "0.41"] + [NOT_MEASURED] * 2,
    },
)
"""Table 2: to the distributions of same-person and different-person pairs of LFW, under VGG-Face."""

RECALL = _table(
    [(data, part) for data in ("MoFA-Test", "LFW") for part in ("top-1", "top-5")],
    {
        "random": ["0.01", "0.06", "0.0002", "0.001"],
        "MoFA [27]": ["0.19", "0.54", NOT_MEASURED, NOT_MEASURED],
        "Tran et al. [29]": ["0.25", "0.62", "0.001", "0.002"],
        PAPER: ["0.87", "0.96", "0.16", "0.51"],
    },
)
"""Table 3: the person's photograph among the nearest, under VGG-Face."""


def _beside(frame, column, row=PAPER):
    """Write one row's numbers in a column of a table as `0.87 (MoFA-Test), 0.16 (LFW)`."""
    return ", ".join(f"{frame.loc[row, (name, column)]} ({name})" for name in ("MoFA-Test", "LFW"))


BESIDE = {
    "recall.all.top1": ("top-1 recall", _beside(RECALL, "top-1")),
    "recall.all.top5": ("top-5 recall", _beside(RECALL, "top-5")),
    "recall.all.random_top1": ("top-1 recall of a random order", _beside(RECALL, "top-1", "random")),
    "recall.all.random_top5": ("top-5 recall of a random order", _beside(RECALL, "top-5", "random")),
    "similarity.all.frontal": ("similarity of photograph and render", "0.403 (MoFA-Test)"),
    "similarity.all.same_below": ("same-person pairs less alike than that", "0.227 (LFW pairs)"),
    "similarity.all.different_above": ("different-person pairs more alike than that", "0.0004 (LFW pairs)"),
    "photographs.all.same": ("similarity of photographs of one person", "0.50 (LFW)"),
    "earth_movers_distance.all.same": (
        "earth mover's distance to same-person pairs",
        _beside(EARTH_MOVERS_DISTANCE, "same"),
    ),
    "earth_movers_distance.all.different": ("… to different-person pairs", _beside(EARTH_MOVERS_DISTANCE, "diff.")),
}
"""Title and published numbers, with the data they were measured on, of measures by their key."""
for _condition in ("cooperative", "indoor", "outdoor"):
    _mean, _deviation = (f"{GEOMETRY.loc[PAPER, (_condition, part)]} (MICC)" for part in ("mean", "std."))
    BESIDE[f"geometry.{_condition}.mean"] = f"distance to the true shape, {_condition}, mm", _mean
    BESIDE[f"geometry.{_condition}.deviation"] = f"… standard deviation over people, {_condition}", _deviation
