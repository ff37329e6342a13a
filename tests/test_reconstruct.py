"""From a photograph to files of a face: what is written, under which name, and what is said of the rest."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import ROOT
from glb_page import draw_glb
from PIL import Image
from skimage import data
from small_world import write_face_model

from lib import reconstruct
from lib.core.errors import StudyError
from lib.core.pictures import decode_srgb
from lib.face_model.meshes import save_mesh
from lib.face_model.model import Coefficients, FaceModel
from lib.recognition.network import prepare_network
from lib.run import execute_notebook
from lib.training.regressor import Regressor


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder as the study leaves it: the real network, a face model of few vertices, an untrained regressor."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    prepare_network("dlib", folder / "data/networks", folder / "raw")
    (folder / "data/face_model").mkdir()
    write_face_model(folder / "data/face_model/full.h5", shape=199, texture=199, expression=100)
    (folder / "data/regressors").mkdir()
    torch.manual_seed(0)
    Regressor(256).save(folder / "data/regressors/full.safetensors")
    photographs = folder / "photographs"
    face = data.astronaut()[:250, 100:350]
    for name, pixels in (
        ("eileen.png", face),
        ("other/eileen.jpg", face[:, ::-1]),
        ("wall.png", np.full_like(face, 90)),
    ):
        (photographs / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(photographs / name)
    (photographs / "broken.jpg").write_text("not a photograph")
    return folder


@pytest.fixture(autouse=True)
def there(study, monkeypatch):
    monkeypatch.chdir(study)


def test_a_photograph_becomes_meshes_coefficients_and_a_picture(tmp_path):
    assert reconstruct.main(["photographs/eileen.png", "--out", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {f"eileen.{kind}" for kind in ("glb", "ply", "obj", "json", "png")}
    content = json.loads((tmp_path / "eileen.json").read_text())
    assert len(content["shape"]) == len(content["texture"]) == 199 and content["network"] == "dlib"
    assert content["photographs"][0]["file"] == "eileen.png" and content["photographs"][0]["probability"] > 0.9
    model = FaceModel.load("data/face_model/full.h5")
    coefficients = Coefficients(torch.tensor([content["shape"]]), torch.tensor([content["texture"]]))
    vertices, albedo = model.vertices(coefficients.shape)[0].numpy(), model.albedo(coefficients.texture)[0].numpy()
    for kind, scale in (("ply", 1), ("obj", 1), ("glb", 0.001)):
        mesh = trimesh.load(tmp_path / f"eileen.{kind}", process=False, force="mesh", maintain_order=True)
        assert np.abs(mesh.vertices - vertices * scale).max() < 1e-3 * scale
        assert np.array_equal(mesh.faces, model.triangles.numpy())
        colours = decode_srgb(albedo) if kind == "glb" else albedo
        if kind == "glb":  # trimesh drops colours beside a material where it joins a scene's meshes into one
            (mesh,) = trimesh.load_scene(tmp_path / "eileen.glb", process=False).geometry.values()
            assert mesh.visual.material.metallicFactor == 0
        read = mesh.visual.vertex_attributes["color"] if kind == "glb" else mesh.visual.vertex_colors
        assert np.abs(read[:, :3] / 255 - colours).max() < 0.6 / 255
    picture = np.asarray(Image.open(tmp_path / "eileen.png"))
    assert picture.shape == (320, 640, 3) and picture.std() > 10


def test_a_folder_keeps_names_apart_and_lists_what_was_skipped(tmp_path, capsys):
    code = reconstruct.main(["photographs", "--out", str(tmp_path), "--formats", "glb"])
    assert code == reconstruct.SOME_SKIPPED
    assert {p.name for p in tmp_path.glob("*.glb")} == {"photographs-eileen.glb", "other-eileen.glb"}
    assert not list(tmp_path.glob("*.obj"))
    with (tmp_path / "skipped.csv").open() as file:
        rows = {Path(row["photograph"]).name: row["reason"] for row in csv.DictReader(file)}
    assert rows.keys() == {"wall.png", "broken.jpg"} and rows["wall.png"] == "no face found"
    said = capsys.readouterr()
    assert "2 of 4 photographs gave a face" in said.out and "broken.jpg" in said.err
    one, two = (json.loads((tmp_path / f"{name}-eileen.json").read_text()) for name in ("photographs", "other"))
    assert one["shape"] != two["shape"]


def test_photographs_of_one_person_average_their_features(tmp_path):
    arguments = ["photographs/eileen.png", "photographs/other", "--same-person", "--formats", "ply"]
    assert reconstruct.main([*arguments, "--out", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"person.ply", "person.json", "person.png"}
    content = json.loads((tmp_path / "person.json").read_text())
    assert [source["file"] for source in content["photographs"]] == ["eileen.png", "eileen.jpg"]
    loaded = reconstruct.Reconstructor.load("dlib", "data/regressors/full.safetensors", "data/face_model/full.h5")
    photographs = reconstruct.find_photographs(["photographs/eileen.png", "photographs/other"])
    crops = [pictures["network"] for _, _, pictures in reconstruct._crops(loaded, photographs, 0)]
    mean = loaded.features(np.concatenate(crops)).mean(0, keepdim=True)
    assert np.allclose(loaded.faces(mean)[0].shape[0].numpy(), content["shape"], atol=1e-5)
    assert Image.open(tmp_path / "person.png").size == (960, 320)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["data/regressors"], "holds no image file"),
        (["photographs", "--regressor", "lost.safetensors"], "lost.safetensors is missing: run the study first"),
        (["photographs", "--regressor", "params.yaml"], "params.yaml is no regressor"),
        (["photographs/broken.jpg"], "skipped"),
        (["photographs", "--out", "params.yaml"], "params.yaml cannot be made (File exists)"),
        (["photographs", "--out", "params.yaml/faces"], "cannot be made (Not a directory)"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(tmp_path, capsys, arguments, said):
    assert reconstruct.main(["--out", str(tmp_path), *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_regressor_of_another_network_is_refused(study):
    Regressor(512).save(study / "data/regressors/other.safetensors")
    with pytest.raises(StudyError, match="reads 512 features, dlib gives 256"):
        reconstruct.Reconstructor.load("dlib", "data/regressors/other.safetensors", "data/face_model/full.h5")


def test_names_that_differ_in_their_ending_alone_stay_apart(tmp_path):
    for name in ("me.jpg", "me.png"):
        (tmp_path / name).touch()
    assert set(reconstruct.find_photographs([tmp_path])) == {"me.jpg", "me.png"}
    assert list(reconstruct.find_photographs([tmp_path / "me.jpg", tmp_path / "me.jpg"])) == ["me"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/me.jpg").touch()
    names = reconstruct.find_photographs([tmp_path])
    assert len(names) == 3 and names["other-me.jpg"] == (tmp_path / "other/me.jpg").resolve()


def test_help_shows_examples_and_wrong_usage_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        reconstruct.main(["--help"])
    assert stop.value.code == 0 and "--same-person --out build/faces" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        reconstruct.main(["me.jpg"])
    assert stop.value.code == 2


def test_unknown_mesh_formats_are_refused(tmp_path):
    with pytest.raises(StudyError, match="no mesh format 'stl'; choose one of glb, ply, obj"):
        save_mesh(tmp_path / "a.stl", np.zeros((3, 3)), np.zeros((3, 3)), np.array([[0, 1, 2]]))


def test_a_browser_draws_the_glb(tmp_path):
    assert reconstruct.main(["photographs/eileen.png", "--out", str(tmp_path), "--formats", "glb"]) == 0
    drawn = draw_glb(tmp_path / "eileen.glb", tmp_path)
    content = json.loads((tmp_path / "eileen.json").read_text())
    albedo = FaceModel.load("data/face_model/full.h5").albedo(torch.tensor([content["texture"]]))[0].numpy()
    # the sheet's vertices lie on a regular grid, which fills the picture: the mean colours are alike
    painted = drawn[drawn[..., 3] > 0]
    assert len(painted) > 0.8 * drawn.shape[0] * drawn.shape[1]
    assert np.abs(painted[:, :3].mean(0) / 255 - albedo.mean(0)).max() < 0.05


def test_the_notebook_does_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = dict(photographs="photographs", out=str(tmp_path / "faces"))
    execute_notebook(ROOT / "notebooks/12_reconstruct.ipynb", tmp_path / "run.ipynb", settings)
    assert len(list((tmp_path / "faces").glob("*.glb"))) == 2
    shown = (tmp_path / "run.ipynb").read_text()
    # two pictures and the one inside the view
    assert "face-viewer" in shown and shown.count("image/png") == 3 and "no face found" in shown
