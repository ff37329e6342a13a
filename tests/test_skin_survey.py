"""The colours of the open model's skin beside published measurements of people."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2lab

from derivations.skin_colours import skin_colour
from derivations.skin_survey import TABLES, lip_contrast, measure_skin, model_groups, outside_gamut, published_groups
from lib.open_model.build import _fit_texture
from lib.open_model.generator import FaceGenerator
from lib.open_model.paint import paint_person
from lib.open_model.shape import ANCESTRIES


@pytest.fixture(scope="module")
def groups():
    return model_groups(FaceGenerator("light"), 100, np.random.default_rng(4))


def test_groups_have_the_published_colours(groups):
    published = published_groups()
    for name, colours in groups.items():
        expected = published.loc[name].to_numpy()
        assert np.linalg.norm(colours.mean(axis=0) - expected[:3]) < 3
        spread = expected[3:][~np.isnan(expected[3:])]
        np.testing.assert_allclose(colours.std(axis=0)[: len(spread)], spread, rtol=0.4)


def test_no_person_lies_far_outside_human_skin(groups):
    assert outside_gamut(np.concatenate(list(groups.values()))).max() < 6


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("ancestry", ANCESTRIES)
def test_lips_differ_from_the_skin_as_in_photographs(ancestry, sex):
    """Without lipstick, which a part of the women wear: medians."""
    generator, random = FaceGenerator("light"), np.random.default_rng(6)
    weights = tuple(float(name == ancestry) for name in ANCESTRIES)
    drawn = (generator.parts.shapes.sample_traits(random) for _ in range(120))
    people = [replace(traits, ancestry=weights, gender=float(sex == "male")) for traits in drawn]
    found = [lip_contrast(generator.maps, paint_person(generator.maps, one, random)) for one in people]
    table = pd.read_csv(TABLES / "lips.csv", index_col=["ancestry", "sex"])
    expected = table.loc[(ancestry, sex), ["L_mean", "a_mean", "b_mean"]].to_numpy(float)
    assert np.linalg.norm(np.median(found, axis=0) - expected) < 5


def test_random_faces_of_the_components_have_human_skin():
    generator = FaceGenerator("light")
    texture = _fit_texture(generator, 300, np.random.default_rng(1))
    random = np.random.default_rng(2).normal(size=(400, len(texture.variance)))
    albedo = np.clip(texture.mean + (random * np.sqrt(texture.variance)) @ texture.basis.T, 0, 1)
    outside = outside_gamut(measure_skin(generator.maps, albedo.reshape(400, -1, 3)))
    assert np.quantile(outside, 0.99) < 5.5 and (outside > 6).mean() < 0.01


def test_the_gamut_is_that_of_its_table():
    inside, darkest, orange = outside_gamut(np.array([[57, 12, 17], [20.7, 8, 8], [45.0, 13.3, 24.8]]))
    assert (inside, darkest) == (0, pytest.approx(2.0))
    assert orange == pytest.approx(5)


def test_pigments_alone_give_measured_skin_from_light_to_dark():
    """Melanin explains the medians of all classes of skin, from L* 68 to 34, at one amount of blood."""
    melanin = np.geomspace(0.02, 0.8, 400)
    curve = rgb2lab(skin_colour(melanin, 0.03))
    medians = pd.read_csv(TABLES / "medians.csv")[["L", "a", "b"]].to_numpy()
    nearest = np.linalg.norm(curve - medians[:, None], axis=2).min(axis=1)
    assert nearest.max() < 2 and nearest.mean() < 1.2
