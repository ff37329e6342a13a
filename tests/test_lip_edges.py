"""The edges of lips that colours tell."""

import numpy as np
import pytest

from lib.core.pictures import to_uint8
from lib.fitting.lips import DOUBTFUL, MIDDLE, SIDES, correct_lips, opponent_colours
from lib.fitting.pose import CLOSED, parting

SIZE, LINE = 384, 0.6
SKIN, LIP = np.array([0.75, 0.56, 0.48]), np.array([0.66, 0.36, 0.36])
TEETH, DARK, BETWEEN = np.array([0.85, 0.82, 0.74]), np.array([0.2, 0.1, 0.1]), np.array([0.4, 0.16, 0.16])
ALL = [*MIDDLE[0], *SIDES[0], *MIDDLE[1], *SIDES[1]]


def landmarks(thickness=0.05, opening=0.0):
    """Lips of the same thickness everywhere, parted by twice the opening, and all other landmarks at (0.5, 0.3)."""
    points = np.full((468, 2), [0.5, 0.3])
    for pairs, sign in ((MIDDLE[0] + SIDES[0], -1), (MIDDLE[1] + SIDES[1], 1)):
        for number, (inner, outer) in enumerate(pairs):
            points[inner] = 0.4 + 0.02 * number, LINE + sign * opening
            points[outer] = points[inner] + [0, sign * thickness]
    return points


def mouth(upper, lower, light=1.0, lip=LIP):
    """A picture of lips that end so far above and below the line between them, with noise."""
    height = (np.arange(SIZE) + 0.5) / SIZE - LINE
    is_lip = (height > -upper) & (height < lower)
    picture = np.where(is_lip[:, None, None], lip, SKIN) * np.broadcast_to(light, (SIZE, SIZE))[..., None]
    return to_uint8(picture + np.random.default_rng(0).normal(0, 0.01, picture.shape))


@pytest.mark.parametrize("upper, lower", [(0.03, 0.04), (0.05, 0.05), (0.06, 0.03)])
@pytest.mark.parametrize("light", [1.0, 0.4, np.linspace(0.4, 1, SIZE), np.linspace(1, 0.4, SIZE)[:, None]])
def test_lips_end_where_their_colour_does_in_any_light(upper, lower, light):
    before = landmarks()
    after = correct_lips(before, mouth(upper, lower, light))
    for pairs, edge in ((MIDDLE[0] + SIDES[0], LINE - upper), (MIDDLE[1] + SIDES[1], LINE + lower)):
        outer = [outer for _, outer in pairs]
        assert np.abs(after[outer, 1] - edge).max() < 0.004
        np.testing.assert_allclose(after[outer, 0], before[outer, 0])
    others = np.delete(np.arange(468), [outer for _, outer in ALL])
    assert (after[others] == before[others]).all()


@pytest.mark.parametrize("lower", [0.01, 0.014, 0.02, 0.026])
@pytest.mark.parametrize("above, below", [(TEETH, TEETH), (DARK, DARK), (TEETH, DARK)])
def test_the_lower_lip_of_a_parted_mouth_begins_where_its_colour_does(lower, above, below):
    before = landmarks(opening=0.02)
    height = (np.arange(SIZE) + 0.5) / SIZE - LINE
    picture = mouth(0.07, 0.07) / 255
    opened = (height > -0.02) & (height < lower)
    picture[opened & (height < 0.005)], picture[opened & (height >= 0.005)] = above, below
    after = correct_lips(before, to_uint8(picture))
    rows = [inner for inner, _ in MIDDLE[1]]
    assert np.abs(after[rows, 1] - LINE - lower).max() < 0.004
    upper = [inner for inner, _ in MIDDLE[0]]
    assert (after[upper] == before[upper]).all()


@pytest.mark.parametrize("line", [-0.006, 0.0, 0.008])
def test_lips_that_show_but_a_line_between_them_meet_at_it(line):
    before, height = landmarks(opening=0.008), (np.arange(SIZE) + 0.5) / SIZE - LINE
    assert CLOSED < parting(before) < DOUBTFUL
    picture = mouth(0.062, 0.062) / 255
    picture[np.abs(height - line) < 0.002] = BETWEEN
    after = correct_lips(before, to_uint8(picture))
    for pairs in MIDDLE:
        assert np.abs(after[[inner for inner, _ in pairs], 1] - LINE - line).max() < 0.004


@pytest.mark.parametrize("opening, colour", [(0.008, DARK), (0.003, TEETH)])
def test_lips_that_show_teeth_or_darkness_between_them_stay_parted(opening, colour):
    before, height = landmarks(opening=0.008), (np.arange(SIZE) + 0.5) / SIZE - LINE
    picture = mouth(0.062, 0.062) / 255
    picture[np.abs(height) < opening] = colour
    assert parting(correct_lips(before, to_uint8(picture))) > CLOSED / 2


def test_lips_of_the_skins_colour_keep_their_landmarks():
    before = landmarks()
    assert np.abs(correct_lips(before, mouth(0.03, 0.03, lip=SKIN)) - before).max() < 0.006


def test_lips_stay_in_pictures_that_are_black_or_do_not_show_them():
    before = landmarks()
    np.testing.assert_allclose(correct_lips(before, np.zeros((SIZE, SIZE, 3), np.uint8)), before, atol=1e-9)
    assert np.isfinite(correct_lips(before + [0, 0.5], mouth(0.03, 0.03))).all()


def test_all_opponent_colours_but_brightness_are_those_of_the_surface():
    bright, dark = (
        opponent_colours(np.full((2, 2, 3), to_uint8(np.array(colour))))
        for colour in ([0.8, 0.5, 0.4], [0.53, 0.32, 0.25])
    )
    assert np.abs(bright - dark)[..., :2].max() < 0.1 < (bright - dark)[..., 2].min()
