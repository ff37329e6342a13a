"""Shards of embedded photographs on disk: what makes a run resumable and a second run short."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lib.core.errors import StudyError
from lib.core.files import write_atomically

FORMAT_VERSION = 1


class EmbeddingCache:
    """Results by photograph, in shards that are written once and never changed; it may be deleted at any time.

    Keys hold a photograph's name and content: if one differs, it is embedded again. Each recipe (all that results
    depend on besides, such as networks) has its own folder.
    """

    def __init__(self, folder, recipe):
        text = json.dumps({"format": FORMAT_VERSION, **recipe}, sort_keys=True)
        self.folder = Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(text, encoding="utf-8")

    def read_records(self):
        """Return the records given to `add` that have a key, and their `shard`: a DataFrame whose index is the key."""
        paths = sorted(self.folder.glob("*.parquet"))
        tables = [table.assign(shard=path.stem) for path in paths if (table := _read_table(path)) is not None]
        if not tables:
            return pd.DataFrame(columns=["shard", "shard_row"])
        records = pd.concat(tables, ignore_index=True).set_index("key")
        return records[~records.index.duplicated(keep="last") & (records.index != "")]

    def add(self, records, arrays):
        """Store a shard: records with `key` ("": not found again) and `shard_row` (-1: no face), and arrays by name."""
        name = hashlib.sha256("\n".join(record["key"] for record in records).encode()).hexdigest()[:24]
        # the table comes last: a shard without it does not exist
        write_atomically(self.folder / f"{name}.safetensors", lambda path: save_file(arrays, path))
        write_atomically(
            self.folder / f"{name}.parquet", lambda path: pd.DataFrame(records).to_parquet(path, index=False)
        )

    def load_array(self, shard, name):
        """Return one array of a shard."""
        path = self.folder / f"{shard}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise StudyError(f"{path} is damaged ({error}): delete {self.folder} and run again") from None


def _read_table(path):
    """A shard's records; None where a power cut left a file without its content: they are made again."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        return None
