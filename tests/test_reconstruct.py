"""From a photograph to files of a face: what is written, under which name, and what is said of the rest."""

import csv
import json
import os
import shutil
import subprocess
import sys
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
from lib.core.params import load_params
from lib.core.pictures import decode_srgb
from lib.face_model.meshes import save_mesh
from lib.face_model.model import Coefficients, FaceModel
from lib.fitting import results
from lib.fitting.reconstructor import Reconstructor
from lib.photos.files import _names
from lib.recognition.network import prepare_network
from lib.recognition.reader import COLOURS
from lib.run import execute_notebook
from lib.training.regressor import Regressor

NETWORKS = load_params(ROOT / "presets/default.yaml").networks


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder as the study leaves it: the real network, a face model of few vertices, an untrained regressor."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    for network in (NETWORKS.training, NETWORKS.second):
        prepare_network(network, folder / "data/networks", folder / "raw")
    (folder / "data/face_model").mkdir()
    write_face_model(folder / "data/face_model/full.h5", shape=199, texture=199, expression=100)
    (folder / "data/regressors").mkdir()
    torch.manual_seed(0)
    Regressor(256).save(folder / "data/regressors/full.safetensors")
    Regressor(256 + 128 + COLOURS).save(folder / "data/regressors/recommended.safetensors")
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
    assert picture.shape == (320, 4 * 320, 3) and picture.std() > 10  # the photograph, the face from three sides


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
    regressor = "data/regressors/recommended.safetensors"
    loaded = Reconstructor.load(NETWORKS, regressor, "data/face_model/full.h5")
    photographs, _ = reconstruct.find_photographs(["photographs/eileen.png", "photographs/other"])
    _, records, crops = zip(*reconstruct._crops(loaded, photographs, {}))
    crops = {framing: np.concatenate([each[framing] for each in crops]) for framing in loaded.framings}
    mean = loaded.regressor(loaded.reader.of_crops(crops).mean(0, keepdim=True))
    assert np.allclose(mean.shape[0].detach().numpy(), content["shape"], atol=1e-5)
    assert np.array_equal(loaded.face_of_person(records, crops).coefficients.shape, content["shape"])
    assert Image.open(tmp_path / "person.png").size == (5 * 320, 320)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jpg"], "nowhere.jpg: cannot be found: No such file"),
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
        Reconstructor.load(NETWORKS, "data/regressors/other.safetensors", "data/face_model/full.h5")


def test_names_that_differ_in_their_ending_alone_stay_apart(tmp_path):
    for name in ("me.jpg", "me.png"):
        (tmp_path / name).touch()
    assert set(reconstruct.find_photographs([tmp_path])[0]) == {"me.jpg", "me.png"}
    assert list(reconstruct.find_photographs([tmp_path / "me.jpg", tmp_path / "me.jpg"])[0]) == ["me"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/me.jpg").touch()
    names, _ = reconstruct.find_photographs([tmp_path])
    assert len(names) == 3 and names["other-me.jpg"] == (tmp_path / "other/me.jpg").resolve()


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("kind", ["glb", "ply", "obj", "json", "png", "csv"])
@pytest.mark.parametrize("link", [False, True])
def test_only_results_of_an_earlier_run_are_replaced(tmp_path, capsys, kind, link):
    out, name = tmp_path / "out", "skipped.csv" if kind == "csv" else f"eileen.{kind}"
    out.mkdir()
    shutil.copy("photographs/eileen.png", out / "eileen.png")
    if link:
        (tmp_path / "kept").write_text("the user's own")
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(tmp_path / "kept")
    elif kind != "png":
        (out / name).write_text("the user's own")
    before = files_of(out)
    assert reconstruct.main(["photographs/eileen.png", "--out", str(out)]) == 1
    assert "would be replaced" in capsys.readouterr().err and files_of(out) == before
    regressor = "data/regressors/recommended.safetensors"
    loaded = Reconstructor.load(NETWORKS, regressor, "data/face_model/full.h5")
    skipped = reconstruct.reconstruct(loaded, {"eileen": Path("photographs/eileen.png")}, out)
    assert ("would be replaced" in skipped["eileen"]) and files_of(out) == before


@pytest.mark.parametrize("place", ["eileen.mtl", "textures/eileen.png"])
def test_a_model_with_a_layout_gives_textures_that_replace_nothing_of_the_users(tmp_path, place):
    loaded = Reconstructor.load(
        NETWORKS,
        "data/regressors/recommended.safetensors",
        write_face_model(tmp_path / "model.h5", shape=199, texture=199, expression=64, layout=True),
    )
    arguments = loaded, {"eileen": Path("photographs/eileen.png")}, tmp_path / "out"
    for _ in range(2):
        assert not reconstruct.reconstruct(*arguments)
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert made == {f"eileen.{kind}" for kind in ("glb", "ply", "obj", "mtl", "json", "png")} | {"textures/eileen.png"}
    with pytest.raises(StudyError, match="no photograph"):  # all of them are known as results
        reconstruct.find_photographs([tmp_path / "out"])
    (tmp_path / "out" / place).write_text("the user's own")
    assert f"{place} would be replaced" in reconstruct.reconstruct(*arguments)["eileen"]
    assert (tmp_path / "out" / place).read_text() == "the user's own"


def test_a_turntable_turns_the_face_and_is_known_as_a_result(tmp_path, capsys):
    arguments = ["photographs/eileen.png", "--formats", "ply", "--turntable", "--out", str(tmp_path)]
    for _ in range(2):
        assert reconstruct.main(arguments) == 0
    path = tmp_path / "turntable/eileen.webp"
    with Image.open(path) as animation:
        assert animation.size == (320, 320) and animation.n_frames == 24
        animation.seek(6)
        turned = np.asarray(animation.convert("RGB")).astype(float)
    assert np.abs(turned - np.asarray(Image.open(path).convert("RGB"))).mean() > 2
    with pytest.raises(StudyError, match="no photograph"):
        reconstruct.find_photographs([tmp_path])
    path.write_text("the user's own")
    assert reconstruct.main(arguments) == 1 and path.read_text() == "the user's own"
    assert "eileen.webp would be replaced" in capsys.readouterr().err


def test_a_second_run_replaces_its_own_results_and_reads_none_of_them(tmp_path, capsys):
    """Also where they lie among the photographs, at any depth, or have lost those beside them."""
    photographs = tmp_path / "holiday"
    photographs.mkdir()
    shutil.copy("photographs/other/eileen.jpg", photographs / "a.jpg")
    (photographs / "b.jpg").write_text("not a photograph")
    for out in (photographs, photographs / "deep" / "faces"):
        for code in (3, 3):
            assert reconstruct.main([str(photographs), "--out", str(out), "--formats", "obj"]) == code
            assert "1 of 2 photographs gave a face" in capsys.readouterr().out
            assert {path.name for path in out.iterdir() if path.name[0] == "a"} - {"a.jpg"} == {
                f"a.{kind}" for kind in ("obj", "json", "png")
            }
    shutil.copy("photographs/eileen.png", photographs / "b.jpg")
    assert reconstruct.main([str(photographs), "--out", str(photographs), "--formats", "obj"]) == 0
    assert not (photographs / "skipped.csv").exists()
    (tmp_path / "moved").mkdir()
    shutil.copy(photographs / "a.png", tmp_path / "moved/me.png")
    assert reconstruct.main([str(tmp_path / "moved/me.png"), "--out", str(tmp_path / "again")]) == 1
    assert "a result of an earlier run" in capsys.readouterr().err


def test_every_file_of_a_folder_is_read_or_named(tmp_path, capsys):
    photographs = tmp_path / "p"
    face = Image.open("photographs/other/eileen.jpg").convert("RGB")
    for name in (".store/3f2a9c", "cat-1/me.jpg", "cat/1-me.jpg", "Me.JPG", f"{'é' * 120}.jpg", "__MACOSX/x.jpg"):
        (photographs / name).parent.mkdir(parents=True, exist_ok=True)
        face.save(photographs / name, "JPEG")
    os.rename(photographs / "Me.JPG", os.fsencode(photographs) + b"/Ren\xe9e.jpg")
    (tmp_path / "elsewhere").mkdir()
    face.save(tmp_path / "elsewhere/in.avif")
    (photographs / "linked").symlink_to(tmp_path / "elsewhere")
    (photographs / "back").symlink_to(photographs)
    (photographs / "alice.jpg").symlink_to(".store/3f2a9c")
    (photographs / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(photographs / "pipe.jpg")
    for name in ("raw.cr2", "nosuffix", "cat/@eaDir/y.jpg", "cat/.DS_Store", "cat/caf\udce9.jpg"):
        (photographs / name).parent.mkdir(exist_ok=True)
        (photographs / name).write_text("no")
    before = {path for path in photographs.rglob("*")}
    assert reconstruct.main([str(photographs), "--out", str(tmp_path / "out"), "--formats", "glb"]) == 3
    made = {path.stem for path in (tmp_path / "out").glob("*.glb")}
    assert {"me", "1-me", "alice", "in", "Ren\\xe9e"} <= made and len(made) == 6
    assert json.loads((tmp_path / "out" / "Ren\\xe9e.json").read_text())["photographs"][0]["file"] == "Ren\\xe9e.jpg"
    with (tmp_path / "out/skipped.csv").open(encoding="utf-8") as file:
        named = {str(Path(row["photograph"]).relative_to(photographs)) for row in csv.DictReader(file)}
    hidden = {".store", "__MACOSX", "cat/@eaDir", "cat/.DS_Store"}
    assert named == hidden | {"back", "gone.jpg", "pipe.jpg", "raw.cr2", "nosuffix", "cat/caf\\xe9.jpg"}
    said = capsys.readouterr().err
    assert "nosuffix: not an image file (no suffix)" in said and ".DS_Store" not in said
    assert {path for path in photographs.rglob("*")} == before


def test_names_of_results_differ_and_stay_in_their_folder(tmp_path):
    paths = [
        Path(path) for path in ("/b/me.jpg", "/x/b/me.jpg", "/x/b/ME.JPG", "/x-b/me.jpg", f"/{'a' * 255}", "/b.me")
    ]
    names = [*_names(paths)]
    assert len({name.casefold() for name in names}) == len(paths)
    assert not any("/" in name or len(name) > 220 for name in names)
    # two that some file systems take for one change no other's name
    one, two, three = (Path(f"/home/a/{name}.jpg") for name in ("CAF\u00c9", "cafe\u0301", "x"))
    assert [*_names([one, two, three])] == ["CAF\u00c9", "cafe\u0301-2", "x"]
    assert [*_names([Path("/a/two\nlines.jpg"), Path("/a/two\rlines.png")])] == ["two_lines.jpg", "two_lines.png"]


def test_a_group_is_said_and_every_face_may_be_made(tmp_path, capsys):
    face = Image.open("photographs/eileen.png")
    group = Image.new("RGB", (700, 250))
    group.paste(face, (225, 0))
    group.paste(face.resize((200, 200)), (500, 25))
    group.save(tmp_path / "group.png")
    Image.open("photographs/other/eileen.jpg").save(tmp_path / "group-face1.png")
    assert reconstruct.main([str(tmp_path / "group.png"), "--out", str(tmp_path / "one"), "--formats", "obj"]) == 0
    assert "group.png (2 faces)" in capsys.readouterr().out
    content = json.loads((tmp_path / "one/group.json").read_text())["photographs"][0]
    assert content["faces"] == 2 and content["box"][2] < 475
    arguments = [str(tmp_path / "group.png"), str(tmp_path / "group-face1.png"), "--formats", "obj", "--all-faces"]
    assert reconstruct.main([*arguments, "--out", str(tmp_path / "all")]) == 0
    assert "several faces" not in capsys.readouterr().out
    made = {path.stem: json.loads(path.read_text())["photographs"][0] for path in (tmp_path / "all").glob("*.json")}
    assert made.keys() == {"group-face1-", "group-face2", "group-face1"}
    assert made["group-face2"]["box"][0] > 475 and made["group-face1"]["faces"] == 1


def test_a_terminal_without_the_letters_of_a_name_stops_nothing(tmp_path):
    shutil.copy("photographs/eileen.png", tmp_path / "一.png")
    command = [
        sys.executable,
        "-m",
        "lib.reconstruct",
        tmp_path / "一.png",
        "--out",
        tmp_path / "二",
        "--formats",
        "obj",
    ]
    settings = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    # file names are ASCII too
    settings |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 of 1" in done.stdout, done.stderr
    assert (tmp_path / "二" / "一.obj").is_file()


def test_one_photograph_whose_results_cannot_be_written_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def fail(path, *rest):
        if path.stem == "one":
            raise OSError("no space left")
        save_mesh(path, *rest)

    monkeypatch.setattr(results, "save_mesh", fail)
    for name in ("one", "two"):
        shutil.copy("photographs/eileen.png", tmp_path / f"{name}.png")
    code = reconstruct.main([str(tmp_path / "one.png"), str(tmp_path / "two.png"), "--out", str(tmp_path / "out")])
    assert code == 3 and (tmp_path / "out/two.json").is_file()
    assert "one.png: its results cannot be written: no space left" in capsys.readouterr().err


def test_a_list_that_cannot_be_written_is_told_with_what_it_holds(tmp_path, monkeypatch, capsys):
    def fail(path, reasons):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reconstruct, "_write_skipped", fail)
    assert reconstruct.main(["photographs/broken.jpg", "photographs/wall.png", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "skipped.csv cannot be written: No space left" in told and "broken.jpg" in told and "wall.png" in told


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
