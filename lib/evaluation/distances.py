"""True faces of the people on the photographs, and the distance to them in millimetres (paper 4.2, Table 1)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lib.core.progress import progress
from lib.evaluation.scan_fit import NOSE_TIP, outer_skin
from lib.evaluation.surfaces import IDENTITY, crop_to_sphere, make_surface, reconstruction_error

EVERY_CONDITION = "all"
COMPONENT_GROUPS = ((0, 10), (10, 20), (20, 50))
SIDE_BY_SIDE = 2  # faces measured at once: while one is in numpy, on one core, another looks for neighbours


@lru_cache(maxsize=32)
def true_face(truth, person):
    """Read a face of `lib.photos.people.GroundTruth`, cropped to 95 mm around its nose tip; once for all methods."""
    vertices, triangles = truth.read(person)
    tip = vertices[vertices[:, 2].argmax()].astype(np.float64)
    return crop_to_sphere(make_surface(vertices, triangles), tip), tip


@dataclass(frozen=True)
class AveragedShapes:
    """Shape coefficients (M, S) of each person in each condition, and of each person in `EVERY_CONDITION` together."""

    persons: np.ndarray
    conditions: np.ndarray
    shape: torch.Tensor


class SurfaceErrors(NamedTuple):
    """Distances of M faces of people in conditions from the true ones, mm; nan where the true one is not known."""

    persons: np.ndarray
    conditions: np.ndarray
    distances: np.ndarray


def average_by_condition(values, persons, conditions):
    """Average rows (N, F) over the photographs of one person in one condition, and over all photographs of the person.

    The paper averages the identity features of a video's frames and reconstructs once (4.2). An empty condition belongs
    to none. Returns persons and conditions (M,), among them `EVERY_CONDITION`, and means (M, F).
    """
    rows = [*range(len(persons)), *np.flatnonzero(conditions != "")]
    of_rows = [EVERY_CONDITION] * len(persons) + [condition for condition in conditions if condition]
    place, names = pd.MultiIndex.from_arrays([persons[rows], of_rows]).factorize()
    sums = torch.zeros(len(names), values.shape[1], dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(place), values[rows].double())
    means = sums / torch.from_numpy(place).bincount()[:, None]
    persons, conditions = (names.get_level_values(level).to_numpy(object) for level in (0, 1))
    return persons, conditions, means.to(values.dtype)


@torch.no_grad()
def averaged_features(regressor, features, persons, conditions):
    """Regress one shape per person and condition from the mean of the features (paper 4.2): an `AveragedShapes`."""
    persons, conditions, means = average_by_condition(features, persons, conditions)
    return AveragedShapes(persons, conditions, regressor(means).shape)


def shape_errors(averaged, face_model, truth):
    """Measure faces of the model (`AveragedShapes`) against the truth: `SurfaceErrors`."""
    rows, triangles = np.arange(face_model.vertex_count), face_model.triangles.numpy()
    if truth.scanned:  # no scanner sees the backs of eyeballs
        rows, triangles = outer_skin(face_model)

    def faces():
        for number in distinct.values():
            vertices = face_model.vertices(averaged.shape[number][None])[0].numpy()
            tip = vertices[face_model.landmarks[NOSE_TIP]]
            yield averaged.persons[number], make_surface(vertices[rows], triangles), tip

    # person by person, so that each true face is prepared once
    numbers = [number for person in truth.persons for number in np.flatnonzero(averaged.persons == person)]
    keys = [(averaged.persons[number], averaged.shape[number].numpy().tobytes()) for number in numbers]
    # the mean face is the same in all conditions, and measured once
    distinct = dict(zip(keys, numbers))
    distances = dict(zip(distinct, surface_errors(faces(), truth, len(distinct))))
    errors = np.full(len(averaged.persons), np.nan)
    errors[numbers] = [distances[key] for key in keys]
    return SurfaceErrors(averaged.persons, averaged.conditions, errors)


def surface_errors(faces, truth, total=None):
    """Measure any faces against the truth: symmetric point-to-plane distances (M,) in mm.

    `faces` yields the name of a person whose truth is known, a face (`Surface`, upright and frontal, in any unit near
    mm: the scale is found) and the tip of its nose (3,); `total` is how many there are, for the progress bar.
    """
    measured = []
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for person, face, nose_tip in progress(faces, "geometry", total=total, unit="face"):
            true, true_tip = true_face(truth, person)
            face = face.moved(replace(IDENTITY, shift=true_tip - nose_tip))
            measured.append(pool.submit(reconstruction_error, face, true))
            if len(measured) > SIDE_BY_SIDE:  # few faces are in memory
                measured[-SIDE_BY_SIDE - 1].result()
    return np.array([one.result() for one in measured])


def true_coefficients(face_model, truth):
    """Shape coefficients (P, S) of the nearest faces of the model to the true ones, which have its topology."""
    modes = face_model.modes("shape").flatten(1)
    mean = face_model.vertices(torch.zeros(1, len(modes)))[0]
    true = torch.stack([torch.from_numpy(truth.read(person)[0]).float() - mean for person in truth.persons]).flatten(1)
    return torch.linalg.solve((modes @ modes.T).double(), (modes @ true.T).double()).T


def component_columns(averaged, face_model, truth, resampling):
    """Correlate regressed with true shape over people, for `COMPONENT_GROUPS`; none for scans or another topology."""
    every = np.flatnonzero(averaged.conditions == EVERY_CONDITION)
    persons, ours, known = np.intersect1d(averaged.persons[every], truth.persons, return_indices=True)
    if truth.scanned or len(known) < 3 or len(truth.read(persons[0])[0]) != face_model.vertex_count:
        return {}
    x = averaged.shape[every[ours]].double().numpy()
    y = true_coefficients(face_model, truth)[known].numpy()
    sums = resampling.sums(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], 1), persons)

    def correlations(weights):
        count, *rest = np.einsum("bp,psk->sbk", weights, sums)
        x, y, xx, yy, xy = (values / np.where(count > 0, count, np.nan) for values in rest)
        return (xy - x * y) / np.sqrt(np.maximum((xx - x * x) * (yy - y * y), 1e-12))

    return {
        f"{first + 1}_{last}": resampling.with_interval(
            lambda weights, part=slice(first, last): correlations(weights)[:, part].mean(1), len(known)
        )
        for first, last in COMPONENT_GROUPS
        if last <= x.shape[1]
    }
