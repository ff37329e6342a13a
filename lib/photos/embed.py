"""Photographs in, feature store out: each is read, detected, aligned and embedded once.

Results go into shards of 256 photographs in a cache folder, so that a run resumes; many processes may fill it:

    torchrun --nproc_per_node 8 -m lib.photos.embed --source folder --path my/photographs

The photos stage does this itself for `photos.processes` above 1. On several machines, start it on each (torchrun's
--nnodes) over a shared file system. Afterwards the stage finds everything in the cache and has only to gather it.
"""

import argparse
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.files import sha256_of, write_atomically
from lib.core.params import load_params
from lib.core.pictures import to_tensor
from lib.core.processes import launch
from lib.core.progress import progress
from lib.core.tensors import fingerprint, write_json
from lib.photos import detect as detection
from lib.photos import read as pictures
from lib.photos import store
from lib.photos.align import MEASURE_COLUMNS, iterate_face_crops
from lib.photos.sources import list_photographs
from lib.photos.store import CROPS, DESCRIPTORS_PREFIX, FEATURES_PREFIX, INDEX_FILE, SKIPPED_FILE, SKIPPED_ROW
from lib.recognition.network import load_network

CACHE_FOLDER = paths.CACHE / "photos"
SHARD_SIZE = 256
BATCH_SIZE, WORKERS = 16, min(8, torch.get_num_threads())
"""Photographs in memory at a time, for each worker; processes that read, detect and, on the CPU, embed (0: none)."""
RECORD_COLUMNS = ("key", "reason", "faces", "shard", "shard_row")
NETWORK_BATCH_SIZE = 8  # crops per forward pass: more do not fit the CPU's cache and take up to twice as long each


def embed_photographs(photographs, networks, folder, cache_folder, test_people, seed):
    """Make the feature store of a list of `Photograph` in a folder, with ``skipped.csv``: `FeatureStore`.

    `networks` are `IdentityNetwork` by name, whose raw descriptors are stored; the crops of the first are kept for
    figures. `test_people` and `seed` are those of `split_people`. StudyError: no face, or all of the same person.
    """
    keys, cache, failed = fill_cache(photographs, networks, cache_folder)
    index = _index(photographs, keys, cache.read_records(), failed)
    used = index["row"] != SKIPPED_ROW
    # listed also where nothing can be used
    skipped = index.loc[~used, ["path", "reason"]]
    write_atomically(Path(folder) / SKIPPED_FILE, lambda path: skipped.to_csv(path, index=False))
    if not used.any():
        counts = index["reason"].value_counts().head(5).items()
        raise StudyError(
            f"None of the {len(index)} files is a photograph with a face that can be used:"
            + "".join(f"\n  {count} x {reason}" for reason, count in counts)
            + f"\nAll are listed in {Path(folder) / SKIPPED_FILE}. Put photographs there that show a face at least 40 "
            "pixels high, or choose another photos.source."
        )
    splits = store.split_people(index.loc[used, "person"], test_people, seed)
    index["split"] = index["person"].map(splits).where(used, "")
    _write_store(index, cache, networks, Path(folder))
    return store.load_feature_store(folder)


def fill_cache(photographs, networks, cache_folder, process=0, processes=1):
    """Embed what the cache lacks, or a process's share: all keys, the cache, and by key what could not be read."""
    cache = EmbeddingCache(cache_folder, _recipe(networks))
    keys = [_key(photograph) for photograph in photographs]
    known = set(cache.read_records().index)
    # Whole batches in turn, whatever is done already: shares never overlap, and a photograph has the same neighbours in
    # its batch, so the same numbers to the last bit, on any number of processes.
    worth_opening = [(key, photograph) for key, photograph in zip(keys, photographs) if key]
    share = [each for place, each in enumerate(worth_opening) if place // BATCH_SIZE % processes == process]
    missing = [(key, photograph) for key, photograph in share if key not in known]
    with progress(description="photographs", total=len(share), unit="photo", initial=len(share) - len(missing)) as bar:
        failed = _embed(missing, cache, networks, bar)
    return keys, cache, failed


def _recipe(networks):
    sizes = (detection.DETECTION_SIDE, detection.SMALLEST_FACE, detection.SMALLEST_FACE_AGAIN)
    return {
        "networks": {name: [network.fingerprint, asdict(network.crop)] for name, network in networks.items()},
        "crops_of": next(iter(networks)),
        "detection": [*sizes, detection.PYRAMID_FACTOR],
        "pictures": [pictures.LONGEST_SIDE, pictures.SHORTEST_SIDE, "sRGB"],
    }


def _key(photograph):
    """The cache's key, by name and content, or "" for a file that is not to be opened."""
    try:
        return "" if photograph.problem else f"{photograph.name}|{sha256_of(photograph.path)}"
    except OSError:
        return ""


def _embed(missing, cache, networks, bar):
    """Embed photographs, each behind its key, into shards of the cache; -> why some could not be read, by key."""
    framings = {name: network.crop for name, network in networks.items()}
    describe = partial(_describe, networks=networks)
    # each worker a core: networks share one out worse than photographs do
    in_workers = all(network.centre.device.type == "cpu" for network in networks.values())
    records, parts, done, failed = [], [], 0, {}
    photographs, work = [photograph for _, photograph in missing], describe if in_workers else None
    for batch_records, found in iterate_face_crops(photographs, framings, BATCH_SIZE, WORKERS, work=work):
        row = sum(len(part[CROPS]) for part in parts)
        for record in batch_records:
            record["shard_row"] = SKIPPED_ROW if record["reason"] else row
            record["key"] = key = missing[done][0]
            row += not record["reason"]
            done += 1
            if record["reason"].startswith(pictures.NOT_READ):
                # what the machine could not read today is tried again by the next run
                record["key"], failed[key] = "", record["reason"]
        records += batch_records
        parts.append(found if in_workers else describe(found))
        bar.update(len(batch_records))
        if len(records) >= SHARD_SIZE or done == len(missing):
            cache.add(records, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
            records, parts = [], []
    return failed


@torch.inference_mode()
def _describe(pictures, networks):
    """Crops (n, S, S, 3) by network -> features, descriptors and the crops to keep, one row per face."""
    arrays = {CROPS: pictures[next(iter(networks))]}
    for name, network in networks.items():
        images = to_tensor(torch.from_numpy(pictures[name]).to(network.centre.device))
        parts = [network.descriptor(part) for part in images.split(NETWORK_BATCH_SIZE)]
        features, descriptors = (torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
        arrays |= {FEATURES_PREFIX + name: features, DESCRIPTORS_PREFIX + name: descriptors}
    return arrays


def _index(photographs, keys, records, failed):
    """One line per file of the source, sorted by path, with the rows that the store will have."""
    told = [(one.name, one.person, one.condition, one.scan) for one in photographs]
    index = pd.DataFrame(told, columns=["path", "person", "condition", "scan"])
    known = records.reindex(keys).reset_index(drop=True)
    index[list(MEASURE_COLUMNS)] = known[list(MEASURE_COLUMNS)].astype("float32")
    index["faces"] = known["faces"].fillna(0).astype("int64")
    index["shard"] = known["shard"]
    index["shard_row"] = known["shard_row"].fillna(SKIPPED_ROW).astype("int64")
    reasons, unknown = failed | records["reason"].to_dict(), f"{pictures.NOT_READ} or found"
    index["reason"] = [one.problem or reasons.get(key, unknown) for one, key in zip(photographs, keys, strict=True)]
    index = index.sort_values("path", ignore_index=True)
    used = index["shard_row"] != SKIPPED_ROW
    index.insert(0, "row", np.where(used, used.cumsum() - 1, SKIPPED_ROW))
    return index


def _write_store(index, cache, networks, folder):
    """Copy the rows of the shards into one array a file, in the index's order, and write the index."""
    folder.mkdir(parents=True, exist_ok=True)
    # the index goes first: without it there is no store, only parts of one
    for pattern in (INDEX_FILE, f"{CROPS}.npy", f"{FEATURES_PREFIX}*.npy", f"{DESCRIPTORS_PREFIX}*.npy"):
        for old in folder.glob(pattern):
            old.unlink()
    used = index[index["row"] != SKIPPED_ROW]
    for name in (CROPS, *(prefix + each for prefix in (FEATURES_PREFIX, DESCRIPTORS_PREFIX) for each in networks)):
        first = cache.load_array(used["shard"].iloc[0], name)

        def write(part, name=name, first=first):
            shape = (len(used), *first.shape[1:])
            array = np.lib.format.open_memmap(part, mode="w+", dtype=first.dtype, shape=shape)
            for shard, rows in used.groupby("shard"):
                array[rows["row"].to_numpy()] = cache.load_array(shard, name)[rows["shard_row"].to_numpy()]
            array.flush()

        write_atomically(folder / f"{name}.npy", write)
    index = index.drop(columns=["shard", "shard_row"])
    write_atomically(folder / INDEX_FILE, lambda path: index.to_parquet(path, index=False))


class EmbeddingCache:
    """Results by photograph, in shards that are written once and never changed; it may be deleted at any time.

    Keys hold a photograph's name and content; each recipe (all else that results depend on) has its own folder.
    """

    def __init__(self, folder, recipe):
        recipe = {"format": 2, **recipe}  # the shards' format
        self.folder = Path(folder) / fingerprint(recipe)
        write_json(self.folder / "recipe.json", recipe)

    def read_records(self):
        """Return the records given to `add` that have a key, and their `shard`: a DataFrame whose index is the key."""
        tables = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="numpy") as file:
                    records = json.loads(file.metadata()["records"])
            except (OSError, SafetensorError):  # a power cut left it without its content: it is made again
                continue
            tables.append(pd.DataFrame(records).assign(shard=path.stem))
        records = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
        # of photographs without a face there are no measures
        records = records.reindex(columns=[*RECORD_COLUMNS, *MEASURE_COLUMNS]).set_index("key")
        return records[~records.index.duplicated(keep="last") & (records.index != "")]

    def add(self, records, arrays):
        """Store a shard: records with `key` ("": not found again) and `shard_row` (-1: no face), and arrays by name."""
        name = fingerprint([record["key"] for record in records])
        meta = {"records": json.dumps(records)}
        write_atomically(self.folder / f"{name}.safetensors", lambda path: save_file(arrays, path, meta))

    def load_array(self, shard, name):
        """Return one array of a shard."""
        with safe_open(self.folder / f"{shard}.safetensors", framework="numpy") as file:
            return file.get_tensor(name)


def embed_in_processes(processes, source, path, networks):
    """Fill a source's cache by several processes of this machine."""
    try:
        launch("lib.photos.embed", processes, "--source", source, "--path", str(path), "--networks", *networks)
    except StudyError:
        raise StudyError(
            f"One of {processes} processes that embed photographs failed (see above). What they finished is kept: "
            "run again, or with photos.processes=1."
        ) from None


def main(arguments=None):
    """Embed the share of the process that torchrun started."""
    parser = argparse.ArgumentParser(prog="torchrun -m lib.photos.embed", description=__doc__.partition("\n")[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--path", required=True, help="the source's folder")
    parser.add_argument("--networks", nargs="+", help="default: those of params.yaml; the first one's crops are kept")
    options = parser.parse_args(arguments)
    names = options.networks or load_params().networks.embedding
    networks = {name: load_network(name, paths.NETWORKS) for name in names}
    # torchrun's contract: https://docs.pytorch.org/docs/stable/elastic/run.html
    part = dict(process=int(os.environ.get("RANK", 0)), processes=int(os.environ.get("WORLD_SIZE", 1)))
    fill_cache(list_photographs(options.source, options.path), networks, CACHE_FOLDER, **part)


if __name__ == "__main__":
    main()
