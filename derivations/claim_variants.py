"""Train and measure the variants behind the paper's last claims: `reports/claims.json`.

They start from stage 1 and the photographs of the study; what `lib.report.claims` compares is kept. A stopped run
resumes.

    python -m derivations.claim_variants
"""

from dataclasses import replace
from pathlib import Path

import torch

from lib.baselines.methods import TRUTH, skin_differences
from lib.core import paths
from lib.core.params import load_params
from lib.core.strict import read_yaml
from lib.core.tensors import write_json
from lib.evaluation.protocol import evaluate_faces, load_evaluation
from lib.evaluation.setup import load_evaluation_setup
from lib.evaluation.tables import look_up
from lib.photos.store import load_feature_store
from lib.report.claims import CLAIMS, MEASURED, claim_parameters, read_measured, read_variants
from lib.training.stage2 import train_stage2
from lib.training.start import load_stage2

PRESET = Path("presets/claims.yaml")


def measure_variant(params, name):
    """Train a variant and measure it by the protocol: its metrics."""
    regressor, inputs, _ = load_stage2(params, name)
    checkpoint = paths.CHECKPOINTS / f"stage2-{name}.safetensors"
    train_stage2(regressor, inputs, params.variant(name), params.stage1, checkpoint)
    regressor = regressor.cpu().eval()
    setup = load_evaluation_setup(params, load_feature_store(paths.PHOTOS), regressor.feature_dimension)
    with torch.no_grad():
        faces = regressor(setup.photographed.features)
    metrics, seen = evaluate_faces(setup, faces, averaged=setup.averaged(regressor))
    truth = paths.EXTERNAL / f"{TRUTH}.h5"
    if truth.is_file():
        shown = dict(rows=setup.photographed.rows, pictures=seen.pictures)
        skin = skin_differences(setup, {TRUTH: load_evaluation(truth), name: shown})
        metrics["skin"] = dict(all=dict(delta_e=skin[name]))
    checkpoint.unlink()
    return metrics


def keep_variant(params, name, changes, metrics):
    """Add to `MEASURED` what the claims compare of a variant, with the parameters that it was made with."""
    keys = {key for side in ("smaller", "larger") for key in CLAIMS.loc[CLAIMS[side] == name, f"{side}_measure"]}
    cells = {key: cell for key in sorted(keys) if (cell := look_up(metrics, key))}
    entry = dict(parameters=claim_parameters(params), changes=changes, cells=cells)
    write_json(MEASURED, read_measured() | {name: entry})


def main():
    """Measure the variants of `PRESET` that have not been measured with these parameters."""
    params, variants = load_params(), read_yaml(PRESET)["variants"]
    params = replace(params, variants=variants)
    for name, changes in variants.items():
        if name in read_variants(params) and read_measured()[name]["changes"] == changes:
            print(f"{name}: measured before")
            continue
        keep_variant(params, name, changes, measure_variant(params, name))
        print(f"{name}: added to {MEASURED}")


if __name__ == "__main__":
    main()
