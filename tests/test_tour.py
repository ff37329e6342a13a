"""The tour of experiments (docs/experiments.md), command by command."""

import csv
import re
import shutil

import pytest
from documents import commands_of
from pipeline_study import stages_run, study_after_its_first_run

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_after_its_first_run(tmp_path_factory, "tour")[0]


def cached_stages(output):
    """Names of the stages that `dvc repro` takes from its run cache."""
    return set(re.findall(r"Stage '([^']+)' is cached - skipping run", output))


def test_the_tour_of_experiments(study):
    said = {}
    for command in commands_of(study.folder / "docs/experiments.md"):
        if command.startswith("dvc remote add"):
            break  # shared below
        said[command] = study.type(command)
        if command.startswith("dvc queue start"):
            study.wait_for_the_queue()
    reran = stages_run(said["dvc exp run -S stage2.loop_weight=0.2 -n more-loop"])
    assert reran >= {"stage2@full", "evaluate@full", "ablations", "report"}
    assert not reran & {"face_model", "networks", "photos", "stage1", "evaluate_stage1", "methods"}
    assert said["dvc params diff"].split()[-4:] == ["params.yaml", "stage2.loop_weight", "0.07", "0.2"]
    assert "full.similarity" in said["dvc metrics diff"]
    page = (study.folder / "dvc_plots/index.html").read_text()
    for part in ("reports/plots/stage2/full.csv", "reports/plots/similarity/full.csv", "loop_loss"):
        assert part in page
    for revision in ("HEAD", "workspace"):
        assert f'"rev": "{revision}"' in page and f"{revision}_reports_figures_ablations.png" in page
    assert "reports/plots/similarity/full.csv" in page
    names = {"more-loop", "less-loop", "strong-loop"}
    shown = said["make experiments"]
    assert all(name in shown for name in names) and "similarity" in shown and "loop_weight" in shown
    assert max(map(len, shown.splitlines())) <= 120
    table = said["dvc exp show --only-changed --hide-workspace --csv"]
    assert names <= {row["Experiment"] for row in csv.DictReader(table.splitlines())}
    # a run does not forget what a user tried
    assert "Running stage" not in said["dvc repro"] and all(name in said["dvc exp list"] for name in names)


def test_an_experiments_notebooks_come_back_with_it(study):
    def loop_weight():
        """As the executed notebook shows it."""
        text = (study.folder / "reports/notebooks/05_stage2-full.ipynb").read_text()
        return re.search(r"\bloop_weight=([\d.]+)", text)[1]

    def numbers():
        return (study.folder / "reports/metrics/summary/full.json").read_text()

    committed = numbers()
    study.dvc("exp", "apply", "more-loop")
    assert loop_weight() == "0.2" and numbers() != committed
    study.run("git", "checkout", ".")
    study.dvc("checkout")
    assert loop_weight() == "0.07" and numbers() == committed

    # the same by the run cache: parameters that were run before are not run again
    study.set("stage2", loop_weight=0.2)
    said = study.dvc("repro")
    every = {"stage2@full", "evaluate@full", "ablations", "comparison", "report"}
    assert not stages_run(said) and cached_stages(said) >= every
    assert loop_weight() == "0.2" and numbers() != committed
    study.run("git", "checkout", "params.yaml")
    assert not stages_run(study.dvc("repro"))
    assert loop_weight() == "0.07" and numbers() == committed
    assert study.run("git", "status", "--porcelain") == ""


def test_one_variants_own_weight_changed_back_trains_nothing(study):
    study.set("variants", strong_loop={"loop_weight": 0.4})
    assert stages_run(study.dvc("repro", "--dry", "stage2@strong_loop")) == {"stage2@strong_loop"}
    study.set("variants", strong_loop={"loop_weight": 0.5})  # as the tour ran it
    said = study.dvc("repro", "evaluate@strong_loop")
    assert not stages_run(said) and cached_stages(said) == {"stage2@strong_loop", "evaluate@strong_loop"}
    study.run("git", "checkout", ".")
    study.run("git", "clean", "--quiet", "-fd", "reports")
    study.dvc("checkout")
    assert not stages_run(study.dvc("repro"))


def test_results_are_shared_through_a_remote(study):
    commands = commands_of(study.folder / "docs/experiments.md")
    for command in commands[commands.index("dvc remote add --default storage ../storage") :]:
        if command.startswith("dvc pull"):
            for folder in ("data/regressors", ".dvc/cache"):
                shutil.rmtree(study.folder / folder)
        study.type(command)
    assert (study.folder / "data/regressors/full.safetensors").is_file()
    assert list((study.folder / ".dvc/cache/runs").iterdir())
