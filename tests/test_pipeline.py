"""The whole study on the quick preset, through the real `dvc repro`, in a copy of the repository."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, SHARED
from documents import commands_of, programs_of
from ruamel.yaml import YAML

from lib.presets import apply_preset

pytestmark = pytest.mark.pipeline

LFW = SHARED / "photos" / "lfw"
# enough to go through every line, too little to learn anything
TINY = "stage1: {faces: 96, epochs: 2}\nstage2: {steps: 2, checkpoint_steps: 1}\nevaluate: {bootstrap_samples: 20}\n"


class Study:
    """A copy of the repository with tools to run it as a user does."""

    def __init__(self, folder):
        self.folder, self.typed = folder, set()
        files = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
        )
        for name in files.stdout.splitlines():
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
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

    def keep_variants(self, *names):
        """Leave out all other variants, as docs/experiments.md has it."""
        yaml, path = YAML(), self.folder / "params.yaml"
        params = yaml.load(path)
        params["variants"] = {name: params["variants"][name] for name in names}
        yaml.dump(params, path)
        self.type("dvc checkout")

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


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    result = Study(tmp_path_factory.mktemp("study"))
    result.type("make setup")
    result.type("python -m lib.notebooks preset quick")
    tiny = result.folder / "tiny.yaml"
    tiny.write_text(TINY)
    apply_preset(tiny, result.folder / "params.yaml")
    tiny.unlink()
    result.commit("a copy")
    result.output = result.type("make study")
    result.commit("a run")
    return result


def test_every_stage_runs_and_leaves_its_notebook_figures_and_metrics(study):
    names = {path.stem for path in (study.folder / "reports/notebooks").glob("*.ipynb")}
    variants = [f"05_stage2-{name}" for name in ("full", "no_batch", "no_loopback", "single_view")]
    evaluated = [f"06_evaluate-{name}" for name in ("stage1", "full", "no_batch", "no_loopback", "single_view")]
    singles = [
        "01_face_model",
        "02_networks",
        "03_photos",
        "04_stage1",
        "07_ablations",
        "08_methods",
        "09_comparison",
        "10_robustness",
        "11_report",
    ]
    assert names == {*singles, *variants, *evaluated}
    for path in (study.folder / "reports/notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, 4)["cells"]
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out["output_type"] == "error"]
        if path.stem not in ("02_networks", "11_report"):  # the report is a page, which has a test of its own
            assert [out for out in outputs if "image/png" in out.get("data", {})], f"{path.stem} shows no picture"
    pictures = ("ablations.png", "face_model.png", "methods.png", "pairs/full.png", "robustness.png", "styles.png")
    plots = ("similarity.svg", "likeness.svg", "losses.svg", "robustness_curves.svg")
    for figure in (*pictures, *plots):
        assert (study.folder / "reports/figures" / figure).stat().st_size > 5_000
    assert "100%" in study.output and "Traceback" not in study.output


def test_the_report_has_all_its_parts_and_links(study):
    page = (study.folder / "reports/index.html").read_text()
    assert "dvc repro" not in page and "There are no executed notebooks" not in page
    assert all(f"{title}." in page for title in ("Table 1", "Table 2", "Table 3", "Figure 1", "Figure 4", "Figure 7"))
    links = re.findall(r'href="(notebooks/[^"]+)"', page)
    notebooks = {path.stem for path in (study.folder / "reports/notebooks").glob("*.ipynb")} - {"11_report"}
    assert {Path(link).stem for link in links} == notebooks
    assert all((study.folder / "reports" / link).is_file() for link in links)
    lines = list(csv.DictReader((study.folder / "reports/metrics.csv").open()))
    assert {"full", "mean_face"} <= {line["method"] for line in lines} and {"value", "low", "n"} <= lines[0].keys()


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


def test_faces_of_own_photographs(study):
    photographs = sorted((study.folder / "data/photos/simulated").rglob("*.jpg"))[:3]
    shutil.copy(photographs[0], study.folder / "me.jpg")
    (study.folder / "holiday").mkdir()
    for photograph in photographs[1:]:
        shutil.copy(photograph, study.folder / "holiday" / f"{photograph.parent.name}-{photograph.name}")
    said = study.type("python -m lib.reconstruct me.jpg holiday/ --out build/faces")
    assert "3 of 3 photographs gave a face" in said
    assert len(list((study.folder / "build/faces").glob("*.glb"))) == 3
    shutil.rmtree(study.folder / "holiday")
    (study.folder / "me.jpg").unlink()


def test_the_notebook_of_own_photographs_runs_by_hand_on_those_of_the_study(study):
    shutil.rmtree(study.folder / "build/faces")
    study.run("bash", "-c", "cd notebooks && papermill -k python3 12_reconstruct.ipynb ../build/11.ipynb")
    assert len(list((study.folder / "build/faces").glob("*.glb"))) == 6


def test_results_are_shared_through_a_remote(study):
    for command in commands_of(study.folder / "docs/paper-scale.md"):
        if command == "dvc pull":
            for folder in ("data/regressors", ".dvc/cache"):
                shutil.rmtree(study.folder / folder)
        study.type(command)
    assert (study.folder / "data/regressors/full.safetensors").is_file()


def test_own_meshes_stand_beside_the_method_that_made_them(study):
    guide = study.folder / "docs/compare-your-method.md"
    listing, repro, again = commands_of(guide)
    assert len(study.type(listing).splitlines()) >= 8
    (program,) = programs_of(guide)
    study.run(sys.executable, "-c", program)
    study.set("methods", external={"own": "build/own"})
    assert stages_run(study.type(repro)) == {"comparison"}
    own, full = (
        json.loads((study.folder / "reports/metrics" / name).read_text())["similarity"]["all"]["frontal"]["value"]
        for name in ("methods/own.json", "evaluate/full.json")
    )
    assert own == pytest.approx(full, abs=0.03)
    assert stages_run(study.type(again)) == {"comparison"}
    assert "own" in (study.folder / "reports/methods.csv").read_text().splitlines()[0]
    study.run("git", "checkout", ".")
    study.run("git", "clean", "--quiet", "-fd", "reports")


def test_the_tour_of_experiments(study):
    study.keep_variants("full")
    study.dvc("repro")
    study.commit("one variant is enough")
    said = {}
    for command in commands_of(study.folder / "docs/experiments.md"):
        said[command] = study.type(command)
        if command.startswith("dvc queue start"):
            study.wait_for_the_queue()
    reran = stages_run(said["dvc exp run -S stage2.loop_weight=0.2 -n more-loop"])
    assert reran >= {"stage2@full", "evaluate@full", "ablations", "report"}
    assert not reran & {"face_model", "networks", "photos", "stage1", "evaluate_stage1", "methods"}
    assert said["dvc params diff"].split()[-4:] == ["params.yaml", "stage2.loop_weight", "0.07", "0.2"]
    assert "reports/metrics/evaluate/full.json" in said["dvc metrics diff --targets reports/metrics/evaluate/full.json"]
    page = (study.folder / "dvc_plots/index.html").read_text()
    for part in ("reports/plots/stage2/full.csv", "reports/plots/similarity/full.csv", "loop_loss"):
        assert part in page
    for revision in ("HEAD", "workspace"):
        assert f'"rev": "{revision}"' in page and f"{revision}_reports_figures_ablations.png" in page
    assert "reports/plots/similarity/full.csv" in page
    names = {"more-loop", "less-loop", "strong-loop"}
    lines = {line.split()[0]: line.split() for line in said["make experiments"].splitlines() if line}
    assert names <= lines.keys() and "similarity" in said["make experiments"]
    assert lines["more-loop"][1] == "0.2" and lines["less-loop"][1] == "0.05" and lines["strong-loop"][2] == "0.5"
    assert max(map(len, said["make experiments"].splitlines())) <= 120
    table = said["dvc exp show --only-changed --hide-workspace --csv"]
    assert names <= {row["Experiment"] for row in csv.DictReader(table.splitlines())}
    ablation = study.run(sys.executable, "-m", "lib.experiments", "--variant", "strong_loop")
    measured = [line.split() for line in ablation.splitlines() if line.startswith("strong-loop")]
    assert len(measured[0]) > 5
    # a run does not forget what a user tried
    assert "Running stage" not in said["dvc repro"] and all(name in said["dvc exp list"] for name in names)


def test_own_photographs_go_through_the_same_pipeline(study):
    """Real ones where they lie beside the repository; the study's own elsewhere."""
    folder = study.folder / "path/to/folder"
    people = sorted(path for path in LFW.iterdir() if len(list(path.glob("*.jpg"))) >= 2)[:5] if LFW.is_dir() else []
    for person in people or sorted((study.folder / "data/photos/simulated").glob("person-*"))[:5]:
        (folder / person.name).mkdir(parents=True)
        for photograph in sorted(person.glob("*.jpg"))[:2]:
            shutil.copy(photograph, folder / person.name)
    (folder / "broken.jpg").write_text("not a photograph")
    study.set("photos", test_people=3)
    study.type("dvc exp run -S photos.source=folder -S photos.path=path/to/folder")
    photos = json.loads((study.folder / "reports/metrics/photos.json").read_text())
    # beside the photographs: the text named .jpg
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


def test_every_command_of_the_documents_is_run(study):
    """Here, by continuous integration, or by another test."""
    assert "make lint test" in (ROOT / ".ci/run").read_text()
    elsewhere = {"make test", "make lint", "make lab"}  # the latter: test_housekeeping.py
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for command in commands_of(document):
            assert command in study.typed | elsewhere, f"{document.name}: nobody runs `{command}`"
