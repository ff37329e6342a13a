"""Stage 1 of training (paper 3.3): synthetic faces alone, each as the features and the coefficients of a render."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from lib.core.progress import progress
from lib.core.tensors import Batch, digest, fingerprint, kept_tensors, load_tensors, save_tensors
from lib.face_model.model import Coefficients, digest_face_model
from lib.recognition.reader import FeatureReader
from lib.rendering.renderer import sample_scenes
from lib.training.augmentation import Augmentation, Looks
from lib.training.loop import backward, load_run, make_optimizer, refuse_nan, save_run, set_learning_rate
from lib.training.losses import parameter_loss

FACES_PER_SHARD = 1000
RENDER_BATCH = 50
VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class SyntheticFaces(Batch):
    """Features (M, F) of one render each of M random faces, and their true coefficients (M, ...)."""

    features: torch.Tensor
    coefficients: Coefficients

    def save(self, path):
        """Write the faces to a safetensors file."""
        tensors = dict(features=self.features, shape=self.coefficients.shape, texture=self.coefficients.texture)
        save_tensors(path, tensors, {})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; StudyError when the file is missing or damaged."""
        tensors, _ = load_tensors(path)
        return cls(tensors["features"], Coefficients(tensors["shape"], tensors["texture"]))


def make_synthetic_faces(face_model, reader, count, seed, distribution, folder, augmentation=None, looks=None):
    """Draw random faces, render each in a random scene and keep the features that a `FeatureReader` sees (paper 3.3).

    Shape and texture are independent and standard normal; `looks` (`Looks` or None) add expressions and hair. The work
    is done in shards, each with its own seed, in `folder`: an interrupted run resumes, a larger `count` adds shards.
    """
    settings = dict(seed=seed, networks=reader.fingerprints, face_model=digest_face_model(face_model))
    augmentation, looks = augmentation or Augmentation(), looks or Looks()
    distribution = augmentation.scenes(distribution)
    settings |= asdict(distribution) | asdict(augmentation) | asdict(looks)
    shards = []
    with progress(description="synthetic faces", total=count, unit="face") as bar:
        for index, start in enumerate(range(0, count, FACES_PER_SHARD)):
            size, chance = min(FACES_PER_SHARD, count - start), seed * 1_000_003 + index
            make = partial(_make_shard, face_model, reader, size, chance, distribution, augmentation, looks)
            path = Path(folder) / f"shard-{index:04d}.safetensors"
            meta = dict(settings=fingerprint(settings), size=size)
            shards.append(kept_tensors(path, make, meta))
            bar.update(size)
    joined = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    return SyntheticFaces(joined["features"], Coefficients(joined["shape"], joined["texture"]))


def make_faces_of_stage1(face_model, network, second, params, distribution, augmentation, folder):
    """Make the synthetic faces that `params` (`Stage1Params`) asks for, as `make_synthetic_faces` does.

    Returns `params.faces` as the training network reads them, and `params.second_faces` as it and the `second` do, of
    which the first are the same renders.
    """
    looks = Looks(params.expression, params.hair)

    def make(reader, count, seed, folder):
        return make_synthetic_faces(face_model, reader, count, seed, distribution, folder, augmentation, looks)

    both = make(FeatureReader(network, second), params.second_faces, params.seed, folder / "all")
    alone = SyntheticFaces(both.features[:, : network.feature_dimension], both.coefficients)[: params.faces]
    if missing := params.faces - len(alone):
        others = make(FeatureReader(network), missing, params.seed + 1, folder)
        features = torch.cat([alone.features, others.features])
        coefficients = torch.cat([alone.coefficients.cat(), others.coefficients.cat()])
        alone = SyntheticFaces(features, Coefficients.split(coefficients, face_model.shape_dimension))
    return alone, both


@torch.no_grad()
def _make_shard(face_model, reader, size, seed, distribution, augmentation, looks):
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(size, face_model.shape_dimension, generator=generator)
    texture = torch.randn(size, face_model.texture_dimension, generator=generator)
    features = []
    for rows in torch.arange(size).split(RENDER_BATCH):
        scene = sample_scenes(len(rows), generator, distribution)
        faces = Coefficients(shape[rows], texture[rows])
        draw = augmentation.draw(len(rows), generator)
        meshes = looks.draw(face_model, faces, generator)
        features.append(reader.see_meshes(face_model, meshes, scene, draw).features.cpu())
    return dict(features=torch.cat(features), shape=shape, texture=texture)


def train_stage1(regressor, synthetic, params, checkpoint, live=None, held_out=None):
    """Fit the regressor to synthetic faces with the parameter loss (paper 3.3, first stage); it is changed in place.

    A stopped run resumes from its `checkpoint`, on one process on a CPU to the same bytes. `live` is a `LiveRun` or
    None; `held_out` (M,), bool, names the faces that are measured and not trained on (None: the last 5 %). Returns a
    dict per epoch, with the losses and `shape_explained` and `texture_explained`, shares of the held-out coefficients'
    variance.
    """
    if held_out is None:
        held_out = torch.arange(len(synthetic)) >= len(synthetic) - max(1, int(len(synthetic) * VALIDATION_SHARE))
    training, validation = synthetic[~held_out], synthetic[held_out]
    regressor.standardise(training.features)
    optimizer = make_optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    settings = asdict(params) | dict(inputs=digest(synthetic.features, held_out, *regressor.state_dict().values()))
    first, history = load_run(checkpoint, regressor, optimizer, generator, settings)
    history = history or []
    if live:
        live.start(history)
    weights = (params.shape_weight, params.texture_weight)
    bar = progress(range(first, params.epochs), "stage 1", initial=first, total=params.epochs, unit="epoch")
    for epoch in bar:
        started = time.perf_counter()
        rate = set_learning_rate(optimizer, params.learning_rate, epoch, params.epochs)
        batches = torch.randperm(len(training), generator=generator).split(params.batch_size)
        loss, norm = _fit(regressor, optimizer, training, batches, weights)
        refuse_nan(dict(parameter=loss), norm, "epoch", epoch + 1, checkpoint)
        speed = len(training) / (time.perf_counter() - started)
        entry = dict(epoch=epoch + 1, loss=loss) | _validate(regressor, validation, weights)
        history.append(entry | dict(learning_rate=rate, gradient_norm=norm, faces_per_second=speed))
        bar.set_postfix(loss=f"{loss:.1f}", shape=f"{entry['shape_explained']:.2f}", refresh=False)
        if live:
            live.record(history[-1])
        save_run(checkpoint, regressor, optimizer, generator, epoch + 1, history, settings)
    return history


def _fit(regressor, optimizer, synthetic, batches, weights):
    """Go through the batches once; return the mean loss and the mean norm of the gradient."""
    losses, norms = [], []
    for rows in batches:
        loss = parameter_loss(regressor(synthetic.features[rows]), synthetic.coefficients[rows], *weights)
        norms.append(backward(regressor, optimizer, loss))
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses), sum(norms) / len(norms)


@torch.no_grad()
def _validate(regressor, synthetic, weights):
    predicted = regressor(synthetic.features)
    result = dict(validation_loss=parameter_loss(predicted, synthetic.coefficients, *weights).item())
    for name in ("shape", "texture"):
        true = getattr(synthetic.coefficients, name)
        residual = (getattr(predicted, name) - true).square().mean()
        result[f"{name}_explained"] = (1 - residual / true.square().mean()).item()
    return result
