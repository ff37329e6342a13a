"""Intervals over people: against the standard error, a slow bootstrap, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.evaluation.bootstrap import difference, resample_people, with_interval


def test_an_interval_covers_the_standard_error():
    values, persons = np.random.default_rng(1).normal(size=400), np.arange(400)
    found = resample_people(persons, 2000, 0).mean(values, persons)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert found["low"] < found["value"] < found["high"] and found["n"] == 400
    assert found["value"] == pytest.approx(values.mean())


def test_people_are_resampled_not_photographs():
    persons, values = np.repeat(np.arange(20), 10), np.repeat(np.random.default_rng(2).normal(size=20), 10)
    by_person = resample_people(persons, 500, 0).mean(values, persons)
    by_photograph = resample_people(np.arange(200), 500, 0).mean(values, np.arange(200))
    assert by_person["high"] - by_person["low"] > 2 * (by_photograph["high"] - by_photograph["low"])


def test_weights_are_the_rows_that_were_drawn():
    random = np.random.default_rng(3)
    values, persons = random.normal(size=30), random.integers(0, 8, 30)
    resampling = resample_people(persons, 50, 0)
    sums, counts = resampling.sums_and_counts(values, persons)
    for weights in resampling.weights:
        drawn = np.repeat(resampling.persons, weights.astype(int))
        rows = np.concatenate([np.flatnonzero(persons == person) for person in drawn])
        assert weights @ sums / (weights @ counts) == pytest.approx(values[rows].mean())
        assert len(drawn) == len(resampling.persons)


def test_the_deviation_over_people_is_the_usual_one():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    found = resample_people(list("abcd"), 500, 0).deviation(values, list("abcd"))
    assert found["value"] == pytest.approx(values.std(ddof=1))
    assert 0 <= found["low"] < found["value"] < found["high"]
    assert resample_people(["a"], 10, 0).deviation([3.0], ["a"])["value"] == 0


def test_a_statistic_that_resampling_lengthens_lies_within_its_interval():
    values, persons = np.random.default_rng(4).normal(size=(60, 100)), np.arange(60)
    resampling = resample_people(persons, 300, 0)

    def length_of_mean(weights):
        return np.linalg.norm(weights @ values, axis=1) / weights.sum(1)

    plain = resampling.with_interval(length_of_mean, 60)
    assert plain["low"] > plain["value"]
    corrected = resampling.with_interval(length_of_mean, 60, biased=True)
    assert corrected["low"] < corrected["value"] < corrected["high"]


def test_the_difference_of_two_methods_is_taken_person_by_person():
    random, persons = np.random.default_rng(5), np.repeat(np.arange(60), 3)
    people = random.normal(size=60)[persons]
    better, worse = (people + level + 0.1 * random.normal(size=180) for level in (0.0, 0.2))
    one, other = (resample_people(persons, 500, 0).mean(values, persons) for values in (better, worse))
    assert one["high"] > other["low"]
    one.keep_draws(), other.keep_draws()
    paired = difference(one, other)
    error = (better - worse).reshape(60, 3).mean(1).std() / np.sqrt(60)
    assert paired["value"] == pytest.approx(-0.2, abs=0.03)
    assert paired["high"] - paired["value"] == pytest.approx(1.96 * error, rel=0.15) and paired["high"] < 0
    scaled = difference(one, other, 2.0)
    assert scaled["low"] < scaled["value"] < scaled["high"]
    assert scaled["value"] == pytest.approx(better.mean() - 2 * worse.mean())


def test_resamplings_that_drew_nobody_are_left_out():
    assert with_interval(1.0, np.array([np.nan, 0.5, 0.5, 0.5]), 2) == dict(value=1.0, low=0.5, high=0.5, n=2)


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20), st.floats(-5, 5), st.floats(0.1, 3))
def test_an_interval_follows_shift_and_scale(persons, shift, scale):
    values = np.random.default_rng(len(persons)).normal(size=len(persons))
    resampling = resample_people(persons, 40, 0)
    one, other = resampling.mean(values, persons), resampling.mean(scale * values + shift, persons)
    for key in ("value", "low", "high"):
        assert other[key] == pytest.approx(scale * one[key] + shift, abs=1e-9)
