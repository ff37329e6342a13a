"""Stage 2 from the files of the study, on one process or on several (`torchrun -m lib.training.start VARIANT`)."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from lib.core.params import PARAMS_FILE, STAGE1, load_params
from lib.core.processes import best_device, joined, launch, rank
from lib.face_model.model import FaceModel
from lib.photos.store import TRAIN, load_feature_store
from lib.recognition.network import load_network
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.scenes import SceneDistribution
from lib.training.augmentation import Augmentation
from lib.training.live import LiveRun
from lib.training.monitor import PICTURES, Monitor, watched_photographs
from lib.training.regressor import Regressor
from lib.training.stage2 import Photographs, Setting
from lib.training.stages import train_stage2
from lib.training.synthetic import Pairs


class Stage2(NamedTuple):
    """What stage 2 starts from, on the device that it is to be trained on; all but the last go to `train_stage2`."""

    regressor: Regressor
    setting: Setting
    photographs: Photographs
    pairs: Pairs
    monitor: Monitor


def load_stage2(face_model_file, networks, scenes, augmentation, monitor_people):
    """Read what the earlier stages left.

    Parameters
    ----------
    face_model_file : path-like
    networks : NetworksParams
    scenes : ScenesParams
    augmentation : AugmentationParams
    monitor_people : int
        People of the training split who are watched instead (`lib.training.monitor`).

    Returns
    -------
    Stage2

    Raises
    ------
    StudyError
        A file is missing or damaged.
    """
    device, store = best_device(), load_feature_store("data/photos")
    face_model = FaceModel.load(face_model_file).to(device)
    network, judge = (_centred(name, store) for name in (networks.training, networks.evaluation))
    train = store.rows(TRAIN)
    trained, watched = watched_photographs(store.persons(train), monitor_people)

    def read(values, rows):
        return torch.from_numpy(values[rows])

    photographs = Photographs(
        read(store.features[network.name], train[trained]),
        network.embed(read(store.descriptors[network.name], train[trained])),
    )
    watched = train[watched]
    monitor = Monitor(
        features=read(store.features[network.name], watched).to(device),
        embeddings=judge.embed(read(store.descriptors[judge.name], watched)).to(device),
        photographs=store.crops[watched[:PICTURES]],
        crop=network.crop,
        face_model=face_model,
        network=judge.to(device),
    )
    distribution = SceneDistribution.from_degrees(**asdict(scenes))
    return Stage2(
        Regressor.load(f"data/regressors/{STAGE1}.safetensors").to(device),
        Setting(
            face_model,
            centred_on_renders(network.to(device), face_model),
            distribution,
            Augmentation.from_degrees(**asdict(augmentation)),
        ),
        photographs,
        Pairs.load("data/stage1/pairs.safetensors"),
        monitor,
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
    tuple of (History, Path)
        What was seen of the run, and its checkpoint, which the caller deletes once the results are kept.
    """
    if params.processes > 1:
        launch("lib.training.start", params.processes, variant)
    return _train(start, params, stage1_params, variant)


def live_folder(variant):
    """Return where a variant's training can be watched (`lib.training.live`)."""
    return Path("data/live") / variant


def _train(start, params, stage1_params, variant):
    *study, monitor = start
    checkpoint = Path(f"data/checkpoints/stage2-{variant}.safetensors")
    live = LiveRun(live_folder(variant), monitor) if rank() == 0 else None
    return train_stage2(*study, params, stage1_params, checkpoint, live), checkpoint


def _centred(name, store):
    return load_network(name, "data/networks").with_centre(store.centre(name))


def main(arguments=None):
    """Train as one of the processes that torchrun started."""
    parser = argparse.ArgumentParser(prog="torchrun -m lib.training.start", description=__doc__)
    parser.add_argument("variant", help="one of those in params.yaml")
    variant = parser.parse_args(arguments).variant
    params = load_params(PARAMS_FILE)
    stage2 = params.variant(variant)
    with joined():
        start = load_stage2(
            params.face_model.path, params.networks, params.scenes, params.augmentation, stage2.monitor_people
        )
        _train(start, stage2, params.stage1, variant)


if __name__ == "__main__":
    main()
