"""The paper's claims beside this run: which hold is computed from the metrics."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lib.core import paths
from lib.core.tensors import fingerprint, read_json
from lib.evaluation.bootstrap import difference
from lib.evaluation.tables import interval_text, look_up
from lib.figures import title_of

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "cannot be told", "not run"
MEASURED = paths.CLAIMS
"""Of the variants that no default run trains (`derivations/claim_variants.py`): measured once, kept by git."""
UNRELATED = ("methods", "robustness", "variants")

CLAIMS = pd.read_csv(Path(__file__).with_name("paper") / "claims.csv")
"""Each `claim`: a method's measure (`smaller`, `smaller_measure`) is less than `factor` times another (`larger`,
`larger_measure`). The numbers of the `paper` are those of its Tables 1 to 3 (MICC, MoFA-Test); figures and text have
none."""


def verdict(between):
    """Tell whether the one value is less than the other, from their measured difference, or None where one lacks."""
    if between is None:
        return NOT_RUN
    return HOLDS if between["high"] < 0 else FAILS if between["low"] > 0 else OPEN


def claims_table(methods, variants):
    """Put the claims of the paper beside this run: a DataFrame of text.

    From the metrics of methods by name, and the cells of variants that are not among them, as of `read_variants`.
    """
    rows = []
    for claim in CLAIMS.itertuples():
        sides = (claim.smaller, claim.smaller_measure), (claim.larger, claim.larger_measure)
        cells = [
            look_up(methods[name], key) if name in methods else variants.get(name, {}).get(key) for name, key in sides
        ]
        shown, between = "", None
        if all(cells):
            shown = " · ".join(f"{title_of(name)} {interval_text(cell)}" for cell, (name, _) in zip(cells, sides))
            between = difference(*cells, claim.factor)
        told = {"this run": shown, "difference": interval_text(between), "verdict": verdict(between)}
        rows.append({"paper": claim.paper} | told)
    return pd.DataFrame(rows, index=[*CLAIMS["claim"]])


def read_variants(params):
    """Read the measured cells of variants in `MEASURED`, by name and measure, if made with these parameters."""
    made_with = claim_parameters(params)
    return {name: entry["cells"] for name, entry in read_measured().items() if entry["parameters"] == made_with}


def read_measured():
    """Read `MEASURED`; empty where no variant has been measured."""
    return read_json(MEASURED) if MEASURED.is_file() else {}


def claim_parameters(params):
    """Return a hash of the parameters that a variant and what it is compared with depend on."""
    return fingerprint({name: values for name, values in asdict(params).items() if name not in UNRELATED})
