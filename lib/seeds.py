"""Spread over seeds: `python -m lib.seeds` compares DVC experiments that differ only in their seeds.

    for seed in 2 3; do dvc exp run -n seed-$seed -S stage1.seed=$seed -S stage2.seed=$seed; done
    python -m lib.seeds

Prints mean and standard deviation over the seeds of what `reports/metrics/summary` holds of each regressor, and how far
each of them is from `full`, seed by seed, with the 95 % interval of the mean of these differences (Student's t).
"""

import argparse
import json
import subprocess
import sys
from pathlib import PurePosixPath

import pandas as pd
from scipy import stats

from lib.core.errors import StudyError, command
from lib.core.params import PARAMS_FILE, STAGE1
from lib.evaluation.tables import METRICS, ROWS, SUMMARY, to_markdown

REFERENCE = "full"
SEEDED = ("stage1", "stage2")


def read_experiments():
    """Ask DVC for the commit at HEAD and the experiments that started from it: what `runs_of` takes."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StudyError(f"`dvc exp show` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def runs_of(experiments):
    """Choose the runs, of `dvc exp show --json`, whose parameters are HEAD's but for the seeds of training.

    Returns the summary of each regressor by its name, by the seeds of both stages, ascending.
    """
    head = next(entry for entry in experiments if entry["rev"] != "workspace")
    states = [head["data"]] + [rev["data"] for chain in head["experiments"] or () for rev in chain["revs"]]
    wanted, runs = None, {}
    for state in states:
        if not state:  # an experiment that failed or still runs
            continue
        params = state["params"][PARAMS_FILE]["data"]
        seeds = tuple(params[section]["seed"] for section in SEEDED)
        rest = {name: {**values, "seed": None} if name in SEEDED else values for name, values in params.items()}
        wanted = wanted or rest
        metrics = {}
        for path, file in state["metrics"].items():
            if PurePosixPath(path).parent == PurePosixPath(METRICS, "summary"):
                metrics |= file.get("data", {})
        if rest == wanted and metrics:
            names = (STAGE1, *params["variants"])
            runs.setdefault(seeds, {name: metrics[name] for name in names if name in metrics})
    if len(runs) < 2:
        raise StudyError(
            f"HEAD and its experiments hold {len(runs)} run(s) that differ by the seeds of {' and '.join(SEEDED)} "
            "alone; run more: dvc exp run -n seed-2 -S stage1.seed=2 -S stage2.seed=2"
        )
    return dict(sorted(runs.items()))


def spread_table(runs):
    """Mean and standard deviation over the seeds: a DataFrame of text, a row per measure, a column per regressor."""
    return _table(_numbers(runs), lambda values: f"{values.mean():.3f} ± {values.std():.3f}")


def difference_table(runs):
    """Mean difference of each regressor from `full` at equal seeds, 95 % interval, a star where it leaves zero out."""
    numbers = _numbers(runs)
    return _table(numbers.drop(columns=REFERENCE).sub(numbers[REFERENCE], axis=0), _interval)


def _numbers(runs):
    """All runs' values of each measure, one row after the other, by regressor; NaN: not measured."""
    known = {measure for run in runs.values() for summary in run.values() for measure in summary}
    measures = [measure for measure in SUMMARY if measure in known]
    return pd.concat([pd.DataFrame(run, measures, dtype=float) for run in runs.values()])


def _table(numbers, text):
    cells = numbers.groupby(level=0, sort=False).agg(lambda values: "" if values.isna().any() else text(values))
    return cells.rename(index=lambda measure: ROWS[SUMMARY[measure]])


def _interval(values):
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    star = " *" if abs(mean) > half else ""
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]{star}"


@command()
def main(arguments=None):
    """Print both tables as Markdown; return the exit code."""
    style = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("python -m lib.seeds", description=__doc__, formatter_class=style).parse_args(arguments)
    runs = runs_of(read_experiments())
    seeds = ", ".join("/".join(map(str, each)) for each in runs)
    print(f"{len(runs)} runs, seeds of stage 1/stage 2: {seeds}")
    print(f"\nMean ± standard deviation\n\n{to_markdown(spread_table(runs))}")
    print(f"\nDifference from {REFERENCE}, 95 % interval of its mean\n\n{to_markdown(difference_table(runs))}")


if __name__ == "__main__":
    sys.exit(main())
