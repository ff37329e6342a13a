"""The losses of the paper (section 3.3), one pure function per equation.

All reduce the batch by its *mean*, where Eq. 3 writes a sum over b: the published weights keep their meaning at any
batch size and on any number of processes.
"""

from dataclasses import dataclass

import torch

from lib.face_model.model import Coefficients


def parameter_loss(predicted, true, shape_weight, texture_weight):
    """Squared distance of predicted and true coefficients (paper 3.3.1, Eq. 3).

    Parameters
    ----------
    predicted, true : Coefficients
        Shape (B, S) and texture (B, K) coefficients.
    shape_weight, texture_weight : float
        omega_s and omega_t; the paper has 0.4 and 0.002.

    Returns
    -------
    Tensor ()
        omega_s |s - s'|^2 + omega_t |t - t'|^2, summed over coefficients, averaged over the batch.
    """
    shape = (predicted.shape - true.shape).square().sum(1).mean()
    texture = (predicted.texture - true.texture).square().sum(1).mean()
    return shape_weight * shape + texture_weight * texture


def identity_loss(rendered, photographed):
    """One minus the cosine of identity embeddings (paper 3.3.2, Eq. 4), averaged over faces and views.

    Eq. 4 is the cosine itself, which is a similarity; to be minimised it has to be turned around.

    Parameters
    ----------
    rendered : Tensor (V * B, E)
        Unit-length embeddings of the rendered views; view v of face b is row v * B + b.
    photographed : Tensor (B, E)
        Unit-length embeddings of the photographs.

    Returns
    -------
    Tensor ()
        In [0, 2].
    """
    views = rendered.unflatten(0, (-1, len(photographed)))
    return 1 - (views * photographed).sum(-1).mean()


def batch_distribution_loss(coefficients):
    """Distance of a batch's mean and variance from those of the morphable model (paper 3.3.3, Eqs. 5 and 6).

    Parameters
    ----------
    coefficients : Coefficients
        Of B >= 2 faces. The variance is the unbiased one (divided by B - 1), whose expectation is 1 for standard
        normal coefficients at any batch size; the biased one would ask small batches for too wide a spread.

    Returns
    -------
    Tensor ()
        |mean|^2 + |variance - 1|^2, summed over the components of shape and of texture.
    """

    def moments(values):
        return values.mean(0).square().sum() + (values.var(0, correction=1) - 1).square().sum()

    return moments(coefficients.shape) + moments(coefficients.texture)


def loopback_loss(reread, predicted, shape_weight, texture_weight):
    """Parameter loss between a prediction and what the regressor reads in its own render (paper 3.3.4).

    The gradient reaches the regressor on two ways: through `reread` (and the render in it) and through `predicted`,
    which is a target that may move; neither is detached.

    Parameters
    ----------
    reread : Coefficients
        Of V * B renders; view v of face b is row v * B + b.
    predicted : Coefficients
        Of B photographs, from which the renders were made.
    shape_weight, texture_weight : float
        omega_s and omega_t of Eq. 3.

    Returns
    -------
    Tensor ()
    """
    views = len(reread.shape) // len(predicted.shape)
    target = Coefficients(predicted.shape.repeat(views, 1), predicted.texture.repeat(views, 1))
    return parameter_loss(reread, target, shape_weight, texture_weight)


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 2 and Eq. 3; the paper has 1, 10, 0.07, 0.4 and 0.002."""

    identity: float
    batch: float
    loop: float
    shape: float
    texture: float


def total_loss(parameter, identity, batch, loop, weights):
    """Sum of all terms (paper 3.3, Eq. 2).

    Parameters
    ----------
    parameter, identity, batch, loop : Tensor ()
    weights : LossWeights

    Returns
    -------
    Tensor ()
    """
    return parameter + weights.identity * identity + weights.batch * batch + weights.loop * loop


def moments_of(coefficients):
    """Measure how far a population of coefficients is from the standard normal one.

    Parameters
    ----------
    coefficients : Coefficients
        Of B >= 2 faces.

    Returns
    -------
    dict of str to float
        For shape and texture: root mean square of the components' means (0 at best), mean of their variances (1 at
        best), and the mean square of all coefficients (1 at best; Mahalanobis length squared over dimension).
    """
    result = {}
    for name in ("shape", "texture"):
        values = getattr(coefficients, name)
        result[f"{name}_mean_rms"] = values.mean(0).square().mean().sqrt().item()
        result[f"{name}_variance"] = values.var(0, correction=1).mean().item()
        result[f"{name}_mean_square"] = torch.mean(values.square()).item()
    return result
