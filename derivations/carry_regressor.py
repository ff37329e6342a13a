"""Carry the published regressor over to a later state of the open face model: `models/photographs.safetensors`.

Its coefficients change so that they move and colour the new mean face as they did the old one; shapes then move to
their posterior means, as at the end of stage 2, unless they did before. A new training on photographs is better, and
takes hours. With the model that it was trained for, and after the stages `face_model` and `stage1` with the new one:

    python -m derivations.carry_regressor path/to/old/full.h5
    python -m derivations.calibrate_regressor path/to/lfw
"""

import argparse

import numpy as np
import torch

from derivations.calibrate_regressor import CALIBRATION
from lib.core import paths
from lib.core.errors import StudyError
from lib.core.params import PARAMS_FILE, RECOMMENDED, load_params
from lib.core.tensors import read_json, write_json
from lib.face_model.model import FaceModel
from lib.fitting.published import PUBLISHED, check_face_model, facts_file, probe
from lib.training.metric import posterior_map
from lib.training.regressor import Regressor
from lib.training.stage1 import SyntheticFaces

ERRORS = {"shape": 0.02, "texture": 0.0002}
"""What a vertex may move (mm) or change its colour (sRGB) otherwise than before, against the new model's prior."""


def carried(old, new, error):
    """The map (K, K) of coefficients of modes `old` to those of `new`, both (K, N, 3), that do the same to a face."""
    old, new = (modes.flatten(1).double() for modes in (old, new))
    points = old.shape[1] / 3
    penalty = error**2 * torch.eye(len(new), dtype=torch.double)
    return torch.linalg.solve(new @ new.T / points + penalty, new @ old.T / points).float()


@torch.no_grad()
def carry(regressor, old, new, synthetic, share):
    """Change a regressor for the face model `old` into one for `new` in place; `share` as stage 2's posterior share."""
    maps = {kind: carried(old.modes(kind), new.modes(kind), error) for kind, error in ERRORS.items()}
    regressor.map_shapes(maps["shape"])
    layer, size = regressor.layers[-1], regressor.shape_dimension
    layer.weight[size:] = maps["texture"] @ layer.weight[size:]
    layer.bias[size:] = maps["texture"] @ layer.bias[size:]
    means = posterior_map(regressor.of_all(synthetic.features).shape, synthetic.coefficients.shape)
    regressor.map_shapes(torch.lerp(torch.eye(len(means)), means, share))


@torch.no_grad()
def undo_calibration(regressor, facts):
    """Take back what `derivations.calibrate_regressor` did: shapes are as trained again; `facts` lose it."""
    shift = torch.tensor(facts.pop(CALIBRATION)["shift"])
    regressor.map_shapes(torch.eye(len(shift)), -shift)
    facts["held_out_people"] = facts.pop("held_out_people_before_calibration")


def main():
    """Rewrite both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", help="the face model that the regressor was trained for")
    params, facts = load_params(PARAMS_FILE), read_json(facts_file(PUBLISHED))
    old, new = (
        FaceModel.load(path, expression_dimension=1) for path in (parser.parse_args().old, params.face_model.path)
    )
    check_face_model(PUBLISHED, old)
    if not torch.equal(old.triangles, new.triangles):
        raise StudyError("the two face models have other triangles: train the regressor again")
    regressor = Regressor.load(PUBLISHED)
    if CALIBRATION in facts:
        undo_calibration(regressor, facts)
    synthetic = SyntheticFaces.load(paths.stage1_files("all")[0])
    before = regressor.of_all(synthetic.features).shape.numpy()
    moved = "carried_over" in facts or facts["stage2"].get("posterior_share")
    share = 0.0 if moved else params.variant(RECOMMENDED).posterior_share
    carry(regressor, old, new, synthetic, share)
    regressor.save(PUBLISHED)
    facts["face_model"], facts["carried_over"] = probe(new), dict(posterior_share=share, errors=ERRORS)
    write_json(facts_file(PUBLISHED), facts)
    after = regressor.of_all(synthetic.features).shape.numpy()
    print(f"mean square of shapes {np.square(before).mean():.2f} -> {np.square(after).mean():.2f}")


if __name__ == "__main__":
    main()
