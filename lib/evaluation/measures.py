"""The columns of section 4's tables over a subset of the photographs: each a value with its interval over people.

``docs/metrics.md`` defines the keys.
"""

from dataclasses import dataclass

import numpy as np

from lib.evaluation.bootstrap import mean_of_people, with_interval
from lib.evaluation.likeness import (
    PairDistributions,
    earth_movers_distance,
    earth_movers_distances,
    histogram_by_person,
    mean_of,
    pair_distributions,
    random_recall,
    retrieval_ranks,
    share_below,
)

TOP = (1, 5)  # recall at how many neighbours (paper Table 3)


@dataclass(frozen=True)
class PairReference:
    """All pairs of photographs, and their distributions (B, BINS) in each resampling of people."""

    pairs: PairDistributions
    same: np.ndarray
    different: np.ndarray

    @classmethod
    def of(cls, embeddings, persons, resampling):
        """Compare all photographs (N, E) of the people (N,) of a `Resampling`."""
        pairs = pair_distributions(embeddings, persons)
        return cls(pairs, *pairs.resampled(resampling.weights))

    def kinds(self):
        """Yield name, counts (BINS,) and resampled counts (B, BINS) of both distributions that are not empty."""
        for name, resampled in (("same", self.same), ("different", self.different)):
            counts = getattr(self.pairs, name)
            if counts.any():  # unlabelled photographs have no pair of one person
                yield name, counts, resampled


def photograph_columns(reference):
    """Measure the mean cosine of pairs of photographs (paper Fig. 5, top): `same`, `different`."""
    return {
        name: with_interval(mean_of(counts), mean_of(resampled), counts.sum())
        for name, counts, resampled in reference.kinds()
    }


def similarity_columns(cosines, persons, reference, resampling):
    """Measure how alike photographs and renders are (paper 4.3, Fig. 5), from cosines (M,) by kind of render.

    The mean of each kind; and `same_below`, `different_above`, the shares of the pairs of photographs that are less, or
    more, alike than the mean of `frontal`, as the text of paper 4.3 gives them.
    """
    columns = {name: resampling.mean(values, persons) for name, values in cosines.items()}
    sums, counts = resampling.sums_and_counts(cosines["frontal"], persons)
    mean, means = cosines["frontal"].mean(), mean_of_people(sums, counts)(resampling.weights)
    for name, pairs, resampled in reference.kinds():
        value, values = share_below(pairs, mean), share_below(resampled, means)
        if name == "same":
            columns["same_below"] = with_interval(value, values, pairs.sum())
        else:
            columns["different_above"] = with_interval(1 - value, 1 - values, pairs.sum())
    return columns


def distance_columns(frontal, persons, reference, resampling):
    """Measure the earth mover's distance of frontal cosines (M,) to `same` and `different` pairs (paper Table 2)."""
    numbers = resampling.numbers(persons)
    by_person = histogram_by_person(frontal, numbers, len(resampling.persons))
    drawn, whole = resampling.weights @ by_person, by_person.sum(0, keepdims=True)
    return {
        name: with_interval(
            earth_movers_distance(whole[0], counts), earth_movers_distances(drawn, resampled), len(frontal)
        )
        for name, counts, resampled in reference.kinds()
    }


def recall_columns(renders, photographs, chosen, persons, resampling):
    """Measure how often a chosen render's nearest photographs are of the right person (paper 4.4, Table 3).

    `top1`, `top5`, and of a random order `random_top1`, `random_top5`.
    """
    people = persons[chosen]
    ranks = retrieval_ranks(renders[chosen], photographs, people, persons)
    columns = {f"top{k}": resampling.mean(ranks < k, people) for k in TOP}
    return columns | {f"random_top{k}": resampling.mean(random_recall(people, persons, k), people) for k in TOP}


def consistency_columns(renders, persons, resampling):
    """Measure mean cosines of frontal renders (M, E): one person's, `same`, at best 1; two people's, `different`."""
    pairs = pair_distributions(renders, persons)
    weights = resampling.weights[:, resampling.numbers(np.unique(persons))]
    return photograph_columns(PairReference(pairs, *pairs.resampled(weights)))


def coefficient_columns(coefficients, persons, resampling):
    """Compare coefficients with the model's distribution, as `lib.training.losses.moments_of`, and within people.

    `<name>_within_person` is the share of the variance that lies *within* a person: 0 when all photographs of a person
    give the same face, 1 when they differ as those of different people; missing where no person has two photographs.
    """
    columns = {}
    for name in ("shape", "texture"):
        values = getattr(coefficients, name).double().numpy()
        moments = _Moments.of(values, persons, resampling)
        for column in ("mean_rms", "variance", "mean_square"):
            columns[f"{name}_{column}"] = resampling.with_interval(getattr(moments, column), len(values), biased=True)
        if moments.freedom.any():
            columns[f"{name}_within_person"] = resampling.with_interval(moments.within_person, len(values), biased=True)
    return columns


@dataclass(frozen=True)
class _Moments:
    """Sums over each person's coefficients (P, K); each method maps weights (B, P) to a statistic (B,).

    `freedom` counts photographs beyond the first; `within` are squared distances to the person's own mean.
    """

    counts: np.ndarray
    freedom: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, values, persons, resampling):
        sums, counts = resampling.sums_and_counts(values, persons)
        squares = resampling.sums(values**2, persons)
        seen = np.maximum(counts, 1)[:, None]
        return cls(counts, np.maximum(counts - 1, 0), sums, squares, np.maximum(squares - sums**2 / seen, 0))

    def _mean(self, sums, weights):
        return mean_of_people(sums, self.counts)(weights)

    def mean_rms(self, weights):
        return np.sqrt(np.square(self._mean(self.sums, weights)).mean(1))

    def mean_square(self, weights):
        return self._mean(self.squares, weights).mean(1)

    def variance(self, weights):
        count = weights @ self.counts
        spread = self._mean(self.squares, weights) - np.square(self._mean(self.sums, weights))
        return spread.mean(1) * count / np.maximum(count - 1, 1)

    def within_person(self, weights):
        within = mean_of_people(self.within, self.freedom)(weights).mean(1)
        variance = self.variance(weights)
        return within / np.where(variance > 0, variance, np.nan)
