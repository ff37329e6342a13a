"""Similarity statistics against values computed by hand or by brute force."""

import numpy as np
import pytest
import torch
from histograms import histogram
from scipy.stats import wasserstein_distance
from sklearn.metrics import roc_auc_score

from benchmarks.other_photograph import compare
from lib.evaluation.likeness import (
    CENTRES,
    EDGES,
    earth_movers_distance,
    earth_movers_distances,
    histogram_by_person,
    mean_of,
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


def near(counts, others):
    """Histograms are equal but for cosines that rounding puts on the other side of an edge."""
    return counts.sum() == others.sum() and np.abs(np.cumsum(counts - others)).max() <= 2


def test_pairs_are_all_counted_once_in_any_block_size(embedded, monkeypatch):
    vectors, persons = embedded
    same, different = brute_force(vectors, persons)
    for block in (256, 7):
        monkeypatch.setattr("lib.evaluation.likeness.BLOCK_ROWS", block)
        pairs = pair_distributions(vectors, persons)
        assert near(pairs.same, histogram(same)) and near(pairs.different, histogram(different))
    assert pairs.same.sum() == 40 * 3 and pairs.different.sum() == 120 * 119 // 2 - 120
    assert mean_of(pairs.same) == pytest.approx(same.mean(), abs=1e-3)
    assert share_below(pairs.different, 0.2) == pytest.approx((different < 0.2).mean(), abs=5e-3)
    truth = np.r_[np.ones(len(same)), np.zeros(len(different))]
    assert pair_auc(pairs) == pytest.approx(roc_auc_score(truth, np.r_[same, different]), abs=1e-3)


def test_each_persons_pairs_are_counted_in_any_order_of_photographs(embedded):
    vectors, persons = embedded
    shuffled = np.random.default_rng(5).permutation(len(persons))
    pairs = pair_distributions(vectors[shuffled], persons[shuffled])
    for number, person in enumerate(np.unique(persons)):
        theirs, others = vectors[persons == person], vectors[persons != person]
        assert near(pairs.different_by_person[number], histogram(theirs @ others.T))
        cosines = (theirs @ theirs.T)[np.triu_indices(len(theirs), 1)]
        assert near(pairs.same_by_person[number], histogram(cosines))


def test_pairs_of_resampled_people_agree_with_comparing_them_anew(embedded):
    """To first order: over many resamplings the means have the same spread."""
    vectors, persons = embedded
    pairs, names = pair_distributions(vectors, persons), np.unique(persons)
    weights = np.random.default_rng(6).multinomial(40, np.full(40, 1 / 40), 200).astype(float)
    same, different = (mean_of(counts) for counts in pairs.resampled(weights))
    anew = []
    for row in weights.astype(int):
        drawn = [np.flatnonzero(persons == name) for name in np.repeat(names, row)]
        rows, clones = np.concatenate(drawn), np.repeat(np.repeat(names, row), 3)
        cosines = (vectors[rows] @ vectors[rows].T)[clones[:, None] != clones[None]]
        anew.append(cosines.mean())
        expected = (vectors[rows] @ vectors[rows].T).reshape(40, 3, 40, 3).diagonal(0, 0, 2).transpose(2, 0, 1)
        expected = expected[:, *np.triu_indices(3, 1)].mean()
        assert same[len(anew) - 1] == pytest.approx(expected, abs=1e-3)
    assert np.corrcoef(anew, different)[0, 1] > 0.85
    assert different.std() == pytest.approx(np.std(anew), rel=0.2)
    whole_same, whole_different = pairs.resampled(np.ones((1, 40)))
    assert (whole_same[0] == pairs.same).all() and (whole_different[0] == pairs.different).all()


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


def test_many_earth_movers_distances_agree_with_one_by_one():
    random = np.random.default_rng(7)
    counts, others = (random.integers(0, 5, (6, len(CENTRES))) for _ in range(2))
    one_by_one = [earth_movers_distance(*pair) for pair in zip(counts, others)]
    assert earth_movers_distances(counts, others) == pytest.approx(one_by_one, abs=1e-12)
    assert np.isnan(earth_movers_distances(counts[:1], 0 * others[:1]))


def test_histogram_by_person_adds_up():
    random = np.random.default_rng(8)
    cosines, people = random.uniform(-1, 1, 50), random.integers(0, 4, 50)
    counts = histogram_by_person(cosines, people, 5)
    assert (counts.sum(0) == histogram(cosines)).all() and not counts[4].any()
    assert (counts[2] == histogram(cosines[people == 2])).all()


def test_shares_and_means_of_several_histograms_are_those_of_each():
    random = np.random.default_rng(9)
    counts, values = random.integers(0, 9, (3, len(CENTRES))), np.array([-0.5, 0.1, 0.7])
    assert share_below(counts, values) == pytest.approx([share_below(*pair) for pair in zip(counts, values)])
    assert mean_of(counts) == pytest.approx([mean_of(row) for row in counts])


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
    assert random_recall(["a", "g"], photographs, 2).mean() == pytest.approx(np.mean(hits), abs=0.01)
    assert random_recall(["a"], photographs, 10) == 1


def test_faces_and_other_photographs_of_the_same_people_are_compared_without_what_all_of_a_kind_share():
    shared, people = torch.tensor([[5.0, 0, 0, 0], [0, 7.0, 0, 0]]), torch.eye(4)[:, [2, 3, 1, 0]]
    alike = compare(people + shared[0], 2 * people + shared[1])
    assert alike["people"] == 4 and alike["top1"] == 1 and alike["similarity_low"] == pytest.approx(1)
    mixed = compare(people, people[[0, 1, 3, 2]])
    # cosines of centred axes are -1/3
    assert mixed["top1"] == 0.5 and mixed["similarity"] == pytest.approx((2 - 2 / 3) / 4)
    assert mixed["similarity_low"] < mixed["similarity"] < mixed["similarity_high"]
