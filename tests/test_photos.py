"""Photographs: what is found, what is read, where the face is, and that everything is computed once."""

import base64
import os
import struct
import subprocess
import tarfile
import unicodedata
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image, ImageCms
from skimage import data
from torch import nn

from lib.core import paths
from lib.core.errors import StudyError
from lib.core.files import sha256_of
from lib.core.params import load_params
from lib.photos import align as face_crops
from lib.photos import embed as photo_embedding
from lib.photos import read as picture_reading
from lib.photos import sources
from lib.photos.detect import LANDMARK_BIAS, FaceDetector
from lib.photos.embed import CACHE_FOLDER, embed_in_processes, embed_photographs, fill_cache
from lib.photos.files import read_folder
from lib.photos.read import LONGEST_SIDE, UnreadablePictureError, read_picture
from lib.photos.sources import list_photographs
from lib.photos.store import load_feature_store, split_people
from lib.recognition.network import IdentityNetwork, load_network, prepare_network

SHARED = Path(__file__).parents[2] / "shared"
EYES = np.array([[204.9, 101.0], [246.4, 102.6]])
"""The subject's right and left eye in scikit-image's astronaut (512 x 512)."""


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setattr(photo_embedding, "WORKERS", 0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Pictures here are small: threads would wait for one another longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def astronaut():
    """A photograph with one face, (512, 512, 3) uint8."""
    return data.astronaut()


@pytest.fixture(scope="module")
def face(astronaut):
    """Its head and shoulders, (250, 250, 3) uint8."""
    return astronaut[:250, 100:350].copy()


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.mark.parametrize("faces", [0, 1, 6])
def test_detector_finds_what_facenet_pytorch_finds(faces, astronaut, detector, monkeypatch):
    import facenet_pytorch

    picture = np.full((400, 600, 3), 90, np.uint8)
    for number in range(faces):
        row, column = divmod(number, 3)
        part = astronaut[:200, 130:330] if number % 2 else astronaut[:200, 330:130:-1]
        picture[200 * row :][:200, 200 * column :][:, :200] = part
    pictures = torch.from_numpy(np.stack([picture, picture[:, ::-1]]))
    monkeypatch.setattr("lib.photos.detect.DETECTION_SIDE", 600)  # at their own size
    theirs = facenet_pytorch.MTCNN(min_face_size=40, keep_all=True, factor=0.6).detect(pictures, landmarks=True)
    for found, boxes, likely, points in zip(detector.detect(list(pictures.numpy())), *theirs, strict=True):
        ours = [found, *found.others] if found else []
        assert len(ours) == faces
        if faces:
            ours.sort(key=lambda face: face.box[:2] @ [1, 10])
            boxes, likely, points = (np.array(list(values), np.float64) for values in (boxes, likely, points))
            same, points = np.argsort(boxes[:, :2] @ [1, 10]), points[:, [0, 1, 3, 4]] - LANDMARK_BIAS
            for name, values in dict(box=boxes, probability=likely, points=points).items():
                assert np.allclose([getattr(face, name) for face in ours], values[same], atol=1e-3)


class TinyBody(nn.Module):
    """A network of six weights that stands for dlib's: what it sees can be computed by hand."""

    feature_dimension, descriptor_dimension = 3, 2

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0]]))

    def forward(self, images):
        features = images.mean((2, 3))
        return features, features @ self.weight.T


@pytest.fixture
def networks():
    return {
        "dlib": IdentityNetwork("dlib", TinyBody(), "tiny"),
        "faceres": IdentityNetwork("faceres", TinyBody(), "tiny"),
    }


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def shifted(pixels, step):
    """Another photograph of the same face: moved and brighter."""
    moved = np.roll(pixels, (step, 2 * step), (0, 1)).astype(int) + step
    return np.clip(moved, 0, 255).astype(np.uint8)


def people_folder(folder, face, people=3, each=2):
    for person in range(people):
        for number in range(each):
            save(folder / f"person_{person}" / f"{number}.png", shifted(face, 3 * person + number))
    return folder


# --- sources


def test_a_folder_of_people(tmp_path, face):
    save(tmp_path / "Zoë" / "b.JPG", face)
    save(tmp_path / "Zoë" / "a.png", face)
    save(tmp_path / "Ada Lovelace" / "一.webp", face)
    found = read_folder(tmp_path)
    assert [(photograph.name, photograph.person) for photograph in found] == [
        ("Ada Lovelace/一.webp", "Ada Lovelace"),
        ("Zoë/a.png", "Zoë"),
        ("Zoë/b.JPG", "Zoë"),
    ]
    assert not any(photograph.problem for photograph in found)
    assert list_photographs("folder", tmp_path) == found


def test_a_name_is_one_however_its_accents_are_written(tmp_path, face):
    """Two archives of one person, one of them packed on a Mac."""
    for form in ("NFC", "NFD"):
        save(tmp_path / unicodedata.normalize(form, "Zoë") / f"{form}.png", face)
    assert {photograph.person for photograph in read_folder(tmp_path)} == {"Zoë"}
    assert all(photograph.path.is_file() for photograph in read_folder(tmp_path))


def test_in_a_flat_folder_everybody_is_somebody_else(tmp_path, face):
    for name in ("1.png", "1.jpg", "2.png"):
        save(tmp_path / name, face)
    assert [photograph.person for photograph in read_folder(tmp_path)] == ["1.jpg", "1.png", "2.png"]


def test_every_other_file_is_listed_with_its_problem(tmp_path, face):
    save(tmp_path / "ada" / "good.png", face)
    save(tmp_path / "ada" / "deeper" / "nested.png", face)
    save(tmp_path / "loose.png", face)
    (tmp_path / "ada" / "notes.txt").write_text("hello")
    (tmp_path / "ada" / ".DS_Store").write_text("hello")
    (tmp_path / "ada" / "nothing.png").symlink_to(tmp_path / "missing.png")
    (tmp_path / "ada" / "round.png").symlink_to(tmp_path / "ada" / "round.png")
    (tmp_path / "back").symlink_to(tmp_path)
    problems = {photograph.name: photograph.problem for photograph in read_folder(tmp_path)}
    expected = {
        "ada/good.png": "",
        "ada/deeper": "inside a person's folder",
        "loose.png": "beside the people's folders",
        "ada/notes.txt": "not an image",
        "ada/.DS_Store": "hidden",
        "ada/nothing.png": "No such file",
        "ada/round.png": "symbolic links",
        "back": "link back",
    }
    assert problems.keys() == expected.keys()
    for name, problem in expected.items():
        assert problem in problems[name] and bool(problem) == bool(problems[name]), name


def test_a_stray_folder_makes_no_folder_of_people(tmp_path, face):
    """Of an archive or a server, or without a photograph: the flat folder's own are used, the others named."""
    save(tmp_path / "1.png", face)
    save(tmp_path / "__MACOSX" / "1.png", face)
    save(tmp_path / "@eaDir" / "1.png", face)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("hello")
    os.mkfifo(tmp_path / "pipe.png")
    problems = {photograph.name: photograph.problem for photograph in read_folder(tmp_path)}
    assert problems == {
        "1.png": "",
        "__MACOSX": "hidden, or the system's",
        "@eaDir": "hidden, or the system's",
        "notes/a.txt": "not an image file (.txt)",
        "pipe.png": "not a regular file",
    }


def test_the_placeholder_that_keeps_a_folder_in_git_is_nobodys(tmp_path, face):
    (tmp_path / ".gitkeep").touch()
    with pytest.raises(StudyError, match=r"no photograph that can be used \(0 other files\)"):
        read_folder(tmp_path)
    save(tmp_path / "ada" / "a.png", face)
    (tmp_path / "ada" / ".gitkeep").touch()
    assert [photograph.name for photograph in read_folder(tmp_path)] == ["ada/a.png"]


def test_names_that_are_no_text_can_be_stored(tmp_path, face):
    try:
        save(tmp_path / "ada" / "x.png", face).rename(os.fsdecode(os.fsencode(tmp_path / "ada") + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system takes text only")
    (found,) = read_folder(tmp_path)
    assert found.name == "ada/\\xff.png" and found.path.exists()
    found.name.encode("utf-8")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders_are_listed(tmp_path, face):
    save(tmp_path / "ada" / "good.png", face)
    save(tmp_path / "ada" / "secret.png", face).chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    problems = {photograph.name: photograph.problem for photograph in read_folder(tmp_path)}
    assert "no permission" in problems["ada/secret.png"] and "cannot be read" in problems["closed"]


def test_a_file_without_permission_is_listed(tmp_path, face, monkeypatch):
    """The same for root, who may read everything."""
    save(tmp_path / "ada" / "good.png", face)
    save(tmp_path / "ada" / "secret.png", face)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "secret.png")
    assert [photograph.problem for photograph in read_folder(tmp_path)] == ["", "may not be read: no permission"]


def test_folders_without_photographs_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"nowhere is missing.*photos\.path"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="no photograph"):
        read_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StudyError, match=r"notes\.txt"):
        read_folder(tmp_path)
    with pytest.raises(StudyError, match="Not a directory"):
        read_folder(tmp_path / "notes.txt")
    with pytest.raises(StudyError, match="'internet'"):
        list_photographs("internet", tmp_path)


def test_lfw_offline_says_where_to_put_it(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(StudyError, match=r"lfw-funneled\.tgz") as error:
        sources.read_lfw(tmp_path)
    assert str(tmp_path / "lfw_home") in str(error.value)
    (tmp_path / "lfw_home" / "lfw-funneled.tgz").write_bytes(b"something else")
    with pytest.raises(StudyError, match="SHA-256"):
        sources.read_lfw(tmp_path)


def test_lfw_comes_as_folders_of_people(tmp_path, face, monkeypatch):
    def fetch(url, archive, sha256):
        folder = tmp_path / "lfw_funneled"
        save(folder / "Ada_Lovelace" / "Ada_Lovelace_0001.jpg", face)
        (folder / "pairs.txt").write_text("10")
        archive.parent.mkdir()
        with tarfile.open(archive, "w:gz") as file:
            file.add(folder, folder.name)

    monkeypatch.setattr(sources, "download", fetch)
    with pytest.raises(StudyError, match="1 photographs instead of 13233"):
        list_photographs("lfw", tmp_path)
    monkeypatch.setattr(sources, "LFW_PHOTOGRAPHS", 1)
    (found,) = list_photographs("lfw", tmp_path)
    assert found.person == "Ada_Lovelace" and not found.problem


@pytest.mark.parametrize("source", [name for name in sources.SOURCES if name not in ("simulated", "lfw")])
def test_reading_a_source_leaves_the_users_files_as_they_are(tmp_path, face, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    places = "a/1.jpg", "dvd1/data/images/1/1_930831_fa_a.jpg", "train/n1/1.jpg", "s1/PTZ-Indoor/1.jpg", "1.jpg"
    for place in places:
        save(folder / place, face)
    for place in ("pairs.txt", "a/notes.txt", "people.csv", ".hidden", "s1/Video/PTZ-Outdoor.mjpg"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("the user's own")
    before = files_of(folder)
    assert any(not photograph.problem for photograph in list_photographs(source, folder))
    assert files_of(folder) == before


def test_lfw_put_there_by_hand_stays(tmp_path, face, monkeypatch):
    save(tmp_path / "lfw_funneled" / "Ada_Lovelace" / "Ada_Lovelace_0001.jpg", face)
    (tmp_path / "lfw_funneled" / "pairs_01.txt").write_text("10")
    home = tmp_path / "home" / "lfw_home"
    home.mkdir(parents=True)
    with tarfile.open(home / sources.LFW_ARCHIVE, "w:gz") as archive:
        archive.add(tmp_path / "lfw_funneled", "lfw_funneled")
    monkeypatch.setattr(sources, "LFW_SHA256", sha256_of(home / sources.LFW_ARCHIVE))
    monkeypatch.setattr(sources, "LFW_PHOTOGRAPHS", 1)
    put = files_of(home)
    for _ in range(2):
        assert [photograph.person for photograph in list_photographs("lfw", tmp_path / "home")] == ["Ada_Lovelace"]
        assert put.items() <= files_of(home).items()


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- pixels


@pytest.mark.parametrize(
    "name, convert",
    [
        ("grey.png", lambda image: image.convert("L")),
        ("palette.png", lambda image: image.quantize(128)),
        ("palette.gif", lambda image: image.quantize(128)),
        ("cmyk.jpg", lambda image: image.convert("CMYK")),
        ("cmyk.tif", lambda image: image.convert("CMYK")),
        ("alpha.png", lambda image: image.convert("RGBA")),
        ("grey_alpha.png", lambda image: image.convert("LA")),
        ("16bit.png", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
        ("8 in 16 bit.png", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16))),
        ("10bit.tif", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 4)),
        ("12bit.png", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 16)),
        ("int32.tif", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.int32))),
        ("signed.tif", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.int32) * 257 - 32768)),
        (
            "float of 16 bits.tif",
            lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) * 257),
        ),
        ("float.tif", lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)),
        ("animation.webp", lambda image: image),
    ],
)
def test_every_kind_of_image_looks_the_same(tmp_path, face, name, convert):
    image = convert(Image.fromarray(face))
    image.save(tmp_path / name)
    pixels = read_picture(tmp_path / name).pixels
    expected = face.mean(-1, keepdims=True) if pixels.std(-1).max() == 0 else face
    assert pixels.shape == face.shape and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(float) - expected).mean() < 12


# 64 x 48 pixels, red from 0 on the left to 255 on the right, as an iPhone compresses them
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAADgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAEBtZGF0AAAANCgBrxOA9XOG95pI92wTqaUWYCMeQZCnWswVKkyV"
    "4Ai9d84KNCwvc6YluC2rYd4+7Qq5+/g="
)


@pytest.mark.parametrize("suffix", [".heic", ".HEIF"])
def test_heic_is_read(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(HEIC)
    (found,) = read_folder(tmp_path)
    pixels = read_picture(found.path).pixels
    assert pixels.shape == (48, 64, 3) and abs(int(pixels[..., 1].mean()) - 90) < 6
    assert pixels[:, 0, 0].mean() < 30 and pixels[:, -1, 0].mean() > 225


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_another_profile_are_read_in_srgb(tmp_path, mode):
    """As of a phone's Display P3: here a profile of Lab's axes, whose numbers are far from sRGB's."""
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("LAB", "sRGB"))
    picture = Image.new("RGB", (50, 50), (200, 120, 90))
    own = ImageCms.profileToProfile(picture, srgb, srgb)
    own.convert(mode).save(tmp_path / "srgb.png", icc_profile=srgb.tobytes())
    assert np.abs(read_picture(tmp_path / "srgb.png").pixels[0, 0].astype(int) - [200, 120, 90]).max() <= 1
    swapped = srgb.tobytes().replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")
    picture.convert(mode).save(tmp_path / "swapped.png", icc_profile=swapped)
    red, green, _ = read_picture(tmp_path / "swapped.png").pixels[0, 0]
    assert green > red
    for damaged in (b"no profile", lab.tobytes()):  # or one of another kind
        picture.convert(mode).save(tmp_path / "damaged.png", icc_profile=damaged)
        assert tuple(read_picture(tmp_path / "damaged.png").pixels[0, 0]) == (200, 120, 90)


def test_what_is_transparent_becomes_grey(tmp_path, face):
    alpha = np.zeros((250, 250, 1), np.uint8)
    save(tmp_path / "clear.png", np.concatenate([face, alpha], -1))
    assert np.all(read_picture(tmp_path / "clear.png").pixels == 128)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, face, orientation):
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    upright = face[:200]  # not square
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "photo.png", np.ascontiguousarray(turns[orientation](upright)), exif=exif)
    assert np.array_equal(read_picture(tmp_path / "photo.png").pixels, upright)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_large_photographs_are_shrunk_and_their_positions_kept(tmp_path, face, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: 3600 x 2400 when upright
    image = Image.fromarray(np.rot90(face, 1)).resize((2400, 3600))
    image.save(tmp_path / f"large.{suffix}", exif=exif)
    picture = read_picture(tmp_path / f"large.{suffix}")
    height, width = picture.pixels.shape[:2]
    assert (width, height) == (LONGEST_SIDE, round(LONGEST_SIDE * 2 / 3))
    assert np.allclose([width * picture.scale[0], height * picture.scale[1]], [3600, 2400])
    small = np.asarray(Image.fromarray(picture.pixels).resize((250, 250)), dtype=float)
    assert np.abs(small - face).mean() < 5


def write_png_header(path, width, height):
    """Write the start of a picture that says it is large: nobody may try to decode it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(start + struct.pack(">I", 1000) + b"IDAT" + bytes(100))


def test_twelve_thousand_by_nine_thousand_pixels_are_read(tmp_path):
    Image.new("L", (12_000, 9_000), 99).save(tmp_path / "huge.jpg")
    picture = read_picture(tmp_path / "huge.jpg")
    assert picture.pixels.shape == (960, LONGEST_SIDE, 3) and picture.scale == (9.375, 9.375)


def test_files_that_cannot_be_read_say_why(tmp_path, face):
    whole = save(tmp_path / "whole.jpg", face).read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not a photograph")
    (tmp_path / "empty.jpg").write_bytes(b"")
    save(tmp_path / "dot.png", face[:1, :1])
    save(tmp_path / "line.png", face[:1])
    damaged = bytearray(save(tmp_path / "damaged.png", face).read_bytes())
    damaged[1000:1100] = bytes(100)
    (tmp_path / "damaged.png").write_bytes(damaged)
    write_png_header(tmp_path / "bomb.png", 30_000, 30_000)
    write_png_header(tmp_path / "wide.png", 13_000, 13_000)
    expected = {
        "truncated.jpg": "truncated",
        "text.jpg": "not an image",
        "empty.jpg": "not an image",
        "dot.png": "too small: 1 x 1",
        "line.png": "too small: 250 x 1",
        "damaged.png": "damaged",
        "bomb.png": "too large",
        "wide.png": "too large: 13000 x 13000",
        "missing.jpg": "cannot be read",
    }
    for name, reason in expected.items():
        with pytest.raises(UnreadablePictureError, match=reason):
            read_picture(tmp_path / name)


def test_a_decoder_that_seeks_before_the_start_has_found_a_damaged_file(tmp_path, face, monkeypatch):
    """The error has a number of the system's, though nothing is wrong with the machine."""
    monkeypatch.setattr(picture_reading, "_decode", lambda image: image.fp.seek(-1))
    with pytest.raises(UnreadablePictureError, match="damaged: .*Invalid argument"):
        read_picture(save(tmp_path / "lost.tif", face))


# --- faces


def test_the_face_is_found_and_its_eyes_are_where_they_are(astronaut, detector):
    (found,) = detector.detect([astronaut])
    assert found.probability > 0.99 and not found.others
    assert np.abs(found.points[:2] - EYES).max() < 2.5
    assert found.points[2, 0] < found.points[3, 0] and found.points[2, 1] > found.points[0, 1] + 20
    assert found.box[0] < EYES[0, 0] < EYES[1, 0] < found.box[2]


def test_a_mirrored_photograph_has_mirrored_landmarks(face, detector):
    """Right and left are exchanged; what remains of MTCNN's own asymmetry is small against 41 px between the eyes."""
    found, mirrored = detector.detect([face, np.ascontiguousarray(face[:, ::-1])])
    expected = found.points[[1, 0, 3, 2]] * [-1, 1] + [face.shape[1], 0]
    assert np.abs(mirrored.points - expected).max() < 2


def test_pictures_of_many_sizes_in_one_batch(astronaut, face, detector):
    pictures = [face, astronaut, np.zeros((60, 80, 3), np.uint8), face, np.full((40, 3000, 3), 99, np.uint8)]
    found = detector.detect(pictures)
    assert [one is not None for one in found] == [True, True, False, True, False]
    assert np.allclose(found[0].points, found[3].points, atol=1e-3)
    assert np.abs(found[0].points + [100, 0] - found[1].points).max() < 2.5
    assert detector.detect([]) == []


def test_positions_are_those_of_the_picture_at_any_size(astronaut, detector):
    large = np.asarray(Image.fromarray(astronaut).resize((1200, 1200)))
    (found,) = detector.detect([large])
    assert np.abs(found.points[:2] / (1200 / 512) - EYES).max() < 2.5


def test_small_faces_are_found_at_the_second_look(astronaut, detector):
    small = np.asarray(Image.fromarray(astronaut).resize((160, 160)))  # the face is 27 px wide
    wide = np.full((200, 600, 3), 90, np.uint8)
    wide[20:180, 220:380] = small
    (found,) = detector.detect([wide])
    assert np.abs((found.points[:2] - [220, 20]) / (160 / 512) - EYES).max() < 6


def test_of_many_faces_the_large_central_one_is_taken(face, detector):
    small = np.asarray(Image.fromarray(face).resize((150, 150)))
    crowd = np.full((400, 700, 3), 128, np.uint8)
    crowd[75:325, 225:475] = face
    crowd[10:160, 10:160] = crowd[200:350, 540:690] = small
    (found,) = detector.detect([crowd])
    assert len(found.others) == 2
    assert np.abs(found.points[:2] - (EYES - [100, 0] + [225, 75])).max() < 3


# --- the feature store


def test_a_store_of_good_and_bad_files(tmp_path, face, networks):
    folder = people_folder(tmp_path / "photos", face)
    save(folder / "person_0" / "blank.png", np.full_like(face, 128))
    (folder / "person_1" / "text.jpg").write_text("no")
    (folder / "person_1" / "notes.txt").write_text("no")
    found = read_folder(folder)
    store = embed_photographs(found, networks, tmp_path / "store", tmp_path / "cache", 1, seed=0)

    used = store.index[store.index["row"] >= 0]
    assert used["row"].tolist() == list(range(6)) and used["reason"].eq("").all() and used["faces"].eq(1).all()
    assert used["path"].tolist() == [f"person_{person}/{number}.png" for person in range(3) for number in range(2)]
    reasons = store.skipped.set_index("path")["reason"].to_dict()
    assert reasons["person_0/blank.png"] == "no face found" and "not an image" in reasons["person_1/text.jpg"]
    assert "not an image file (.txt)" in reasons["person_1/notes.txt"] and len(reasons) == 3
    assert pd.read_csv(tmp_path / "store" / "skipped.csv").equals(store.skipped)

    assert store.features.keys() == store.descriptors.keys() == {"dlib", "faceres"}
    assert store.crops.shape == (6, 150, 150, 3) and store.crops.dtype == np.uint8
    assert isinstance(store.features["dlib"], np.memmap) and store.features["dlib"].dtype == np.float32
    expected = store.crops.reshape(6, -1, 3).mean(1) / 255  # what the tiny network computes
    assert np.allclose(store.features["dlib"], expected, atol=1e-5)
    weights = TinyBody().weight.numpy()
    assert np.allclose(store.descriptors["dlib"], expected @ weights.T, atol=1e-5)

    train, test = store.rows("train"), store.rows("test")
    assert sorted([*train, *test]) == list(range(6)) and len(test) == 2
    assert set(store.persons(train)) & set(store.persons(test)) == set()
    assert store.persons([5, 0]).tolist() == ["person_2", "person_0"]
    assert np.allclose(store.centre("dlib"), store.descriptors["dlib"][train].mean(0))


def write_all_kinds(folder, face):
    """Write one file of each kind that people bring; -> what is expected of it: "" or a part of the reason."""
    image = Image.fromarray(face)
    folder.mkdir(parents=True)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.quantize(128).save(folder / "palette.png")
    image.convert("L").save(folder / "grey.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "16bit.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(face, 1))).save(folder / "turned.jpg", exif=turned)
    image.resize((1500, 1500)).save(folder / "写真 ñ.webp")
    many = np.concatenate([face, face], 1)
    save(folder / "many.png", many)
    whole = save(folder / "whole.jpg", face).read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    save(folder / "dot.png", face[:1, :1])
    save(folder / "nobody.png", np.full_like(face, 128))
    write_png_header(folder / "bomb.png", 60_000, 60_000)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    save(folder / "secret.png", face).chmod(0)
    huge = Image.new("RGB", (12_000, 9_000), (90, 90, 90))
    huge.paste(image.resize((6_000, 6_000)), (3_000, 1_500))
    huge.save(folder / "huge.jpg")
    good = (
        "cmyk.jpg",
        "palette.png",
        "grey.png",
        "16bit.png",
        "turned.jpg",
        "写真 ñ.webp",
        "many.png",
        "whole.jpg",
        "huge.jpg",
    )
    return dict.fromkeys(good, "") | {
        "truncated.jpg": "truncated",
        "dot.png": "too small: 1 x 1",
        "nobody.png": "no face found",
        "bomb.png": "too large",
        "loop.png": "symbolic links",
        "secret.png": "no permission",
    }


def test_no_kind_of_file_stops_a_run_or_gets_lost(tmp_path, face, networks, monkeypatch):
    # root may read everything: say no in the system's place
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "secret.png")
    expected = write_all_kinds(tmp_path / "photos" / "ada", face)
    save(tmp_path / "photos" / "bob" / "1.png", face)
    found = read_folder(tmp_path / "photos")
    store = embed_photographs(found, networks, tmp_path / "store", tmp_path / "cache", 1, seed=0)
    index = store.index.set_index("path")
    assert set(index.index) == {f"ada/{name}" for name in expected} | {"bob/1.png"}
    for name, reason in expected.items():
        line = index.loc[f"ada/{name}"]
        assert reason in line["reason"] and bool(reason) == bool(line["reason"]) == (line["row"] < 0), name
    assert index.loc["ada/many.png", "faces"] == 2
    assert np.abs(index.loc["ada/turned.jpg", "right_eye_x"] - EYES[0, 0] + 100) < 4
    assert np.abs(index.loc["ada/huge.jpg", "right_eye_x"] - 3_000 - 24 * (EYES[0, 0] - 100)) < 100


def test_landmarks_are_in_the_photographs_own_pixels(tmp_path, face, networks):
    for person, size in (("a", 250), ("b", 2500)):
        Image.fromarray(face).resize((size, size)).save(save(tmp_path / "photos" / person / "1.png", face))
    store = embed_photographs(
        read_folder(tmp_path / "photos"), networks, tmp_path / "store", tmp_path / "cache", 1, seed=0
    )
    columns = ["right_eye_x", "right_eye_y", "left_eye_x", "left_eye_y"]
    small, large = store.index[columns].to_numpy()
    assert np.abs(small.reshape(2, 2) + [100, 0] - EYES).max() < 2.5
    assert np.abs(large / 10 - small).max() < 1.5
    assert store.index["box_right"].tolist()[1] > 1000
    assert np.abs(store.crops[0].astype(float) - store.crops[1]).mean() < 12


@pytest.fixture
def detected(monkeypatch):
    """-> a counter of how many photographs were searched for faces."""
    counter = Counter()
    original = FaceDetector.detect

    def count(self, pictures):
        counter["pictures"] += len(pictures)
        return original(self, pictures)

    monkeypatch.setattr(FaceDetector, "detect", count)
    return counter


def test_nothing_is_done_twice(tmp_path, face, networks, detected):
    folder = people_folder(tmp_path / "photos", face)
    save(folder / "person_0" / "blank.png", np.full_like(face, 128))

    def run():
        detected.clear()
        found = read_folder(folder)
        store = embed_photographs(found, networks, tmp_path / "store", tmp_path / "cache", 1, seed=0)
        return store, detected["pictures"]

    first, count = run()
    assert count == 7
    again, count = run()
    assert count == 0 and again.index.equals(first.index)
    assert np.array_equal(again.features["dlib"], first.features["dlib"])

    save(folder / "person_1" / "new.png", shifted(face, 20))
    added, count = run()
    assert count == 1 and len(added.crops) == 7
    others = added.index[added.index["path"] != "person_1/new.png"]
    rows = others.loc[others["row"] >= 0, "row"]
    assert np.array_equal(added.features["faceres"][rows], first.features["faceres"])

    save(folder / "person_2" / "0.png", shifted(face, 11))
    changed, count = run()
    assert count == 1
    row = changed.index.set_index("path")["row"]["person_2/0.png"]
    assert not np.array_equal(changed.crops[row], added.crops[row])

    (folder / "person_2" / "1.png").unlink()
    fewer, count = run()
    assert count == 0 and len(fewer.crops) == 6

    networks["dlib"].fingerprint = "another network"
    _, count = run()
    assert count == 7


def test_another_photograph_of_the_same_name_size_and_time_is_embedded(tmp_path, face, networks, detected):
    for folder, shift in (("one", 0), ("two", 40)):
        for person in "ab":
            path = tmp_path / folder / person / "1.bmp"
            save(path, shifted(face, shift))
            os.utime(path, (1, 1))
    stores = [
        embed_photographs(read_folder(tmp_path / name), networks, tmp_path / "s" / name, tmp_path / "cache", 1, 0)
        for name in ("one", "two")
    ]
    assert detected["pictures"] == 4
    assert not np.array_equal(*(np.asarray(store.crops) for store in stores))
    os.utime(tmp_path / "two/a/1.bmp", (2, 2))
    embed_photographs(read_folder(tmp_path / "two"), networks, tmp_path / "s/two", tmp_path / "cache", 1, 0)
    assert detected["pictures"] == 4


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_could_not_be_read_today_is_tried_again(tmp_path, face, networks, monkeypatch, error):
    folder = people_folder(tmp_path / "photos", face)
    arguments = (networks, tmp_path / "store", tmp_path / "cache", 1, 0)

    def fail(image):
        raise error

    def unhashed(path, real=photo_embedding.sha256_of):
        if path.parent.name == "person_1":
            raise OSError(5, "Input/output error")
        return real(path)

    with monkeypatch.context() as failing:
        failing.setattr(photo_embedding, "sha256_of", unhashed)
        failing.setattr(
            picture_reading,
            "_to_rgb",
            lambda image, real=picture_reading._to_rgb: (
                fail(image) if image.getpixel((0, 0)) == tuple(map(int, face[0, 0])) else real(image)
            ),
        )
        store = embed_photographs(read_folder(folder), *arguments)
    told = store.skipped.set_index("path")["reason"]
    assert told["person_0/0.png"].startswith(f"cannot be read: {str(error) or 'not enough memory'}")
    # a file that could not even be hashed has no reason of another's
    assert set(told.drop("person_0/0.png")) == {"cannot be read or found"} and len(store.crops) == len(told) == 3
    assert len(embed_photographs(read_folder(folder), *arguments).crops) == 6


def test_a_cache_without_its_content_is_made_again(tmp_path, face, networks, detected):
    """As a power cut leaves it."""
    folder = people_folder(tmp_path / "photos", face, people=2)
    arguments = (networks, tmp_path / "store", tmp_path / "cache", 1, 0)
    embed_photographs(read_folder(folder), *arguments)
    (shard,) = (tmp_path / "cache").glob("*/*.safetensors")
    for searched, left in ((8, 0), (12, 100)):
        shard.write_bytes(shard.read_bytes()[:left])
        assert len(embed_photographs(read_folder(folder), *arguments).crops) == 4
        assert detected["pictures"] == searched


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path, face, networks, detected, monkeypatch):
    folder = people_folder(tmp_path / "photos", face)
    monkeypatch.setattr(photo_embedding, "SHARD_SIZE", 2)
    monkeypatch.setattr(photo_embedding, "BATCH_SIZE", 1)
    arguments = (networks, tmp_path / "store", tmp_path / "cache", 1, 0)
    original = face_crops.read_picture

    def fail_at_the_fourth(path):
        if path.name == "1.png" and path.parent.name == "person_1":
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(face_crops, "read_picture", fail_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        embed_photographs(read_folder(folder), *arguments)
    with pytest.raises(StudyError, match="not a feature store"):
        load_feature_store(tmp_path / "store")
    monkeypatch.setattr(face_crops, "read_picture", original)
    detected.clear()
    store = embed_photographs(read_folder(folder), *arguments)
    assert detected["pictures"] == 4 and len(store.crops) == 6  # the first shard of two was kept
    fresh = embed_photographs(read_folder(folder), networks, tmp_path / "fresh", tmp_path / "other", 1, seed=0)
    assert fresh.index.equals(store.index) and np.array_equal(fresh.features["dlib"], store.features["dlib"])


def test_workers_change_nothing(tmp_path, face, networks, monkeypatch):
    found = read_folder(people_folder(tmp_path / "photos", face))
    monkeypatch.setattr(photo_embedding, "BATCH_SIZE", 2)
    stores = []
    for workers in (0, 2):
        monkeypatch.setattr(photo_embedding, "WORKERS", workers)
        places = tmp_path / f"store{workers}", tmp_path / f"cache{workers}"
        stores.append(embed_photographs(found, networks, *places, 1, seed=0))
    assert stores[0].index["path"].equals(stores[1].index["path"])
    assert np.allclose(stores[0].features["faceres"], stores[1].features["faceres"], atol=1e-3)


def test_processes_share_the_work_and_give_the_same_store(tmp_path, face, networks, detected, monkeypatch):
    monkeypatch.setattr(photo_embedding, "BATCH_SIZE", 3)
    folder = people_folder(tmp_path / "photos", face, people=4)
    (folder / "person_1" / "notes.txt").write_text("no")
    found = read_folder(folder)
    for process in (1, 0):
        fill_cache(found, networks, tmp_path / "shared", process=process, processes=2)
        assert detected["pictures"] == {1: 3, 0: 8}[process]  # batches of 3, 3 and 2 in turn
    shared = embed_photographs(found, networks, tmp_path / "a", tmp_path / "shared", 1, 0)
    assert detected["pictures"] == 8
    alone = embed_photographs(found, networks, tmp_path / "b", tmp_path / "alone", 1, 0)
    assert_same_stores(shared, alone)


def assert_same_stores(one, other):
    assert one.index.equals(other.index) and np.array_equal(one.crops, other.crops)
    for name in one.features:
        assert np.array_equal(one.features[name], other.features[name])
        assert np.array_equal(one.descriptors[name], other.descriptors[name])


def test_torchrun_gives_the_same_store(tmp_path, face, monkeypatch):
    """Two real processes with dlib's network, as photos.processes: 2 starts them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = people_folder(tmp_path / "photos", face, people=9)
    prepare_network("dlib", paths.NETWORKS, tmp_path / "raw")
    networks = {"dlib": load_network("dlib", paths.NETWORKS)}
    embed_in_processes(2, "folder", folder, ["dlib"])
    assert len(list(CACHE_FOLDER.glob("*/*.safetensors"))) == 2
    found = read_folder(folder)
    shared = embed_photographs(found, networks, tmp_path / "a", CACHE_FOLDER, 1, 0)
    assert len(list(CACHE_FOLDER.glob("*/*.safetensors"))) == 2  # nothing was left to do
    alone = embed_photographs(found, networks, tmp_path / "b", tmp_path / "alone", 1, 0)
    assert_same_stores(shared, alone)


def test_a_failed_process_is_an_error(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: failed)
    with pytest.raises(StudyError, match=r"photos\.processes=1"):
        embed_in_processes(2, "folder", tmp_path, ["dlib"])


def test_no_usable_face_is_an_error_that_says_why(tmp_path, face, networks):
    save(tmp_path / "photos" / "ada" / "blank.png", np.full_like(face, 128))
    (tmp_path / "photos" / "ada" / "text.jpg").write_text("no")
    with pytest.raises(StudyError, match="None of the 2 files") as error:
        embed_photographs(read_folder(tmp_path / "photos"), networks, tmp_path / "store", tmp_path / "cache", 1, seed=0)
    assert "1 x no face found" in str(error.value) and "1 x not an image" in str(error.value)
    listed = pd.read_csv(tmp_path / "store" / "skipped.csv")
    assert listed["path"].tolist() == ["ada/blank.png", "ada/text.jpg"] and "skipped.csv" in str(error.value)


def test_stores_that_are_not_whole_are_named(tmp_path, face, networks):
    with pytest.raises(StudyError, match="run the photos stage"):
        load_feature_store(tmp_path / "nowhere")
    found = read_folder(people_folder(tmp_path / "photos", face, people=2))
    embed_photographs(found, networks, tmp_path / "store", tmp_path / "cache", 1, seed=0)
    np.save(tmp_path / "store" / "features_dlib.npy", np.zeros((3, 3), np.float32))
    with pytest.raises(StudyError, match="incomplete"):
        load_feature_store(tmp_path / "store")
    (tmp_path / "store" / "features_dlib.npy").unlink()
    with pytest.raises(StudyError, match="incomplete"):
        load_feature_store(tmp_path / "store")


# --- splits


def test_people_are_split_as_wholes_and_always_alike():
    rng = np.random.default_rng(0)
    persons = [f"person {number}" for number in rng.integers(0, 60, 200)]
    counts = Counter(persons)
    splits = split_people(persons, test_people=15, seed=3)
    tested = {person for person, split in splits.items() if split == "test"}
    assert splits.keys() == counts.keys() and set(splits.values()) == {"train", "test"}
    assert len(tested) == 15 and all(counts[person] >= 2 for person in tested)
    assert split_people(persons[::-1], test_people=15, seed=3) == splits
    assert split_people(persons, test_people=15, seed=4) != splits


def test_new_people_move_few_others():
    persons = [f"person {number}" for number in range(60)] * 2
    before = split_people(persons, test_people=15, seed=3)
    after = split_people([*persons, "new", "new"], test_people=15, seed=3)
    assert sum(before[person] != after[person] for person in before) <= 1


def test_small_and_unlabelled_sets_leave_people_to_train_on():
    assert Counter(split_people(["a", "b", "c", "d"] * 2, test_people=75, seed=0).values()) == {
        "test": 2,
        "train": 2,
    }
    assert Counter(split_people("abcdef", test_people=2, seed=0).values()) == {"test": 2, "train": 4}
    assert split_people("aabc", test_people=2, seed=0) == {"a": "test", "b": "train", "c": "train"}
    with pytest.raises(StudyError, match="1 person"):
        split_people("aaa", test_people=1, seed=0)


# --- real photographs


def test_faces_of_lfw_are_found(detector):
    paths = sorted((SHARED / "photos" / "lfw").glob("*/*_0001.jpg"))[:1000:50]
    if not paths:
        pytest.skip("no photographs beside the project")
    found = detector.detect([read_picture(path).pixels for path in paths])
    assert len(paths) == 20 and all(found)
    between = [np.linalg.norm(face.points[1] - face.points[0]) for face in found]
    assert 35 < np.median(between) < 47


def test_started_by_hand_embedding_takes_the_networks_that_the_stage_looks_for(monkeypatch):
    chosen = {}
    monkeypatch.setattr(photo_embedding, "load_network", lambda name, folder: name)
    monkeypatch.setattr(photo_embedding, "list_photographs", lambda source, folder: [])
    monkeypatch.setattr(photo_embedding, "fill_cache", lambda files, networks, cache, **part: chosen.update(networks))
    photo_embedding.main(["--source", "folder", "--path", "anywhere"])
    assert [*chosen] == load_params().networks.embedding
