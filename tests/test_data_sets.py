"""Published data sets: the documented layout of each, in miniature, and what a user reads when one is missing."""

import bz2
import io
from pathlib import Path
from typing import get_args, get_type_hints

import av
import numpy as np
import pytest
from PIL import Image

from lib.core.errors import StudyError
from lib.core.params import PhotosParams
from lib.photos.read import UnreadablePictureError, read_picture
from lib.photos.simulated.camera import CONDITIONS
from lib.photos.sources import DATA_SETS, README, SOURCES, extract_frames, instructions, list_photographs, source_folder


def make(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"nobody opens this")


def listed(source, folder):
    """-> name, person, condition, scan and problem of every file, by name."""
    found = sorted(list_photographs(source, folder), key=lambda photograph: photograph.name)
    return [(one.name, one.person, one.condition, one.scan, one.problem) for one in found]


def write_video(path, frames, codec="mjpeg"):
    """Write a video of 64 x 48 pixels whose frame i is grey of value 5 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mjpeg" if path.suffix == ".mjpg" else None) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_micc_has_conditions_and_scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "micc"
    scan = "subject_01/Model/frontal1/obj/110920150452_new.obj"
    make(folder, scan, "subject_01/Model/frontal2/obj/1.obj", "subject_01/Indoor-Cooperative/frame0001.jpg")
    make(folder, "subject_01/PTZ-Outdoor/near/frame0002.jpg", "notes.txt", "subject_02/Video/PTZ-Outdoor.avi")
    make(folder, "subject_01/Video/PTZ-Outdoor.avi")
    write_video(folder / "subject_02/Video/PTZ-Indoor.mjpg", 25)
    *found, damaged = listed("micc", folder)
    assert found == [
        ("subject_01/Indoor-Cooperative/frame0001.jpg", "subject_01", "cooperative", scan, ""),
        ("subject_01/PTZ-Outdoor/near/frame0002.jpg", "subject_01", "outdoor", scan, ""),
        ("subject_01/Video/PTZ-Outdoor.avi", "subject_01", "outdoor", scan, "frames of this video lie beside it"),
        *(
            (f"subject_02/Video/PTZ-Indoor.mjpg/{number:06d}.jpg", "subject_02", "indoor", "", "")
            for number in (0, 10, 20)
        ),
    ]
    assert damaged[:4] == ("subject_02/Video/PTZ-Outdoor.avi", "subject_02", "outdoor", "")
    assert damaged[4].startswith("a damaged video")


@pytest.mark.parametrize("name, codec", [("a.mjpg", "mjpeg"), ("a.avi", "mpeg4"), ("a.mov", "mpeg4")])
def test_every_tenth_frame_of_a_video_is_written_once(tmp_path, monkeypatch, name, codec):
    video, folder = tmp_path / name, tmp_path / "frames"
    write_video(video, 31, codec)
    frames, problem = extract_frames(video, folder)
    assert [frame.name for frame in frames] == ["000000.jpg", "000010.jpg", "000020.jpg", "000030.jpg"]
    assert problem == ""
    for number, frame in enumerate(frames):
        pixels = read_picture(frame).pixels
        assert pixels.shape == (48, 64, 3) and np.abs(pixels.astype(int) - 50 * number).max() < 8
    opened = []
    original = av.open
    monkeypatch.setattr(av, "open", lambda *arguments, **options: opened.append(1) or original(*arguments, **options))
    assert extract_frames(video, folder) == (frames, "") and not opened
    write_video(video, 5, codec)
    opened.clear()
    assert extract_frames(video, folder) == (frames[:1], "") and opened


def test_a_video_that_is_cut_off_gives_the_frames_before(tmp_path):
    video = tmp_path / "a.mjpg"
    write_video(video, 31)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    frames, _ = extract_frames(video, tmp_path / "frames")
    assert [frame.name for frame in frames] == ["000000.jpg", "000010.jpg"]
    assert extract_frames(tmp_path / "none.avi", tmp_path / "other") == (
        [],
        "cannot be found: No such file or directory",
    )


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
        ("A_J_Buckley", "hidden, or the system's"),
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
def test_a_missing_data_set_tells_how_to_obtain_it(tmp_path, name, monkeypatch):
    """The text of data/raw/README.md: from where, under which terms, and where to put it."""
    monkeypatch.chdir(tmp_path)
    text = instructions(name)
    assert "http" in text and f"data/raw/{name}" in text and "terms" in text.lower() and text.count("\n#") == 0
    for trouble in ("missing", "does not hold"):
        with pytest.raises(StudyError, match=trouble) as error:
            list_photographs(name, tmp_path / name)
        assert text in str(error.value)
        (tmp_path / name).mkdir(exist_ok=True)
    make(tmp_path / name, "train/n1/x.txt", "data/images/1/x.txt", "subject_1/Video/PTZ-Indoor.avi")
    with pytest.raises(StudyError, match=r"(x\.txt|PTZ-Indoor\.avi): |inside"):
        list_photographs(name, tmp_path / name)


def test_sources_are_those_of_the_parameters():
    assert get_args(get_type_hints(PhotosParams)["source"]) == tuple(SOURCES)
    assert source_folder("folder", "my/own") == Path("my/own")
    for name in ("lfw", *DATA_SETS):
        assert source_folder(name, "my/own") == Path("my/own")
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
