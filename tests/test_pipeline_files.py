"""`dvc.yaml`, `params.yaml`, the notebooks and `lib` say the same things."""

import json
import re
import subprocess
from pathlib import Path

import grimp
import nbformat
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from lib.core.params import STAGE1, EvaluateParams, load_params

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
LIB = grimp.build_graph("lib", "derivations")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EVALUATE_STAGE1 = "evaluate_stage1"
PAGES, TEST_PHOTOS = "pages", "test_photos"
STAGES = [name for name in PIPELINE["stages"] if name not in (EVALUATE_STAGE1, PAGES, TEST_PHOTOS)]


def body(stage):
    entry = PIPELINE["stages"][stage]
    return entry.get("do", entry)


def notebook_of(stage):
    (path,) = (ROOT / "notebooks").glob(f"[0-9][0-9]_{stage}.ipynb")
    return path


def code_of(notebook):
    return [cell["source"] for cell in nbformat.read(notebook, 4)["cells"] if cell["cell_type"] == "code"]


def reached_modules(notebook):
    """Files of lib and derivations that a notebook imports, and those that they import."""
    imports = r"^\s*(?:from|import) ((?:lib|derivations)[\w.]*)(?: import (\w+))?"
    names = re.findall(imports, "\n".join(code_of(notebook)), re.M)
    return files_of({f"{module}.{name}" if f"{module}.{name}" in LIB.modules else module for module, name in names})


def files_of(modules):
    modules |= {above for module in modules for above in LIB.find_upstream_modules(module)}
    paths = [Path(*module.split(".")) for module in modules]
    return [str(path.with_suffix(".py")) for path in paths if not (ROOT / path).is_dir()]


def test_the_stages_are_the_studys():
    assert STAGES == [
        "face_model",
        "networks",
        "photos",
        "stage1",
        "stage2",
        "evaluate",
        "ablations",
        "methods",
        "comparison",
        "robustness",
        "report",
    ]
    # the last one is for a reader's own photographs, by hand
    assert [path.stem[3:] for path in NOTEBOOKS] == [*STAGES, "reconstruct"]
    assert PIPELINE["stages"]["stage2"]["foreach"] == "${variants}"
    assert PIPELINE["stages"]["evaluate"]["foreach"] == "${variants}"
    alone = PIPELINE["stages"][EVALUATE_STAGE1]
    assert alone == body("evaluate") | {"vars": [{"key": STAGE1}]}
    pages = PIPELINE["stages"][PAGES]
    assert pages["cmd"] == "python -m lib.report.page" and "reports/notebooks" in pages["deps"]
    assert all(module.startswith(("lib.core", "lib.report")) for module in LIB.find_upstream_modules("lib.report.page"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_notebook_and_every_module_it_reaches(stage):
    # derivations are listed one by one, beside the tables that they read
    code = re.compile(r"(lib|notebooks)/|derivations/.*\.py$")
    declared = {dep for dep in body(stage)["deps"] if code.match(dep)}
    notebook = f"notebooks/{notebook_of(stage).name}"
    under = {
        module: {dep for dep in declared if f"{module}/".startswith(f"{dep}/")}
        for module in reached_modules(ROOT / notebook)
    }
    assert notebook in declared
    assert not [module for module, deps in under.items() if not deps], "missing in dvc.yaml"
    assert not declared - {notebook}.union(*under.values()), "superfluous in dvc.yaml"


def test_further_photographs_depend_on_every_module_that_embeds_them():
    stage = PIPELINE["stages"][TEST_PHOTOS]
    assert stage["foreach"] == "${evaluate.test_sources}" and "${item.path}" in stage["do"]["deps"]
    declared = [dep for dep in stage["do"]["deps"] if dep.startswith("lib/")]
    reached = files_of({"lib.photos.further_sources"})
    assert all(any(f"{module}/".startswith(f"{dep}/") for dep in declared) for module in reached)
    assert all(any(f"{module}/".startswith(f"{dep}/") for module in reached) for dep in declared)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_sections_it_reads(stage):
    code = "\n".join(code_of(notebook_of(stage)))
    sections = set(load_params(ROOT / "params.yaml").__dataclass_fields__)
    read = {name for name in sections if re.search(rf"\bparams\.{name}\b", code)}
    if one := re.search(r"params = load_params\(\)\.(\w+)", code):
        read = {one[1]}
    if "params.variant(" in code:
        read |= {"stage2", "variants"}
    if "load_stage2(params" in code:
        read |= {"face_model", "networks", "scenes", "augmentation", "stage1"}
    if "load_evaluation_setup(params" in code:
        read |= {"face_model", "networks", "scenes", "evaluate"}
    if "asdict(params)" in code:
        read = sections
    declared = {param.split(".")[0] for param in body(stage)["params"]}
    assert declared == read


def test_another_test_source_concerns_those_stages_alone_that_evaluate_it():
    named = {stage: {p for p in body(stage)["params"] if p.startswith("evaluate")} for stage in STAGES}
    assert {stage for stage, params in named.items() if "evaluate" in params} == {"evaluate", "methods", "report"}
    assert named["comparison"] == {
        f"evaluate.{key}" for key in EvaluateParams.__dataclass_fields__ if key != "test_sources"
    }
    read = re.findall(r"params\.(evaluate\.\w+)", "\n".join(code_of(notebook_of("robustness"))))
    assert named["robustness"] == set(read)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_notebook(stage):
    command = body(stage)["cmd"]
    variant = {"stage2": " --variant ${key}", "evaluate": " --variant ${key}"}.get(stage, "")
    assert command == f"python -m lib.run {stage}{variant}"


@pytest.mark.parametrize("stage", PIPELINE["stages"])
def test_only_metrics_and_plots_lie_outside_the_cache(stage):
    """DVC skips the run cache for a stage that has any other uncached output."""
    entry = body(stage)
    assert entry["desc"] and all(isinstance(out, str) for out in entry["outs"])
    if stage in STAGES:
        assert f"reports/notebooks/{notebook_of(stage).stem}" in "".join(entry["outs"])
    small = [*entry.get("metrics", []), *entry.get("plots", [])]
    assert all(list(out.values()) == [{"cache": False}] for out in small)
    paths = [next(iter(out)) for out in small]
    assert all(path.startswith(("reports/metrics/summary/", "reports/plots/", "reports/figures/")) for path in paths)


def test_git_has_what_dvc_does_not_keep_and_nothing_else():
    entries = [body(stage) for stage in (*STAGES, PAGES, TEST_PHOTOS)]
    kept = [out.replace("${key}", "full") for entry in entries for out in entry["outs"]]
    small = [next(iter(out)) for entry in entries for out in (*entry.get("metrics", []), *entry.get("plots", []))]
    asked = subprocess.run(["git", "check-ignore", *kept, *small], cwd=ROOT, capture_output=True, text=True)
    assert asked.stdout.split() == kept


def test_trained_regressors_are_artifacts():
    paths = {artifact["path"] for artifact in PIPELINE["artifacts"].values()}
    assert paths == {
        f"data/regressors/{name}.safetensors" for name in (STAGE1, *load_params(ROOT / "presets/default.yaml").variants)
    }


def test_a_variants_override_concerns_that_variant_and_what_compares_them():
    assert "variants.${key}" in body("stage2")["params"] and "variants" not in body("stage2")["params"]
    declared = {stage for stage in STAGES if "variants" in body(stage)["params"]}
    assert declared == {"ablations", "robustness", "report"}
    assert not [param for param in body("evaluate")["params"] if param.startswith("variants")]


def test_plots_name_variants_that_exist():
    plots = {name: value for plot in PIPELINE["plots"] if isinstance(plot, dict) for name, value in plot.items()}
    variants = set(load_params(ROOT / "params.yaml").variants)
    for term in ("identity", "batch", "loop", "parameter"):
        assert set(plots[f"{term}_loss"]["y"]) <= {f"reports/plots/stage2/{name}.csv" for name in variants}
    for measure in ("likeness_frontal", "likeness_side", "shape_mean_square", "texture_mean_square"):
        listed = {f"reports/plots/monitors/{name}.csv": measure for name in variants}
        assert plots[measure]["y"].items() <= listed.items()
    # folders need no list: a new variant appears by itself
    for folder in ("reports/plots/stage2", "reports/plots/similarity"):
        assert isinstance(plots[folder]["y"], str)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_clean_and_tell_a_story(notebook):
    content = json.loads(notebook.read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    prose = [cell for cell in content["cells"] if cell["cell_type"] == "markdown"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len(prose) >= 2 and "**Question.**" in "".join(prose[0]["source"])
    assert all(len(cell["source"]) <= 30 for cell in code), "logic belongs in lib"
    assert not [cell for cell in code[1:] if "parameters" in cell["metadata"].get("tags", [])]
