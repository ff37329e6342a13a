"""Published data sets: the documented layout of each, in miniature, and what a user reads when one is missing."""

import bz2
import io
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from lib.data_sets import DATA_SETS, README, instructions
from lib.errors import StudyError
from lib.params import PhotosParams
from lib.photo_sources import SOURCES, list_photographs, source_folder
from lib.pictures import UnreadablePictureError, read_picture
from lib.simulated import CONDITIONS


def make(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"nobody opens this")


def listed(source, folder):
    """-> name, person, condition, scan and problem of every file, by name."""
    found = sorted(list_photographs(source, folder), key=lambda photograph: photograph.name)
    return [(one.name, one.person, one.condition, one.scan, one.problem) for one in found]


def test_micc_has_conditions_and_scans(tmp_path):
    scan = "subject_01/Model/frontal1/obj/110920150452_new.obj"
    make(tmp_path, scan, "subject_01/Model/frontal2/obj/1.obj", "subject_01/Indoor-Cooperative/frame0001.jpg")
    make(tmp_path, "subject_01/PTZ-Outdoor/near/frame0002.jpg", "subject_02/PTZ-Indoor/video.avi", "notes.txt")
    make(tmp_path, "subject_02/PTZ-Indoor/frame1.png")
    assert listed("micc", tmp_path) == [
        ("subject_01/Indoor-Cooperative/frame0001.jpg", "subject_01", "cooperative", scan, ""),
        ("subject_01/PTZ-Outdoor/near/frame0002.jpg", "subject_01", "outdoor", scan, ""),
        ("subject_02/PTZ-Indoor/frame1.png", "subject_02", "indoor", "", ""),
        ("subject_02/PTZ-Indoor/video.avi", "subject_02", "indoor", "", "a video: extract its frames"),
    ]


def test_in_mofa_everybody_is_somebody_else(tmp_path):
    make(tmp_path, "1.jpg", "2.jpg")
    assert listed("mofa", tmp_path) == [("1.jpg", "1.jpg", "", "", ""), ("2.jpg", "2.jpg", "", "", "")]


@pytest.mark.parametrize("disc", ["", "dvd1/"])
def test_feret_has_people_and_poses(tmp_path, disc):
    folder = f"{disc}data/images"
    make(tmp_path, f"{folder}/00001/00001_930831_fa_a.ppm.bz2", f"{folder}/00001/00001_930831_ql.ppm")
    make(tmp_path, f"{folder}/00002/readme.txt.bz2", f"{disc}data/thumbnails/00001/00001_930831_fa_a.ppm.bz2")
    assert listed("feret", tmp_path) == [
        (f"{folder}/00001/00001_930831_fa_a.ppm.bz2", "00001", "fa", "", ""),
        (f"{folder}/00001/00001_930831_ql.ppm", "00001", "ql", "", ""),
        (f"{folder}/00002/readme.txt.bz2", "00002", "", "", "not an image file (.bz2)"),
    ]


def test_bam_is_unlabelled_flat_or_by_medium(tmp_path):
    make(tmp_path / "flat", "7.jpg")
    assert listed("bam", tmp_path / "flat") == [("7.jpg", "7.jpg", "", "", "")]
    make(tmp_path / "media", "oilpaint/7.jpg", "oilpaint/8.jpg", "watercolor/7.jpg")
    assert [row[:3] for row in listed("bam", tmp_path / "media")] == [
        ("oilpaint/7.jpg", "oilpaint/7.jpg", "oilpaint"),
        ("oilpaint/8.jpg", "oilpaint/8.jpg", "oilpaint"),
        ("watercolor/7.jpg", "watercolor/7.jpg", "watercolor"),
    ]


def test_vggface_is_people(tmp_path):
    make(tmp_path / "one", "A_J_Buckley/00000001.jpg", "A_J_Buckley/.hidden.jpg")
    assert [row[1::3] for row in listed("vggface", tmp_path / "one")] == [
        ("A_J_Buckley", "a hidden file"),
        ("A_J_Buckley", ""),
    ]
    make(tmp_path / "two", "train/n000002/0001_01.jpg", "test/n000001/0001_01.jpg", "meta/identity_meta.csv")
    assert [row[:2] for row in listed("vggface2", tmp_path / "two")] == [
        ("test/n000001/0001_01.jpg", "n000001"),
        ("train/n000002/0001_01.jpg", "n000002"),
    ]


def test_simulated_photographs_have_conditions(tmp_path):
    make(tmp_path, *(f"person-0000/{number}-{condition.name}.jpg" for number, condition in enumerate(CONDITIONS)))
    assert [row[2] for row in listed("simulated", tmp_path)] == ["cooperative", "indoor", "outdoor"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_missing_data_set_tells_how_to_obtain_it(tmp_path, name):
    """The text of data/raw/README.md: from where, under which terms, and where to put it."""
    text = instructions(name)
    assert "http" in text and f"data/raw/{name}" in text and "terms" in text.lower() and text.count("\n#") == 0
    for trouble in ("missing", "does not hold"):
        with pytest.raises(StudyError, match=trouble) as error:
            list_photographs(name, tmp_path / name)
        assert text in str(error.value)
        (tmp_path / name).mkdir(exist_ok=True)
    make(tmp_path / name, "train/n1/x.txt", "data/images/1/x.txt", "subject_1/PTZ-Indoor/x.avi")
    with pytest.raises(StudyError, match=r"x\.(txt|avi): |inside"):
        list_photographs(name, tmp_path / name)


def test_sources_are_those_of_the_parameters():
    assert get_args(get_type_hints(PhotosParams)["source"]) == SOURCES
    assert source_folder("folder", "my/own") == Path("my/own")
    for name in ("lfw", *DATA_SETS):
        assert source_folder(name, "my/own") == Path("data/raw") / name
        assert f"`{name}/`" in README.read_text()


def test_compressed_photographs_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    plain = io.BytesIO()
    Image.fromarray(pixels).save(plain, "PPM")
    path = tmp_path / "00001_930831_fa_a.ppm.bz2"
    path.write_bytes(bz2.compress(plain.getvalue()))
    assert np.array_equal(read_picture(path).pixels, pixels)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadablePictureError, match="damaged"):
        read_picture(path)
    path.write_bytes(bz2.compress(b"P6\n40000 40000\n255\n" + bytes(1000)))
    with pytest.raises(UnreadablePictureError, match="too large"):
        read_picture(path)
