"""The methods that the paper compares with (4.1 to 4.4), measured by the same protocol on the same photographs."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from lib.checkpoint import write_json
from lib.evaluation import evaluate_faces, save_evaluation
from lib.external_faces import evaluate_results, read_results
from lib.face_model import Coefficients, FaceModel
from lib.fairness import groups_of, read_people
from lib.ground_truth import average_by_condition, load_truth
from lib.photographed import load_photographed
from lib.recognition import load_network
from lib.scenes import SceneDistribution
from lib.synthetic_faces import Pairs
from lib.tables import ROWS, comparison, read_metrics, side_by_side
from lib.training import train_stage1

RESULTS, METRICS = Path("data/methods"), Path("reports/metrics/methods")
REGRESSORS, EXTERNAL_RESULTS = Path("data/evaluate"), Path("data/external")
FEW_ROWS = ("similarity.all.frontal", "recall.all.top1", "recall.all.top5", "geometry.all.mean", "consistency.all.same")
NO_FACE = 200
"""Grey of an empty place in a grid of faces."""


@dataclass(frozen=True)
class Bench:
    """Everything that all methods have in common; the arguments of `lib.evaluation.evaluate_faces`.

    Attributes
    ----------
    photographed : lib.photographed.Photographed
        All evaluated photographs.
    people : dict of str to dict
        Age, gender, ethnicity of the people (`lib.fairness.read_people`).
    face_model, network, picture_crop, distribution, protocol, truth
        As `evaluate_faces`.
    """

    photographed: object
    people: dict
    face_model: torch.nn.Module
    network: torch.nn.Module
    picture_crop: object
    distribution: object
    protocol: object
    truth: object

    def evaluate(self, coefficients, which=None, averaged=None):
        """Evaluate faces of the model.

        Parameters
        ----------
        coefficients : Coefficients
            One face a photograph; of a model with fewer components, the rest is zero.
        which : ndarray (M,) or None
            Numbers of the photographs; None: all.
        averaged : lib.ground_truth.AveragedShapes or None
            As `evaluate_faces`.

        Returns
        -------
        metrics : dict
        reconstructed : Reconstructed
        """
        photographed = self.photographed if which is None else self.photographed.take(which)
        return evaluate_faces(
            padded(coefficients, self.face_model),
            photographed,
            self.face_model,
            self.network,
            self.picture_crop,
            self.distribution,
            self.protocol,
            self.truth,
            averaged,
            self._groups(photographed),
        )

    def measure(self, name, coefficients, which=None, averaged=None):
        """Evaluate faces of the model and keep what came out.

        Parameters
        ----------
        name : str
            Of the method: of ``data/methods/<name>.h5`` and ``reports/metrics/methods/<name>.json``.
        coefficients, which, averaged
            As `evaluate`.

        Returns
        -------
        Reconstructed
        """
        metrics, reconstructed = self.evaluate(coefficients, which, averaged)
        photographed = self.photographed if which is None else self.photographed.take(which)
        return _keep(RESULTS, name, metrics, photographed, reconstructed)

    def measure_external(self, name, folder, store):
        """Evaluate the results of another method, kept as those of `measure` (in ``data/external``): `ExternalResults`.

        Parameters
        ----------
        name : str
        folder : path-like
            As ``docs/compare-your-method.md`` describes.
        store : lib.feature_store.FeatureStore
        """
        paths = store.index.set_index("row")["path"]
        results = read_results(
            folder,
            list(paths.loc[self.photographed.rows]),
            list(paths),
            self.face_model,
            self.network,
            self.picture_crop,
            self.distribution,
            self.protocol.seed,
        )
        groups = self._groups(self.photographed.take(results.which))
        metrics = evaluate_results(results, self.photographed, self.protocol, self.truth, groups)
        _keep(EXTERNAL_RESULTS, name, metrics, self.photographed.take(results.which), results.reconstructed)
        return results

    def _groups(self, photographed):
        return groups_of(self.people, photographed.persons, self.protocol.smallest_group)


def _keep(folder, name, metrics, photographed, reconstructed):
    write_json(METRICS / f"{name}.json", metrics)
    save_evaluation(folder / f"{name}.h5", photographed, reconstructed)
    return reconstructed


def load_bench(params, store):
    """Set up the bench from the files of the study.

    Parameters
    ----------
    params : lib.params.Params
    store : lib.feature_store.FeatureStore

    Returns
    -------
    Bench
    """
    training, judge, protocol = params.networks.training, params.networks.evaluation, params.evaluate
    network = load_network(judge, "data/networks").with_centre(store.centre(judge))
    return Bench(
        load_photographed(store, training, network).at_most(protocol.photographs_a_person),
        read_people("data/photos"),
        FaceModel.load(params.face_model.path),
        network,
        load_network(training, "data/networks").crop,
        SceneDistribution.from_degrees(**asdict(params.scenes)),
        protocol,
        load_truth("data/photos/truth.h5", protocol.geometry_people),
    )


def evaluation_file(name, external):
    """Return where a method's `lib.evaluation.save_evaluation` is: a regressor's, one of ours, or an external one's."""
    if name in external:
        return EXTERNAL_RESULTS / f"{name}.h5"
    return (REGRESSORS if name in ("stage1", "full") else RESULTS) / f"{name}.h5"


def padded(coefficients, face_model):
    """Coefficients of the leading components alone as those of the whole model: the others are zero."""
    missing = face_model.shape_dimension - coefficients.shape.shape[1]
    shape = F.pad(coefficients.shape, (0, missing))
    return Coefficients(
        shape, F.pad(coefficients.texture, (0, face_model.texture_dimension - coefficients.texture.shape[1]))
    )


def photographs_of_people(store, split, people, photographs_a_person):
    """Choose photographs of the first people of a split, in the order of their names.

    Parameters
    ----------
    store : lib.feature_store.FeatureStore
    split : {"train", "test"}
    people, photographs_a_person : int
        At most.

    Returns
    -------
    ndarray (N,)
        Rows of the store, ascending.
    """
    rows = store.rows(split)
    persons = pd.Series(store.persons(rows), index=rows)
    persons = persons[persons.isin(sorted(persons.unique())[:people])]
    return np.sort(persons.groupby(persons).head(photographs_a_person).index.to_numpy())


def regress_fits(regressor, crops, persons, fits, params, checkpoint):
    """Train the decoder to give each photograph the average of the fits of its person (Tran et al. 2017).

    Parameters
    ----------
    regressor : lib.regressor.Regressor
        As stage 1 left it; changed in place.
    crops : lib.photo_crops.Crops
        N photographs.
    persons : ndarray (N,)
    fits : Coefficients
        Of the N photographs, of all components.
    params : lib.params.FitRegressedParams
    checkpoint : Path
        Written every epoch; a run that was stopped goes on from there.

    Returns
    -------
    list of dict
        As `lib.training.train_stage1`.
    """
    people, _, means = average_by_condition(fits.cat(), persons, np.full(len(persons), ""))
    number = {person: row for row, person in enumerate(people)}
    targets = means[[number[person] for person in persons]]
    pairs = Pairs(crops.features, Coefficients.split(targets, fits.shape.shape[1]))
    # the last ones are held out: those of people who are not among the others
    return train_stage1(regressor, pairs, params, checkpoint)


def method_table(names):
    """Put all measures of all methods side by side, with the number of photographs of each in front.

    Returns
    -------
    DataFrame
        As `lib.tables.comparison`; its first rows are `photographs` and `people`.
    """
    table = comparison(names)
    seen = {name: read_metrics(name)["similarity"]["all"]["frontal"]["n"] for name in names}
    return pd.concat([pd.DataFrame({name: str(count) for name, count in seen.items()}, index=["photographs"]), table])


def few_table(bench, faces, which):
    """Measure several methods on the same few photographs.

    Parameters
    ----------
    bench : Bench
    faces : dict of str to Coefficients
        By method: of all photographs, or of the few alone.
    which : ndarray (M,)
        Numbers of the few photographs.

    Returns
    -------
    DataFrame
        As `lib.tables.comparison`, of the measures in `FEW_ROWS`.
    """
    metrics = {
        name: bench.evaluate(values if len(values) == len(which) else values[which], which)[0]
        for name, values in faces.items()
    }
    table = side_by_side(metrics)
    return table[table.index.isin([ROWS[key] for key in FEW_ROWS])]


def comparison_rows(store, rows, evaluations):
    """Lay out the comparison grid (paper Fig. 4): a photograph and each method's face of it in each row.

    Parameters
    ----------
    store : lib.feature_store.FeatureStore
    rows : ndarray (R,)
        Photographs, as rows of the store.
    evaluations : dict of str to dict
        By method what `lib.evaluation.load_evaluation` gives.

    Returns
    -------
    list of list of ndarray (H, W, 3)
        uint8; plain grey where a method has no face of that photograph.
    """
    grid = []
    for row in rows:
        faces = []
        for kept in evaluations.values():
            place = np.flatnonzero(kept["rows"] == row)
            faces.append(kept["pictures"][place[0]] if len(place) else np.full_like(kept["pictures"][0], NO_FACE))
        grid.append([store.crops[row], *faces])
    return grid
