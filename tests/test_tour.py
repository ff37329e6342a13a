"""The tour of experiments (docs/experiments.md), command by command."""

import csv
import sys

import pytest
from documents import commands_of
from pipeline_study import stages_run, study_after_its_first_run

pytestmark = pytest.mark.pipeline


def test_the_tour_of_experiments(tmp_path_factory):
    study, _ = study_after_its_first_run(tmp_path_factory, "tour")
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
