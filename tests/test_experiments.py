"""The table of experiments: what is shown, under which names."""

import pandas as pd

from lib.experiments import experiment_table

PREFIX = "reports/metrics/evaluate/full.json:"


def row(name, loop_weight, similarity, **more):
    values = {"Experiment": name, "rev": "0123456789abcdef", "stage2.loop_weight": loop_weight, "stage2.views": 3}
    values |= {f"{PREFIX}similarity.frontal.value": similarity, f"{PREFIX}similarity.frontal.low": 0.1}
    values["reports/metrics/evaluate/no_batch.json:similarity.frontal.value"] = 0.9
    return values | more


def test_parameters_that_differ_and_named_measures():
    table = experiment_table([row(None, 0.07, 0.50512), row("more-loop", 0.2, 0.51)])
    assert list(table.columns) == ["loop_weight", "similarity"]
    assert list(table.index) == ["0123456789ab", "more-loop"]
    assert list(table["loop_weight"]) == [0.07, 0.2] and list(table["similarity"]) == [0.505, 0.51]


def test_another_variant_and_names_that_would_be_alike():
    ablation = {"variants.strong_loop.loop_weight": 0.5}
    rows = [row(None, 0.07, 0.5, **{name: "None" for name in ablation}), row("strong", 0.1, 0.5, **ablation)]
    table = experiment_table(rows, "no_batch")
    assert list(table.columns) == ["stage2.loop_weight", "strong_loop.loop_weight", "similarity"]
    assert pd.isna(table["strong_loop.loop_weight"].iloc[0]) and list(table["similarity"]) == [0.9, 0.9]


def test_a_run_that_is_not_finished_has_no_numbers_yet():
    table = experiment_table([row(None, 0.07, 0.5), row("running", 0.2, "!")])
    assert pd.isna(table.loc["running", "similarity"])


def test_names_are_plain_where_dvc_has_one_file_only():
    rows = [{"Experiment": None, "rev": "a" * 40, "stage2.views": 3, "recall.top1.value": 0.8}]
    assert list(experiment_table(rows).columns) == ["top-1"]
