"""The two stages of training (paper 3.3): on synthetic faces alone, then with unlabelled photographs."""

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from lib.checkpoint import digest, fingerprint, load_run, load_tensors, save_run, save_tensors
from lib.errors import StudyError
from lib.face_model import Coefficients
from lib.losses import (
    LossWeights,
    batch_distribution_loss,
    identity_loss,
    loopback_loss,
    parameter_loss,
    total_loss,
)
from lib.progress import progress
from lib.renderer import render, sample_scenes

FACES_A_SHARD = 1000
RENDER_BATCH = 50
VALIDATION_SHARE = 0.05
RECORD_STEPS = 10
GRADIENT_LIMIT = 10.0


@dataclass(frozen=True)
class Pairs:
    """Synthetic faces as stage 1 sees them: features (M, F) of a render each, and the true coefficients (M, ...)."""

    features: torch.Tensor
    coefficients: Coefficients

    def __len__(self):
        return len(self.features)

    def __getitem__(self, rows):
        return Pairs(self.features[rows], self.coefficients[rows])

    def save(self, path):
        """Write the pairs to a safetensors file."""
        tensors = dict(features=self.features, shape=self.coefficients.shape, texture=self.coefficients.texture)
        save_tensors(path, tensors, {})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; StudyError when the file is missing or damaged."""
        tensors, _ = load_tensors(path)
        return cls(tensors["features"], Coefficients(tensors["shape"], tensors["texture"]))


def make_pairs(face_model, network, count, seed, distribution, folder):
    """Draw random faces, render each in a random scene and keep the identity network's features (paper 3.3).

    Shape and texture are sampled independently from the standard normal distribution. The work is done in shards, each
    with chance of its own: an interrupted run goes on at the first missing shard, and a larger `count` adds shards.

    Parameters
    ----------
    face_model : FaceModel
    network : IdentityNetwork
        The training network.
    count : int
        Number of faces; the last shard may be a part.
    seed : int
    distribution : SceneDistribution
    folder : Path
        Where the shards lie (`shard-0000.safetensors`, ...).

    Returns
    -------
    Pairs
    """
    settings = dict(seed=seed, network=network.fingerprint, face_model=_digest_model(face_model))
    settings |= asdict(distribution)
    shards = []
    bar = progress(description="synthetic faces", total=count, unit="face")
    for index, start in enumerate(range(0, count, FACES_A_SHARD)):
        size = min(FACES_A_SHARD, count - start)
        path = Path(folder) / f"shard-{index:04d}.safetensors"
        meta = dict(settings=fingerprint(settings), size=size)
        if path.is_file() and load_tensors(path)[1] == meta:
            shard = load_tensors(path)[0]
        else:
            shard = _make_shard(face_model, network, size, seed * 1_000_003 + index, distribution)
            save_tensors(path, shard, meta)
        shards.append(shard)
        bar.update(size)
    bar.close()
    joined = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    return Pairs(joined["features"], Coefficients(joined["shape"], joined["texture"]))


@torch.no_grad()
def _digest_model(face_model):
    """Hash one face in which every component has a part: another model gives another face."""
    device = face_model.triangles.device
    shape = torch.ones(1, face_model.shape_dimension, device=device)
    texture = torch.full((1, face_model.texture_dimension), 0.1, device=device)
    return digest(face_model.vertices(shape), face_model.albedo(texture), face_model.triangles)


@torch.no_grad()
def _make_shard(face_model, network, size, seed, distribution):
    generator = torch.Generator().manual_seed(seed)
    device = face_model.triangles.device
    shape = torch.randn(size, face_model.shape_dimension, generator=generator)
    texture = torch.randn(size, face_model.texture_dimension, generator=generator)
    features = []
    for rows in torch.arange(size).split(RENDER_BATCH):
        scene = sample_scenes(len(rows), generator, distribution).to(device)
        faces = Coefficients(shape[rows].to(device), texture[rows].to(device))
        features.append(network(render(face_model, faces, scene, network.crop)).features.cpu())
    return dict(features=torch.cat(features), shape=shape, texture=texture)


def train_stage1(regressor, pairs, params, checkpoint):
    """Fit the regressor to synthetic faces with the parameter loss (paper 3.3, first stage).

    The last 5 % of the pairs are not trained on; they tell how much of the coefficients' variance is explained.

    Parameters
    ----------
    regressor : Regressor
        Changed in place.
    pairs : Pairs
    params : Stage1Params
    checkpoint : Path
        Written every epoch; a run that was stopped goes on from there.

    Returns
    -------
    list of dict
        One entry an epoch: `epoch`, `loss`, `validation_loss`, `shape_explained`, `texture_explained` (share of the
        variance of the held-out coefficients, 1 at best) and `learning_rate`.
    """
    held_out = max(2, int(len(pairs) * VALIDATION_SHARE))
    training, validation = pairs[: len(pairs) - held_out], pairs[len(pairs) - held_out :]
    regressor.standardise(training.features)
    optimizer = _optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    settings = asdict(params) | dict(inputs=digest(pairs.features, *regressor.state_dict().values()))
    first, history = 0, []
    if Path(checkpoint).is_file():
        first, history = load_run(checkpoint, regressor, optimizer, generator, settings)
    weights = (params.shape_weight, params.texture_weight)
    bar = progress(range(first, params.epochs), "stage 1", initial=first, total=params.epochs, unit="epoch")
    for epoch in bar:
        _set_learning_rate(optimizer, params.learning_rate, epoch, params.epochs)
        losses = []
        for rows in torch.randperm(len(training), generator=generator).split(params.batch_size):
            loss = parameter_loss(regressor(training.features[rows]), training.coefficients[rows], *weights)
            _step(regressor, optimizer, loss)
            losses.append(loss.item())
        history.append(
            dict(epoch=epoch + 1, loss=sum(losses) / len(losses), learning_rate=optimizer.param_groups[0]["lr"])
            | _validate(regressor, validation, weights)
        )
        _refuse_nan(dict(parameter=history[-1]["loss"]), "epoch", epoch + 1, checkpoint)
        bar.set_postfix(loss=f"{history[-1]['loss']:.1f}", shape=f"{history[-1]['shape_explained']:.2f}")
        save_run(checkpoint, regressor, optimizer, generator, epoch + 1, history, settings)
    return history


@torch.no_grad()
def _validate(regressor, pairs, weights):
    predicted = regressor(pairs.features)
    result = dict(validation_loss=parameter_loss(predicted, pairs.coefficients, *weights).item())
    for name in ("shape", "texture"):
        true = getattr(pairs.coefficients, name)
        residual = (getattr(predicted, name) - true).square().mean()
        result[f"{name}_explained"] = (1 - residual / true.square().mean()).item()
    return result


@dataclass(frozen=True)
class Photographs:
    """Real faces as stage 2 sees them: features (N, F) and unit-length embeddings (N, E) of the training network."""

    features: torch.Tensor
    embeddings: torch.Tensor

    def __len__(self):
        return len(self.features)


@dataclass(frozen=True)
class Setting:
    """What stays fixed in stage 2: the model, the network (with its centre) and the range of scenes."""

    face_model: torch.nn.Module
    network: torch.nn.Module
    distribution: object


def stage2_losses(regressor, setting, photographs, rendered, synthetic, scene, params, stage1_params):
    """Compute the terms of Eq. 2 on one hybrid batch (paper 3.3).

    The views that the identity loss compares with the photographs are the ones that the loopback loss reads again: one
    render and one pass of the network serve both.

    Parameters
    ----------
    regressor : Regressor
    setting : Setting
    photographs : Photographs
        The batch; the batch distribution loss is taken over all of it.
    rendered : int
        How many of the first photographs are rendered (identity and loopback loss).
    synthetic : Pairs
    scene : Scene
        V * rendered pictures; view v of face b is entry v * rendered + b.
    params : Stage2Params
    stage1_params : Stage1Params
        Its weights of shape and texture are Eq. 3's.

    Returns
    -------
    dict of str to Tensor ()
        `parameter`, `identity`, `batch`, `loop`, unweighted, and their weighted sum `total`.
    """
    weights = LossWeights(
        params.identity_weight,
        params.batch_weight,
        params.loop_weight,
        stage1_params.shape_weight,
        stage1_params.texture_weight,
    )
    predicted = regressor(photographs.features)
    faces = predicted[:rendered]
    seen = setting.network(render(setting.face_model, faces, scene, setting.network.crop))
    terms = dict(
        parameter=parameter_loss(regressor(synthetic.features), synthetic.coefficients, weights.shape, weights.texture),
        identity=identity_loss(seen.embedding, photographs.embeddings[:rendered]),
        batch=batch_distribution_loss(predicted),
        loop=loopback_loss(regressor(seen.features), faces, weights.shape, weights.texture),
    )
    return terms | dict(total=total_loss(**terms, weights=weights))


def train_stage2(regressor, setting, photographs, pairs, params, stage1_params, checkpoint):
    """Train on batches of photographs and synthetic faces (paper 3.3, second stage).

    Parameters
    ----------
    regressor : Regressor
        As stage 1 left it; changed in place.
    setting : Setting
    photographs : Photographs
        All training photographs.
    pairs : Pairs
        Stage 1's synthetic faces.
    params : Stage2Params
        Of one variant.
    stage1_params : Stage1Params
    checkpoint : Path
        Written every `checkpoint_steps`; a run that was stopped goes on from there and ends with the same bytes.

    Returns
    -------
    list of dict
        Every tenth step: `step`, the terms of `stage2_losses`, `learning_rate`, `gradient_norm`, `seconds_a_step`.
    """
    distribution = setting.distribution
    if params.frontal:
        distribution = replace(distribution, yaw=0.0, pitch=0.0)
    optimizer = _optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    inputs = [photographs.features, photographs.embeddings, pairs.features, *regressor.state_dict().values()]
    settings = asdict(params) | dict(inputs=digest(*inputs), face_model=_digest_model(setting.face_model))
    first, history = 0, []
    if Path(checkpoint).is_file():
        first, history = load_run(checkpoint, regressor, optimizer, generator, settings)
    rendered = min(params.photographs, len(photographs))
    bar = progress(range(first, params.steps), "stage 2", initial=first, total=params.steps, unit="step")
    started = time.perf_counter()
    for step in bar:
        _set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        rows = torch.randperm(len(photographs), generator=generator)[: params.distribution_batch]
        chosen = torch.randint(len(pairs), (params.synthetic_faces,), generator=generator)
        scene = sample_scenes(rendered * params.views, generator, distribution)
        batch = Photographs(photographs.features[rows], photographs.embeddings[rows])
        terms = stage2_losses(regressor, setting, batch, rendered, pairs[chosen], scene, params, stage1_params)
        values = {name: term.item() for name, term in terms.items()}
        _refuse_nan(values, "step", step + 1, checkpoint)
        norm = _step(regressor, optimizer, terms["total"])
        if step % RECORD_STEPS == 0 or step + 1 == params.steps:
            elapsed, started = time.perf_counter() - started, time.perf_counter()
            history.append(
                dict(step=step + 1)
                | values
                | dict(learning_rate=optimizer.param_groups[0]["lr"], gradient_norm=norm, seconds=elapsed)
            )
            bar.set_postfix({name: f"{values[name]:.3g}" for name in ("identity", "batch", "loop")})
        if (step + 1) % params.checkpoint_steps == 0 or step + 1 == params.steps:
            save_run(checkpoint, regressor, optimizer, generator, step + 1, history, settings)
    return history


def _optimizer(regressor, params):
    # decoupled weight decay: the pull towards zero (paper 3.2) stays the same however large the gradients are
    return torch.optim.AdamW(regressor.parameters(), params.learning_rate, weight_decay=params.weight_decay)


def _set_learning_rate(optimizer, peak, step, steps):
    """Cosine decay to zero, a pure function of the step, so that a resumed run needs no scheduler's state."""
    for group in optimizer.param_groups:
        group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * step / steps))


def _step(regressor, optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(regressor.parameters(), GRADIENT_LIMIT)
    optimizer.step()
    return norm.item()


def _refuse_nan(values, unit, number, checkpoint):
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise StudyError(
            f"the {bad[0]} loss is {values[bad[0]]} at {unit} {number}. The state before is kept in {checkpoint}; "
            "lower the learning rate (or the weight of that loss) in params.yaml and run again"
        )
