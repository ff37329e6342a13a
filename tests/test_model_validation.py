"""Compactness, generalisation and specificity by hand on models of two components."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib.face_model.file import LinearModel
from lib.face_model.validation import compactness, generalisation, specificity, validate
from lib.figures import validation_curves

POINTS = 4


@pytest.fixture
def model():
    """Moves all points along x (deviation 2 mm per point), then along y (1 mm a point)."""
    basis = np.zeros((POINTS, 3, 2), np.float32)
    basis[:, 0, 0] = basis[:, 1, 1] = 0.5
    variance = np.array([4.0 * POINTS, 1.0 * POINTS], np.float32)
    mean = np.arange(12, dtype=np.float32)
    return LinearModel(mean, basis.reshape(12, 2), variance, np.array([1 / 3], np.float32))


def moved(model, *shifts):
    """Faces whose points are all shifted by (x, y, z) mm."""
    return model.mean.reshape(1, POINTS, 3) + np.array(shifts, np.float32)[:, None]


def test_compactness_counts_the_noise(model):
    # 16 + 4 explained, 12 coordinates of 1/3 are not
    np.testing.assert_allclose(compactness(model), [16 / 24, 20 / 24], rtol=1e-6)


def test_generalisation_is_what_the_components_cannot_reach(model):
    held_out = moved(model, (5, 3, 0), (-1, 0, 4))
    np.testing.assert_allclose(generalisation(model, held_out, [1, 2]), [(3 + 4) / 2, (0 + 4) / 2], atol=1e-5)


def test_generalisation_needs_no_orthonormal_columns(model):
    mixed = np.stack([model.basis[:, 0], 3 * model.basis[:, 0] - 2 * model.basis[:, 1]], 1)
    skewed = LinearModel(model.mean, mixed, model.variance, model.noise_variance)
    held_out = moved(model, (5, 3, 0), (-1, 0, 4))
    expected = generalisation(model, held_out, [1, 2])
    np.testing.assert_allclose(generalisation(skewed, held_out, [1, 2]), expected, atol=1e-5)


def test_components_without_variance_describe_nothing(model):
    empty = LinearModel(model.mean, model.basis * [1, 0], model.variance * np.float32([1, 0]), model.noise_variance)
    np.testing.assert_allclose(generalisation(empty, moved(model, (0, 3, 0)), [1, 2]), [3, 3], atol=1e-5)


def test_specificity_is_the_distance_to_the_nearest(model):
    held_out = moved(model, (100, 0, 0), (-100, 0, 0))
    draws = np.random.default_rng(5).normal(size=(2, 2)) * [2, 1]
    along = 100 - np.abs(draws[:, 0])
    found = specificity(model, held_out, [1, 2], np.random.default_rng(5))
    np.testing.assert_allclose(found, [along.mean(), np.hypot(along, draws[:, 1]).mean()], rtol=1e-5)


def test_curves_and_their_floor(model):
    held_out = moved(model, (0, 0, 0), (3, 0, 0), (3, 4, 0))
    curves = validate(model, held_out, [1, 2], seed=1)
    np.testing.assert_allclose(curves["floor"], (3 + 3 + 4) / 3, rtol=1e-6)
    assert curves.loc[2, "compactness"] == pytest.approx(20 / 24, abs=1e-5)
    assert curves.loc[1, "generalisation"] == pytest.approx(4 / 3, abs=1e-5)
    assert validate(model, held_out, [1, 2], seed=1).equals(curves)
    with pytest.raises(KeyError):
        curves.loc[3]


def test_the_curves_are_drawn_with_the_floor(model):
    curves = validate(model, moved(model, (0, 0, 0), (3, 0, 0), (3, 4, 0)), [1, 2], seed=1)
    figure = validation_curves({"shape": curves, "texture": curves}, {"shape": "mm", "texture": "sRGB"})
    axes = np.array(figure.axes).reshape(2, 3)
    for axis, name in zip(axes[0], ("compactness", "generalisation", "specificity"), strict=True):
        assert axis.get_title() == f"shape: {name}"
        np.testing.assert_allclose(axis.lines[0].get_xydata(), np.stack([[1, 2], curves[name]], 1))
    assert set(axes[1, 2].lines[1].get_ydata()) == set(curves["floor"])
    assert axes[1, 1].get_ylabel() == "sRGB"
    plt.close(figure)
