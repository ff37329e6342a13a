"""How alike a photograph and a render are under an independent network (paper 4.3, 4.4: Fig. 5, Tables 2 and 3).

Distributions of cosines are kept as histograms over [-1, 1], so that many thousand photographs take little memory.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

BINS = 2000
EDGES = np.linspace(-1.0, 1.0, BINS + 1)
CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
BLOCK_ROWS = 256


@dataclass(frozen=True)
class PairDistributions:
    """Cosines of all pairs of photographs (paper Fig. 5, top) by person, histograms (P, BINS), int32."""

    same_by_person: np.ndarray
    different_by_person: np.ndarray  # a pair of two people is in the rows of both

    def kinds(self, weights):
        """List name, counts (BINS,) and counts `resampled` by weights (B, P) of both kinds of pairs that there are."""
        both = zip(("same", "different"), (self.same, self.different), self.resampled(weights))
        return [kind for kind in both if kind[1].any()]  # unlabelled photographs have no pair of one person

    @property
    def same(self):
        """Counts (BINS,) of the pairs of one person; zeros when no person has two photographs."""
        return self.same_by_person.sum(0, dtype=np.int64)

    @property
    def different(self):
        """Counts (BINS,) of the pairs of two people."""
        return self.different_by_person.sum(0, dtype=np.int64) // 2

    def resampled(self, weights):
        """`same`, `different` (B, BINS) when people count by weights (B, P), as in a bootstrap over people."""
        # a pair of two people counts w_p + w_q - 1 instead of w_p w_q times: the same to first order in w - 1 (Hajek's
        # projection of a U-statistic), and no histogram of each pair of people is needed
        weights = weights.astype(np.float32)
        same = weights @ self.same_by_person.astype(np.float32)
        different = weights @ self.different_by_person.astype(np.float32) - self.different.astype(np.float32)
        return same, np.maximum(different, 0)


def pair_distributions(embeddings, persons):
    """Compare every photograph, embeddings (N, E) of unit length, with every other one; `persons` (N,) are on them."""
    names, person = np.unique(np.asarray(persons), return_inverse=True)
    order = np.argsort(person, kind="stable")
    embeddings, person = np.asarray(embeddings, np.float32)[order], person[order]
    counts = np.zeros((2, len(names), BINS), np.int32)
    for start in range(0, len(person), BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, len(person)))
        bins = _bins(embeddings[rows] @ embeddings.T)
        for number in np.unique(person[rows]):
            mine, alike = person[rows] == number, person == number
            later = np.flatnonzero(alike) > rows[mine, None]
            counts[0, number] += np.bincount(bins[np.ix_(mine, alike)][later], minlength=BINS)
            counts[1, number] += np.bincount(bins[np.ix_(mine, ~alike)].ravel(), minlength=BINS)
    return PairDistributions(*counts)


def histogram_by_person(cosines, people, count):
    """Count cosines (N,) of the people with numbers (N,) from 0 to `count` - 1: (count, BINS)."""
    places = np.asarray(people) * BINS + _bins(np.asarray(cosines))
    return np.bincount(places, minlength=count * BINS).reshape(count, BINS)


def _bins(cosines):
    """Place of each cosine among the bins; those that lie on an edge go to either side, by rounding."""
    return (cosines * (BINS / 2) + BINS / 2).clip(0, BINS - 1).astype(np.int64)


def mean_of(counts):
    """Return the mean of a histogram (BINS,), or of each row of several (B, BINS)."""
    return counts @ CENTRES / _total(counts)


def share_below(counts, value):
    """Return the share of a histogram (BINS,) below a value, to a bin's width (paper 4.3); or of several (B, BINS)."""
    below = np.asarray(value)[..., None] > CENTRES
    return (counts * below).sum(-1) / _total(counts)


def _total(counts):
    total = counts.sum(-1).astype(np.float64)
    return np.where(total > 0, total, np.nan)


def pair_auc(pairs):
    """Return the chance that a pair of one person is more alike than a pair of two: the area under the ROC curve."""
    below = np.cumsum(pairs.different) - pairs.different / 2
    return float(pairs.same @ below / (pairs.same.sum() * pairs.different.sum()))


def roc_curve(pairs):
    """Receiver operating characteristic of "the same person when the cosine is at least a threshold".

    False accepts (share of pairs of two people) and true accepts (share of pairs of one person), each (BINS + 1,), from
    the strictest threshold (0, 0) to the most lenient (1, 1).
    """
    return tuple(np.append(0.0, np.cumsum(counts[::-1]) / counts.sum()) for counts in (pairs.different, pairs.same))


def earth_movers_distance(counts, others):
    """Earth mover's distance of two histograms (BINS,) of cosines, in units of cosine, to a bin's width (Table 2)."""
    import ot  # takes seconds to import; most stages only count pairs

    return float(ot.wasserstein_1d(CENTRES, CENTRES, counts / counts.sum(), others / others.sum(), p=1))


def earth_movers_distances(counts, others):
    """Compute `earth_movers_distance` of many pairs (B, BINS), the area between their distribution functions: (B,)."""
    between = np.cumsum(counts / _total(counts)[:, None] - others / _total(others)[:, None], axis=1)
    return np.abs(between).sum(1) * (EDGES[1] - EDGES[0])


def retrieval_ranks(renders, photographs, render_persons, photograph_persons):
    """Rank (M,) of each render's nearest photograph of the right person among all (N, E), from 0 (paper 4.4)."""
    _, numbers = np.unique(np.concatenate([render_persons, photograph_persons]), return_inverse=True)
    render_persons, photograph_persons = np.split(numbers, [len(render_persons)])
    ranks = np.empty(len(renders), np.int64)
    for start in range(0, len(renders), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        cosines = renders[rows] @ photographs.T
        right = render_persons[rows][:, None] == photograph_persons[None]
        best = np.where(right, cosines, -np.inf).max(1)
        ranks[rows] = (cosines > best[:, None]).sum(1)
    return ranks


def random_recall(render_persons, photograph_persons, k):
    """Recall at k of each render (M,) for a random order of the photographs (paper Table 3, first row)."""
    total, drawn = len(photograph_persons), np.arange(min(k, len(photograph_persons)))
    others = total - pd.Series(photograph_persons).value_counts().reindex(render_persons, fill_value=0).to_numpy()
    return 1 - np.prod(np.clip(others[:, None] - drawn, 0, None) / (total - drawn), axis=1)
