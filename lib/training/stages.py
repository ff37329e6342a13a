"""The two stages of training (paper 3.3): on synthetic faces alone, then with unlabelled photographs.

Both loops can be stopped at any time and go on from their checkpoint to the same bytes, on one process on a CPU.
"""

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from lib.core.processes import best_precision, mean_over_processes, rank
from lib.core.progress import progress
from lib.core.tensors import digest, load_run, save_run
from lib.face_model.model import digest_face_model
from lib.training.loop import backward, make_optimizer, refuse_nan, set_learning_rate
from lib.training.losses import parameter_loss
from lib.training.stage2 import draw_batch, stage2_losses

VALIDATION_SHARE = 0.05
RECORD_STEPS = 10


def train_stage1(regressor, pairs, params, checkpoint, live=None):
    """Fit the regressor to synthetic faces with the parameter loss (paper 3.3, first stage).

    The last 5 % of the pairs are not trained on; they tell how much of the coefficients' variance is explained. A
    regressor that was fitted before is fitted further: more shards of `make_pairs` and another call go on from there.

    Parameters
    ----------
    regressor : Regressor
        Changed in place.
    pairs : Pairs
    params : Stage1Params
    checkpoint : Path
        Written every epoch; a run that was stopped goes on from there.
    live : LiveRun or None
        Shows the run while it goes on.

    Returns
    -------
    list of dict
        One entry an epoch: `epoch`, `loss`, `validation_loss`, `shape_explained`, `texture_explained` (share of the
        variance of the held-out coefficients, 1 at best), `learning_rate`, `gradient_norm` (mean of the epoch) and
        `faces_per_second`.
    """
    held_out = max(1, int(len(pairs) * VALIDATION_SHARE))
    training, validation = pairs[: len(pairs) - held_out], pairs[len(pairs) - held_out :]
    regressor.standardise(training.features)
    optimizer = make_optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    settings = asdict(params) | dict(inputs=digest(pairs.features, *regressor.state_dict().values()))
    first, history = 0, []
    if Path(checkpoint).is_file():
        first, history = load_run(checkpoint, regressor, optimizer, generator, settings)
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


def _fit(regressor, optimizer, pairs, batches, weights):
    """Go through the batches once; return the mean loss and the mean norm of the gradient."""
    losses, norms = [], []
    for rows in batches:
        loss = parameter_loss(regressor(pairs.features[rows]), pairs.coefficients[rows], *weights)
        norms.append(backward(regressor, optimizer, loss))
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses), sum(norms) / len(norms)


@torch.no_grad()
def _validate(regressor, pairs, weights):
    predicted = regressor(pairs.features)
    result = dict(validation_loss=parameter_loss(predicted, pairs.coefficients, *weights).item())
    for name in ("shape", "texture"):
        true = getattr(pairs.coefficients, name)
        residual = (getattr(predicted, name) - true).square().mean()
        result[f"{name}_explained"] = (1 - residual / true.square().mean()).item()
    return result


@dataclass
class History:
    """What was seen of a run of stage 2.

    Attributes
    ----------
    losses : list of dict
        Of the first step and every tenth: `step` (counted from 1), the terms of `stage2_losses` before that step's
        update, `learning_rate`, `gradient_norm`, and `pictures_per_second`, the only number that chance has a part in.
    monitors : list of dict
        Before the first step and every `monitor_steps`: `step` (the number of updates) and the values of
        `lib.training.monitor.Monitor.measure`.
    """

    losses: list = field(default_factory=list)
    monitors: list = field(default_factory=list)


def train_stage2(regressor, setting, photographs, pairs, params, stage1_params, checkpoint, live=None):
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
    live : LiveRun or None
        Shows the run while it goes on and looks at held-out photographs every `monitor_steps`; on several processes the
        first one has it.

    Returns
    -------
    History
    """
    params = replace(params, precision=best_precision(params.precision))
    optimizer = make_optimizer(regressor, params)
    generator = torch.Generator().manual_seed(params.seed)
    inputs = [photographs.features, photographs.embeddings, pairs.features, *regressor.state_dict().values()]
    settings = asdict(params) | dict(inputs=digest(*inputs), face_model=digest_face_model(setting.face_model))
    settings |= dict(scenes=asdict(setting.distribution), augmentation=asdict(setting.augmentation))
    first, history = 0, History()
    if Path(checkpoint).is_file():
        first, saved = load_run(checkpoint, regressor, optimizer, generator, settings)
        history = History(**saved)
    if live:
        live.start(history.losses, history.monitors)
        if first == 0:
            history.monitors.append(live.look(regressor, 0))
    steps = range(first, params.steps)
    name = f"stage 2 in {params.precision}"
    bar = progress(steps, name, initial=first, total=params.steps, unit="step", silent=rank() > 0)
    started, pictures = time.perf_counter(), 0
    for step in bar:
        rate = set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        batch = draw_batch(setting, photographs, pairs, params, generator)
        terms = stage2_losses(regressor, setting, batch, params, stage1_params)
        values = dict(zip(terms, mean_over_processes(torch.stack([*terms.values()]).detach()).tolist()))
        norm = backward(regressor, optimizer, terms["total"])
        refuse_nan(values, norm, "step", step + 1, checkpoint)
        optimizer.step()
        done, last, pictures = step + 1, step + 1 == params.steps, pictures + params.photographs * params.views
        if step == 0 or done % RECORD_STEPS == 0 or last:
            speed, started, pictures = pictures / (time.perf_counter() - started), time.perf_counter(), 0
            measured = dict(learning_rate=rate, gradient_norm=norm, pictures_per_second=speed)
            history.losses.append(dict(step=done) | values | measured)
            bar.set_postfix({name: f"{values[name]:.3g}" for name in ("identity", "batch", "loop")}, refresh=False)
            if live:
                live.record(history.losses[-1])
        if live and (last or done % params.monitor_steps == 0):
            history.monitors.append(live.look(regressor, done))
        if rank() == 0 and (last or done % params.checkpoint_steps == 0):
            save_run(checkpoint, regressor, optimizer, generator, done, asdict(history), settings)
    return history
