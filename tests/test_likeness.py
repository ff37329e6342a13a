"""Similarity statistics against values computed by hand or by brute force."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from sklearn.metrics import roc_auc_score

from lib.likeness import (
    CENTRES,
    EDGES,
    bootstrap_interval,
    earth_movers_distance,
    histogram,
    mean_of,
    measured,
    pair_auc,
    pair_distributions,
    random_recall,
    retrieval_ranks,
    roc_curve,
    share_below,
)


@pytest.fixture
def embedded():
    random = np.random.default_rng(0)
    people = random.normal(size=(40, 16))
    persons = np.repeat(np.arange(40), 3).astype(str)
    vectors = np.repeat(people, 3, axis=0) + 0.9 * random.normal(size=(120, 16))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), persons


def brute_force(vectors, persons):
    rows, columns = np.triu_indices(len(persons), 1)
    cosines, alike = (vectors @ vectors.T)[rows, columns], persons[rows] == persons[columns]
    return cosines[alike], cosines[~alike]


def test_pairs_are_all_counted_once_in_any_block_size(embedded, monkeypatch):
    vectors, persons = embedded
    same, different = brute_force(vectors, persons)
    for block in (1024, 7):
        monkeypatch.setattr("lib.likeness.BLOCK_ROWS", block)
        pairs = pair_distributions(vectors, persons)
        assert (pairs.same == histogram(same)).all() and (pairs.different == histogram(different)).all()
    assert pairs.same.sum() == 40 * 3 and pairs.different.sum() == 120 * 119 // 2 - 120
    assert mean_of(pairs.same) == pytest.approx(same.mean(), abs=1e-3)
    assert share_below(pairs.different, 0.2) == pytest.approx((different < 0.2).mean(), abs=5e-3)
    truth = np.r_[np.ones(len(same)), np.zeros(len(different))]
    assert pair_auc(pairs) == pytest.approx(roc_auc_score(truth, np.r_[same, different]), abs=1e-3)


def test_the_roc_curve_counts_pairs_above_each_threshold(embedded):
    pairs = pair_distributions(*embedded)
    same, different = brute_force(*embedded)
    false_accepts, true_accepts = roc_curve(pairs)
    thresholds = EDGES[::-1]
    assert len(thresholds) == len(true_accepts)
    for index in range(0, len(thresholds), 50):
        assert true_accepts[index] == pytest.approx((same >= thresholds[index]).mean(), abs=1e-9)
        assert false_accepts[index] == pytest.approx((different >= thresholds[index]).mean(), abs=1e-9)
    assert np.trapezoid(true_accepts, false_accepts) == pytest.approx(pair_auc(pairs), abs=1e-6)


def test_unlabelled_photographs_have_no_pair_of_one_person(embedded):
    pairs = pair_distributions(embedded[0], np.arange(120))
    assert not pairs.same.any() and pairs.different.sum() == 120 * 119 // 2


def test_histogram_takes_the_ends_and_rounding_beyond_them():
    counts = histogram(np.array([-1.0, -1.0000001, 1.0, 1.0000001, 0.0]))
    assert counts[0] == 2 and counts[-1] == 2 and counts[len(CENTRES) // 2] == 1


def test_earth_movers_distance_agrees_with_scipy(embedded):
    same, different = brute_force(*embedded)
    expected = wasserstein_distance(same, different)
    assert earth_movers_distance(histogram(same), histogram(different)) == pytest.approx(expected, abs=1e-3)
    assert earth_movers_distance(histogram(same), histogram(same)) == pytest.approx(0, abs=1e-9)


def test_a_shifted_distribution_is_as_far_as_its_shift():
    values = np.linspace(-0.3, 0.3, 50)
    distance = earth_movers_distance(histogram(values), histogram(values + 0.25))
    assert distance == pytest.approx(0.25, abs=1e-3)


def test_retrieval_ranks_by_hand():
    photographs = np.eye(3)
    renders = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.8], [0.1, 0.2, 0.9]])
    ranks = retrieval_ranks(renders, photographs, ["a", "b", "c"], ["a", "b", "c"])
    assert ranks.tolist() == [0, 2, 0]


def test_random_recall_agrees_with_chance():
    photographs = np.array(list("aaabbcdefg"))
    random = np.random.default_rng(0)
    hits = [
        ["a" in photographs[order[:2]], "g" in photographs[order[:2]]]
        for order in (random.permutation(10) for _ in range(20_000))
    ]
    assert random_recall(["a", "g"], photographs, 2) == pytest.approx(np.mean(hits), abs=0.01)
    assert random_recall(["a"], photographs, 10) == 1


def test_bootstrap_covers_the_standard_error():
    random = np.random.default_rng(1)
    values, persons = random.normal(size=400), np.arange(400)
    low, high = bootstrap_interval(values, persons, 2000, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high


def test_bootstrap_resamples_people_not_photographs():
    persons, values = np.repeat(np.arange(20), 10), np.repeat(np.random.default_rng(2).normal(size=20), 10)
    by_person = np.ptp(bootstrap_interval(values, persons, 500, 0))
    by_photograph = np.ptp(bootstrap_interval(values, np.arange(200), 500, 0))
    assert by_person > 2 * by_photograph
    assert measured(values, persons, 50, 0)["n"] == 200
