"""95 % intervals by resampling people: photographs of one person are not independent of one another.

A statistic is a function of weights, how often each person counts: equal weights give its value, those of many
resamplings its interval, in one pass of matrix products.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Resampling:
    """People and how often each of them was drawn."""

    persons: np.ndarray  # (P,): names, sorted
    weights: np.ndarray  # (B, P), float64: P people drawn from P with replacement, B times

    def numbers(self, persons):
        """Return the places (N,) in `persons` of the names (N,)."""
        return np.searchsorted(self.persons, np.asarray(persons))

    def sums(self, values, persons):
        """Add up values (N, ...) of each person: (P, ...), float64."""
        values, numbers = np.asarray(values, np.float64), self.numbers(persons)
        sums = np.zeros((len(self.persons), *values.shape[1:]))
        np.add.at(sums, numbers, values)
        return sums

    def with_interval(self, statistic, n, biased=False):
        """Compute a statistic, a function of weights of people (B, P), and its interval; `n` is what it is taken of."""
        # `biased`: resampling pushes it to one side, as noise lengthens a mean: the median is scaled to the value
        value = statistic(np.ones((1, len(self.persons))))[0]
        values = statistic(self.weights)
        middle = np.nanmedian(values) if biased and not np.isnan(values).all() else value
        return with_interval(value, values * (value / middle if middle else 1), n)

    def mean(self, values, persons):
        """Measure the mean of one value per photograph: values (N,), persons (N,)."""
        return self.with_interval(mean_of_people(*self.sums_and_counts(values, persons)), len(values))

    def deviation(self, values, persons):
        """Measure the standard deviation (divided by n - 1) of one value per person; 0 for a single one."""
        values = np.asarray(values, np.float64)
        sums, counts = self.sums_and_counts(values, persons)
        mean_square = mean_of_people(self.sums(np.square(values - values.mean()), persons), counts)
        mean, share = mean_of_people(sums - counts * values.mean(), counts), len(values) / max(1, len(values) - 1)

        def statistic(weights):
            return np.sqrt(share * np.maximum(mean_square(weights) - np.square(mean(weights)), 0))

        return self.with_interval(statistic, len(values))

    def sums_and_counts(self, values, persons):
        """Return each person's sum of values (P, ...) and number of them (P,)."""
        return self.sums(values, persons), self.sums(np.ones(len(values)), persons)


def resample_people(persons, samples, seed):
    """Draw as many people as there are names, with replacement, `samples` times: a `Resampling`."""
    names = np.unique(np.asarray(persons))
    chances = np.full(len(names), 1 / len(names))
    return Resampling(names, np.random.default_rng(seed).multinomial(len(names), chances, samples).astype(float))


def mean_of_people(sums, counts):
    """Return the statistic "mean of all values" from each person's sums (P,) or (P, K) and counts (P,)."""

    def statistic(weights):
        total = weights @ counts
        total = np.where(total > 0, total, np.nan)
        return weights @ sums / (total if sums.ndim == 1 else total[:, None])

    return statistic


class Measured(dict):
    """A number with its interval; files have its bootstrap only where `keep_draws` was called."""

    draws: np.ndarray

    def keep_draws(self):
        """Put the bootstrap among what files keep, as one line of text: for `difference`."""
        self["draws"] = " ".join(f"{draw:.5g}" for draw in self.draws)


def with_interval(value, values, n):
    """Put a number beside the quantiles of its bootstrap (B,); nan, where nobody was drawn, is left out."""
    measured = Measured(value=float(value), **_interval(values, value), n=int(n))
    measured.draws = np.asarray(values)
    return measured


def difference(one, other, factor=1.0):
    """Measure `one` - `factor` `other`, which kept their draws of the same people: `value`, `low`, `high`."""
    value = one["value"] - factor * other["value"]
    draws, others = (np.array(each["draws"].split(), float) for each in (one, other))
    return dict(value=value, **_interval(draws - factor * others, value))


def _interval(values, value):
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (value, value)
    return dict(low=float(low), high=float(high))
