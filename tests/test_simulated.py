"""Simulated photographs: the same seed gives the same people, and their truth is the face that was photographed."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from lib.open_model.build import FaceGenerator
from lib.photos.people import save_truth
from lib.photos.simulated import camera as simulated
from lib.photos.simulated.camera import CONDITIONS, simulate_photographs, true_faces


@pytest.fixture(scope="module")
def generator():
    return FaceGenerator("light")


@pytest.fixture(scope="module")
def folder(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    groups = simulate_photographs(generator, folder, 3, 4, 96, 5)
    return folder, groups


def test_one_folder_a_person_and_the_conditions_in_turn(folder):
    names = sorted(path.relative_to(folder[0]).as_posix() for path in folder[0].rglob("*.jpg"))
    assert len(names) == 12
    assert names[:4] == [f"person-0000/{i}-{CONDITIONS[i % 3].name}.jpg" for i in range(4)]
    assert all(Image.open(folder[0] / name).size == (96, 96) for name in names)


def test_people_of_one_photograph_each_take_the_conditions_in_turn(generator, tmp_path):
    simulate_photographs(generator, tmp_path, 4, 1, 96, 5)
    names = [path.stem for path in sorted(tmp_path.rglob("*.jpg"))]
    assert names == [f"0-{CONDITIONS[number % 3].name}" for number in range(4)]


def test_groups_are_told(folder):
    assert set(folder[1]) == {f"person-{number:04d}" for number in range(3)}
    assert all({"age", "gender", "ancestry"} <= set(group) for group in folder[1].values())


def test_more_people_leave_the_first_ones_as_they_were(generator, folder, tmp_path):
    simulate_photographs(generator, tmp_path, 1, 4, 96, 5)
    for path in sorted(tmp_path.rglob("*.jpg")):
        assert path.read_bytes() == (folder[0] / path.relative_to(tmp_path)).read_bytes()
    simulate_photographs(generator, tmp_path / "other", 1, 1, 96, 6)
    other = tmp_path / "other/person-0000/0-cooperative.jpg"
    assert other.read_bytes() != (tmp_path / "person-0000/0-cooperative.jpg").read_bytes()


def test_nobody_of_an_earlier_larger_run_is_left(generator, tmp_path):
    for person in (0, 7):
        (tmp_path / f"person-{person:04d}").mkdir()
        (tmp_path / f"person-{person:04d}" / "3-cooperative.jpg").touch()
    (tmp_path / "notes.txt").touch()
    simulate_photographs(generator, tmp_path, 1, 1, 96, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"person-0000", "notes.txt"}
    assert [path.name for path in (tmp_path / "person-0000").iterdir()] == ["0-cooperative.jpg"]


def test_processes_side_by_side_change_nothing(generator, tmp_path):
    threads, drawn = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            folder = tmp_path / str(count)
            groups = simulate_photographs(generator, folder, 3, 2, 96, 5)
            drawn.append((groups, {path.name: path.read_bytes() for path in sorted(folder.glob("person-0002/*.jpg"))}))
    finally:
        torch.set_num_threads(threads)
    assert len(drawn[0][1]) == 2 and drawn[0] == drawn[1] and list(drawn[0][0]) == list(drawn[1][0])


def test_the_truth_is_the_person_without_expression(generator, tmp_path):
    persons = ["person-0002", "person-0000"]
    save_truth(tmp_path / "truth.h5", persons, true_faces(generator, persons, 5), generator.triangles)
    with h5py.File(tmp_path / "truth.h5") as file:
        vertices, names = file["vertices"][()], [name.decode() for name in file["persons"]]
        assert (file["triangles"][()] == generator.triangles).all()
    assert names == persons
    again = generator.person(np.random.default_rng([5, 2])).vertices
    assert np.allclose(vertices[0], again) and not np.allclose(vertices[1], again, atol=0.1)


def test_harder_conditions_show_less(generator, tmp_path, monkeypatch):
    """Blur takes fine detail away: outdoor pictures have less of it than cooperative ones of the same people."""
    quiet = tuple(replace(condition, noise=0.0) for condition in CONDITIONS)
    monkeypatch.setattr(simulated, "CONDITIONS", quiet)
    simulate_photographs(generator, tmp_path, 8, 3, 128, 1)

    def detail(number):
        pictures = [np.asarray(Image.open(path).convert("L"), float) for path in tmp_path.glob(f"*/{number}-*.jpg")]
        return np.mean([np.abs(p[40:90, 34:96][1:] - p[40:90, 34:96][:-1]).mean() for p in pictures])

    assert detail(2) < detail(0)


def test_a_camera_without_faults_changes_tone_and_corners_alone():
    perfect = replace(CONDITIONS[0], blur=0.0, motion=0.0, noise=0.0, quality=(100, 100))
    pixels = np.asarray(simulated._camera(np.full((64, 64, 3), 0.5), perfect, np.random.default_rng(3)), float)
    assert pixels[:2, :2].mean() < pixels[32, 32].mean() - 5
    assert np.abs(np.diff(pixels, axis=1)).max() <= 3 and np.ptp(pixels[32, 32]) < 30
    noisy = replace(perfect, noise=0.2)
    random = np.random.default_rng(0)
    assert np.asarray(simulated._camera(np.full((64, 64, 3), 0.5), noisy, random), float)[24:40, 24:40].std() > 6


@pytest.mark.parametrize("direction", [0.0, np.pi / 2, 0.7])
def test_a_moving_face_is_blurred_along_its_way_alone(direction):
    y, x = np.mgrid[-20:21, -20:21]
    along, across = x * np.cos(direction) + y * np.sin(direction), y * np.cos(direction) - x * np.sin(direction)
    spot = np.exp(-0.5 * (along**2 + across**2) / 4)[..., None].repeat(3, 2)
    moved = simulated.smear(spot, 6.0, direction)[..., 0]
    assert moved.sum() == pytest.approx(spot[..., 0].sum(), rel=0.01)
    wider = [(moved * each**2).sum() / moved.sum() - 4 for each in (along, across)]
    assert wider[0] == pytest.approx(36 / 12, rel=0.15) and abs(wider[1]) < 0.3
    np.testing.assert_allclose(simulated.smear(spot, 0.0, direction), spot, atol=1e-12)
