"""Shards of embedded photographs on disk: what makes a run resumable and a second run short."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from lib.core.files import sha256_of, write_atomically

FORMAT_VERSION = 1


class EmbeddingCache:
    """Results by photograph, in shards that are written once and never changed.

    A photograph is recognised by its name and content: when one of them differs it is not found, and so embedded again.
    Each recipe (a dict of all that results depend on besides, such as networks) has its own folder. The
    whole cache may be deleted at any time.
    """

    def __init__(self, folder, recipe):
        text = json.dumps({"format": FORMAT_VERSION, **recipe}, sort_keys=True)
        self.folder = Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(text, encoding="utf-8")

    def read_records(self):
        """Return a DataFrame of all that is stored: the records given to `add`, `shard` (str), `shard_row`;
        index: the key."""
        tables = []
        for path in sorted(self.folder.glob("*.parquet")):
            table = pd.read_parquet(path)
            tables.append(table.assign(shard=path.stem))
        if not tables:
            return pd.DataFrame(columns=["shard", "shard_row"])
        records = pd.concat(tables, ignore_index=True).set_index("key")
        return records[~records.index.duplicated(keep="last")]

    def add(self, records, arrays):
        """Store a shard.

        Parameters
        ----------
        records : list of dict
            One a photograph: `key`, `shard_row` (its row of the arrays, -1 without a face) and whatever else
            is known.
        arrays : dict of str to ndarray
        """
        name = hashlib.sha256("\n".join(record["key"] for record in records).encode()).hexdigest()[:24]
        # the table comes last: a shard without it does not exist
        write_atomically(self.folder / f"{name}.safetensors", lambda path: save_file(arrays, path))
        write_atomically(
            self.folder / f"{name}.parquet", lambda path: pd.DataFrame(records).to_parquet(path, index=False)
        )

    def load_array(self, shard, name):
        """Return one array of a shard."""
        with safe_open(self.folder / f"{shard}.safetensors", framework="numpy") as file:
            return file.get_tensor(name)


def photograph_key(photograph):
    """Return what a photograph is recognised by; a `lib.photos.files.Photograph` whose file can be read."""
    return f"{photograph.name}|{sha256_of(photograph.path)}"


def write_array(path, shape, dtype, fill):
    """Write an ``.npy`` file of any size, atomically: `fill` gets the memory-mapped array to write into."""

    def write(temporary):
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        fill(array)
        array.flush()

    write_atomically(path, write)
