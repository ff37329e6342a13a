"""How alike a photograph and a render are under an independent network (paper 4.3, 4.4: Fig. 5, Tables 2 and 3).

Similarities are cosines of unit-length embeddings. Distributions are kept as histograms over [-1, 1], so that all pairs
of many thousand photographs are compared block by block in little memory.
"""

from dataclasses import dataclass

import numpy as np

BINS = 2000
EDGES = np.linspace(-1.0, 1.0, BINS + 1)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class PairDistributions:
    """Cosines of all pairs of photographs (paper Fig. 5, top).

    Attributes
    ----------
    same, different : ndarray (BINS,)
        Counts of pairs of one person and of two people, in bins of 0.001 over [-1, 1].
    """

    same: np.ndarray
    different: np.ndarray


def pair_distributions(embeddings, persons):
    """Compare every photograph with every other one.

    Parameters
    ----------
    embeddings : ndarray (N, E)
        Unit length.
    persons : array-like (N,)
        Who is in each photograph.

    Returns
    -------
    PairDistributions
        Each unordered pair counted once; `same` is empty when nobody has two photographs.
    """
    _, person = np.unique(np.asarray(persons), return_inverse=True)
    same, different = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    columns = np.arange(len(person))
    for start in range(0, len(person), BLOCK_ROWS):
        rows = columns[start : start + BLOCK_ROWS]
        cosines = embeddings[rows] @ embeddings[start:].T
        later = columns[None, start:] > rows[:, None]
        alike = person[rows][:, None] == person[None, start:]
        same += histogram(cosines[later & alike])
        different += histogram(cosines[later & ~alike])
    return PairDistributions(same, different)


def histogram(cosines):
    """Count cosines (any shape) in `BINS` equal bins over [-1, 1]; rounding beyond the ends is clipped."""
    bins = ((np.asarray(cosines).ravel() + 1) * (BINS / 2)).astype(np.int64)
    return np.bincount(bins.clip(0, BINS - 1), minlength=BINS)


def mean_of(counts):
    """Return the mean of a histogram."""
    return float(counts @ CENTRES / counts.sum())


def share_below(counts, value):
    """Return the share of a histogram below a value, as in the text of paper 4.3, to a bin's width."""
    return float(counts[value > CENTRES].sum() / counts.sum())


def pair_auc(pairs):
    """Return the chance that a pair of one person is more alike than a pair of two: the area under the ROC curve."""
    below = np.cumsum(pairs.different) - pairs.different / 2
    return float(pairs.same @ below / (pairs.same.sum() * pairs.different.sum()))


def roc_curve(pairs):
    """Receiver operating characteristic of "the same person when the cosine is at least a threshold".

    Parameters
    ----------
    pairs : PairDistributions

    Returns
    -------
    tuple of ndarray (BINS + 1,)
        False accepts (share of pairs of two people) and true accepts (share of pairs of one person), from the
        strictest threshold (0, 0) to the most lenient (1, 1).
    """
    return tuple(
        np.concatenate([[0.0], np.cumsum(counts[::-1]) / counts.sum()]) for counts in (pairs.different, pairs.same)
    )


def earth_movers_distance(counts, others):
    """Earth mover's distance of two distributions of cosines (paper Table 2), exact to a bin's width.

    Parameters
    ----------
    counts, others : ndarray (BINS,)
        Histograms; they need not have equal sums.

    Returns
    -------
    float
        In units of cosine: 0 for equal distributions, at most 2.
    """
    import ot  # takes seconds to import; most stages only count pairs

    return float(ot.wasserstein_1d(CENTRES, CENTRES, counts / counts.sum(), others / others.sum(), p=1))


def retrieval_ranks(renders, photographs, render_persons, photograph_persons):
    """Rank of the first photograph of the right person in each render's list of nearest photographs (paper 4.4).

    Parameters
    ----------
    renders : ndarray (M, E)
    photographs : ndarray (N, E)
        Unit length, under the evaluation network.
    render_persons, photograph_persons : array-like (M,), (N,)

    Returns
    -------
    ndarray (M,)
        0 where the nearest photograph is of the right person; recall at k is the share of ranks below k.
    """
    render_persons, photograph_persons = np.asarray(render_persons), np.asarray(photograph_persons)
    ranks = np.empty(len(renders), np.int64)
    for start in range(0, len(renders), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        cosines = renders[rows] @ photographs.T
        right = render_persons[rows][:, None] == photograph_persons[None]
        best = np.where(right, cosines, -np.inf).max(1)
        ranks[rows] = (cosines > best[:, None]).sum(1)
    return ranks


def random_recall(render_persons, photograph_persons, k):
    """Recall at k of a random order of the photographs (paper Table 3, first row)."""
    names, counts = np.unique(np.asarray(photograph_persons), return_counts=True)
    of_person = dict(zip(names.tolist(), counts.tolist()))
    total = len(photograph_persons)
    misses = []
    for person in np.asarray(render_persons).tolist():
        others = total - of_person.get(person, 0)
        drawn = np.arange(min(k, total))
        misses.append(np.prod(np.clip(others - drawn, 0, None) / (total - drawn)))
    return float(1 - np.mean(misses))


def bootstrap_interval(values, persons, samples, seed, statistic=None):
    """95 % interval of a statistic, by resampling people (photographs of one person are not independent).

    Parameters
    ----------
    values : ndarray (N,)
        One value a photograph.
    persons : array-like (N,)
    samples : int
    seed : int
    statistic : callable or None
        Maps values (n,) to a number; None is their mean.

    Returns
    -------
    tuple of float
        The 2.5 % and 97.5 % quantile.
    """
    values, generator = np.asarray(values), np.random.default_rng(seed)
    _, person = np.unique(np.asarray(persons), return_inverse=True)
    groups = [np.flatnonzero(person == index) for index in range(person.max() + 1)]
    results = []
    for _ in range(samples):
        rows = np.concatenate([groups[i] for i in generator.integers(0, len(groups), len(groups))])
        results.append(values[rows].mean() if statistic is None else statistic(values[rows]))
    low, high = np.quantile(results, [0.025, 0.975])
    return float(low), float(high)


def measured(values, persons, samples, seed, statistic=None):
    """Return a statistic of one value a photograph with its interval: `value`, `low`, `high` and `n`."""
    values = np.asarray(values)
    low, high = bootstrap_interval(values, persons, samples, seed, statistic)
    value = values.mean() if statistic is None else statistic(values)
    return dict(value=float(value), low=low, high=high, n=len(values))
