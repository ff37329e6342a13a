"""The two stages of training (paper 3.3): on synthetic faces alone, then with unlabelled photographs."""

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from lib.checkpoint import digest, load_run, save_run
from lib.errors import StudyError
from lib.losses import (
    LossWeights,
    batch_distribution_loss,
    identity_loss,
    loopback_loss,
    parameter_loss,
    total_loss,
)
from lib.processes import average_gradients, mean_over_processes, own_part, rank, world_size
from lib.progress import progress
from lib.renderer import Scene, render, sample_scenes
from lib.synthetic_faces import Pairs, digest_face_model

VALIDATION_SHARE = 0.05
RECORD_STEPS = 10
GRADIENT_LIMIT = 10.0


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

    def __getitem__(self, rows):
        return Photographs(self.features[rows], self.embeddings[rows])

    def to(self, device):
        """The same photographs on another device."""
        return Photographs(self.features.to(device), self.embeddings.to(device))


@dataclass(frozen=True)
class Setting:
    """What stays fixed in stage 2: the model, the network (with its centre) and the range of scenes."""

    face_model: torch.nn.Module
    network: torch.nn.Module
    distribution: object


@dataclass(frozen=True)
class Batch:
    """What one process works on in one step of stage 2.

    Attributes
    ----------
    photographs : Photographs
        All of the step, of all processes: the batch distribution loss is taken over them.
    rendered : slice
        The R photographs that this process renders (identity and loopback loss).
    synthetic : Pairs
        Of this process (parameter loss).
    scene : Scene
        V * R pictures; view v of the r-th rendered photograph is entry v * R + r.
    """

    photographs: Photographs
    rendered: slice
    synthetic: Pairs
    scene: Scene


def stage2_losses(regressor, setting, batch, params, stage1_params):
    """Compute the terms of Eq. 2 on one hybrid batch (paper 3.3).

    The views that the identity loss compares with the photographs are the ones that the loopback loss reads again: one
    render and one pass of the network serve both. Every process takes the batch distribution loss over the photographs
    of all, since the regressor costs next to nothing; the other terms are means over its own equal part. So the mean of
    the processes' losses is the loss of one process, and the mean of their gradients its gradient.

    Parameters
    ----------
    regressor : Regressor
    setting : Setting
    batch : Batch
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
    photographs, synthetic = batch.photographs, batch.synthetic
    predicted = regressor(photographs.features)
    faces = predicted[batch.rendered]
    images = render(setting.face_model, faces, batch.scene, setting.network.crop)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=params.precision == "bfloat16"):
        seen = setting.network(images)
    terms = dict(
        parameter=parameter_loss(regressor(synthetic.features), synthetic.coefficients, weights.shape, weights.texture),
        identity=identity_loss(seen.embedding, photographs.embeddings[batch.rendered]),
        batch=batch_distribution_loss(predicted),
        loop=loopback_loss(regressor(seen.features), faces, weights.shape, weights.texture),
    )
    return terms | dict(total=total_loss(**terms, weights=weights))


def draw_batch(setting, photographs, pairs, params, generator):
    """Draw one step's batch, the same on all processes, and return this process's part of it.

    Parameters
    ----------
    setting : Setting
    photographs : Photographs
    pairs : Pairs
    params : Stage2Params
    generator : torch.Generator
        In the same state on all processes, and moved on alike.

    Returns
    -------
    Batch
        On the face model's device.

    Raises
    ------
    StudyError
        There are fewer photographs than processes.
    """
    device, distribution = setting.face_model.triangles.device, setting.distribution
    if params.frontal:
        distribution = replace(distribution, yaw=0.0, pitch=0.0)
    rendered = min(params.photographs, len(photographs)) // world_size() * world_size()
    if rendered == 0:
        raise StudyError(f"{len(photographs)} photographs cannot be shared by {world_size()} processes")
    rows = torch.randperm(len(photographs), generator=generator)[: params.distribution_batch]
    chosen = torch.randint(len(pairs), (params.synthetic_faces,), generator=generator)
    scene = sample_scenes(rendered * params.views, generator, distribution)
    views = torch.arange(len(scene)).view(params.views, rendered)[:, own_part(rendered)].flatten()
    return Batch(
        photographs[rows].to(device),
        own_part(rendered),
        pairs[chosen[own_part(len(chosen))]].to(device),
        scene[views].to(device),
    )


def train_stage2(regressor, setting, photographs, pairs, params, stage1_params, checkpoint):
    """Train on batches of photographs and synthetic faces (paper 3.3, second stage).

    Parameters
    ----------
    regressor : Regressor
        As stage 1 left it, on the device of the face model; changed in place.
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
        Every tenth step: `step`, the terms of `stage2_losses`, `learning_rate`, `gradient_norm`, `seconds`.
    """
    optimizer = _optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    inputs = [photographs.features, photographs.embeddings, pairs.features, *regressor.state_dict().values()]
    settings = asdict(params) | dict(inputs=digest(*inputs), face_model=digest_face_model(setting.face_model))
    first, history = 0, []
    if Path(checkpoint).is_file():
        first, history = load_run(checkpoint, regressor, optimizer, generator, settings)
    steps = range(first, params.steps)
    bar = progress(steps, "stage 2", initial=first, total=params.steps, unit="step", silent=rank() > 0)
    started = time.perf_counter()
    for step in bar:
        _set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        batch = draw_batch(setting, photographs, pairs, params, generator)
        terms = stage2_losses(regressor, setting, batch, params, stage1_params)
        values = dict(zip(terms, mean_over_processes(torch.stack([*terms.values()]).detach()).tolist()))
        _refuse_nan(values, "step", step + 1, checkpoint)
        norm = _step(regressor, optimizer, terms["total"])
        if step % RECORD_STEPS == 0 or step + 1 == params.steps:
            elapsed, started = time.perf_counter() - started, time.perf_counter()
            rate = optimizer.param_groups[0]["lr"]
            history.append(dict(step=step + 1) | values | dict(learning_rate=rate, gradient_norm=norm, seconds=elapsed))
            bar.set_postfix({name: f"{values[name]:.3g}" for name in ("identity", "batch", "loop")})
        last = step + 1 == params.steps
        if rank() == 0 and (last or (step + 1) % params.checkpoint_steps == 0):
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
    average_gradients(regressor.parameters())
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
