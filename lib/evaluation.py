"""The paper's protocol (section 4) for one regressor: every number that the tables hold."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from lib.face_model import Coefficients
from lib.geometry import make_surface, reconstruction_error
from lib.likeness import (
    earth_movers_distance,
    histogram,
    mean_of,
    measured,
    pair_distributions,
    random_recall,
    retrieval_ranks,
    share_below,
)
from lib.losses import moments_of
from lib.progress import progress
from lib.renderer import frontal_scene, render, sample_scenes

RENDER_BATCH = 25


@dataclass(frozen=True)
class Photographed:
    """The held-out photographs.

    Attributes
    ----------
    persons : ndarray (N,)
        str.
    features : Tensor (N, F)
        Of the training network: what the regressor reads.
    embeddings : ndarray (N, E)
        Unit length, of the evaluation network.
    """

    persons: np.ndarray
    features: torch.Tensor
    embeddings: np.ndarray

    def __len__(self):
        return len(self.persons)


@dataclass(frozen=True)
class Reconstructed:
    """What a regressor makes of the photographs, in the same order.

    Attributes
    ----------
    coefficients : Coefficients
    frontal, posed : ndarray (N, E)
        Unit-length embeddings, under the evaluation network, of a render in fixed frontal light and pose (as in paper
        4.3) and of one in a random scene.
    pictures : ndarray (N, H, W, 3)
        uint8, the frontal renders in a crop of choice, for people to look at.
    """

    coefficients: Coefficients
    frontal: np.ndarray
    posed: np.ndarray
    pictures: np.ndarray


@torch.no_grad()
def reconstruct_all(coefficients, face_model, network, picture_crop, distribution, seed):
    """Render faces in a frontal and in a random scene and embed the renders.

    Parameters
    ----------
    coefficients : Coefficients
        N faces.
    face_model : FaceModel
    network : IdentityNetwork
        The evaluation network with its centre.
    picture_crop : Crop
        Of the pictures that are kept: that of the photographs which they are shown beside.
    distribution : SceneDistribution
    seed : int
        Of the random scenes; the same for all regressors.

    Returns
    -------
    Reconstructed
    """
    scenes = sample_scenes(len(coefficients), torch.Generator().manual_seed(seed), distribution)
    frontal, posed, pictures = [], [], []
    for rows in progress(torch.arange(len(coefficients)).split(RENDER_BATCH), "renders", unit="batch"):
        faces, studio = coefficients[rows], frontal_scene(len(rows))
        frontal.append(network(render(face_model, faces, studio, network.crop)).embedding)
        posed.append(network(render(face_model, faces, scenes[rows], network.crop)).embedding)
        images = render(face_model, faces, studio, picture_crop)
        pictures.append((images * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1))
    return Reconstructed(
        coefficients, torch.cat(frontal).numpy(), torch.cat(posed).numpy(), torch.cat(pictures).numpy()
    )


def likeness_metrics(photographed, reconstructed, samples, seed):
    """Compute similarity, earth mover's distance and recall (paper 4.3, 4.4: Fig. 5, Tables 2 and 3).

    Parameters
    ----------
    photographed : Photographed
    reconstructed : Reconstructed
    samples, seed : int
        Of the bootstrap over people.

    Returns
    -------
    dict
        `similarity` (frontal and random scenes, and the text's shares of photograph pairs), `earth_movers_distance` to
        the same-person and different-person distributions, `recall`; a measured value is {value, low, high, n}.
    """
    persons = photographed.persons

    def interval(values, statistic=None):
        return measured(values, persons, samples, seed, statistic)

    frontal = (photographed.embeddings * reconstructed.frontal).sum(1)
    posed = (photographed.embeddings * reconstructed.posed).sum(1)
    pairs = pair_distributions(photographed.embeddings, persons)
    ranks = retrieval_ranks(reconstructed.frontal, photographed.embeddings, persons, persons)

    def distance_to(counts):
        return interval(frontal, lambda values: earth_movers_distance(histogram(values), counts))

    similarity = dict(frontal=interval(frontal), random_scene=interval(posed))
    distance = {}
    similarity["photographs_different"] = mean_of(pairs.different)
    similarity["different_above"] = 1 - share_below(pairs.different, frontal.mean())
    distance["different"] = distance_to(pairs.different)
    if pairs.same.any():  # unlabelled photographs have no pair of one person
        similarity["photographs_same"] = mean_of(pairs.same)
        similarity["same_below"] = share_below(pairs.same, frontal.mean())
        distance["same"] = distance_to(pairs.same)
    return dict(
        similarity=similarity,
        earth_movers_distance=distance,
        recall=dict(
            top1=interval(ranks < 1),
            top5=interval(ranks < 5),
            random_top1=random_recall(persons, persons, 1),
            random_top5=random_recall(persons, persons, 5),
        ),
    )


def coefficient_metrics(coefficients, persons):
    """Compare the population of coefficients with the model's, and photographs of one person with each other.

    Returns
    -------
    dict
        `losses.moments_of`, and for shape and texture the share of the variance that lies *within* a person: 0 when all
        photographs of a person give the same face, 1 when they are as different as those of different people.
        (Unlabelled photographs have no such share.)
    """
    result = moments_of(coefficients)
    _, person = np.unique(persons, return_inverse=True)
    if np.bincount(person).max() < 2:
        return result
    for name in ("shape", "texture"):
        values = getattr(coefficients, name).numpy()
        counts = np.bincount(person)
        means = np.stack([np.bincount(person, column) for column in values.T], 1) / counts[:, None]
        several = counts[person] > 1
        # divided by n - 1, since the mean is that of the same photographs
        freedom = (counts[counts > 1] - 1).sum()
        within = np.square(values - means[person])[several].sum(0) / freedom
        result[f"{name}_within_person"] = float(within.mean() / values.var(0).mean())
    return result


def load_truth(path, people):
    """Read the true faces of simulated people.

    Parameters
    ----------
    path : str or Path
        From `simulated.save_truth`.
    people : int
        How many to read at most.

    Returns
    -------
    tuple of (dict of str to ndarray (N, 3), ndarray (T, 3)) or None
        Vertices of each person in mm and the triangles; None where the photographs have no truth.
    """
    if not Path(path).is_file():
        return None
    with h5py.File(path) as file:
        names = [name.decode() for name in file["persons"][:people]]
        return dict(zip(names, file["vertices"][: len(names)])), file["triangles"][()]


@torch.no_grad()
def shape_of_people(regressor, photographed, people):
    """Regress one shape a person from the mean of the features of all their photographs (paper 4.2).

    Returns
    -------
    Tensor (P, S)
    """
    means = [photographed.features[torch.from_numpy(photographed.persons == name)].mean(0) for name in people]
    return regressor(torch.stack(means)).shape


@torch.no_grad()
def geometry_errors(shape, face_model, truth):
    """Distance of each person's face to the truth (paper 4.2, Table 1).

    Parameters
    ----------
    shape : Tensor (P, S)
        Coefficients of the people of `truth`, in its order.
    face_model : FaceModel
    truth : tuple
        From `load_truth`.

    Returns
    -------
    ndarray (P,)
        Symmetric point-to-plane distances in mm.
    """
    faces, triangles = truth
    vertices, nose = face_model.vertices(shape).numpy(), face_model.landmarks["center.nose.tip"]
    model_triangles = face_model.triangles.numpy()
    errors = []
    for face, true_vertices in zip(progress(vertices, "geometry", unit="face"), faces.values()):
        true = make_surface(true_vertices, triangles)
        # the tip of the nose of a true face, which has no landmarks, is the vertex that protrudes most
        tip = true.vertices[true.vertices[:, 2].argmax()]
        placed = make_surface(face - face[nose] + tip, model_triangles)
        errors.append(reconstruction_error(placed, true, tip))
    return np.array(errors)


def save_evaluation(path, photographed, reconstructed):
    """Keep what the notebooks of the ablations and of the report show again, in one compressed HDF5 file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("pictures", data=reconstructed.pictures, compression="gzip", compression_opts=4)
        file["coefficients"] = reconstructed.coefficients.cat().numpy()
        file["similarity"] = (photographed.embeddings * reconstructed.frontal).sum(1)


def load_evaluation(path):
    """Read `save_evaluation`'s file: a dict of ndarray `pictures` (N, H, W, 3), `coefficients` and `similarity`."""
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}
