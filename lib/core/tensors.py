"""Tensors and a little JSON in one safetensors file, written atomically; the state of a training run as such a file."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib.core.errors import StudyError
from lib.core.files import write_atomically

_META_KEY = "study"


def save_tensors(path, tensors, meta):
    """Write tensors and JSON-compatible `meta`; after a crash there is the old file or the new one, never half of one.

    Parameters
    ----------
    path : str or Path
    tensors : dict of str to Tensor
    meta : dict
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        write_atomically(path, lambda part: save_file(copies, part, metadata={_META_KEY: json.dumps(meta)}))
    except (OSError, SafetensorError) as error:
        raise StudyError(f"{path} cannot be written ({error}); what stood there before is kept") from error


def load_tensors(path):
    """Read what `save_tensors` wrote.

    Returns
    -------
    tuple of (dict of str to Tensor, dict)

    Raises
    ------
    StudyError
        The file is missing, damaged, or was not written by `save_tensors`.
    """
    if not Path(path).is_file():
        raise StudyError(f"{path} does not exist; run `dvc repro` to make it")
    try:
        with safe_open(path, framework="pt") as file:
            meta = (file.metadata() or {}).get(_META_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise StudyError(f"{path} is damaged ({error}); delete it and run `dvc repro`") from None
    if meta is None:
        raise StudyError(f"{path} was not written by this study: its header lacks {_META_KEY!r}")
    return tensors, json.loads(meta)


def write_json(path, content):
    """Write JSON atomically, with a stable layout that git can compare."""
    write_atomically(path, lambda part: part.write_text(json.dumps(content, indent=2) + "\n"))


def fingerprint(content):
    """Return a short hash of JSON-compatible content: equal content, equal hash."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def digest(*tensors):
    """Return a short hash of tensors' bytes: equal tensors, equal hash."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def save_run(path, module, optimizer, generator, step, history, settings):
    """Write the whole state of a training run, so that it can go on as if it had never stopped.

    Parameters
    ----------
    path : str or Path
    module : Module
        What is trained.
    optimizer : Optimizer
    generator : torch.Generator
        The only source of chance in the run.
    step : int
        Steps done.
    history : list of dict
        One entry a recorded step.
    settings : dict
        All that the run depends on; a run of other settings is refused by `load_run`.
    """
    state = optimizer.state_dict()
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    tensors["generator"] = generator.get_state()
    save_tensors(path, tensors, dict(step=step, history=history, settings=settings, groups=state["param_groups"]))


def load_run(path, module, optimizer, generator, settings):
    """Put a run back where `save_run` left it.

    Returns
    -------
    tuple of (int, list of dict)
        Steps done, and the history.

    Raises
    ------
    StudyError
        The file is damaged, or belongs to a run of other settings: each difference is named with both values.
    """
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
