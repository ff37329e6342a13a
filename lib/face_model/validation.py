"""How good a linear model is: compactness, generalisation and specificity (Styner et al., IPMI 2003).

Three curves over the number of components: how few components a model needs, how well it describes unseen people, and
whether its random faces resemble people.
"""

import numpy as np
import pandas as pd

COMPARED_POINTS = 2000  # points, spread evenly over the mesh, that distances are means over


def validate(model, held_out, components, seed):
    """Measure a linear model against samples (n, N, 3) it was not made from, at rising numbers of leading components.

    `seed` is that of the n random faces that specificity draws, the same ones at any number of components. Distances
    are means over points of Euclidean lengths; colours are not clamped.

    Returns a DataFrame, a row for each number of components, in the model's unit: mm for shape, sRGB in [0, 1] for
    texture. `compactness` is the share of the variance (explained and noise) that they explain; higher is better.
    `generalisation` is the mean distance of held-out samples to their best description, `specificity` that of random
    faces of the model to the nearest held-out sample; lower is better, and as low as `floor`, that of a held-out sample
    to another, is of use.
    """
    samples = _thinned(held_out)
    curves = dict(
        compactness=compactness(model)[np.array(components) - 1],
        generalisation=generalisation(model, held_out, components),
        specificity=specificity(model, held_out, components, np.random.default_rng(seed)),
        floor=_nearest(samples, samples, leave_out_same=True),
    )
    return pd.DataFrame(curves, pd.Index(components, name="components"), dtype=float)


def compactness(model):
    """Share of the total variance that the first 1, 2, … K components explain: ndarray (K,), rising."""
    variance = model.variance.astype(np.float64)
    return np.cumsum(variance) / (variance.sum() + model.noise_variance.astype(np.float64).mean() * model.mean.size)


def generalisation(model, held_out, components):
    """Mean distance of samples to their least-squares description by the first k components, for each k: (C,)."""
    offsets = held_out.reshape(len(held_out), -1) - model.mean
    # inner products of the columns too: they need not be orthonormal (a model cut to fewer vertices)
    products, weights = model.basis.T @ model.basis, model.basis.T @ offsets.T
    basis, offsets = _thinned_basis(model), _thinned(offsets.reshape(held_out.shape))
    errors = []
    for count in components:
        used = np.arange(min(count, np.count_nonzero(model.variance)))
        coefficients = np.linalg.solve(products[np.ix_(used, used)], weights[used]).T
        remainder = offsets - np.tensordot(coefficients, basis[used], axes=1)
        errors.append(np.linalg.norm(remainder, axis=2).mean())
    return np.array(errors)


def specificity(model, held_out, components, random):
    """Mean distance of random faces with the first k components to the nearest sample, for each k: (C,)."""
    coefficients = random.normal(size=(len(held_out), len(model.variance))) * np.sqrt(model.variance)
    coefficients, basis, samples = coefficients.astype(np.float32), _thinned_basis(model), _thinned(held_out)
    mean = _thinned(model.mean.reshape(1, -1, 3))
    return np.array([
        _nearest(mean + np.tensordot(coefficients[:, :count], basis[:count], axes=1), samples) for count in components
    ])  # fmt: skip


def _thinned(faces):
    """Every so many-th point of arrays (n, N, …), `COMPARED_POINTS` or some more."""
    return faces[:, :: max(1, faces.shape[1] // COMPARED_POINTS)].astype(np.float32)


def _thinned_basis(model):
    """Directions (K, P, 3) of the components at the compared points."""
    rows = _thinned(model.basis.reshape(1, -1, 3, len(model.variance)))[0]
    return np.ascontiguousarray(np.moveaxis(rows, 2, 0))


def _nearest(faces, samples, leave_out_same=False):
    distances = np.array([np.linalg.norm(samples - face, axis=2).mean(axis=1) for face in faces])
    if leave_out_same:
        np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).mean())
