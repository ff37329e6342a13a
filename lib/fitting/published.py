"""The regressor that the repository brings, trained on real photographs, and the face model that it belongs to.

Coefficients mean nothing in another face model. The same open model built elsewhere differs in its last digits, so that
a few numbers are compared, not bytes: where the 68 landmarks lie on the mean face, and how its leading components move
them and colour the face.
"""

from pathlib import Path

import numpy as np
import torch

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.tensors import read_json
from lib.face_model.model import IBUG_LANDMARKS

PUBLISHED = Path("models/photographs.safetensors")
COMPONENTS = 12
TOLERANCE_MM, TOLERANCE_COLOUR = 0.2, 0.01


def facts_file(regressor):
    """Where it is told what a published regressor was trained with: beside it."""
    return Path(regressor).with_suffix(".json")


@torch.no_grad()
def probe(face_model):
    """Numbers that tell face models apart: dict of str to nested lists, mm and sRGB."""
    rows = face_model.landmark_vertices(IBUG_LANDMARKS)
    mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension))[0, rows]
    numbers = dict(mean=mean) | {kind: face_model.modes(kind, rows, COMPONENTS) for kind in ("shape", "texture")}
    return {name: values.double().numpy().round(4).tolist() for name, values in numbers.items()}


def is_meant_for(regressor, networks):
    """Tell whether there is a published regressor for these networks (`lib.core.params.NetworksParams`)."""
    if not (Path(regressor).is_file() and facts_file(regressor).is_file()):
        return False
    facts = read_json(facts_file(regressor))
    return (facts["training"], facts["second"]) == (networks.training, networks.second)


def check_face_model(regressor, face_model):
    """Raise StudyError for a published regressor of another face model; others are taken as they are."""
    if not facts_file(regressor).is_file():
        return
    expected, found = read_json(facts_file(regressor))["face_model"], probe(face_model)
    for name, tolerance in (("mean", TOLERANCE_MM), ("shape", TOLERANCE_MM), ("texture", TOLERANCE_COLOUR)):
        one, other = np.array(expected[name]), np.array(found[name])
        if one.shape != other.shape or np.abs(one - other).max() > tolerance:
            raise StudyError(
                f"{regressor} was trained for another face model than {face_model.source}: build the open one by its "
                f"default parameters, or give --regressor one of {paths.REGRESSORS}"
            )
