"""The whole study on the quick preset, through the real `dvc repro`, in a copy of the repository."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, SHARED
from ruamel.yaml import YAML

from lib.params import apply_preset, load_params

pytestmark = pytest.mark.pipeline

LFW = SHARED / "photos" / "lfw"
# enough to go through every line, too little to learn anything
TINY = "stage1: {faces: 96, epochs: 2}\nstage2: {steps: 2, checkpoint_steps: 1}\nevaluate: {bootstrap_samples: 20}\n"


class Study:
    """A copy of the repository with tools to run it as a user does."""

    def __init__(self, folder):
        self.folder = folder
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
        )
        # kernels that were compiled here are good there too, as long as the source keeps its time stamp
        compiled = [str(path.relative_to(ROOT)) for path in (ROOT / "lib/__pycache__").glob("*.nb[ci]")]
        for name in (*files.stdout.splitlines(), *compiled):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / "dvc.lock").unlink(missing_ok=True)
        for made in (*(folder / "reports").glob("*/*"), folder / "reports/report.md"):
            shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "config", "user.name", "test")

    def run(self, *command, expect=0):
        """Run a command in the copy and return what it printed."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, env=environment)
        assert done.returncode == expect, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

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


def stages_run(output):
    """Names of the stages that `dvc repro` says it runs."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    result = Study(tmp_path_factory.mktemp("study"))
    apply_preset(ROOT / "presets" / "quick.yaml", result.folder / "params.yaml")
    tiny = result.folder / "tiny.yaml"
    tiny.write_text(TINY)
    apply_preset(tiny, result.folder / "params.yaml")
    tiny.unlink()
    result.commit("a copy")
    result.output = result.dvc("repro")
    result.commit("a run")
    return result


def test_every_stage_runs_and_leaves_its_notebook_figures_and_metrics(study):
    names = {path.stem for path in (study.folder / "reports/notebooks").glob("*.ipynb")}
    variants = [f"05_stage2-{name}" for name in ("full", "no_batch", "no_loopback", "single_view")]
    evaluated = [f"06_evaluate-{name}" for name in ("stage1", "full", "no_batch", "no_loopback", "single_view")]
    singles = ["01_face_model", "02_networks", "03_photos", "04_stage1", "07_ablations", "08_methods", "10_report"]
    assert names == {*singles, *variants, *evaluated}
    for path in (study.folder / "reports/notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, 4)["cells"]
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out["output_type"] == "error"]
        if path.stem != "02_networks":
            assert [out for out in outputs if "image/png" in out.get("data", {})], f"{path.stem} shows no picture"
    pictures = ["ablations.png", "face_model.png", "methods.png", "pairs/full.png"]
    for figure in [*pictures, "similarity.svg", "likeness.svg", "losses.svg"]:
        assert (study.folder / "reports/figures" / figure).stat().st_size > 5_000
    assert "100%" in study.output and "Traceback" not in study.output


def test_metrics_are_real_measurements(study):
    metrics = {
        path.stem: json.loads(path.read_text()) for path in (study.folder / "reports/metrics/evaluate").glob("*.json")
    }
    assert len({result["similarity"]["all"]["frontal"]["value"] for result in metrics.values()}) == len(metrics)
    for result in metrics.values():
        frontal = result["similarity"]["all"]["frontal"]
        assert -1 <= frontal["low"] <= frontal["value"] <= frontal["high"] <= 1 and frontal["n"] >= 8
        assert all(0.3 < row["mean"]["value"] < 5 for row in result["geometry"].values())
        photographs = result["photographs"]["all"]
        assert photographs["same"]["value"] > photographs["different"]["value"] + 0.2
        assert set(result["groups"]) <= {"age", "gender", "ethnicity"} and result["groups"]


def test_a_second_run_does_nothing(study):
    output = study.dvc("repro")
    assert "Data and pipelines are up to date." in output and "Running stage" not in output
    assert study.run("git", "status", "--porcelain") == ""


def test_an_experiment_reruns_what_it_concerns_alone_and_is_compared(study):
    output = study.dvc("exp", "run", "-S", "variants.no_loopback.loop_weight=1.5", "-n", "more-loop")
    assert stages_run(output) == {"stage2@no_loopback", "evaluate@no_loopback", "ablations", "report"}
    changes = json.loads(study.dvc("params", "diff", "--json"))
    assert changes["params.yaml"]["variants.no_loopback.loop_weight"]["new"] == 1.5
    moved = json.loads(study.dvc("metrics", "diff", "--json"))
    assert "reports/metrics/evaluate/no_loopback.json" in moved
    assert "reports/metrics/evaluate/full.json" not in moved
    study.dvc("plots", "diff", "HEAD", "workspace", "-o", "dvc_plots")
    page = (study.folder / "dvc_plots/index.html").read_text()
    assert "loop_loss" in page and "similarity_distribution" in page and "ablations.png" in page
    table = list(csv.DictReader(study.dvc("exp", "show", "--csv").splitlines()))
    assert "more-loop" in {row["Experiment"] for row in table}
    assert load_params(study.folder / "params.yaml").variant("no_loopback").loop_weight == 1.5
    study.run("git", "checkout", "--quiet", ".")
    study.dvc("checkout")


@pytest.mark.skipif(not LFW.is_dir(), reason="needs the photographs of LFW beside the repository")
def test_real_photographs_go_through_the_same_pipeline(study):
    people = sorted(folder for folder in LFW.iterdir() if len(list(folder.glob("*.jpg"))) >= 2)[:5]
    for person in people:
        target = study.folder / "data/raw/photos" / person.name
        target.mkdir()
        for photograph in sorted(person.glob("*.jpg"))[:2]:
            shutil.copy(photograph, target)
    (study.folder / "data/raw/photos/broken.jpg").write_text("not a photograph")
    study.set("photos", source="folder", test_people=3)
    yaml, path = YAML(), study.folder / "params.yaml"
    params = yaml.load(path)
    params["variants"], params["evaluated"] = {"full": {}}, ["stage1", "full"]
    yaml.dump(params, path)
    study.dvc("repro")
    photos = json.loads((study.folder / "reports/metrics/photos.json").read_text())
    # beside the photographs: the text named .jpg; the hidden file that keeps the folder in git does not count
    assert photos["files"] == 11 and photos["skipped"] == 1
    # never more than half of the people are kept for the test
    assert (photos["test"]["people"], photos["train"]["photographs"]) == (2, 6)
    metrics = json.loads((study.folder / "reports/metrics/evaluate/full.json").read_text())
    report = (study.folder / "reports/report.md").read_text()
    assert "folder; 11 files, 1 skipped" in report and "|  | stage 1 only | full |" in report
    assert "geometry" not in metrics and metrics["recall"]["all"]["top1"]["n"] == 4


def test_bad_input_is_told_in_a_line(study):
    empty = study.folder / "empty"
    empty.mkdir()
    study.set("photos", source="folder", path="empty")
    output = study.dvc("repro", "photos", expect=255)
    assert "empty" in output and "Traceback" not in output
    text = (study.folder / "params.yaml").read_text()
    (study.folder / "params.yaml").write_text(text.replace("  learning_rate: 0.001", "  learning_rat: 0.001"))
    output = study.dvc("repro", "stage1", expect=255)
    assert "stage1.learning_rat is unknown; did you mean stage1.learning_rate?" in output
    assert "Traceback" not in output
