"""The paper's claims beside this run: which hold is computed from the metrics."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lib.core.tensors import fingerprint, read_json
from lib.evaluation.bootstrap import difference
from lib.evaluation.tables import interval_text, look_up
from lib.figures import title_of

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "cannot be told", "not run"
MEASURED = Path("reports/claims.json")
"""Of the variants that no default run trains (`derivations/claim_variants.py`): measured once, kept by git."""
UNRELATED = ("methods", "robustness", "variants")
TRAN, MOFA = "fit_regressed", "pixel_autoencoder"


class Claim(NamedTuple):
    """`smaller` is less than `factor` times `larger`: each a method and one of its measures."""

    text: str
    paper: str
    smaller: tuple
    larger: tuple
    factor: float = 1.0


MM, OUTDOOR, COOPERATIVE = (f"geometry.{condition}.mean" for condition in ("all", "outdoor", "cooperative"))
SPREAD, SIDE, ALIKE = "geometry.all.deviation", "similarity.all.side", "similarity.all.frontal"
TOP1, GALLERY = "recall.all.top1", "sources.small_gallery.recall.all.top1"
SAME, DIFFERENT = (f"earth_movers_distance.all.{kind}" for kind in ("same", "different"))
SKIN = "skin.all.delta_e"
TEXTURE, EXAGGERATION = "coefficients.all.texture_mean_square", "exaggeration.all.distance"

CLAIMS = (
    Claim("error in mm 20 % below the supervised baseline", "1.50 against 1.93", ("full", MM), (TRAN, MM), 0.8),
    Claim("half its deviation over people", "0.13 against 0.27", ("full", SPREAD), (TRAN, SPREAD), 0.5),
    Claim("error stable over conditions (within 10 %)", "1.48 to 1.50", ("full", OUTDOOR), ("full", COOPERATIVE), 1.1),
    Claim(
        "nearer to same-person than to different-person pairs", "0.09 against 0.32", ("full", SAME), ("full", DIFFERENT)
    ),
    Claim("nearer to same-person pairs than fits regressed", "0.09 against 0.27", ("full", SAME), (TRAN, SAME)),
    Claim("nearer to same-person pairs than the pixel autoencoder", "0.09 against 0.30", ("full", SAME), (MOFA, SAME)),
    Claim("top-1 recall above fits regressed", "0.87 against 0.25", (TRAN, TOP1), ("full", TOP1)),
    Claim("… in the small gallery: above fits regressed", "0.87 against 0.25", (TRAN, GALLERY), ("full", GALLERY)),
    Claim("top-1 recall above the pixel autoencoder", "0.87 against 0.19", (MOFA, TOP1), ("full", TOP1)),
    Claim("… in the small gallery: above the autoencoder", "0.87 against 0.19", (MOFA, GALLERY), ("full", GALLERY)),
    Claim("skin nearer to the truth than fits regressed", "Fig. 4", ("full", SKIN), (TRAN, SKIN)),
    Claim("skin nearer to the truth than the pixel autoencoder", "Fig. 4", ("full", SKIN), (MOFA, SKIN)),
    Claim("no batch loss: faces leave the model's space", "Fig. 3", ("full", TEXTURE), ("no_batch", TEXTURE)),
    Claim("no loopback loss: features exaggerated", "Fig. 3", ("full", EXAGGERATION), ("no_loopback", EXAGGERATION)),
    Claim("a single view: less alike from the side", "Fig. 3", ("single_view", SIDE), ("full", SIDE)),
    Claim("128-D embedding as the decoder's input: less alike", "text", ("embedding_input", ALIKE), ("full", ALIKE)),
    Claim("a deeper decoder does not help (2 % more alike)", "text", ("deeper_decoder", ALIKE), ("full", ALIKE), 1.02),
    Claim("each face held to the mean: mean faces", "text", ("per_face", EXAGGERATION), ("full", EXAGGERATION)),
    Claim("… and skin farther from the truth", "text", ("full", SKIN), ("per_face", SKIN)),
    Claim("a shallow network on renders: more alike", "text", ("no_batch", ALIKE), ("shallow", ALIKE)),
    Claim("… but faces leave the model's space", "text", ("full", TEXTURE), ("shallow", TEXTURE)),
)
"""The numbers of the paper are those of its Tables 1 to 3 (MICC, MoFA-Test); figures and text have none."""


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
    for claim in CLAIMS:
        sides = claim.smaller, claim.larger
        cells = [
            look_up(methods[name], key) if name in methods else variants.get(name, {}).get(key) for name, key in sides
        ]
        shown, between = "", None
        if all(cells):
            shown = " · ".join(f"{title_of(name)} {interval_text(cell)}" for cell, (name, _) in zip(cells, sides))
            between = difference(*cells, claim.factor)
        told = {"this run": shown, "difference": interval_text(between), "verdict": verdict(between)}
        rows.append({"paper": claim.paper} | told)
    return pd.DataFrame(rows, index=[claim.text for claim in CLAIMS])


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
