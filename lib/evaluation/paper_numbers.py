"""The numbers that the paper publishes: its Tables 1, 2 and 3, all rows.

They come from the Basel Face Model 2017, FaceNet and VGG-Face, and from other photographs: they stand beside this
study's for orientation only.
"""

import pandas as pd

NOT_MEASURED = "—"


def _table(columns, rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.MultiIndex.from_tuples(columns))


GEOMETRY = _table(
    [(condition, part) for condition in ("cooperative", "indoor", "outdoor") for part in ("mean", "std.")],
    {
        "Tran et al. [29]": ["1.93", "0.27", "2.02", "0.25", "1.86", "0.23"],
        "Genova et al. (the paper)": ["1.50", "0.13", "1.50", "0.11", "1.48", "0.11"],
    },
)
"""Table 1: mm on MICC, point to plane after ICP with isotropic scale."""

EARTH_MOVERS_DISTANCE = _table(
    [(data, part) for data in ("LFW", "MICC", "MoFA-Test") for part in ("same", "diff.")],
    {
        "MoFA [27]": [NOT_MEASURED] * 4 + ["0.30", "0.11"],
        "Tran et al. [29]": ["0.32", "0.09", "0.32", "0.09", "0.27", "0.14"],
        "Genova et al. (the paper)": ["0.14", "0.26", "0.09", "0.32", "0.09", "0.32"],
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
        "Genova et al. (the paper)": ["0.87", "0.96", "0.16", "0.51"],
    },
)
"""Table 3: the person's photograph among the nearest, under VGG-Face."""
