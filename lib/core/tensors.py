"""Tensors and JSON metadata in one safetensors file, written atomically."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib.core.errors import StudyError
from lib.core.files import write_atomically

_META_KEY = "study"
ROWS_AT_ONCE = 65_536


def save_tensors(path, tensors, meta):
    """Write tensors and JSON-compatible `meta`; a crash leaves the old file or the new one, never half of one."""
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        write_atomically(path, lambda part: save_file(copies, part, metadata={_META_KEY: json.dumps(meta)}))
    except (OSError, SafetensorError) as error:
        raise StudyError(f"{path} cannot be written ({error}); what stood there before is kept") from error


def load_tensors(path):
    """Read what `save_tensors` wrote: tensors by name, and meta; StudyError: missing, damaged or written otherwise."""
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


def kept_tensors(path, make, meta):
    """The tensors of a file of this `meta`, or where there is none those that ``make()`` gives, written there first."""
    if Path(path).is_file():
        tensors, known = load_tensors(path)
        if known == meta:
            return tensors
    save_tensors(path, make(), meta)
    return load_tensors(path)[0]  # on the CPU, as in a resumed run


def write_json(path, content):
    """Write JSON atomically, with a stable layout that git can compare; not-a-number, which JSON lacks, is null."""
    without_nan = _replace(content, lambda value: isinstance(value, float) and math.isnan(value), None)
    text = json.dumps(without_nan, indent=2, allow_nan=False)
    write_atomically(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def read_json(path):
    """Read numbers that `write_json` wrote: null is not-a-number."""
    return _replace(json.loads(Path(path).read_text(encoding="utf-8")), lambda value: value is None, float("nan"))


def _replace(content, unwanted, other):
    if isinstance(content, dict):
        return {key: _replace(value, unwanted, other) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_replace(value, unwanted, other) for value in content]
    return other if unwanted(content) else content


def fingerprint(content):
    """Return a short hash of JSON-compatible content: equal content, equal hash."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def digest(*tensors):
    """Return a short hash of tensors' bytes, or of those that give some of their rows as tensors, read bit by bit."""
    total = hashlib.sha256()
    for tensor in tensors:
        for start in range(0, len(tensor), ROWS_AT_ONCE):
            total.update(tensor[start : start + ROWS_AT_ONCE].detach().cpu().contiguous().numpy())
    return total.hexdigest()[:16]


class Batch:
    """A dataclass whose fields are tensors (N, ...), batches, dicts of these or None: items i belong together."""

    def __len__(self):
        return len(next(iter(vars(self).values())))

    def __getitem__(self, which):
        """Some of the items, by slice, tensor of indices or mask."""
        return self.each(lambda values: values[which])

    def to(self, device):
        """The same with its tensors on another device."""
        return self.each(lambda values: values.to(device) if hasattr(values, "to") else values)

    def each(self, change):
        """The same with every field changed."""

        def changed(one):
            if isinstance(one, dict):
                return {name: change(part) for name, part in one.items()}
            return None if one is None else change(one)

        return type(self)(**{name: changed(one) for name, one in vars(self).items()})


@dataclass(frozen=True)
class MappedRows:
    """Some rows of an array on disk, which become a tensor when they are asked for; `change` is made to those then."""

    array: np.ndarray
    rows: np.ndarray
    change: Callable = lambda values: values

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        which = which.numpy() if isinstance(which, torch.Tensor) else which
        return self.change(torch.from_numpy(self.array[self.rows[which]]))


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def constant(values, device):
    """Return the tensor of a number or of nested tuples of numbers; it is copied to a GPU, which waits, but once."""
    return torch.tensor(values, device=device)
