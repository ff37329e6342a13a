"""The methods that the paper compares with (4.1 to 4.4), measured by the same protocol on the same photographs."""

import numpy as np
import pandas as pd
import torch

from lib.baselines.external import evaluate_results, read_results
from lib.core import paths
from lib.core.errors import StudyError
from lib.core.tensors import write_json
from lib.evaluation.distances import average_by_condition
from lib.evaluation.protocol import Reconstructed, evaluate_faces, evaluate_pictures, save_evaluation
from lib.evaluation.tables import ROWS, comparison, comparison_table, read_metrics
from lib.face_model.model import Coefficients
from lib.training.stage1 import VALIDATION_SHARE, train_stage1
from lib.training.synthetic import SyntheticFaces

METRICS = paths.METRICS / "methods"
FEW_ROWS = ("similarity.all.frontal", "recall.all.top1", "recall.all.top5", "geometry.all.mean", "consistency.all.same")
EMPTY_GREY = 200
"""Grey of an empty place in a grid of faces."""


def evaluate_method(setup, name, coefficients, which=None, averaged=None):
    """Evaluate a method's faces and keep what came out.

    Parameters
    ----------
    setup : lib.evaluation.setup.EvaluationSetup
    name : str
        Of the method: of ``data/methods/<name>.h5`` and ``reports/metrics/methods/<name>.json``.
    coefficients, which, averaged
        As `lib.evaluation.protocol.evaluate_faces`.
    """
    metrics, reconstructed = evaluate_faces(setup, coefficients, which, averaged)
    photographed = setup.photographed if which is None else setup.photographed[which]
    return _keep(paths.METHODS, name, metrics, photographed, reconstructed)


def evaluate_external(setup, name, folder, store):
    """Evaluate the results of another method, kept as those of `evaluate_method` (in ``data/external``).

    Parameters
    ----------
    setup : lib.evaluation.setup.EvaluationSetup
    name : str
    folder : path-like
        As ``docs/compare-your-method.md`` describes.
    store : lib.photos.store.FeatureStore
    """
    files = store.index.set_index("row")["path"]
    results = read_results(setup, folder, list(files.loc[setup.photographed.rows]), list(files))
    metrics, reconstructed = evaluate_results(setup, results)
    _keep(paths.EXTERNAL, name, metrics, setup.photographed[results.which], reconstructed)
    return results


def _keep(folder, name, metrics, photographed, reconstructed):
    write_json(METRICS / f"{name}.json", metrics)
    save_evaluation(folder / f"{name}.h5", photographed, reconstructed)
    return reconstructed


def evaluation_file(name):
    """Return where a method's evaluation is kept: that of a regressor, of one of these methods, or of an external one.

    Raises
    ------
    StudyError
        There is none, or two methods have the same name.
    """
    found = [
        path for folder in (paths.EVALUATE, paths.METHODS, paths.EXTERNAL) if (path := folder / f"{name}.h5").is_file()
    ]
    if not found:
        raise StudyError(f"{name} has not been evaluated: run `dvc repro methods comparison`")
    if len(found) > 1:
        raise StudyError(f"two methods are called {name} ({', '.join(map(str, found))}): rename the external one")
    return found[0]


def photographs_of_people(store, split, people, photographs_per_person):
    """Choose at most this many photographs of each of the first people of a split: rows of the store, ascending."""
    rows = store.rows(split)
    persons = pd.Series(store.persons(rows), index=rows)
    persons = persons[persons.isin(sorted(persons.unique())[:people])]
    return np.sort(persons.groupby(persons).head(photographs_per_person).index.to_numpy())


def regress_fits(regressor, crops, persons, fits, params, checkpoint):
    """Train the decoder to give each photograph the average of the fits of its person (Tran et al. 2017).

    The regressor, as stage 1 left it, is changed in place; the last 5 % of the people are held out. The checkpoint is
    written every epoch; a run that was stopped goes on from there. Returns what `lib.training.stage1.train_stage1`
    does.
    """
    people, _, means = average_by_condition(fits.cat(), persons, np.full(len(persons), ""))
    number = {person: row for row, person in enumerate(people)}
    targets = means[[number[person] for person in persons]]
    examples = SyntheticFaces(crops.features, Coefficients.split(targets, fits.shape.shape[1]))
    return train_stage1(regressor, examples, params, checkpoint, held_out=torch.from_numpy(held_out_people(persons)))


def held_out_people(persons):
    """Photographs (N,), bool, of the last 5 % of the people: whole people, so that nobody is on both sides."""
    people = pd.unique(persons)
    if len(people) == 1:  # nobody else is there to train on
        return np.arange(len(persons)) == len(persons) - 1
    return np.isin(persons, people[-max(1, int(len(people) * VALIDATION_SHARE)) :])


def method_table(names):
    """Compare all measures of all methods, with the numbers of photographs and people in front: a DataFrame."""
    table = comparison(names)
    seen = {name: read_metrics(name)["similarity"]["all"]["frontal"]["n"] for name in names}
    return pd.concat([pd.DataFrame({name: str(count) for name, count in seen.items()}, index=["photographs"]), table])


def few_table(setup, evaluations, which):
    """Compare several methods on the same few photographs `which`, from what was kept of each: a DataFrame of
    `FEW_ROWS`.

    A method that gave faces of some of them alone is measured on those, one that gave none is left out.
    """
    metrics = {}
    for name, kept in evaluations.items():
        _, ours, numbers = np.intersect1d(setup.photographed.rows[which], kept["rows"], return_indices=True)
        if not len(ours):
            continue
        photographed = setup.photographed[which[ours]]
        errors = kept["errors"].of(set(photographed.persons)) if "errors" in kept else None
        faces = Reconstructed(kept["frontal"][numbers], kept["pictures"][numbers], {}, errors=errors)
        metrics[name] = evaluate_pictures(faces, photographed, setup.protocol)
    table = comparison_table(metrics)
    return table[table.index.isin([ROWS[key] for key in FEW_ROWS])]


def comparison_rows(store, rows, evaluations):
    """Lay out the comparison grid (paper Fig. 4): a photograph of the store and each method's face of it in each row.

    Pictures are uint8 (H, W, 3), plain grey where a method has no face of that photograph.
    """
    grid = []
    for row in rows:
        faces = []
        for kept in evaluations.values():
            place = np.flatnonzero(kept["rows"] == row)
            faces.append(kept["pictures"][place[0]] if len(place) else np.full_like(kept["pictures"][0], EMPTY_GREY))
        grid.append([store.crops[row], *faces])
    return grid
