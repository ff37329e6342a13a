"""Stage 2 from the files of the study, on one process or on several (`torchrun -m lib.stage2 VARIANT`)."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from lib.face_model import FaceModel
from lib.feature_store import load_feature_store
from lib.params import PARAMS_FILE, STAGE1, load_params
from lib.processes import best_device, joined, launch
from lib.recognition import load_network
from lib.regressor import Regressor
from lib.scenes import SceneDistribution
from lib.synthetic_faces import Pairs
from lib.training import Photographs, Setting, train_stage2


class Stage2(NamedTuple):
    """What stage 2 starts from, on the device that it is to be trained on; the arguments of `train_stage2`."""

    regressor: Regressor
    setting: Setting
    photographs: Photographs
    pairs: Pairs


def load_stage2(face_model_file, network_name, scenes):
    """Read what the earlier stages left.

    Parameters
    ----------
    face_model_file : path-like
    network_name : str
        The training network.
    scenes : ScenesParams

    Returns
    -------
    Stage2

    Raises
    ------
    StudyError
        A file is missing or damaged.
    """
    device, store = best_device(), load_feature_store("data/photos")
    network = load_network(network_name, "data/networks").with_centre(store.centre(network_name))
    train = store.rows("train")
    photographs = Photographs(
        torch.from_numpy(store.features[network_name][train]),
        network.embed(torch.from_numpy(store.descriptors[network_name][train])),
    )
    distribution = SceneDistribution.from_degrees(**asdict(scenes))
    return Stage2(
        Regressor.load(f"data/regressors/{STAGE1}.safetensors").to(device),
        Setting(FaceModel.load(face_model_file).to(device), network.to(device), distribution),
        photographs,
        Pairs.load("data/stage1/pairs.safetensors"),
    )


def run_stage2(start, params, stage1_params, variant):
    """Train one variant to its end, on as many processes as `params.processes` says.

    Several processes leave their last checkpoint, from which this one goes on with nothing left to do.

    Parameters
    ----------
    start : Stage2
        Its regressor is changed in place.
    params : Stage2Params
        Of the variant.
    stage1_params : Stage1Params
    variant : str

    Returns
    -------
    tuple of (list of dict, Path)
        The history (`train_stage2`), and the checkpoint, which the caller deletes once the results are kept.
    """
    checkpoint = _checkpoint(variant)
    if params.processes > 1:
        launch("lib.stage2", params.processes, variant)
    return train_stage2(*start, params, stage1_params, checkpoint), checkpoint


def _checkpoint(variant):
    return Path(f"data/checkpoints/stage2-{variant}.safetensors")


def main(arguments=None):
    """Train as one of the processes that torchrun started."""
    parser = argparse.ArgumentParser(prog="torchrun -m lib.stage2", description=__doc__)
    parser.add_argument("variant", help="one of those in params.yaml")
    variant = parser.parse_args(arguments).variant
    params = load_params(PARAMS_FILE)
    with joined():
        start = load_stage2(params.face_model.path, params.networks.training, params.scenes)
        train_stage2(*start, params.variant(variant), params.stage1, _checkpoint(variant))


if __name__ == "__main__":
    main()
