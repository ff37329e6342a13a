"""Figures and tables show what they are given, and give the same bytes twice."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from histograms import histogram
from PIL import Image

from derivations.training_step import ARROWS, STEP, training_step
from lib.core.errors import StudyError
from lib.evaluation import tables
from lib.evaluation.likeness import EDGES
from lib.figures import (
    interval_bars,
    loss_curves,
    save_figure,
    similarity_distributions,
    title_of,
    verification,
)
from lib.figures_faces import face_grid
from lib.report import tables as report_tables


def test_a_grid_shows_each_picture_in_its_place(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
    rows = [[np.tile(colour, (8, 8, 1)) for colour in row] for row in colours]
    path = save_figure(face_grid(rows), tmp_path / "grid.png")
    shown = np.asarray(Image.open(path).convert("RGB"))
    height, width = shown.shape[:2]
    for r in range(2):
        for c in range(2):
            assert (shown[height * (2 * r + 1) // 4, width * (2 * c + 1) // 4] == colours[r, c]).all()


def test_titles_stand_beside_and_above():
    pictures = [[np.zeros((4, 4, 3))] * 3] * 2
    figure = face_grid(pictures, ["a", "b", "c"], ["first", "second"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["first", "a", "b", "c", "second"]
    left, right, *_ = np.transpose([image.get_extent() for image in figure.axes[0].images[:3]])
    titles = [text.get_position()[0] for text in figure.axes[0].texts[1:4]]
    assert np.allclose(titles, (left + right) / 2)


def test_groups_of_rows_stand_apart_under_their_own_titles():
    pictures = [[np.zeros((4, 4, 3))] * 2] * 4
    figure = face_grid(pictures, [["a", "b"], ["c", "d"]], group=2)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "c", "d"]
    tops = [image.get_extent()[3] for image in figure.axes[0].images[::2]]
    assert np.allclose(np.diff(tops), [1.25, 1.25 + 0.1 + 0.3, 1.25])


def test_a_missing_face_is_told_in_its_place():
    figure = face_grid([[np.zeros((4, 4, 3)), None]])
    assert len(figure.axes[0].images) == 1 and [text.get_text() for text in figure.axes[0].texts] == ["no face found"]


def test_a_picture_of_150_pixels_is_shown_as_it_is(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (150, 150, 3), np.uint8)
    path = save_figure(face_grid([[picture, picture]]), tmp_path / "grid.png")
    assert (np.asarray(Image.open(path).convert("RGB"))[:, :150] == picture).all()


def test_legends_do_not_lie_over_what_is_drawn():
    counts = histogram(np.random.default_rng(0).normal(0, 0.2, 500).clip(-1, 1))
    figure = similarity_distributions(counts, counts, {"full": np.full(4, 0.5)}, EDGES)
    figure.canvas.draw()
    legend = figure.axes[0].get_legend().get_window_extent()
    assert legend.y0 >= figure.axes[0].get_window_extent().y1 - 1


@pytest.mark.parametrize("kind", ["distributions", "verification", "losses", "bars"])
def test_plots_are_written_with_the_same_bytes(tmp_path, kind):
    def draw():
        random = np.random.default_rng(0)
        if kind == "distributions":
            values = {name: random.normal(0.4, 0.1, 50).clip(-1, 1) for name in ("stage1", "full")}
            same, different = (histogram(random.normal(m, 0.1, 500).clip(-1, 1)) for m in (0.5, 0.0))
            return similarity_distributions(same, different, values, EDGES)
        if kind == "verification":
            pair = [histogram(random.normal(mean, 0.1, 500).clip(-1, 1)) for mean in (0.5, 0.0)]
            return verification({"dlib": dict(raw=pair, centred=pair, roc=([0, 0.1, 1], [0, 0.9, 1]))}, EDGES)
        if kind == "losses":
            frame = pd.DataFrame(dict(step=[1, 2], identity=[0.5, 0.4], batch=[3, 2], loop=[9, 8], parameter=[5, 4]))
            return loss_curves({"full": frame, "no_batch": frame + 1})
        cell = dict(value=0.5, low=0.4, high=0.6)
        return interval_bars({"stage1": [cell, cell], "mine": [cell, cell]}, ["one", "two"])

    first, second = (save_figure(draw(), tmp_path / folder / "plot.svg").read_bytes() for folder in "ab")
    assert first == second and len(first) > 2_000


def test_means_are_told_in_the_distributions():
    counts = histogram(np.full(10, 0.25))
    figure = similarity_distributions(counts, counts, {"full": np.full(4, 0.5)}, EDGES)
    assert figure.axes[1].get_title(loc="left") == "photograph and render: full (0.50)"


def test_a_variant_of_ones_own_has_a_name():
    assert title_of("no_batch") == "no batch loss" and title_of("my_own_idea") == "my own idea"


def test_the_graph_of_a_step_has_the_names_of_the_code_and_every_term_of_eq_2(tmp_path):
    source = "\n".join(path.read_text() for path in (ROOT / "lib").rglob("*.py"))
    names = {name.split()[0] for name in STEP}
    assert all(re.search(rf"^(def|class) {name}\b", source, re.MULTILINE) for name in names)
    terms = {name for name, to, *_ in ARROWS if to == "total_loss"}
    assert terms == {f"{name}_loss" for name in ("parameter", "identity", "batch_distribution", "loopback")}
    assert {end for start, end, *_ in ARROWS} | {start for start, *_ in ARROWS} == STEP.keys()
    first, second = (save_figure(training_step(), tmp_path / name / "step.svg") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    drawn, kept = (re.findall("<!-- (.*) -->", path.read_text()) for path in (first, ROOT / "docs/training_step.svg"))
    assert drawn == kept, "run python -m derivations.training_step"


@pytest.fixture
def metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "METRICS", tmp_path)
    (tmp_path / "evaluate").mkdir()

    def write(name, value, **more):
        frontal = dict(value=value, low=value - 0.1, high=value + 0.1, n=3)
        content = dict(similarity=dict(all=dict(frontal=frontal))) | more
        (tmp_path / "evaluate" / f"{name}.json").write_text(json.dumps(content))

    return write


def test_comparison_puts_regressors_side_by_side(metrics):
    metrics("stage1", 0.3)
    metrics("full", 0.5, recall=dict(all=dict(top1=dict(value=0.75, low=0.7, high=0.8, n=3))))
    table = tables.comparison_table({name: tables.read_metrics(name) for name in ("stage1", "full")})
    assert list(table.columns) == ["stage1", "full"]
    assert table.loc["similarity of photograph and frontal render"].tolist() == [
        "0.300 [0.200, 0.400]",
        "0.500 [0.400, 0.600]",
    ]
    assert table.loc["top-1 recall"].tolist() == ["", "0.750 [0.700, 0.800]"]
    assert "distance to the true shape, mm" not in table.index
    lines = tables.to_markdown(table).splitlines()
    assert lines[0] == "|  | stage1 | full |" and lines[1] == "| --- | ---: | ---: |" and len(lines) == 2 + len(table)


def test_the_papers_numbers_stand_beside_ours(metrics):
    metrics("full", 0.5)
    row = report_tables.paper_table("full").loc["similarity of photograph and render"]
    assert row["this run"].startswith("0.500") and row["paper"].startswith("0.403")


def test_what_was_not_evaluated_is_named(metrics):
    with pytest.raises(StudyError, match="dvc repro evaluate@full"):
        tables.read_metrics("full")
