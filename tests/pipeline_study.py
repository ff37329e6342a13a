"""The study on the quick preset, in copies of the repository: what the tests of the whole pipeline start from."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT, give_way
from filelock import FileLock
from ruamel.yaml import YAML

from lib.run import apply_preset

# enough to go through every line, too little to learn anything
TINY = """
face_model: {shape_samples: 200, texture_samples: 200, expression_samples: 101}
photos: {simulated_people: 12}
stage1: {faces: 96, second_faces: 64, epochs: 2}
stage2: {steps: 2, checkpoint_steps: 1}
evaluate: {bootstrap_samples: 20}
methods:
  pixel_autoencoder: {synthetic_faces: 16, steps: 2, checkpoint_steps: 1}
  iterative_fit: {people: 1, steps: 1}
  fit_regressed: {people: 3, epochs: 1}
robustness: {steps: 1}
"""
# the same of the code: a file, what is in it, and what it is in the copies
SMALLER = ("lib/recognition/render_centre.py", "FACES = 200\n", "FACES = 20\n")
# as the documents have them
OWN_PHOTOGRAPHS = "python -m lib.run --photos path/to/folder"
FIRST_COMMANDS = ("make setup", "python -m lib.run --preset quick", "make study")


class Study:
    """A copy of the repository with tools to run it as a user does."""

    def __init__(self, folder, typed=()):
        self.folder, self.typed = folder, set(typed)

    def copy_repository(self):
        """Take over the files that git has or would have, without what a run made of them."""
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
        )
        for name in files.stdout.splitlines():
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        file, large, small = SMALLER
        text = (self.folder / file).read_text()
        assert large in text
        (self.folder / file).write_text(text.replace(large, small))
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        for made in (*(self.folder / "reports").glob("*/*"), self.folder / "reports/report.md"):
            shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "config", "user.name", "test")

    def run(self, *command, expect=0):
        """Run a command in the copy and return what it printed."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {
            "PATH": path,
            "DVC_NO_ANALYTICS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "COLUMNS": "120",
        }
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, env=environment)
        assert done.returncode == expect, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def type(self, command):
        """Run a command as a document has it, and remember that."""
        self.typed.add(command)
        return self.run("bash", "-c", command)

    def dvc(self, *arguments, expect=0):
        return self.run(sys.executable, "-m", "dvc", *arguments, expect=expect)

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "-m", message)

    def set(self, section, **values):
        """Change parameters in the copy."""
        preset = self.folder / "change.yaml"
        preset.write_text(json.dumps({section: values}))
        apply_preset(preset, self.folder / "params.yaml")
        preset.unlink()

    def choose(self, variants, sources=("small_gallery",)):
        """Have these of the default variants and test sources in `params.yaml`, as an entry more or less there does."""
        yaml, path = YAML(), self.folder / "params.yaml"
        params, default = yaml.load(path), yaml.load(self.folder / "presets/default.yaml")
        params["variants"] = {name: default["variants"][name] for name in variants}
        of = params["evaluate"]["test_sources"]
        params["evaluate"]["test_sources"] = {name: of[name] for name in sources}
        yaml.dump(params, path)

    def wait_for_the_queue(self, seconds=600):
        """Wait until no experiment is queued or running, and send the workers home."""
        end = time.monotonic() + seconds
        while "Queued" in (status := self.dvc("queue", "status")) or "Running" in status:
            assert time.monotonic() < end, status
            time.sleep(2)
        assert "Failed" not in status, status + self.dvc("queue", "logs", "strong-loop")
        self.dvc("queue", "stop")


def stages_run(output):
    """Names of the stages that `dvc repro` says it runs."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def study_after_its_first_run(folders, name):
    """Copy a study that has been run once and committed.

    Parameters
    ----------
    folders : pytest.TempPathFactory
    name : str
        Of the copy's folder.

    Returns
    -------
    tuple of (Study, str)
        And what its first run printed.
    """
    # pytest-xdist gives each process a folder beside those of the others: the first who comes runs the study for all
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    place = folders.getbasetemp().parent if parallel else folders.getbasetemp()
    output = place / "first_run.txt"
    with FileLock(place / "first_run.lock"):
        if not output.exists():
            shutil.rmtree(place / "first_run", ignore_errors=True)
            (place / "first_run").mkdir()
            output.write_text(_first_run(Study(place / "first_run")))
            give_way()
    study = Study(folders.mktemp("study") / name, FIRST_COMMANDS)
    shutil.copytree(place / "first_run", study.folder, symlinks=True)
    return study, output.read_text()


def _first_run(study):
    setup, preset, run = FIRST_COMMANDS
    study.copy_repository()
    study.type(setup)
    study.type(preset)
    tiny = study.folder / "tiny.yaml"
    tiny.write_text(TINY)
    apply_preset(tiny, study.folder / "params.yaml")
    tiny.unlink()
    study.choose(["full"])
    study.commit("a copy")
    output = study.type(run)
    study.commit("a run")
    return output
