"""The methods that the paper compares with (4.1 to 4.4), measured by the same protocol on the same photographs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from lib.baselines.external import read_results
from lib.core import paths
from lib.core.errors import StudyError
from lib.core.processes import best_device
from lib.core.tensors import write_json
from lib.evaluation import protocol
from lib.evaluation.bootstrap import resample_people
from lib.evaluation.distances import average_by_condition
from lib.evaluation.setup import evaluate_sources
from lib.evaluation.tables import ROWS, comparison_table, interval_text, look_up
from lib.face_model.model import Coefficients
from lib.figures import title_of
from lib.photos.simulated.camera import true_person
from lib.rendering.renderer import render_meshes
from lib.training.stage1 import VALIDATION_SHARE, SyntheticFaces, train_stage1

METRICS = paths.METRICS / "methods"
OVERLAYS = paths.METHODS / "pixel_autoencoder_overlays.npy"
"""Pictures of the photographs of the iterative fits, in the order of their `rows`."""
FEW_ROWS = ("similarity.all.frontal", "recall.all.top1", "recall.all.top5", "geometry.all.mean", "consistency.all.same")
RANKED = (
    ("recall.all.top1", "Most recognisable", "top-1 recall", max),
    ("similarity.all.frontal", "Most alike to the photograph", "similarity", max),
    ("geometry.all.mean", "Nearest to the true shape", "mm", min),
    ("consistency.all.same", "Most alike over a person's photographs", "similarity of renders", max),
    ("coefficients.all.shape_within_person", "Steadiest shape", "share of variance within a person", min),
)
"""What `conclusions` ranks the methods by: measure, what it says, its name, the better end."""
OF_PEOPLE = ("consistency.all.same", "coefficients.all.shape_within_person")
"""Measures that are best where all people get one face: only methods above chance are ranked."""
TRUTH = "ground_truth"
EMPTY_GREY = 200  # grey of an empty place in a grid of faces


def evaluate_method(setup, name, coefficients, regressor=None):
    """Evaluate a method as `evaluate_faces`, its regressor on the other test sources too; keep what came out."""
    averaged = setup.averaged(regressor) if regressor else None
    metrics, reconstructed = protocol.evaluate_faces(setup, coefficients, averaged)
    similarities = None
    if regressor:
        metrics["sources"], similarities = evaluate_sources(setup, regressor)
    _keep(paths.METHODS, name, metrics, setup.photographed, reconstructed, similarities)


def evaluate_external(setup, name, folder, store):
    """Evaluate another method's folder of results (``docs/compare-your-method.md``), kept in ``data/external``.

    Returns how many of the photographs have a result.
    """
    files = store.index.set_index("row")["path"]
    which, reconstructed = read_results(setup, folder, list(files.loc[setup.photographed.rows]), list(files))
    _keep_pictures(replace(setup, photographed=setup.photographed[which]), name, reconstructed)
    return len(which)


def evaluate_truth(setup, generator, seed):
    """Evaluate the true faces that a `FaceGenerator` drew with a seed: a ceiling (paper Table 2, last row).

    None: photographs are not simulated. Returns the names measured.
    """
    if generator is None:
        write_json(METRICS / f"{TRUTH}.json", {})
        return []
    photographed = setup.photographed
    people = {name: true_person(generator, name, seed) for name in set(photographed.persons)}
    triangles, points = torch.as_tensor(generator.triangles).to(best_device()), generator.alignment_vertices

    def drawing(rows):
        faces = [people[name] for name in photographed.persons[rows]]
        parts = (np.stack([getattr(face, part) for face in faces]) for part in ("vertices", "albedo"))
        return partial(render_meshes, *(torch.from_numpy(part).to(best_device()) for part in parts), triangles, points)

    reconstructed = protocol.see_faces(setup, len(photographed), drawing)
    _keep_pictures(setup, TRUTH, reconstructed)
    return [TRUTH]


def skin_differences(setup, evaluations):
    """Measure how far each method's skin is from the true face's in the same light; empty without `TRUTH`.

    Mean colours of cheeks and nose, by CIEDE2000. `evaluations` are what `load_evaluation` read, by method.
    """
    if TRUTH not in evaluations:
        return {}
    points = np.array(setup.reader.network.crop.points)
    (left, eyes), (right, _), mouth = points[0], points[1], points[2:, 1].mean()

    def skin(kept):
        side = kept["pictures"].shape[1]
        top, bottom = (round(side * (eyes + part * (mouth - eyes))) for part in (0.2, 0.7))
        cheeks = kept["pictures"][:, top:bottom, round(side * left) : round(side * right)]
        return rgb2lab(cheeks.mean((1, 2)) / 255)

    true, measured = skin(evaluations[TRUTH]), {}
    for name, kept in evaluations.items():
        _, ours, numbers = np.intersect1d(kept["rows"], evaluations[TRUTH]["rows"], return_indices=True)
        if name != TRUTH and len(ours):
            persons = setup.photographed.persons[np.isin(setup.photographed.rows, kept["rows"][ours])]
            resampling = resample_people(persons, setup.protocol.bootstrap_samples, setup.protocol.seed)
            measured[name] = resampling.mean(deltaE_ciede2000(skin(kept)[ours], true[numbers]), persons)
            measured[name].keep_draws()
    return measured


def _keep_pictures(setup, name, reconstructed):
    metrics = protocol.evaluate_pictures(setup, reconstructed)
    _keep(paths.EXTERNAL, name, metrics, setup.photographed, reconstructed)


def _keep(folder, name, metrics, photographed, reconstructed, sources=None):
    write_json(METRICS / f"{name}.json", metrics)
    protocol.save_evaluation(folder / f"{name}.h5", photographed, reconstructed, sources)


def evaluation_file(name):
    """Return where a method's evaluation is kept; StudyError where there is none, or two methods have that name."""
    places = (folder / f"{name}.h5" for folder in (paths.EVALUATE, paths.METHODS, paths.EXTERNAL))
    found = [path for path in places if path.is_file()]
    if not found:
        raise StudyError(f"{name} has not been evaluated: run `dvc repro methods comparison`")
    if len(found) > 1:
        raise StudyError(f"two methods are called {name} ({', '.join(map(str, found))}): rename the external one")
    return found[0]


def regress_fits(regressor, crops, persons, fits, params, checkpoint):
    """Train stage 1's regressor, in place, to give each photograph the mean fit of its person (Tran et al. 2017)."""
    people, _, means = average_by_condition(fits.cat(), persons, np.full(len(persons), ""))
    targets = means[pd.Index(people).get_indexer(persons)]
    examples = SyntheticFaces(crops.features, Coefficients.split(targets, fits.shape.shape[1]))
    return train_stage1(regressor, examples, params, checkpoint, held_out=torch.from_numpy(held_out_people(persons)))


def held_out_people(persons):
    """Photographs (N,), bool, of the last 5 % of the people: whole people, so that nobody is on both sides."""
    people = pd.unique(persons)
    if len(people) == 1:  # nobody else is there to train on
        return np.arange(len(persons)) == len(persons) - 1
    return np.isin(persons, people[-max(1, int(len(people) * VALIDATION_SHARE)) :])


def method_table(metrics):
    """Compare all measures of metrics by method, with the number of photographs in front: a DataFrame of text."""
    seen = {name: str(look_up(one, "similarity.all.frontal.n")) for name, one in metrics.items()}
    return pd.concat([pd.DataFrame(seen, index=["photographs"]), comparison_table(metrics)])


def conclusions(metrics):
    """Say by each of `RANKED` which method is best and which others may be: text, from metrics of methods by name.

    Without the true faces and methods of fewer photographs; by `OF_PEOPLE` without those that chance may equal.
    """
    methods = {name: one for name, one in metrics.items() if name != TRUTH}
    most = max(look_up(one, "similarity.all.frontal.n") for one in methods.values())
    methods = {name: one for name, one in methods.items() if look_up(one, "similarity.all.frontal.n") == most}
    recalls = {name: one["recall"]["all"] for name, one in methods.items()}
    chance = {name for name, recall in recalls.items() if recall["top1"]["low"] <= recall["random_top1"]["value"]}
    rows = {}
    for key, claim, unit, better in RANKED:
        ranked = methods.keys() - (chance if key in OF_PEOPLE else set())
        ranked = {name: cell for name in methods if name in ranked and (cell := look_up(methods[name], key))}
        if ranked:
            _, best = better((cell["value"], name) for name, cell in ranked.items())
            low, high = (ranked[best][end] for end in ("low", "high"))
            rivals = [name for name, cell in ranked.items() if cell["low"] <= high and cell["high"] >= low]
            others = ", ".join(title_of(name) for name in rivals if name != best)
            told = f"{unit} {interval_text(ranked[best])}"
            rows[claim] = {"method": title_of(best), "measured": told, "intervals overlap with": others}
    return pd.DataFrame.from_dict(rows, orient="index")


def few_table(setup, evaluations, which):
    """Compare methods on those of a few photographs `which` that each gave faces of: a DataFrame of `FEW_ROWS`."""
    metrics = {}
    for name, kept in evaluations.items():
        _, ours, numbers = np.intersect1d(setup.photographed.rows[which], kept["rows"], return_indices=True)
        if not len(ours):
            continue
        photographed = setup.photographed[which[ours]]
        if errors := kept.get("errors"):
            theirs = np.isin(errors.persons, photographed.persons)
            errors = type(errors)(*(values[theirs] for values in errors))
        faces = protocol.Reconstructed(kept["frontal"][numbers], kept["pictures"][numbers], {}, errors=errors)
        some = replace(setup, photographed=photographed, people={})
        metrics[name] = protocol.evaluate_pictures(some, faces)
    table = comparison_table(metrics)
    return table[table.index.isin([ROWS[key] for key in FEW_ROWS])]


def comparison_rows(store, rows, evaluations):
    """Lay out the comparison grid (Fig. 4): a photograph and each method's face of it (grey: none), uint8, a row."""
    methods = [dict(zip(kept["rows"], kept["pictures"])) for kept in evaluations.values()]
    empty = np.full_like(next(iter(evaluations.values()))["pictures"][0], EMPTY_GREY)
    return [[store.crops[row], *(faces.get(row, empty) for faces in methods)] for row in rows]
