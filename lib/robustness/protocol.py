"""How far a face changes when only the photograph does (paper Figs. 6 and 7, section 4.5), as pictures and numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps

from lib.core.errors import StudyError
from lib.core.pictures import to_tensor, to_uint8
from lib.core.processes import on_best_device
from lib.core.progress import progress
from lib.evaluation.bootstrap import resample_people
from lib.photos.align import POINT_COLUMNS, iterate_face_crops
from lib.photos.files import Photograph
from lib.photos.read import read_picture
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.renderer import frontal_scene, render
from lib.robustness.changes import PIXEL_CHANGES, change_pixels, stylise

UNCHANGED, ARTWORK = "unchanged", "as it is"
QUALITY = 95
BATCH = 25


@dataclass(frozen=True)
class StressPhotographs:
    """What the networks see of the N stress photographs in which a face was found.

    `index` has a line per photograph: `file`, `person`, `kind` (`UNCHANGED`, a change or a style), `step` (from 1; 0
    for unchanged), `strength`, and `row` of the arrays (-1: no face was found).
    """

    index: pd.DataFrame
    features: dict[int, torch.Tensor]  # of the training network, by their number (`FeatureReader.feature_dimension`)
    embeddings: np.ndarray  # of the evaluation network
    crops: np.ndarray  # of the training network, uint8


@dataclass(frozen=True)
class SinglePhotograph:
    """A photograph that is all there is of its person, with its landmarks (4, 2): changes are made to its pixels."""

    image: np.ndarray
    points: np.ndarray
    changes = PIXEL_CHANGES

    def photograph(self, kind=None, strength=None):
        """Return the photograph, changed or (None) as it is."""
        return self.image if kind is None else change_pixels(self.image, self.points, kind, strength)


def choose_people(people, count, first):
    """Choose at most `count` people of the test set, the one named `first` before all others ("first": as they are)."""
    if first == "first":
        return people[:count]
    if first not in people:
        raise StudyError(f"robustness.person {first!r} is not in the test set: {', '.join(people[:8])}, …")
    return [first, *(person for person in people if person != first)][:count]


def single_photographs(photographs, index, people):
    """Read one photograph of each person, with the landmarks that were found in it: dict of str to SinglePhotograph."""
    files = {photograph.name: photograph.path for photograph in photographs}
    used = index[index["row"] >= 0].drop_duplicates("person").set_index("person")
    result = {}
    for person in people:
        line = used.loc[person]
        picture = read_picture(files[line["path"]])
        points = line[list(POINT_COLUMNS)].to_numpy(float).reshape(4, 2) / np.array(picture.scale)
        result[person] = SinglePhotograph(picture.pixels / 255, points)
    return result


def write_photographs(subjects, folder, steps, styles):
    """Photograph people (a subject each) unchanged, under every change, and in every style, into JPEG files.

    Without `styles` they are works of art. Returns a DataFrame as `StressPhotographs.index`, without `row`.
    """
    lines, numbers = [], {person: number for number, person in enumerate(subjects)}

    def write(person, kind, step, strength, image):
        name = f"{numbers[person]:03d}/{kind}-{step}.jpg".replace(" ", "-")
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_uint8(image)).save(path, quality=QUALITY)
        lines.append(dict(file=name, person=person, kind=kind, step=step, strength=strength))

    for person, subject in progress(subjects.items(), "stress photographs", unit="person"):
        plain = subject.photograph()
        write(person, UNCHANGED, 0, 0.0, plain)
        for change in subject.changes:
            for step, strength in enumerate(change.strengths(steps), 1):
                write(person, change.name, step, strength, subject.photograph(change.name, strength))
        for style in styles or [ARTWORK]:
            write(person, style, 1, 1.0, stylise(plain, style) if styles else plain)
    return pd.DataFrame(lines)


@torch.no_grad()
def see_photographs(index, folder, readers, evaluation):
    """Detect, align and embed photographs as the stage `photos` does: StressPhotographs; StudyError: too few faces.

    `readers` are `FeatureReader` of one training network; the evaluation network has its centre.
    """
    photographs = [Photograph(str(folder), line.file, line.person) for line in index.itertuples()]
    training = readers[0].network.name
    framings = {name: crop for reader in readers for name, crop in reader.framings.items()}
    framings["evaluation"] = evaluation.crop
    found, embeddings, crops, features = [], [], [], {reader.feature_dimension: [] for reader in readers}
    with progress(description="faces in stress photographs", total=len(photographs), unit="photo") as bar:
        for records, pictures in iterate_face_crops(photographs, framings, BATCH, 0):
            found += [not record["reason"] for record in records]
            crops.append(pictures[training])
            for reader in readers:
                features[reader.feature_dimension].append(reader.of_crops(pictures))
            embeddings.append(evaluation(to_tensor(pictures["evaluation"])).embedding.cpu().numpy())
            bar.update(len(records))
    found = np.array(found)
    index = index.assign(row=np.where(found, np.cumsum(found) - 1, -1))
    if len(_unchanged_rows(index)) < 2:
        raise StudyError("fewer than two unchanged photographs show a face: choose more people (robustness.people)")
    features = {dimension: torch.cat(parts) for dimension, parts in features.items()}
    return StressPhotographs(index, features, np.concatenate(embeddings), np.concatenate(crops))


@torch.no_grad()
def frontal_embeddings(coefficients, face_model, network):
    """Embed the neutral faces in the fixed light and pose of the evaluation (paper 4.3): unit length (N, E)."""
    parts, face_model = [], on_best_device(face_model)
    network = centred_on_renders(network, face_model)
    for rows in progress(torch.arange(len(coefficients)).split(BATCH), "neutral faces", unit="batch"):
        images = render(face_model, coefficients[rows], frontal_scene(len(rows)), network.crop)
        parts.append(network(images).embedding.cpu().numpy())
    return np.concatenate(parts)


def square_picture(path, size):
    """Read the middle square of a photograph in which no face was found: uint8 (size, size, 3)."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))


def found_shares(index, samples, seed):
    """Share of photographs in which the detector found a face, as `consistency`; steps are text, "1" the weakest."""
    resampling, result = resample_people(index["person"], samples, seed), {}
    for (kind, step), lines in index[index["kind"] != UNCHANGED].groupby(["kind", "step"], sort=False):
        result.setdefault(kind, {})[str(step)] = resampling.mean(lines["row"] >= 0, lines["person"])
    return result


def consistency(index, embeddings, samples, seed, photographs=None):
    """Compare each face (N, E), unit length, with that of the same person's unchanged photograph.

    By kind and step the mean cosine as {value, low, high, n}; photographs without a face are left out. With the
    embeddings of the `photographs`, it is compared with the unchanged photograph itself.
    """
    unchanged = embeddings if photographs is None else photographs
    return _by_change(index, samples, seed, lambda now, before: (embeddings[now] * unchanged[before]).sum(1))


def spread(index, values, samples, seed):
    """Distance of coefficients (N, S) to those of the unchanged photograph, as `consistency`: 0 for the same face.

    1 stands for the distance of two people (root mean square over all pairs of them).
    """
    unchanged = values[_unchanged_rows(index).to_numpy()]
    apart = np.sqrt(np.square(unchanged[:, None] - unchanged).sum(2)[np.triu_indices(len(unchanged), 1)].mean())
    return _by_change(
        index, samples, seed, lambda now, before: np.linalg.norm(values[now] - values[before], axis=1) / apart
    )


def between_people(index, embeddings):
    """Mean cosine of the unchanged faces of two people: what consistency would be if a face had no owner."""
    unchanged = embeddings[_unchanged_rows(index).to_numpy()]
    return float((unchanged @ unchanged.T)[np.triu_indices(len(unchanged), 1)].mean())


def _unchanged_rows(index):
    """Row of each person's unchanged photograph, a Series by person; people without a face in it are left out."""
    return index[(index["kind"] == UNCHANGED) & (index["row"] >= 0)].set_index("person")["row"]


def _by_change(index, samples, seed, statistic):
    unchanged, result = _unchanged_rows(index), {}
    resampling = resample_people(unchanged.index, samples, seed)
    usable = index[(index["kind"] != UNCHANGED) & (index["row"] >= 0) & index["person"].isin(unchanged.index)]
    for (kind, step), lines in usable.groupby(["kind", "step"], sort=False):
        values = statistic(lines["row"].to_numpy(), unchanged[lines["person"]].to_numpy())
        result.setdefault(kind, {})[str(step)] = resampling.mean(values, lines["person"])
    return result
