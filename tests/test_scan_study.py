"""Scans with colours: read, posed, photographed and measured; a made-up one, and real ones where they are."""

import numpy as np
import pytest
import torch
import trimesh
from conftest import ROOT, SHARED
from PIL import Image
from small_world import EXPRESSION, SHAPE, TEXTURE, SmallNetwork, write_face_model

from benchmarks.scan_study import coloured_scan, load_scans, photograph_scans, study_scans
from lib.core.errors import StudyError
from lib.evaluation.surfaces import make_surface
from lib.face_model.model import ALIGNMENT_LANDMARKS, Coefficients, FaceModel
from lib.recognition.network import load_network

SCANS = SHARED / "scans/facefuns"
OPEN_MODEL, DLIB = ROOT / "data/face_model/full.h5", ROOT / "data/networks/dlib.safetensors"
TRUE = torch.tensor([[1.5, -1.0, 0.8, -1.2, 0.5]])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = write_face_model(tmp_path_factory.mktemp("model") / "model.h5", rows=41)
    return FaceModel.load(path, SHAPE, TEXTURE, EXPRESSION)


@pytest.fixture(scope="module")
def scan(model):
    """A face of the model that stands elsewhere, with colours from left to right."""
    vertices = model.vertices(TRUE)[0].numpy()
    albedo = np.repeat((vertices[:, :1] + 80) / 160, 3, axis=1).clip(0, 1)
    return coloured_scan("made-up", make_surface(vertices + [15, -8, 40], model.triangles.numpy()), albedo, model)


def test_a_scan_is_moved_into_the_models_frame_and_knows_its_landmarks(scan, model):
    vertices = model.vertices(TRUE)[0].numpy()
    assert np.abs(scan.surface.vertices - vertices).mean() < 2
    for names, found in zip(ALIGNMENT_LANDMARKS, scan.alignment_vertices, strict=True):
        places = vertices[[model.landmarks[name] for name in names]].mean(0)
        assert np.linalg.norm(scan.surface.vertices[found].mean(0) - places) < 6


def test_photographs_show_every_condition_and_are_the_same_at_every_run(scan, tmp_path):
    first = photograph_scans({"made-up": scan}, tmp_path / "1", 2, 64, 3)
    again = photograph_scans({"made-up": scan}, tmp_path / "2", 2, 64, 3)
    assert [one.condition for one in first] == ["cooperative"] * 2 + ["indoor"] * 2 + ["outdoor"] * 2
    assert {one.person for one in first} == {"made-up"}
    for one, other in zip(first, again):
        assert one.path.read_bytes() == other.path.read_bytes()
    pixels = np.asarray(Image.open(first[0].path), float)
    middle = pixels[20:44]
    assert middle[:, 36:44].mean() > middle[:, 20:28].mean() + 20, "colours rise from left to right"


def test_a_perfect_regressor_has_no_error(scan, model, monkeypatch):
    def crops(photographs, framings, batch_size, workers):
        """As the detector would cut them; one photograph shows no face."""
        records = [dict(reason="no face found" if number == 2 else "") for number in range(len(photographs))]
        size = framings["crop"].size
        yield records, dict(crop=np.zeros((len(photographs) - 1, size, size, 3), np.uint8))

    monkeypatch.setattr("benchmarks.scan_study.iterate_face_crops", crops)

    def regressor(features):
        return Coefficients(TRUE.expand(len(features), -1), None)

    table = study_scans({"made-up": scan}, model, SmallNetwork(), regressor, 1, 64)
    assert list(table.columns) == ["cooperative", "indoor", "outdoor", "all", "mean face"]
    row = table.loc["made-up"]
    assert row[["cooperative", "indoor", "all"]].max() < 0.4 * row["mean face"] and np.isnan(row["outdoor"])


def write_ply(path, vertices, faces):
    trimesh.Trimesh(vertices, faces, process=False).export(path)


def write_scan(folder, name="one"):
    """Two triangles whose texture is red on top and blue below."""
    vertices, faces = [(-9, -9, 0), (9, -9, 0), (-9, 9, 0), (9, 9, 5)], [(0, 1, 2), (2, 1, 3)]
    write_ply(folder / f"{name}.ply", vertices, faces)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :, 0], pixels[4:, :, 2] = 255, 255
    Image.fromarray(pixels).save(folder / f"avg_{name}.png")
    lines = [f"v {x} {y} {z}\nvt {(x + 9) / 18} {(y + 9) / 18}" for x, y, z in vertices]
    lines += ["f " + " ".join(f"{v + 1}/{v + 1}" for v in face) for face in faces]
    (folder / "layout.obj").write_text("\n".join(lines))


def test_scans_are_read_with_the_colours_of_their_maps(tmp_path, model, monkeypatch):
    write_scan(tmp_path)
    monkeypatch.setattr("benchmarks.scan_study.coloured_scan", lambda name, scan, albedo, model: (name, scan, albedo))
    name, scan, albedo = load_scans(tmp_path, tmp_path / "layout.obj", model)["one"]
    assert name == "one" and len(scan.vertices) == 4
    assert albedo.tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0]]


def test_what_is_missing_is_named(tmp_path, model):
    with pytest.raises(StudyError, match="holds no scan"):
        load_scans(tmp_path, tmp_path / "layout.obj", model)
    write_scan(tmp_path)
    write_ply(tmp_path / "one.ply", [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)])
    with pytest.raises(StudyError, match="other triangles than"):
        load_scans(tmp_path, tmp_path / "layout.obj", model)
    (tmp_path / "avg_one.png").unlink()
    with pytest.raises(StudyError, match="avg_one.png is missing"):
        load_scans(tmp_path, tmp_path / "layout.obj", model)


@pytest.mark.skipif(
    not (SCANS.exists() and OPEN_MODEL.exists() and DLIB.exists()), reason="needs real scans, the built model and dlib"
)
def test_a_real_scan_is_photographed_found_and_measured(tmp_path):
    for file in ("f36.ply", "avg_f36.png"):
        (tmp_path / file).symlink_to(SCANS / file)
    model = FaceModel.load(OPEN_MODEL)
    scans = load_scans(tmp_path, SCANS / "example.obj", model)

    def mean_face(features):
        return Coefficients(torch.zeros(len(features), model.shape_dimension), None)

    row = study_scans(scans, model, load_network("dlib", DLIB.parent), mean_face, 1).loc["f36"]
    # a face is found in every condition; all faces are the mean one
    assert row.to_numpy() == pytest.approx(row["mean face"]) and 0.8 < row["mean face"] < 2.5
