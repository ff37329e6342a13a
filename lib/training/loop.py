"""What both stages of training do with a loss: gradient, clipping, AdamW, and the schedule of its learning rate."""

import math

import torch

from lib.core.errors import StudyError
from lib.core.processes import average_gradients

GRADIENT_LIMIT = 10.0


def make_optimizer(regressor, params):
    """Build AdamW with the `learning_rate` and `weight_decay` of a stage's parameters.

    Its weight decay is decoupled from the gradient: the pull towards zero (paper 3.2: "the weights were regularized
    towards zero") stays the same however large the gradients are.
    """
    return torch.optim.AdamW(regressor.parameters(), params.learning_rate, weight_decay=params.weight_decay, fused=True)


def set_learning_rate(optimizer, peak, step, steps):
    """Cosine decay to zero, a pure function of the step, so that a resumed run needs no scheduler's state.

    Returns
    -------
    float
    """
    rate = peak * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def backward(regressor, optimizer, loss):
    """Leave the gradient of a loss, averaged over all processes and clipped, with the regressor's parameters.

    Returns
    -------
    float
        The gradient's norm before it was clipped to `GRADIENT_LIMIT`.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(regressor.parameters())
    return torch.nn.utils.clip_grad_norm_(regressor.parameters(), GRADIENT_LIMIT).item()


def refuse_nan(losses, gradient_norm, unit, number, checkpoint):
    """Stop a run before a value that is no number reaches the weights and the checkpoint.

    Parameters
    ----------
    losses : dict of str to float
    gradient_norm : float
    unit, number
        Where the run is, such as "step", 12.
    checkpoint : Path

    Raises
    ------
    StudyError
        Names the first such loss, or the gradient where all losses are finite.
    """
    values = {f"{name} loss": value for name, value in losses.items()} | {"gradient's norm": gradient_norm}
    for name, value in values.items():
        if not math.isfinite(value):
            raise StudyError(
                f"the {name} is {value} at {unit} {number}. The last good state is kept in {checkpoint}; lower "
                "the learning rate (or the weight of that loss) in params.yaml and run again"
            )
