"""What is known of every photograph, computed once and memory-mapped: features, descriptors, crops, an index."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib.core.errors import StudyError
from lib.core.pictures import to_tensor
from lib.core.tensors import ROWS_AT_ONCE, Batch, MappedRows
from lib.rendering.crop import POINT_NAMES, landmarks_in_crop

INDEX_FILE = "index.parquet"
SKIPPED_FILE = "skipped.csv"
CROPS = "crops"
FEATURES_PREFIX, DESCRIPTORS_PREFIX = "features_", "descriptors_"
TRAIN, TEST, SKIPPED_ROW = "train", "test", -1
TEST_PHOTOGRAPHS = 2  # of a person, so that one can be recognised by another


@dataclass(frozen=True)
class FeatureStore:
    """Photographs as the recognition networks see them.

    `index` has one line per file of the source, sorted by path: `row` (of the arrays; -1 when skipped), `path` (within
    the source), `person`, `condition` and `scan` (see `lib.photos.files.Photograph`), `split` ("train", "test";
    empty when skipped), `lib.photos.align.MEASURE_COLUMNS` (pixels of the upright photograph), `faces` (how many were
    found) and `reason` (why it was skipped, else empty). The arrays are memory-mapped.
    """

    index: pd.DataFrame
    features: dict[str, np.ndarray]  # by network: (N, F), float32
    descriptors: dict[str, np.ndarray]  # by network: raw ones (N, E), float32
    crops: np.ndarray  # (N, S, S, 3), uint8, RGB: in the training network's crop

    def rows(self, split):
        """Return the rows of a split ("train" or "test"), int64, ascending."""
        return self.index.loc[self.index["split"] == split, "row"].to_numpy(np.int64)

    def persons(self, rows):
        """Return the names of the people on these rows, as an array of str in the same order."""
        return self.column("person", rows)

    def column(self, name, rows):
        """Return one of the index's columns for these rows, as an array of objects."""
        used = self.index[self.index["row"] != SKIPPED_ROW].sort_values("row")
        return used[name].to_numpy(dtype=object)[np.asarray(rows)]

    def centre(self, network):
        """Return the mean raw descriptor (E,) of the training photographs, float32 (`IdentityNetwork.with_centre`)."""
        rows, descriptors = self.rows(TRAIN), self.descriptors[network]
        total = np.zeros(descriptors.shape[1])
        for start in range(0, len(rows), ROWS_AT_ONCE):
            total += descriptors[rows[start : start + ROWS_AT_ONCE]].sum(axis=0, dtype=np.float64)
        return (total / len(rows)).astype(np.float32)

    @property
    def skipped(self):
        """The files that were skipped: a DataFrame with `path` and `reason`."""
        return self.index.loc[self.index["row"] == SKIPPED_ROW, ["path", "reason"]].reset_index(drop=True)


def load_feature_store(folder):
    """Open what `lib.photos.embed.embed_photographs` wrote; StudyError where it is missing or not whole."""
    folder = Path(folder)
    if not (folder / INDEX_FILE).is_file():
        raise StudyError(f"{folder} is not a feature store ({INDEX_FILE} is missing): run the photos stage.")
    index = pd.read_parquet(folder / INDEX_FILE)
    kinds = [
        {path.stem.removeprefix(prefix): np.load(path, mmap_mode="r") for path in folder.glob(f"{prefix}*.npy")}
        for prefix in (CROPS, FEATURES_PREFIX, DESCRIPTORS_PREFIX)
    ]
    crops, features, descriptors = kinds
    same_rows = {len(array) for kind in kinds for array in kind.values()} == {(index["row"] != SKIPPED_ROW).sum()}
    if not (same_rows and "" in crops and features and features.keys() == descriptors.keys()):
        raise StudyError(f"{folder} is an incomplete feature store: run the photos stage again.")
    return FeatureStore(index, features, descriptors, crops[""])


@dataclass(frozen=True)
class Photographs(Batch):
    """Some rows of the store in memory; what was not asked for is None."""

    features: torch.Tensor | MappedRows  # (N, F), of the training network
    embeddings: torch.Tensor | MappedRows | np.ndarray | None = None  # (N, E), unit length
    persons: np.ndarray | None = None  # (N,), str
    conditions: np.ndarray | None = None  # (N,), str; empty where a source has no conditions
    rows: np.ndarray | None = None  # (N,), of the store
    pictures: torch.Tensor | None = None  # (N, H, W, 3), uint8, in the crop of the training network
    landmarks: torch.Tensor | None = None  # (N, 4, 2): `POINT_NAMES` as they were detected, in units of the crop
    mirrored: torch.Tensor | None = None  # (N, F): features of the mirror images
    skin: torch.Tensor | None = None  # (N, 3): mean colour of each face's front (`lib.training.metric.read_colour`)
    second_embeddings: torch.Tensor | None = None  # (N, E), unit length, of the second network of `FeatureReader`
    shape: torch.Tensor | None = None  # (N, S): coefficients that stage 1's regressor reads
    judged: dict | None = None  # (N, E) by name: embeddings under `NetworksParams.further_judges`

    def images(self):
        """The pictures as the renderer draws: float32 (N, 3, H, W), sRGB in [0, 1]."""
        return to_tensor(self.pictures)

    def at_most(self, photographs):
        """Keep this many photographs of each person, evenly from their list, so that all conditions are among them."""
        kept = []
        for person in np.unique(self.persons):
            theirs = np.flatnonzero(self.persons == person)
            count = min(photographs, len(theirs))
            kept.append(theirs[((np.arange(count) + 0.5) * len(theirs) / count).astype(int)])
        return self[np.sort(np.concatenate(kept))]


def load_photographs(store, rows, reader, judge=None, pictures=False, further_judges=None):
    """Read rows (N,) of the store as `Photographs`, with the features that a `FeatureReader` gives.

    `judge`, a centred network, adds its embeddings, `further_judges` theirs by name, `pictures` these and the
    landmarks.
    """

    def embedded(network):
        return network.embed(torch.from_numpy(store.descriptors[network.name][rows])).numpy()

    embeddings = embedded(judge) if judge else None
    judged = {name: embedded(network) for name, network in (further_judges or {}).items()}
    images = landmarks = None
    if pictures:
        points = np.stack([store.column(f"{name}_{axis}", rows) for name in POINT_NAMES for axis in "xy"], 1)
        points = torch.from_numpy(points.astype(np.float32)).unflatten(1, (-1, 2))
        landmarks = landmarks_in_crop(points, reader.network.crop)
        images = torch.from_numpy(store.crops[rows])
    features, people = reader.mean_of_store(store, rows), (store.persons(rows), store.column("condition", rows))
    return Photographs(features, embeddings, *people, rows, images, landmarks, judged=judged)


def split_people(persons, test_people, seed):
    """Divide the people of usable photographs: dict of str to "train" or "test", at most half of them to test on.

    The order comes from a hash of their names: adding people moves few others. People to test on have
    `TEST_PHOTOGRAPHS` at least, where anybody has. StudyError where there are fewer than two people.
    """
    counts = pd.Series(list(persons), dtype=object).value_counts()
    if len(counts) < 2:
        raise StudyError(
            f"Usable photographs show {len(counts)} person(s); at least 2 are needed, "
            "to train on one and test on another."
        )
    candidates = list(counts.index[counts >= TEST_PHOTOGRAPHS]) or list(counts.index)
    candidates.sort(key=lambda person: hashlib.sha256(f"{seed}:{person}".encode()).digest())
    tested = set(candidates[: min(test_people, len(counts) // 2)])
    return {person: TEST if person in tested else TRAIN for person in sorted(counts.index)}
