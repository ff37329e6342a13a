"""Principal components of samples together with their mirror images.

A face and its mirror image are equally likely, so every sample counts twice. The covariance then splits into an even
part (symmetric faces) and an odd part (asymmetries): two small eigenproblems instead of one twice as large, a mean that
is exactly symmetric, and components each of which is symmetric or antisymmetric.
"""

from dataclasses import dataclass

import numpy as np

RELATIVE_TOLERANCE = 1e-9
"""Eigenvalues below this share of the largest one are rounding errors."""


@dataclass(frozen=True)
class Modes:
    """Principal components as combinations of the samples.

    Attributes
    ----------
    even, odd : ndarray (n, E), (n, O)
        Weights: even (odd) components are these combinations of the even (odd) parts of the samples; unit length.
    variance : ndarray (components,)
        Eigenvalues, falling; 0 where the samples have fewer components than asked.
    order : ndarray (E + O,)
        Places of the even components followed by the odd ones in the falling order.
    total_variance : float
        Sum of all eigenvalues, kept or not.
    """

    even: np.ndarray
    odd: np.ndarray
    variance: np.ndarray
    order: np.ndarray
    total_variance: float

    def assemble(self, even, odd):
        """Put bases side by side in falling order of variance, zero columns for missing components.

        Parameters
        ----------
        even, odd : ndarray (D, E), (D, O)

        Returns
        -------
        ndarray (D, components)
        """
        basis = np.zeros((len(even), len(self.variance)), np.float32)
        basis[:, self.order[: even.shape[1]]] = even
        basis[:, self.order[even.shape[1] :]] = odd
        return basis


def mirrored_modes(even_gram, odd_gram, even_freedom, odd_freedom, components):
    """Find the leading components from inner products of the samples' even and odd parts.

    Parameters
    ----------
    even_gram, odd_gram : ndarray (n, n)
        Inner products; those of the even parts after their mean was taken off.
    even_freedom, odd_freedom : int
        Divisors that make variances of sums of squares.
    components : int
        How many to keep.

    Returns
    -------
    Modes
    """
    kinds = [_eigen(even_gram / even_freedom), _eigen(odd_gram / odd_freedom)]
    values = np.concatenate([values for values, _ in kinds])
    ranking = np.argsort(-values, kind="stable")[:components]
    ranking = ranking[values[ranking] > RELATIVE_TOLERANCE * values.max()]
    variance = np.zeros(components)
    variance[: len(ranking)] = values[ranking]
    from_even = ranking < len(kinds[0][0])
    places = np.arange(len(ranking))
    even, odd = ranking[from_even], ranking[~from_even] - len(kinds[0][0])
    return Modes(
        even=kinds[0][1][:, even] / np.sqrt(even_freedom * kinds[0][0][even]),
        odd=kinds[1][1][:, odd] / np.sqrt(odd_freedom * kinds[1][0][odd]),
        variance=variance,
        order=np.concatenate([places[from_even], places[~from_even]]),
        total_variance=float(np.clip(values, 0, None).sum()),
    )


def _eigen(gram):
    """Eigenvalues (falling) and vectors, each vector's largest entry positive: signs do not depend on the solver."""
    gram = np.asarray(gram, np.float64)
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    return values, vectors * np.sign(vectors[largest, np.arange(len(values))])
