"""The losses of the paper (section 3.3), one pure function per equation.

All reduce the batch by its *mean*, where Eq. 3 writes a sum over b: the published weights keep their meaning at any
batch size and on any number of processes.
"""

import torch


def parameter_loss(predicted, true, shape_weight, texture_weight):
    """Squared distance of predicted and true `Coefficients` of B faces (paper 3.3.1, Eq. 3): Tensor ().

    omega_s |s - s'|^2 + omega_t |t - t'|^2, averaged over the batch; the weights are 0.4 and 0.002 in the paper.
    """
    shape = (predicted.shape - true.shape).square().sum(1).mean()
    texture = (predicted.texture - true.texture).square().sum(1).mean()
    return shape_weight * shape + texture_weight * texture


def identity_loss(rendered, photographed):
    """One minus the cosine of identity embeddings (paper 3.3.2, Eq. 4), averaged over faces and views: in [0, 2].

    Eq. 4 is the cosine itself, which is to be large. Embeddings have unit length: `rendered` (V * B, E), view v of face
    b in row v * B + b, and `photographed` (B, E).
    """
    views = rendered.unflatten(0, (-1, len(photographed)))
    return 1 - (views * photographed).sum(-1).mean()


def batch_distribution_loss(coefficients):
    """Distance of a batch's mean and variance from those of the morphable model (paper 3.3.3, Eqs. 5 and 6).

    |mean|^2 + |variance - 1|^2, summed over the components of shape and of texture, of `Coefficients` of B >= 2 faces.
    The variance is the unbiased one: the biased one would ask small batches for too wide a spread.
    """

    def moments(values):
        return values.mean(0).square().sum() + (values.var(0, correction=1) - 1).square().sum()

    return moments(coefficients.shape) + moments(coefficients.texture)


def prior_loss(coefficients):
    """Squared distance of each of B faces from the mean face: what the batch distribution loss replaced (paper 4.1)."""
    return coefficients.cat().square().sum(1).mean()


def loopback_loss(reread, predicted, shape_weight, texture_weight):
    """Parameter loss between a prediction and what the regressor reads in its own render (paper 3.3.4).

    `reread` are the `Coefficients` of V * B renders, view v of face b in row v * B + b, `predicted` those of the B
    photographs behind them. The gradient reaches the regressor through both: neither is detached.
    """
    views = len(reread) // len(predicted)
    target = predicted.each(lambda values: values.repeat(views, 1))
    return parameter_loss(reread, target, shape_weight, texture_weight)


def bounded_distribution_loss(coefficients, bound):
    """Hold a batch's mean at the model's, and the texture's variance below a bound, in every direction.

    By the law of total variance, Cov(E[c | photograph]) = I - E[Cov(c | photograph)]: best estimates vary less than the
    prior that Eq. 6 asks for (docs/training.md). Shape has no bound: `metric_loss` holds it.

    For B >= 4 faces: <mean of one half, mean of the other half>, an unbiased estimate of |mean|^2, plus the sum over
    the eigenvalues of the texture's covariance of max(0, eigenvalue - bound)^2.
    """
    half = len(coefficients.shape) // 2
    values = coefficients.cat()
    mean = (values[:half].mean(0) * values[half : 2 * half].mean(0)).sum()
    excess = torch.linalg.eigvalsh(torch.cov(coefficients.texture.T).double()) - bound
    return mean + excess.clamp(min=0).square().sum().to(mean.dtype)


def metric_loss(predicted, true, metric):
    """Squared distance, in mm², of the shapes (B, S) of faces from the true ones, or from those that stage 1 reads.

    The mean over the batch of d^T G d, with d the difference of coefficients and G (S, S) of
    `lib.training.metric.front_metric`: what the evaluation measures, where Eq. 3 counts every coefficient alike.
    """
    difference = predicted.shape - true.shape
    return ((difference @ metric) * difference).sum(1).mean()


def skin_loss(predicted, skin, colour):
    """Squared difference of faces' mean colours from those that were read in the same photographs.

    `skin` (B, 3) are those of `lib.training.metric.read_colour`, `colour` (3, K) is that of `front_colour`. The
    identity loss leaves skin free to move: recognition networks are trained to ignore it.
    """
    return (predicted.texture @ colour.T - skin).square().sum(1).mean()


def total_loss(terms, weights):
    """Sum of all terms by name (paper 3.3, Eq. 2), each times its weight but `parameter`, which has its own (Eq. 3)."""
    return sum((weight * terms[name] for name, weight in weights.items()), start=terms["parameter"])


def moments_of(coefficients):
    """Measure how far the coefficients of B >= 2 faces are from the standard normal population: dict of float.

    For shape and texture: root mean square of the components' means (0 at best), mean of their variances and mean
    square of all coefficients (both 1 at best), and effective rank (at most the number of components, and B - 1).
    """
    result = {}
    for name in ("shape", "texture"):
        values = getattr(coefficients, name)
        result[f"{name}_mean_rms"] = values.mean(0).square().mean().sqrt().item()
        result[f"{name}_variance"] = values.var(0, correction=1).mean().item()
        result[f"{name}_mean_square"] = torch.mean(values.square()).item()
        result[f"{name}_rank"] = effective_rank(values)
    return result


def effective_rank(values):
    """In how many directions a population (B, D) varies: (trace C)^2 / trace C^2 of its covariance C, from 0 to D."""
    covariance = torch.cov(values.T.double()).reshape(values.shape[1], -1)
    return (covariance.trace().square() / covariance.square().sum().clamp(min=1e-300)).item()
