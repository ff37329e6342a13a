"""Folders of photographs under any name, with anything in them, as DVC and its command line take them."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from lib.core.errors import StudyError
from lib.core.params import load_params
from lib.run import ignore_unreadable, main

NAME = "Zoë's ~photos, a=[b]* {2024}"
PIPELINE = 'stages: {photos: {cmd: ls, deps: ["${photos.path}"], params: [photos]}}'


@pytest.fixture(scope="module")
def new_study(tmp_path_factory):
    """A repository of one stage with the study's parameters."""
    folder = tmp_path_factory.mktemp("new") / "study"
    (folder / "data/raw").mkdir(parents=True)
    shutil.copytree(ROOT / "presets", folder / "presets")
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / ".gitignore").write_text("/data/raw/*\n")
    with contextlib.chdir(folder):
        run("git", "init", "--quiet")
        run("dvc", "init", "--quiet")
    return folder


@pytest.fixture
def study(new_study, tmp_path, monkeypatch):
    """A copy of it, where the test is."""
    folder = shutil.copytree(new_study, tmp_path / "study")
    monkeypatch.chdir(folder)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b")
    return folder


def run(*command, expect=0):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == expect, done.stdout
    return done.stdout


def commit():
    run("git", "add", "-A")
    run("git", "commit", "--quiet", "-m", "a")


def photographs(folder):
    (folder / "ada").mkdir(parents=True)
    (folder / "ada" / "a.jpg").write_text("a")
    return folder


def odd_files(folder):
    """What DVC cannot read: -> the names."""
    (folder / "ada" / "c[1].jpg").symlink_to("nowhere.jpg")
    (folder / "ada" / "!round #1.jpg ").symlink_to("!round #1.jpg ")
    os.mkfifo(folder / "ada" / "pipe.jpg")
    names = {"c[1].jpg", "!round #1.jpg ", "pipe.jpg"}
    try:
        other = os.fsdecode("café.jpg".encode("latin-1"))
        (folder / "ada" / other).write_text("a")
        return names | {other}
    except OSError:  # this file system takes text only
        return names


def test_odd_files_do_not_stop_dvc_and_the_others_are_watched(study, capsys):
    folder = photographs(study / "data/raw" / NAME)
    names = odd_files(folder)
    (folder / "linked").symlink_to("ada")
    assert main(["--photos", f"data/raw/{NAME}"]) == 0
    photos = load_params().photos
    assert (photos.source, photos.path) == ("folder", str(folder))
    told = capsys.readouterr().out
    assert told.count("passed over by DVC") == len(names) and "linked folder" in told
    assert "Running stage 'photos'" in run("dvc", "repro")
    assert "up to date" in run("dvc", "repro")
    (folder / "ada" / "a.jpg").write_text("other")
    assert "Running stage 'photos'" in run("dvc", "repro")
    (folder / "ada" / "pipe.jpg").unlink()
    (folder / "ada" / "pipe.jpg").write_text("a photograph now")
    assert main(["--photos"]) == 0
    assert capsys.readouterr().out.count("passed over by DVC") == len(names) - 1
    assert "Running stage 'photos'" in run("dvc", "repro")


def test_what_else_dvc_is_to_ignore_stays(study):
    folder = photographs(study / "data/raw/photos")
    ignored = study / "data/raw/.dvcignore"
    ignored.write_text("*.tmp\n")
    ignore_unreadable(folder)
    assert ignored.read_text() == "*.tmp\n"
    (folder / "b.jpg").symlink_to("nowhere")
    ignore_unreadable(folder)
    assert ignored.read_text().startswith("*.tmp\n") and ignored.read_text().endswith("\n/photos/b.jpg\n")
    (folder / "b.jpg").unlink()
    ignore_unreadable(folder)
    assert ignored.read_text() == "*.tmp\n"


def test_folders_side_by_side_are_both_looked_through(study, capsys):
    """The photographs' and that of a test source, whose lines go into one file; it may be the same folder."""
    text = (study / "params.yaml").read_text()
    for name in ("photos", "lfw"):
        (photographs(study / "data/raw" / name) / "b.jpg").symlink_to("nowhere")
    source = "small_gallery: {source: lfw, path: data/raw/lfw, photographs: 0}\n    unused:"
    (study / "params.yaml").write_text(text.replace("small_gallery:", source))
    assert main(["--photos"]) == 0 and capsys.readouterr().out.count("passed over by DVC") == 2
    assert (study / "data/raw/.dvcignore").read_text().endswith("\n/photos/b.jpg\n/lfw/b.jpg\n")
    (study / "data/raw/lfw/b.jpg").unlink()
    assert main(["--photos"]) == 0
    assert (study / "data/raw/.dvcignore").read_text().endswith(" line\n/photos/b.jpg\n")


def test_a_folder_elsewhere_with_odd_files_can_be_linked(study, tmp_path, capsys):
    outside = photographs(tmp_path / "outside")
    assert ignore_unreadable(outside) == ({}, [])
    odd_files(outside)
    assert main(["--photos", str(outside)]) == 1
    advice = re.search(r"ln -s '.*' (data/raw/mine)", capsys.readouterr().err)
    subprocess.run(advice[0], shell=True, check=True)
    assert main(["--photos", advice[1]]) == 0
    assert "Running stage 'photos'" in run("dvc", "repro")


def test_a_file_without_permission_is_passed_over(study, monkeypatch):
    folder = photographs(study / "data/raw/photos")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    unreadable, _ = ignore_unreadable(folder)
    assert unreadable == {folder / "ada" / "a.jpg": "may not be read: no permission"}


def test_a_folder_that_is_none_changes_nothing(study, capsys):
    before = (study / "params.yaml").read_text()
    assert main(["--photos", "data/raw/nowhere"]) == 1 and "data/raw/nowhere is no folder" in capsys.readouterr().err
    assert (study / "params.yaml").read_text() == before
    assert main(["--photos"]) == 0  # simulated ones
    with pytest.raises(StudyError, match="~"):
        (study / "params.yaml").write_text(before.replace("path: data/raw/photos", "path: ~/photos"))
        load_params()


def test_a_terminal_without_the_letters_of_a_name_takes_the_folder_all_the_same(study):
    folder = photographs(study / "data/raw" / NAME)
    odd_files(folder)
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lib.run", "--photos", f"data/raw/{NAME}"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0 and rb"Zo\xeb" in done.stdout, done.stderr
    assert load_params().photos.path == str(folder)


def test_the_documented_quoting_is_taken_by_dvc(study):
    """With the example's folder put in the place of its name, in the shell and in DVC's own language."""
    text = (ROOT / "data/raw/README.md").read_text()
    (command,) = re.findall(r"^    (dvc exp run .*photos.path='.*)$", text, re.M)
    example = re.search(r"photos\.path='(.*)'\"", command)[1]
    folder = photographs(study / example.removeprefix("/"))
    commit()
    subprocess.run(command.replace(example, str(folder)), shell=True, check=True)
    assert load_params().photos.path == str(folder)


def test_a_queued_experiment_sees_photographs_that_git_does_not(study):
    main(["--photos", str(photographs(study / "data/raw/photos"))])
    run("dvc", "repro")
    commit()
    run("dvc", "exp", "run", "--queue", "-S", "photos.test_people=5", "-n", "queued")
    run("dvc", "queue", "start")
    end = time.monotonic() + 600  # the worker of DVC is slow to start on a busy machine
    while "Success" not in (status := run("dvc", "queue", "status")):
        assert "Failed" not in status and time.monotonic() < end, status + run("dvc", "queue", "logs", "queued")
        time.sleep(1)
    run("dvc", "queue", "stop", "--kill")


def test_an_experiment_in_a_copy_gets_the_face_model_that_the_documented_command_names(study):
    text = (ROOT / "data/raw/README.md").read_text()
    ((command, path),) = re.findall(r"^    (dvc exp run --queue --copy-paths (\S+))$", text, re.M)
    (study / path).parent.mkdir()
    (study / path).write_text("the model")
    (study / path).with_name(".gitkeep").touch()
    (study / "dvc.yaml").write_text(
        f"stages: {{a: {{cmd: cat {path}, deps: [data/raw/face_model], params: [face_model]}}}}"
    )
    run("git", "add", "--force", "data/raw/face_model/.gitkeep")
    commit()
    assert "the model" in run(*command.replace("--queue", "--temp").split(), "-S", "face_model.seed=5")


def test_a_downloaded_archive_without_git_runs_and_uses_git_once_there_is_one(study, monkeypatch):
    photographs(study / "data/raw/photos")
    shutil.rmtree(study / ".git")
    shutil.copy(ROOT / "Makefile", study)
    shutil.copytree(ROOT / ".ci", study / ".ci")
    for name in ("requirements.txt", "requirements-test.txt"):
        (study / name).touch()
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert "Running stage 'photos'" in run("make", "study")
    assert "no_scm = true" in (study / ".dvc/config.local").read_text()
    run("git", "init", "--quiet")
    run("make", "study")
    assert "no_scm" not in (study / ".dvc/config.local").read_text()
