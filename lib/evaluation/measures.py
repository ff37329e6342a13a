"""The columns of section 4's tables over some of the photographs, by their names (``docs/metrics.md``)."""

import numpy as np

from lib.evaluation import likeness
from lib.evaluation.bootstrap import mean_of_people, with_interval

TOP = (1, 5)  # recall at how many neighbours (paper Table 3)


def photograph_columns(kinds):
    """Measure the mean cosine of pairs of photographs (paper Fig. 5, top) by kind, as of `PairDistributions.kinds`."""
    return {
        name: with_interval(likeness.mean_of(counts), likeness.mean_of(resampled), counts.sum())
        for name, counts, resampled in kinds
    }


def similarity_columns(cosines, persons, kinds, resampling):
    """Measure how alike photographs and renders are (paper 4.3, Fig. 5), from cosines (M,) by kind of render."""
    columns = {name: resampling.mean(values, persons) for name, values in cosines.items()}
    mean, means = cosines["frontal"].mean(), columns["frontal"].draws
    for name, pairs, resampled in kinds:
        value, values = likeness.share_below(pairs, mean), likeness.share_below(resampled, means)
        if name == "same":
            columns["same_below"] = with_interval(value, values, pairs.sum())
        else:
            columns["different_above"] = with_interval(1 - value, 1 - values, pairs.sum())
    return columns


def distance_columns(frontal, persons, kinds, resampling):
    """Measure the earth mover's distance of frontal cosines (M,) to `same` and `different` pairs (paper Table 2)."""
    numbers = resampling.numbers(persons)
    by_person = likeness.histogram_by_person(frontal, numbers, len(resampling.persons))
    drawn, whole = resampling.weights @ by_person, by_person.sum(0)
    columns = {}
    for name, counts, resampled in kinds:
        value, values = likeness.earth_movers_distance(whole, counts), likeness.earth_movers_distances(drawn, resampled)
        columns[name] = with_interval(value, values, len(frontal))
    return columns


def recall_columns(renders, people, photographed, resampling):
    """Measure how often the nearest `photographed` of renders (M, E) are of the right people (paper 4.4, Table 3)."""
    persons = photographed.persons
    ranks = likeness.retrieval_ranks(renders, photographed.embeddings, people, persons)
    found = {f"top{k}": ranks < k for k in TOP}
    found |= {f"random_top{k}": likeness.random_recall(people, persons, k) for k in TOP}
    return {name: resampling.mean(values, people) for name, values in found.items()}


def consistency_columns(renders, persons, resampling):
    """Measure mean cosines of frontal renders (M, E): one person's, `same`, at best 1; two people's, `different`."""
    weights = resampling.weights[:, resampling.numbers(np.unique(persons))]
    return photograph_columns(likeness.pair_distributions(renders, persons).kinds(weights))


def coefficient_columns(coefficients, persons, resampling):
    """Compare coefficients with the model's distribution, and within people where somebody has two photographs."""
    columns = {}
    for name in ("shape", "texture"):
        values = getattr(coefficients, name).double().numpy()
        for column, statistic in _moments(values, persons, resampling).items():
            columns[f"{name}_{column}"] = resampling.with_interval(statistic, len(values), biased=True)
    return columns


def _moments(values, persons, resampling):
    """Statistics of coefficients (N, K) by name, each a function of weights of people (B, P)."""
    sums, counts = resampling.sums_and_counts(values, persons)
    squares = resampling.sums(values**2, persons)
    beyond_first = np.maximum(counts - 1, 0)
    to_own_mean = np.maximum(squares - sums**2 / np.maximum(counts, 1)[:, None], 0)
    mean, mean_square = mean_of_people(sums, counts), mean_of_people(squares, counts)
    within = mean_of_people(to_own_mean, beyond_first)

    def variance(weights):
        count, spread = weights @ counts, mean_square(weights) - np.square(mean(weights))
        return spread.mean(1) * count / np.maximum(count - 1, 1)

    def within_person(weights):
        total = variance(weights)
        return within(weights).mean(1) / np.where(total > 0, total, np.nan)

    statistics = dict(
        mean_rms=lambda weights: np.sqrt(np.square(mean(weights)).mean(1)),
        variance=variance,
        mean_square=lambda weights: mean_square(weights).mean(1),
    )
    return statistics | (dict(within_person=within_person) if beyond_first.any() else {})
