"""The whole study on the quick preset, through the real `dvc repro`, in a copy of the repository."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT
from documents import commands_of, programs_of
from pipeline_study import OWN_PHOTOGRAPHS, stages_run, study_after_its_first_run

from lib.core.strict import read_yaml

pytestmark = pytest.mark.pipeline

TOUR = ROOT / "docs/experiments.md"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    study, output = study_after_its_first_run(tmp_path_factory, "pipeline")
    return SimpleNamespace(study=study, output=output)


@pytest.fixture(scope="module")
def study(first):
    return first.study


def test_every_stage_runs_and_leaves_its_notebook_figures_and_metrics(study, first):
    names = {path.stem for path in (study.folder / "reports/notebooks").glob("*.ipynb")}
    expected = {
        "01_face_model",
        "02_networks",
        "03_photos",
        "04_stage1",
        "05_stage2-full",
        "06_evaluate-full",
        "06_evaluate-stage1",
        "07_ablations",
        "08_methods",
        "09_comparison",
        "10_robustness",
        "11_report",
    }
    assert names == expected
    for path in (study.folder / "reports/notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, 4)["cells"]
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out["output_type"] == "error"]
        if path.stem not in ("02_networks", "11_report"):  # the report is a page, which has a test of its own
            assert [out for out in outputs if "image/png" in out.get("data", {})], f"{path.stem} shows no picture"
    pictures = ("ablations.png", "face_model.png", "methods.png", "pairs/full.png", "robustness.png", "styles.png")
    plots = ("similarity.svg", "methods_similarity.svg", "likeness.svg", "losses.svg", "robustness_curves.svg")
    for figure in (*pictures, *plots):
        assert (study.folder / "reports/figures" / figure).stat().st_size > 5_000
    assert "100%" in first.output and "Traceback" not in first.output


def test_the_report_has_all_its_parts_and_links(study):
    page = (study.folder / "reports/index.html").read_text()
    assert "dvc repro" not in page and "There are no executed notebooks" not in page and "<math" in page
    assert all(f"{title}." in page for title in ("Table 1", "Table 2", "Table 3", "Figure 1", "Figure 4", "Figure 7"))
    links = re.findall(r'href="(pages/[^"]+)"', page)
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
        sizes = {name: source["recall"]["all"]["top1"]["n"] for name, source in result["sources"].items()}
        assert sizes.keys() == {"small_gallery"} and 0 < sizes["small_gallery"] <= 3, "those in which a face was found"


def test_a_second_run_does_nothing(study):
    output = study.dvc("repro")
    assert "Data and pipelines are up to date." in output and "Running stage" not in output
    assert study.run("git", "status", "--porcelain") == ""


def test_equal_runs_give_equal_bytes(study):
    said = study.dvc("repro", "--force", "--single-item", "evaluate_stage1")
    assert stages_run(said) == {"evaluate_stage1"}
    assert study.run("git", "status", "--porcelain") == "", "dvc.lock has the hashes of all outputs"


def test_faces_of_own_photographs(study):
    photographs = sorted((study.folder / "data/photos/simulated").rglob("*.jpg"))[:3]
    shutil.copy(photographs[0], study.folder / "me.jpg")
    (study.folder / "holiday").mkdir()
    for photograph in photographs[1:]:
        shutil.copy(photograph, study.folder / "holiday" / f"{photograph.parent.name}-{photograph.name}")
    for command in ("make face PHOTO=me.jpg", "python -m lib.reconstruct me.jpg --out build/faces"):
        assert "1 of 1 photographs gave a face" in study.type(command)
        assert (study.folder / "build/faces/posed/me.glb").is_file()
    assert "2 of 2 photographs gave a face" in study.run("make", "face", "PHOTO=holiday", "OUT=build/holiday")
    shutil.rmtree(study.folder / "holiday")
    (study.folder / "me.jpg").unlink()


def test_the_notebook_of_own_photographs_runs_by_hand_on_those_of_the_study(study):
    shutil.rmtree(study.folder / "build/faces", ignore_errors=True)
    study.run("papermill", "-k", "python3", "notebooks/12_reconstruct.ipynb", "build/12.ipynb")
    assert len(list((study.folder / "build/faces").glob("*.glb"))) == 6


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
    assert stages_run(study.type(f"{again} --dry")) == {"comparison"}
    study.typed.add(again)  # the same again
    assert "own" in (study.folder / "reports/methods.csv").read_text().splitlines()[0]
    study.run("git", "checkout", ".")
    study.run("git", "clean", "--quiet", "-fd", "reports")


def test_the_variants_behind_the_last_claims_are_measured_once(study):
    """Two of them: the others differ in a weight and a size alone."""
    preset = study.folder / "presets/claims.yaml"
    lines = [line for line in preset.read_text().splitlines() if not re.search("deeper_decoder|per_face", line)]
    preset.write_text("\n".join(lines) + "\n")
    study.commit("two variants")
    variants = read_yaml(preset)["variants"]
    assert variants.keys() == {"embedding_input", "shallow"}
    for said in ("added to reports/claims.json", "measured before"):
        output = study.type("make claims")
        assert all(f"{name}: {said}" in output for name in variants)
    claims = json.loads((study.folder / "reports/claims.json").read_text())
    own = claims["shallow"]["parameters"]
    assert {name for name, measured in claims.items() if measured["parameters"] == own} == variants.keys()
    assert study.run("git", "status", "--porcelain").split() == ["M", "reports/claims.json"]
    study.run("git", "checkout", ".")


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
    # make lab: test_housekeeping.py; the tour: test_tour.py; photographs of one's own: test_own_photographs.py; meshes:
    # test_evaluate_meshes.py; the export: test_textures.py; Blender, 0.4 GB: by hand
    faces = commands_of(ROOT / "docs/faces.md")
    by_hand = {command for command in faces if re.search("build/(blender|model)", command)}
    elsewhere = by_hand | {"make test", "make lint", "make lab", OWN_PHOTOGRAPHS, *commands_of(TOUR)}
    elsewhere |= set(commands_of(ROOT / "docs/evaluate-meshes.md"))
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for command in commands_of(document):
            assert command in study.typed | elsewhere, f"{document.name}: nobody runs `{command}`"
