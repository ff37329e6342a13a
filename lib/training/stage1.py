"""Stage 1 of training: synthetic faces alone (paper 3.3)."""

import time
from dataclasses import asdict

import torch

from lib.core.progress import progress
from lib.core.tensors import digest
from lib.training.loop import backward, load_run, make_optimizer, refuse_nan, save_run, set_learning_rate
from lib.training.losses import parameter_loss

VALIDATION_SHARE = 0.05


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
