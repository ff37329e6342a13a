"""The paper's protocol (section 4) for any method: every number of the tables.

Metrics are nested as table -> row -> column -> {value, low, high, n}; ``docs/metrics.md`` defines the keys.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import h5py
import numpy as np
import torch
import torch.nn.functional as F

from lib.core.files import write_hdf5
from lib.core.pictures import to_pictures
from lib.core.processes import on_best_device
from lib.core.progress import progress
from lib.evaluation import distances, measures
from lib.evaluation.bootstrap import resample_people
from lib.evaluation.distances import EVERY_CONDITION, SurfaceErrors
from lib.evaluation.likeness import pair_distributions
from lib.evaluation.tables import PAIRED, look_up
from lib.face_model.model import Coefficients
from lib.recognition.render_centre import reference_renders
from lib.rendering.renderer import frontal_scene, render_meshes, sample_scenes

RENDER_BATCH = 25
SIDE_YAWS = (np.pi / 4, -np.pi / 4)  # of the side views: beyond the poses that the losses render by default


@dataclass(frozen=True)
class Reconstructed:
    """What a method makes of the photographs, in the same order."""

    # (N, E), unit-length embeddings, under the evaluation network, of renders in frontal light and pose (paper 4.3)
    frontal: np.ndarray
    pictures: np.ndarray | None  # (N, H, W, 3), uint8, the frontal renders for people to look at; None: `frontal_only`
    # embeddings (V, N, E) of other renders: `random_scene` (V = 1) and `side` (V = 2); empty with `frontal_only`, and
    # for a method that only gives pictures
    views: dict
    coefficients: Coefficients | None = None  # None for a method that has none of the face model
    # (N,): how far frontal renders are from the mean face's, over what random faces of the model are on average
    distances: np.ndarray | None = None
    errors: SurfaceErrors | None = None  # of the people's faces; None where no truth or no surface is known
    judged: dict = field(default_factory=dict)  # as `frontal`, under each of the setup's further judges


def reconstruct_all(setup, coefficients):
    """Render and embed faces of the model (`Coefficients` of N) as `see_faces` does."""
    model = on_best_device(setup.face_model)

    def drawing(rows):
        faces = coefficients[rows]
        decoded = model.vertices(faces.shape), model.albedo(faces.texture)
        return partial(render_meshes, *decoded, model.triangles, model.alignment_vertices)

    return replace(see_faces(setup, len(coefficients), drawing), coefficients=coefficients)


@torch.no_grad()
def see_faces(setup, count, drawing):
    """Render faces from the front, in a random scene and from both sides, and embed the renders.

    Renders are centred as renders (`lib.recognition.render_centre`). Random scenes are the same for all methods.
    `drawing` maps numbers of the `count` faces, Tensor (B,), to a function that draws them in scenes and a crop.
    Returns a `Reconstructed` without coefficients and errors.
    """
    face_model, picture_crop = on_best_device(setup.face_model), setup.reader.network.crop
    scenes = sample_scenes(count, torch.Generator().manual_seed(setup.protocol.seed), setup.distribution)
    reference, judges = reference_renders(face_model, setup.network), setup.render_judges()
    network = judges.pop("")
    embeddings, features, pictures, judged = [], [], [], {name: [] for name in judges}
    for rows in progress(torch.arange(count).split(RENDER_BATCH), "renders", unit="batch"):
        draw, studio = drawing(rows), frontal_scene(len(rows))
        sides = [replace(studio, angles=studio.angles + torch.tensor([yaw, 0.0, 0.0])) for yaw in SIDE_YAWS]
        views = [studio, scenes[rows], *sides]
        seen = [network(draw(view, network.crop)) for view in (views[:1] if setup.frontal_only else views)]
        embeddings.append(torch.stack([one.embedding for one in seen]))
        features.append(seen[0].features)
        for name, judge in judges.items():
            judged[name].append(judge(draw(studio, judge.crop)).embedding)
        if not setup.frontal_only:
            pictures.append(to_pictures(draw(studio, picture_crop)))
    frontal, *others = torch.cat(embeddings, 1).cpu().numpy()
    return Reconstructed(
        frontal,
        np.concatenate(pictures) if pictures else None,
        dict(random_scene=others[0][None], side=np.stack(others[1:])) if others else {},
        distances=((torch.cat(features) - reference.mean_face).norm(dim=1) / reference.distance).cpu().numpy(),
        judged={name: torch.cat(parts).cpu().numpy() for name, parts in judged.items()},
    )


def evaluate_faces(setup, coefficients, averaged=None):
    """Evaluate a method that gives coefficients of the face model in an `EvaluationSetup`: metrics and `Reconstructed`.

    `coefficients` have one face for each photograph; of a model with fewer components, the rest is zero. `averaged`
    (`AveragedShapes`) has one shape per person and condition; None: the mean of the coefficients, as for Tran et al. in
    the paper's Table 1.
    """
    coefficients = padded(coefficients, setup.face_model)
    reconstructed, components = reconstruct_all(setup, coefficients), {}
    if setup.truth is not None:
        people = setup.photographed.persons, setup.photographed.conditions
        averaged = averaged or distances.AveragedShapes(*distances.average_by_condition(coefficients.shape, *people))
        errors = distances.shape_errors(averaged, setup.face_model, setup.truth)
        reconstructed = replace(reconstructed, errors=errors)
        resampling = resample_people(averaged.persons, setup.protocol.bootstrap_samples, setup.protocol.seed)
        components = distances.component_columns(averaged, setup.face_model, setup.truth, resampling)
    metrics = evaluate_pictures(setup, reconstructed)
    return metrics | ({"components": {EVERY_CONDITION: components}} if components else {}), reconstructed


def padded(coefficients, face_model):
    """Coefficients of the leading components alone as those of the whole model: the others are zero."""
    shape, texture = coefficients.shape, coefficients.texture
    return Coefficients(
        F.pad(shape, (0, face_model.shape_dimension - shape.shape[1])),
        F.pad(texture, (0, face_model.texture_dimension - texture.shape[1])),
    )


def evaluate_pictures(setup, reconstructed):
    """Evaluate a method that may give no more than a picture of each face, `Reconstructed`: metrics.

    Tables that need what is None or empty are left out.
    """
    photographed, compared, protocol, groups = setup.photographed, setup.compared, setup.protocol, setup.groups()
    resampling = resample_people(photographed.persons, protocol.bootstrap_samples, protocol.seed)
    pairs = pair_distributions(photographed.embeddings, photographed.persons).kinds(resampling.weights)
    reference = pairs
    if compared is not None:
        drawn = resample_people(compared.persons, protocol.bootstrap_samples, protocol.seed + 1)
        reference = pair_distributions(compared.embeddings, compared.persons).kinds(drawn.weights)
    subsets = {EVERY_CONDITION: np.ones(len(photographed), bool)}
    subsets |= {name: photographed.conditions == name for name in sorted(set(photographed.conditions) - {""})}

    def likeness(chosen):
        return _likeness(chosen, photographed, reconstructed, reference, resampling)

    metrics = dict(photographs={EVERY_CONDITION: measures.photograph_columns(pairs)}) | _by_row(subsets, likeness)
    grouped = {name: _by_row(rows, likeness) for name, rows in groups.items()}
    if reconstructed.errors is not None:
        errors = reconstructed.errors
        metrics |= _geometry(errors, {row: errors.conditions == row for row in subsets}, protocol)
        overall = errors.conditions == EVERY_CONDITION
        for name, rows in groups.items():
            chosen = {row: overall & np.isin(errors.persons, photographed.persons[who]) for row, who in rows.items()}
            grouped[name] |= _geometry(errors, chosen, protocol, protocol.smallest_group)
    for cell in filter(None, (look_up(metrics, key) for key in PAIRED)):
        cell.keep_draws()
    for name, frontal in reconstructed.judged.items():
        seen = replace(photographed, embeddings=photographed.judged[name], judged=None)
        other = replace(setup, photographed=seen, people={}, compared=None)
        metrics[name] = evaluate_pictures(other, Reconstructed(frontal, None, {}))
    return metrics | (dict(groups=grouped) if grouped else {})


def _geometry(errors, subsets, protocol, smallest=1):
    """Table 1 of the faces (M,) in each subset whose truth is known, where there are `smallest` of them at least."""
    known = ~np.isnan(errors.distances)
    if not known.any():
        return {}
    resampling = resample_people(errors.persons[known], protocol.bootstrap_samples, protocol.seed)

    def columns(chosen):
        measured = errors.distances[chosen], errors.persons[chosen]
        return dict(geometry=dict(mean=resampling.mean(*measured), deviation=resampling.deviation(*measured)))

    return _by_row({row: known & rows for row, rows in subsets.items() if (known & rows).sum() >= smallest}, columns)


def _by_row(subsets, columns_of):
    """Turn what `columns_of` says of each subset, table -> column, into table -> row -> column."""
    tables = {}
    for row, chosen in subsets.items():
        for table, columns in columns_of(chosen).items():
            if columns:
                tables.setdefault(table, {})[row] = columns
    return tables


def _likeness(chosen, photographed, reconstructed, reference, resampling):
    """Table -> column of some of the photographs."""
    persons, embeddings, frontal = (
        each[chosen] for each in (photographed.persons, photographed.embeddings, reconstructed.frontal)
    )
    cosines = dict(frontal=(embeddings * frontal).sum(1))
    cosines |= {name: (embeddings * view[:, chosen]).sum(2).mean(0) for name, view in reconstructed.views.items()}
    tables = dict(
        similarity=measures.similarity_columns(cosines, persons, reference, resampling),
        earth_movers_distance=measures.distance_columns(cosines["frontal"], persons, reference, resampling),
        recall=measures.recall_columns(frontal, persons, photographed, resampling),
        consistency=measures.consistency_columns(frontal, persons, resampling),
    )
    if reconstructed.coefficients is not None:
        which = torch.from_numpy(np.flatnonzero(chosen))
        tables["coefficients"] = measures.coefficient_columns(reconstructed.coefficients[which], persons, resampling)
    if reconstructed.distances is not None:
        tables["exaggeration"] = dict(distance=resampling.mean(reconstructed.distances[chosen], persons))
    return tables


@torch.no_grad()
def loopback_table(setup, regressor, coefficients):
    """Draw each face in a random scene, read the picture, and compare the coefficients with those of the face.

    What the loopback loss asks for (paper 3.3.4), one row: `shape` and `texture` are the mean squared difference of a
    coefficient, in variances of the model. 0: each face is read as itself; 2: as anybody's.
    """
    protocol, persons = setup.protocol, setup.photographed.persons
    scenes = sample_scenes(len(coefficients), torch.Generator().manual_seed(protocol.seed), setup.distribution)
    reread = []
    for rows in progress(torch.arange(len(coefficients)).split(RENDER_BATCH), "faces read again", unit="batch"):
        seen = setup.reader.see_renders(on_best_device(setup.face_model), coefficients[rows], scenes[rows])
        reread.append(regressor(seen.features.cpu()).cat())
    squares = (torch.cat(reread) - coefficients.cat()).square()
    differences = Coefficients.split(squares, setup.face_model.shape_dimension)
    resampling = resample_people(persons, protocol.bootstrap_samples, protocol.seed)
    columns = {name: getattr(differences, name).mean(1).numpy() for name in ("shape", "texture")}
    return {EVERY_CONDITION: {name: resampling.mean(values, persons) for name, values in columns.items()}}


def save_evaluation(path, photographed, reconstructed, sources=None):
    """Keep what later notebooks show again in one compressed HDF5 file; `sources` as of `evaluate_sources`."""

    def fill(file):
        file.create_dataset("pictures", data=reconstructed.pictures, compression="gzip", compression_opts=4)
        file["similarity"] = (photographed.embeddings * reconstructed.frontal).sum(1)
        file["rows"], file["frontal"] = photographed.rows, reconstructed.frontal
        if reconstructed.coefficients is not None:
            file["coefficients"] = reconstructed.coefficients.cat().numpy()
        if reconstructed.errors is not None:
            for name, values in reconstructed.errors._asdict().items():
                file[f"errors/{name}"] = values
        for name, values in (sources or {}).items():
            file[f"sources/{name}"] = values

    write_hdf5(path, fill)


def load_evaluation(path):
    """Read `save_evaluation`'s file: `rows` (N,), `pictures` (N, H, W, 3), `similarity` (N,), `frontal` (N, E).

    Where the method has them, also `coefficients` (N, K), `errors`, a `SurfaceErrors`, and `sources`, a dict.
    """
    with h5py.File(path) as file:
        kept = {name: file[name][()] for name in file if name not in ("errors", "sources")}
        if "sources" in file:
            kept["sources"] = {name: values[()] for name, values in file["sources"].items()}
        if "errors" in file:
            *names, distances = (file["errors"][name] for name in SurfaceErrors._fields)
            kept["errors"] = SurfaceErrors(*(name.asstr()[()] for name in names), distances[()])
    return kept
