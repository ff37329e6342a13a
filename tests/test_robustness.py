"""The stress test: a change of strength none changes nothing, and the numbers are those that hand and eye expect."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.transform import resize
from small_world import FEATURES, SmallNetwork

from lib.core.errors import StudyError
from lib.figures import PHOTOGRAPHS, stress_curves
from lib.figures_faces import stress_grid, style_grid
from lib.open_model.build import FaceGenerator
from lib.photos.align import POINT_COLUMNS
from lib.photos.files import Photograph
from lib.recognition.reader import FeatureReader
from lib.robustness import changes
from lib.robustness import protocol as robustness
from lib.robustness.changes import (
    BLUR,
    DARKNESS,
    EXPRESSION,
    FULL_RESOLUTION,
    GAMMA,
    LIGHT,
    OCCLUSION,
    PIXEL_CHANGES,
    POSE,
    RESOLUTION,
    SIMULATED_CHANGES,
    STYLES,
    Change,
    SimulatedSubject,
    change_pixels,
    stylise,
)
from lib.robustness.protocol import ARTWORK, UNCHANGED, SinglePhotograph, choose_people, write_photographs

POINTS = np.array([[40.0, 40.0], [60.0, 40.0], [42.0, 62.0], [58.0, 62.0]])


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(0.2, 1, (100, 100, 3)).round(2)


@pytest.fixture(scope="module")
def subject():
    return SimulatedSubject(FaceGenerator("light"), 1, 3, 96)


def test_strengths_grow_to_the_largest():
    assert Change("a", "unit", 1.0, 3.0).strengths(4) == [1.5, 2.0, 2.5, 3.0]


@pytest.mark.parametrize("change", PIXEL_CHANGES, ids=lambda change: change.name)
def test_no_strength_changes_no_pixel(image, change):
    image = np.rint(image * 255) / 255
    assert np.allclose(change_pixels(image, POINTS, change.name, change.none), image, atol=1e-12)


@given(st.sampled_from(PIXEL_CHANGES), st.floats(0, 1))
def test_pictures_stay_pictures(change, share):
    image = np.random.default_rng(1).uniform(0, 1, (30, 40, 3))
    strength = change.none + share * (change.largest - change.none)
    changed = change_pixels(image, POINTS / 3, change.name, strength)
    assert changed.shape == image.shape and changed.min() >= 0 and changed.max() <= 1


def test_half_the_light_is_one_stop():
    grey = np.full((2, 2, 3), 0.8)
    darker = change_pixels(grey, POINTS, DARKNESS.name, 1.0)
    assert (darker / 0.8) ** 2.2 == pytest.approx(0.5, abs=0.01)
    assert change_pixels(grey, POINTS, GAMMA.name, 2.0) == pytest.approx(0.64)


def test_a_scarf_covers_from_the_chin_up(image):
    covered = [(change_pixels(image, POINTS, OCCLUSION.name, share) != image).any(2) for share in (0.15, 0.3, 0.6)]
    assert covered[0].sum() < covered[1].sum() < covered[2].sum()
    # from the eyes at y = 40 to the mouth at 62: the chin is at 40 + 1.9 * 22, half a face above it the nose
    rows = np.flatnonzero(covered[2].any(1))
    assert rows[0] == round(40 + 22 * (1.9 - 0.6 * 2.4)) and not covered[2][:48].any()
    columns = np.flatnonzero(covered[2].any(0))
    assert (columns[0], columns[-1]) == (25, 74)


def test_blur_takes_detail_away(image):
    soft = change_pixels(image, POINTS, BLUR.name, 0.1)
    assert np.abs(np.diff(soft, axis=0)).mean() < 0.3 * np.abs(np.diff(image, axis=0)).mean()


def test_resolution_takes_pixels_away(image):
    coarse = change_pixels(image, POINTS * FULL_RESOLUTION / 20, RESOLUTION.name, 6.0)
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.3 * np.abs(np.diff(image, axis=0)).mean()
    assert coarse.mean() == pytest.approx(image.mean(), abs=0.01)


def test_resolution_leaves_as_many_pixels_on_the_face_whatever_the_photograph_had(image, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        changes, "resize", lambda picture, size, **_: sizes.append(tuple(size)) or resize(picture, size)
    )
    for times in (1, 2, 4):
        large = np.kron(image, np.ones((times, times, 1)))
        change_pixels(large, POINTS * times, RESOLUTION.name, 4.0)
    # 12.8 of 20 pixels between the eyes are left, 12.8 of 40 and of 80
    assert sizes[::2] == [(64, 64)] * 3 and sizes[1::2] == [(100, 100), (200, 200), (400, 400)]
    # 20 pixels are fewer than those of strength 2
    assert np.allclose(change_pixels(image, POINTS, RESOLUTION.name, 2.0), image)


def test_resolution_of_a_simulated_photograph_is_a_share_of_its_side(image):
    points, picture = SimulatedSubject(None, 1, 0, 256).points, np.kron(image, np.ones((3, 3, 1)))[:256, :256]
    for strength in RESOLUTION.strengths(4):
        small = resize(picture, [round(256 / strength)] * 2, anti_aliasing=True)
        assert np.array_equal(change_pixels(picture, points, RESOLUTION.name, strength), resize(small, (256, 256)))


@pytest.mark.parametrize("change", SIMULATED_CHANGES, ids=lambda change: change.name)
def test_a_subject_changes_in_one_thing_alone(subject, change):
    plain = subject.photograph()
    assert np.array_equal(plain, subject.photograph())
    assert np.allclose(plain, subject.photograph(change.name, change.none), atol=2e-3)
    far = [np.abs(plain - subject.photograph(change.name, strength)).mean() for strength in change.strengths(2)]
    assert far[1] > far[0] > 1e-4


def test_lamps_go_round_and_faces_turn(subject):
    plain = subject.photograph()
    lit = subject.photograph(LIGHT.name, LIGHT.largest)
    eyes = subject.points[:2].mean(0)
    left, right = ((slice(int(eyes[1]), None), slice(*side)) for side in ((36, 44), (52, 60)))
    assert abs(plain[left].mean() - plain[right].mean()) < 0.1 < abs(lit[left].mean() - lit[right].mean()) + 0.08
    assert lit.mean() < plain.mean()
    turned = subject.photograph(POSE.name, 45.0), subject.photograph(EXPRESSION.name, 1.0)
    assert np.abs(turned[0] - plain).mean() > np.abs(turned[1] - plain).mean()


@pytest.mark.parametrize("style", STYLES)
def test_styles_redraw_and_are_the_same_twice(subject, style):
    plain = subject.photograph()
    drawn = stylise(plain, style)
    assert drawn.shape == plain.shape and drawn.min() >= 0 and drawn.max() <= 1
    assert np.abs(drawn - plain).mean() > 0.003 and np.array_equal(drawn, stylise(plain, style))


def test_a_poster_has_five_inks_and_a_halftone_little_grey(subject):
    assert len(np.unique(stylise(subject.photograph(), "poster").reshape(-1, 3).round(6), axis=0)) == 5
    dots = stylise(np.full((64, 64, 3), 0.5), "halftone")
    assert ((dots < 0.2) | (dots > 0.8)).mean() > 0.4 and dots.mean() == pytest.approx(0.5, abs=0.1)


def test_people_are_chosen_by_name_or_in_order():
    assert choose_people(["a", "b", "c"], 2, "first") == ["a", "b"]
    assert choose_people(["a", "b", "c"], 2, "c") == ["c", "a"]
    with pytest.raises(StudyError, match="robustness.person 'x' is not in the test set: a, b, c"):
        choose_people(["a", "b", "c"], 2, "x")


def test_a_photograph_comes_with_its_landmarks_in_its_own_pixels(tmp_path):
    large = np.zeros((1300, 2560, 3), np.uint8)
    large[:, 1280:] = 255
    Image.fromarray(large).save(tmp_path / "a.png")
    line = dict(path="a.png", person="a", row=0) | dict(zip(POINT_COLUMNS, 2 * POINTS.ravel()))
    skipped = dict(path="b.png", person="a", row=-1)
    index = pd.DataFrame([skipped, line, line | dict(path="none.png", row=1)])
    found = robustness.single_photographs([Photograph(str(tmp_path), "a.png", "a")], index, ["a"])["a"]
    assert found.image.shape == (650, 1280, 3) and found.image.min() == 0 and found.image.max() == 1
    assert np.allclose(found.points, POINTS) and found.photograph() is found.image
    assert found.changes == PIXEL_CHANGES


def test_everything_is_photographed(tmp_path, image):
    subjects = {name: SinglePhotograph(image, POINTS) for name in ("a/b", "c")}
    index = write_photographs(subjects, tmp_path, 2, ["poster"])
    assert len(index) == 2 * (1 + 2 * len(PIXEL_CHANGES) + 1)
    assert all((tmp_path / name).is_file() for name in index["file"]) and index["file"].is_unique
    assert index.groupby("person")["kind"].first().tolist() == [UNCHANGED] * 2
    works = write_photographs(subjects, tmp_path / "art", 1, [])
    assert ARTWORK in works["kind"].tolist() and not works["kind"].isin(list(STYLES)).any()
    assert robustness.square_picture(tmp_path / index["file"][0], 50).shape == (50, 50, 3)


def index_of(*lines):
    return pd.DataFrame(lines, columns=["person", "kind", "step", "row"]).assign(strength=1.0, file="")


INDEX = index_of(
    ("a", UNCHANGED, 0, 0),
    ("a", "pose", 1, 1),
    ("a", "pose", 2, -1),
    ("b", UNCHANGED, 0, 2),
    ("b", "pose", 1, 3),
    ("b", "pose", 2, 4),
)
EMBEDDINGS = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1], [1, 0]])


def test_consistency_by_hand():
    result = robustness.consistency(INDEX, EMBEDDINGS, 200, 1)
    assert result["pose"]["1"]["value"] == pytest.approx((0.6 + 1.0) / 2) and result["pose"]["1"]["n"] == 2
    assert result["pose"]["1"]["low"] == pytest.approx(0.6) and result["pose"]["1"]["high"] == pytest.approx(1.0)
    assert result["pose"]["2"]["value"] == pytest.approx(0.0) and result["pose"]["2"]["n"] == 1
    assert robustness.between_people(INDEX, EMBEDDINGS) == pytest.approx(0.0)


def test_likeness_and_found_shares_by_hand():
    photographs = EMBEDDINGS[[0, 0, 2, 2, 2]]
    assert robustness.consistency(INDEX, EMBEDDINGS, 50, 1, photographs)["pose"]["1"]["value"] == pytest.approx(0.8)
    found = robustness.found_shares(INDEX, 50, 1)
    assert found["pose"]["1"]["value"] == 1.0 and found["pose"]["2"]["value"] == 0.5


def test_spread_is_relative_to_the_distance_of_two_people():
    values = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    result = robustness.spread(INDEX, values, 50, 1)["pose"]
    assert result["1"]["value"] == pytest.approx((0.25 + 0.0) / 2) and result["2"]["value"] == pytest.approx(1.0)


def test_a_person_whose_plain_photograph_shows_no_face_is_left_out():
    index = INDEX.copy()
    index.loc[0, "row"] = -1
    assert robustness.consistency(index, EMBEDDINGS, 50, 1)["pose"]["1"]["n"] == 1


def test_photographs_without_faces_are_told_and_too_few_refused(tmp_path, subject):
    people = {"a": subject, "nobody": SinglePhotograph(np.full((96, 96, 3), 0.5), POINTS)}
    index = write_photographs(people, tmp_path, 1, [])
    with pytest.raises(StudyError, match="choose more people"):
        robustness.see_photographs(index, tmp_path, [FeatureReader(SmallNetwork())], SmallNetwork())
    other = SimulatedSubject(subject.generator, 1, 5, 96)
    index = write_photographs(people | {"b": other}, tmp_path, 1, [])
    stressed = robustness.see_photographs(index, tmp_path, [FeatureReader(SmallNetwork())], SmallNetwork())
    rows = stressed.index["row"].to_numpy()
    assert (rows[stressed.index["person"] == "nobody"] == -1).all() and (rows >= 0).sum() == len(stressed.crops)
    assert sorted(rows[rows >= 0]) == list(range(len(stressed.features[FEATURES])))
    # a photograph's row holds that photograph: the network sees it again
    row = stressed.index.query("person == 'b' and kind == 'unchanged'")["row"].item()
    crop = torch.from_numpy(stressed.crops[[row]]).permute(0, 3, 1, 2) / 255
    assert torch.allclose(SmallNetwork()(crop).features, stressed.features[FEATURES][[row]], atol=1e-5)


def test_figures_say_what_they_show():
    picture, changes = np.zeros((4, 4, 3)), [Change("pose", "degrees", 0.0, 60.0)]
    grid = stress_grid(changes, 2, {"pose": [(picture, picture), (picture, None), (picture, picture)]})
    texts = [text.get_text() for text in grid.axes[0].texts]
    assert [text for text in texts if text] == ["pose\ndegrees", "unchanged", "30", "60", "no face found"]
    assert "pencil" in [text.get_text() for text in style_grid(["pencil"], [[(picture, picture)]]).axes[0].texts]
    cells = {"pose": {"1": dict(value=0.9, low=0.8, high=1.0, n=2)}}
    curves = stress_curves(changes, 2, {"full": cells, PHOTOGRAPHS: cells}, {"full": 0.2, PHOTOGRAPHS: 0.0})
    line = curves.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [0.0, 30.0] and list(line.get_ydata()) == [1.0, 0.9]
    assert curves.axes[0].get_lines()[2].get_ydata()[0] == 0.2
