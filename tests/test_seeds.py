"""Spread over seeds: by hand, and through real DVC experiments of a tiny pipeline."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from lib.core.errors import StudyError
from lib.evaluation.tables import ROWS, SUMMARY
from lib.seeds import difference_table, main, runs_of, spread_table

MEASURE, KEY = next(iter(SUMMARY.items()))
TITLE = ROWS[KEY]


def metrics(value):
    """A summary that holds `value` as its first measure, and one that no table has."""
    return {MEASURE: value, "other": 1.0}


def runs(full, other):
    return {(i, i): dict(full=metrics(a), no_batch=metrics(b)) for i, (a, b) in enumerate(zip(full, other))}


def state(seed, value, steps=5):
    params = dict(stage1=dict(seed=1), stage2=dict(seed=seed, steps=steps), variants=dict(zeal={}, full={}))
    names = ("full", "stage1", "zeal")
    files = {f"reports/metrics/summary/{name}.json": dict(data={name: metrics(value)}) for name in names}
    files["reports/metrics/summary/broken.json"] = dict(error="no JSON")
    return dict(params={"params.yaml": dict(data=params)}, metrics=files)


def shown(head, *experiments):
    chains = [dict(revs=[dict(data=data)]) for data in experiments]
    workspace = dict(rev="workspace", data=head, experiments=None)
    return [workspace, dict(rev="4da078a", data=head, experiments=chains)]


def test_mean_and_deviation_by_hand():
    table = spread_table(runs([0.4, 0.5, 0.6], [0.1, 0.1, 0.1]))
    assert table.loc[TITLE].to_dict() == dict(full="0.500 ± 0.100", no_batch="0.100 ± 0.000")
    assert list(table.index) == [TITLE]


def test_differences_are_taken_seed_by_seed():
    # the seeds differ far more than the regressors do within a seed
    table = difference_table(runs([0.2, 0.5, 0.8], [0.1, 0.4, 0.7]))
    assert table.loc[TITLE, "no_batch"].startswith("-0.100 [-0.100, -0.100] *")
    differences = np.array([-0.1, 0.1, 0.3])
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    table = difference_table(runs([0.5, 0.5, 0.5], 0.5 + differences))
    assert table.loc[TITLE, "no_batch"] == f"+0.100 [{low:+.3f}, {high:+.3f}]"


def test_what_a_run_lacks_is_left_blank():
    several = runs([0.5, 0.6], [0.5, 0.6])
    del several[1, 1]["no_batch"]
    assert spread_table(several).loc[TITLE, "no_batch"] == ""
    assert difference_table(several).loc[TITLE, "no_batch"] == ""
    several = runs([0.5, 0.6], [0.5, 0.6])
    del several[1, 1]["full"][next(iter(several[1, 1]["full"]))]
    assert spread_table(several).loc[TITLE, "full"] == difference_table(several).loc[TITLE, "no_batch"] == ""


def test_experiments_that_differ_by_more_than_seeds_do_not_count():
    experiments = shown(state(1, 0.5), state(3, 0.7), state(2, 0.6), state(2, 0.9, steps=6), None)
    found = runs_of(experiments)
    assert list(found) == [(1, 1), (1, 2), (1, 3)]
    assert spread_table(found).loc[TITLE, "full"] == "0.600 ± 0.100"
    assert list(found[1, 1]) == ["stage1", "zeal", "full"]


def test_one_run_has_no_spread():
    with pytest.raises(StudyError, match=r"hold 1 run\(s\)"):
        runs_of(shown(state(1, 0.5), state(1, 0.5), state(2, 0.5, steps=6)))


def test_real_experiments_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")

    def run(*command):
        subprocess.run(command, check=True, capture_output=True)

    def dvc(*arguments):
        run(sys.executable, "-m", "dvc", *arguments)

    work = (
        "import json, sys\nfrom ruamel.yaml import YAML\n"
        "seed = YAML(typ='safe').load(open('params.yaml'))['stage2']['seed']\n"
        f"text = {json.dumps(json.dumps(dict(full=metrics(0.125), no_batch=metrics(0.25))))}\n"
        "for name, content in json.loads(text.replace('0.', f'{seed}.')).items():\n"
        "    json.dump({name: content}, open(f'reports/metrics/summary/{name}.json', 'w'))\n"
    )
    (tmp_path / "work.py").write_text(work)
    (tmp_path / "params.yaml").write_text("stage1: {seed: 1}\nstage2: {seed: 1}\nvariants: {full: {}, no_batch: {}}\n")
    (tmp_path / "reports/metrics/summary").mkdir(parents=True)
    outs = [{f"reports/metrics/summary/{name}.json": dict(cache=False)} for name in ("full", "no_batch")]
    stage = dict(cmd="python work.py", params=["stage1", "stage2"], metrics=outs)
    (tmp_path / "dvc.yaml").write_text(json.dumps(dict(stages=dict(evaluate=stage))))
    run("git", "init", "--quiet")
    run("git", "config", "user.email", "test@example.org")
    run("git", "config", "user.name", "test")
    dvc("init")
    dvc("repro")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "-m", "a run")
    dvc("exp", "run", "-n", "seed-3", "-S", "stage2.seed=3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert main([]) == 0
    output = capsys.readouterr().out
    # 1.125 and 3.125
    assert "2 runs, seeds of stage 1/stage 2: 1/1, 1/3" in output and "| 2.125 ± 1.414 | 2.250 ± 1.414 |" in output
    assert "+0.125 [+0.125, +0.125] *" in output
