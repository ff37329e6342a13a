"""Runs stage 2 on the study's files, on one process or on several (`torchrun -m lib.training.start VARIANT`)."""

import argparse
from dataclasses import asdict

import torch
import torch.nn.functional as F

from lib.core import paths
from lib.core.params import MIRRORED, PARAMS_FILE, load_params
from lib.core.processes import best_device, joined, launch, rank, refuse_shared_gpus
from lib.core.tensors import MappedRows
from lib.face_model.model import FaceModel
from lib.photos.store import TRAIN, Photographs, load_feature_store
from lib.recognition.network import load_centred
from lib.recognition.reader import FeatureReader
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.scenes import SceneDistribution
from lib.training.augmentation import Augmentation
from lib.training.metric import front_colour, front_metric, read_colour
from lib.training.monitor import PICTURES, LiveRun, Monitor, split_validation
from lib.training.regressor import HIDDEN_LAYERS, Regressor
from lib.training.stage1 import SyntheticFaces, train_stage1
from lib.training.stage2 import Stage2Inputs, train_stage2


def load_stage2(params, variant):
    """Read what the earlier stages left: `Regressor`, `Stage2Inputs` and `Monitor`, on the device to be trained on.

    StudyError: a file is missing or damaged.
    """
    device, store = best_device(), load_feature_store(paths.PHOTOS)
    face_model = FaceModel.load(params.face_model.path)
    network, judge = (load_centred(name, store) for name in (params.networks.training, params.networks.evaluation))
    stage2, train = params.variant(variant), store.rows(TRAIN)
    trained, validation = split_validation(store.persons(train), stage2.validation_people)
    trained, validation = train[trained], train[validation]
    second = load_centred(params.networks.second, store) if stage2.features == "all" else None
    faces, start = paths.stage1_files(stage2.features)

    def embed(network, rows, suffix=""):
        return MappedRows(store.descriptors[network.name + suffix], rows, network.embed)

    def embed_both(network):
        # of a photograph and of its mirror image
        return F.normalize(sum(embed(network, trained, suffix)[:] for suffix in ("", MIRRORED)), dim=1)

    # what enters the digest of a checkpoint is computed on the CPU: another device's last bits differ
    metric = front_metric(face_model, network.crop).to(device) if stage2.metric_weight or stage2.anchor_weight else None
    colour = front_colour(face_model, network.crop) if stage2.skin_weight else None
    face_model = face_model.to(device)
    seconds = embed_both(second) if stage2.second_identity_weight else None
    reader = FeatureReader(*(centred_on_renders(one, face_model) for one in (network, second) if one))
    features, mirrored = reader.of_store(store, trained)
    embeddings = embed(network, trained) if mirrored is None else embed_both(network)
    synthetic = SyntheticFaces.load(faces)
    regressor = _own_start(params, variant, network, synthetic) or Regressor.load(start)
    means = features if mirrored is None else (features + mirrored) / 2
    shape = regressor.of_all(means).shape if stage2.anchor_weight else None
    skin = None if colour is None else read_colour(means, synthetic, colour)
    inputs = Stage2Inputs(
        face_model,
        reader,
        Photographs(features, embeddings, mirrored=mirrored, skin=skin, second_embeddings=seconds, shape=shape),
        synthetic,
        SceneDistribution(**asdict(params.scenes)),
        Augmentation(**asdict(params.augmentation)),
        metric,
        None if colour is None else colour.to(device),
    )
    monitor = Monitor(
        features=reader.mean_of_store(store, validation).to(device),
        embeddings=embed(judge, validation)[:].to(device),
        photographs=store.crops[validation[:PICTURES]],
        crop=network.crop,
        face_model=face_model,
        network=judge,
    )
    return regressor.to(device), inputs, monitor


def _own_start(params, variant, network, synthetic):
    """Fit a regressor to the faces of stage 1 as it does, where the variant's is built otherwise; None elsewhere."""
    stage2 = params.variant(variant)
    head = network.head() if stage2.features == "embedding" else None
    if head is None and stage2.hidden_layers == HIDDEN_LAYERS:
        return None
    torch.manual_seed(params.stage1.seed)
    true = synthetic.coefficients
    sizes = [values.shape[1] for values in (synthetic.features, true.shape, true.texture)]
    regressor = Regressor(*sizes, stage2.hidden_layers, len(head[0]) if head else 0)
    if head:
        regressor.head.weight.copy_(head[0])
        regressor.head.bias.copy_(head[1])
    checkpoint = paths.CHECKPOINTS / f"stage1-{variant}-{rank()}.safetensors"
    train_stage1(regressor.to(best_device()), synthetic.to(best_device()), params.stage1, checkpoint)
    checkpoint.unlink()
    return regressor.cpu().eval()


def run_stage2(start, params, variant):
    """Train one variant from `load_stage2` to its end, on as many processes as its `processes` says.

    Returns what `train_stage2` does and the checkpoint, which the caller deletes once the results are kept.
    """
    processes = params.variant(variant).processes
    if processes > 1:
        refuse_shared_gpus(processes)
        launch("lib.training.start", processes, variant)
    return _train(start, params, variant)


def _train(start, params, variant):
    regressor, inputs, monitor = start
    checkpoint = paths.CHECKPOINTS / f"stage2-{variant}.safetensors"
    plots = paths.PLOTS / f"stage2/{variant}.csv", monitor, paths.PLOTS / f"monitors/{variant}.csv"
    live = LiveRun(paths.LIVE / variant, *plots) if rank() == 0 else None
    stage2 = params.variant(variant)
    return train_stage2(regressor, inputs, stage2, params.stage1, checkpoint, live), checkpoint


def main(arguments=None):
    """Train as one of the processes that torchrun started."""
    parser = argparse.ArgumentParser(prog="torchrun -m lib.training.start", description=__doc__)
    parser.add_argument("variant", help="one of those in params.yaml")
    variant = parser.parse_args(arguments).variant
    params = load_params(PARAMS_FILE)
    with joined():
        _train(load_stage2(params, variant), params, variant)


if __name__ == "__main__":
    main()
