"""What training runs share: AdamW, its learning rate, the clipped gradient, the checkpoint to resume from."""

import json
import math
from pathlib import Path

import torch

from lib.core.errors import StudyError
from lib.core.processes import average_gradients
from lib.core.tensors import load_tensors, save_tensors

GRADIENT_LIMIT = 10.0


def make_optimizer(regressor, params):
    """Build AdamW, whose decay ("the weights were regularized towards zero", 3.2) is decoupled from the gradient."""
    return torch.optim.AdamW(regressor.parameters(), params.learning_rate, weight_decay=params.weight_decay, fused=True)


def set_learning_rate(optimizer, peak, step, steps):
    """Cosine decay to zero, a pure function of the step, so that a resumed run needs no scheduler's state."""
    rate = peak * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def backward(regressor, optimizer, loss):
    """Leave a loss's gradient, averaged over processes and clipped, with the parameters; return its norm before."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(regressor.parameters())
    return torch.nn.utils.clip_grad_norm_(regressor.parameters(), GRADIENT_LIMIT).item()


def refuse_nan(losses, gradient_norm, unit, number, checkpoint):
    """Stop before what is no number reaches the weights: StudyError names it and where, such as "step", 12."""
    values = {f"{name} loss": value for name, value in losses.items()} | {"gradient's norm": gradient_norm}
    for name, value in values.items():
        if not math.isfinite(value):
            raise StudyError(
                f"the {name} is {value} at {unit} {number}. The last good state is kept in {checkpoint}; lower "
                "the learning rate (or the weight of that loss) in params.yaml, delete that file (it is of the "
                "old values) and run again"
            )


def save_run(path, module, optimizer, generator, step, history, settings):
    """Write the whole state of a run after `step` steps, of which `generator` is the only source of chance."""
    state = optimizer.state_dict()
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    tensors["generator"] = generator.get_state()
    save_tensors(path, tensors, dict(step=step, history=history, settings=settings, groups=state["param_groups"]))


def load_run(path, module, optimizer, generator, settings):
    """Put a run back where `save_run` left it; return the steps done and the history, 0 and None without such a file.

    StudyError: the file is damaged, or of a run of other settings, which are named.
    """
    if not Path(path).is_file():
        return 0, None
    tensors, meta = load_tensors(path)
    settings = json.loads(json.dumps(settings))
    differences = [
        f"{key}: {meta['settings'].get(key)!r} in the checkpoint, {settings.get(key)!r} now"
        for key in sorted(meta["settings"].keys() | settings.keys())
        if meta["settings"].get(key) != settings.get(key)
    ]
    if differences:
        raise StudyError(f"{path} is of another run ({'; '.join(differences)}); delete it to start anew")
    module.load_state_dict({k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")})
    slots = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".", 2)
            slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict(dict(state=slots, param_groups=meta["groups"]))
    generator.set_state(tensors["generator"])
    return meta["step"], meta["history"]
