"""The experiments of this repository in a table that fits a terminal: `python -m lib.experiments`.

DVC's own `dvc exp show` has a column for each of some hundred parameters and measures; here are those parameters that
differ among the experiments, and the measures of section 4 of one variant.
"""

import argparse
import re
import shutil
import sys

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException

MEASURES = {
    "similarity": r"similarity\.(all\.)?frontal\.value",
    "random pose": r"similarity\.(all\.)?random_scene\.value",
    "top-1": r"recall\.(all\.)?top1\.value",
    "top-5": r"recall\.(all\.)?top5\.value",
    "mm": r"geometry\.(error|all\.mean)\.value",
    "texture variance": r"coefficients\.(all\.)?texture_variance(\.value)?",
}
"""Title of each column, and the names of the measure in the metrics of `evaluate`."""

SECTIONS = r"(face_model|networks|photos|scenes|stage1|stage2|variants|evaluate)\."
DIGITS = 3


def experiment_table(rows, variant="full"):
    """Choose the columns that tell experiments apart.

    Parameters
    ----------
    rows : list of dict
        As `dvc.api.exp_show` gives them: the workspace, commits, and the experiments that began at each.
    variant : str
        Whose measures are shown.

    Returns
    -------
    DataFrame
        One row a workspace, commit or experiment, in the order of `rows`; parameters that are equal in all rows and
        measures that none has are left out.
    """
    # DVC writes None where a commit does not have a parameter
    frame = pd.DataFrame(rows, dtype=object).replace("None", None)
    names = [row["Experiment"] or row["rev"][:12] for row in rows]
    kept = {}
    parameters = [name for name in frame if re.match(SECTIONS, name)]
    shorts = [name.rpartition(".")[2] for name in parameters]
    for name, short in zip(parameters, shorts):
        if frame[name].nunique(dropna=False) > 1:
            kept[name.removeprefix("variants.") if shorts.count(short) > 1 else short] = frame[name]
    for title, pattern in MEASURES.items():
        wanted = re.compile(rf"(.*[/\\]evaluate[/\\]{re.escape(variant)}\.json:)?{pattern}")
        for name in filter(wanted.fullmatch, frame.columns):
            # a run that is not finished has a mark in place of its numbers
            kept[title] = pd.to_numeric(frame[name], errors="coerce").round(DIGITS)
    return pd.DataFrame(kept).set_axis(names)


def main(arguments=None):
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib.experiments", description=__doc__.split("\n")[0])
    parser.add_argument("--variant", default="full", help="whose measures are shown (default: %(default)s)")
    parser.add_argument("--commits", type=int, default=1, help="of how many of the last commits (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    try:
        rows = dvc.api.exp_show(num=chosen.commits)
    except DvcException as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # what is wider than the terminal goes on below
    width = shutil.get_terminal_size(fallback=(120, 24)).columns
    print(experiment_table(rows, chosen.variant).fillna("").to_string(line_width=width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
