"""Who the validation people are, what is measured of them, and what a user sees of a run while it goes on."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_world import FEATURES, SHAPE, SIZE, TEXTURE, SmallNetwork, small_face_model

from lib.face_model.model import Coefficients
from lib.recognition.render_centre import centred_on_renders
from lib.rendering.renderer import frontal_scene, render
from lib.training.monitor import MONITOR_YAW, PROGRESS_ROWS, LiveRun, Monitor, progress_pictures, split_validation
from lib.training.regressor import Regressor

PEOPLE = [f"person {i // 2:02d}" for i in range(80)]


@pytest.fixture(scope="module")
def monitor(tmp_path_factory):
    """Four people whose photographs are renders of known faces from the front."""
    model, network = small_face_model(tmp_path_factory.mktemp("model")), SmallNetwork()
    generator = torch.Generator().manual_seed(4)
    shape, texture = (torch.randn(4, n, generator=generator) for n in (SHAPE, TEXTURE))
    images = render(model, Coefficients(shape, texture), frontal_scene(4), network.crop)
    seen = centred_on_renders(network, model)(images)
    pictures = (images[:3] * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    truth = torch.cat([shape, texture], 1)
    return Monitor(seen.features, seen.embedding, pictures, network.crop, model, network), truth


class Knows(torch.nn.Module):
    """A regressor that knows the answers, times a factor."""

    def __init__(self, truth, factor=1.0):
        super().__init__()
        self.truth, self.factor = truth, factor

    def forward(self, features):
        values = self.truth[: len(features)] * self.factor
        return Coefficients(values[:, :SHAPE], values[:, SHAPE:])


def test_validation_people_are_not_trained_on():
    trained, validation = split_validation(PEOPLE, 4)
    assert len(validation) == 4 and len({PEOPLE[i] for i in validation}) == 4
    assert not {PEOPLE[i] for i in validation} & {PEOPLE[i] for i in np.flatnonzero(trained)}
    assert trained.sum() == 80 - 8 and all(PEOPLE[i - 1] != PEOPLE[i] for i in validation if i)


def test_at_most_a_tenth_is_held_out_and_at_least_one():
    assert len(split_validation(PEOPLE, 30)[1]) == 4
    trained, validation = split_validation(["a", "a", "b"], 5)
    assert len(validation) == 1 and 1 <= trained.sum() <= 2
    trained, validation = split_validation(["a", "a"], 5)
    assert trained.all() and list(validation) == [0]


def test_the_choice_depends_on_names_alone():
    order = np.random.default_rng(0).permutation(80)
    shuffled = [PEOPLE[i] for i in order]
    names = {PEOPLE[i] for i in split_validation(PEOPLE, 4)[1]}
    assert {shuffled[i] for i in split_validation(shuffled, 4)[1]} == names


def test_the_true_faces_are_wholly_alike_from_the_front(monitor):
    monitor, truth = monitor
    measured = monitor.measure(Knows(truth))
    assert measured["likeness_frontal"] == pytest.approx(1, abs=1e-5)
    assert measured["shape_mean_square"] == pytest.approx(truth[:, :SHAPE].square().mean().item())
    assert measured["texture_mean_square"] == pytest.approx(truth[:, SHAPE:].square().mean().item())
    exaggerated = monitor.measure(Knows(truth, 2.0))
    assert exaggerated["shape_mean_square"] == pytest.approx(4 * measured["shape_mean_square"])
    assert exaggerated["likeness_frontal"] < measured["likeness_frontal"]


def test_the_side_view_is_a_turned_face(monitor):
    monitor, truth = monitor
    scene = frontal_scene(4)
    scene = replace(scene, angles=torch.tensor([MONITOR_YAW, 0.0, 0.0]).repeat(4, 1))
    images = render(monitor.face_model, Knows(truth)(monitor.features), scene, monitor.network.crop)
    network = centred_on_renders(monitor.network, monitor.face_model)
    expected = (network(images).embedding * monitor.embeddings).sum(1).mean().item()
    assert monitor.measure(Knows(truth))["likeness_side"] == pytest.approx(expected, abs=1e-6)
    assert expected < 1 - 1e-4


def test_curves_and_pictures_of_a_run_grow_and_survive_a_stop(tmp_path, monitor, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor, truth = monitor
    folder, regressor = tmp_path / "live" / "full", Knows(truth)
    plots = tmp_path / "stage2/full.csv", monitor, tmp_path / "monitors/full.csv"
    live = LiveRun(folder, *plots)
    live.start([])
    looks = [live.look(regressor, 0)]
    live.record(dict(step=1, identity=0.5, pictures_per_second=9.0))
    looks.append(live.look(Knows(truth, 0.5), 50))
    live.look(Knows(truth, 3.0), 100)
    assert list(progress_pictures(folder)) == ["photograph", "0", "50", "100"]
    # what DVC plots is there while the run goes on, without times
    assert pd.read_csv(plots[0]).to_dict("list") == dict(step=[1], identity=[0.5])
    assert list(pd.read_csv(plots[2])["step"]) == [0, 50, 100]
    # stopped after step 100, the checkpoint is of step 50
    again = LiveRun(folder, *plots)
    again.start([dict(step=1, identity=0.5, pictures_per_second=9.0)], looks)
    again.record(dict(step=60, identity=0.25, pictures_per_second=8.0))
    pictures = progress_pictures(folder)
    assert list(pictures) == ["photograph", "0", "50"]
    assert np.array_equal(pictures["photograph"], monitor.photographs)
    assert np.array_equal(pictures["0"], monitor.faces(regressor)) and pictures["0"].shape == (3, SIZE, SIZE, 3)
    curve = pd.read_csv(folder / "plots/metrics/identity.tsv", sep="\t")
    assert curve.to_dict("list") == dict(step=[1, 60], identity=[0.5, 0.25])
    likeness = pd.read_csv(folder / "plots/metrics/likeness_frontal.tsv", sep="\t")
    assert list(likeness["step"]) == [0, 50] == list(pd.read_csv(plots[2])["step"])
    assert list(pd.read_csv(plots[0])["step"]) == [1, 60]
    with Image.open(folder / "plots/images/progress.png") as picture:
        assert picture.size == (3 * SIZE, 3 * SIZE)
    page = (folder / "report.html").read_text()
    assert "identity" in page and "progress.png" in page and 'http-equiv="refresh"' in page
    assert json.loads((folder / "metrics.json").read_text())["identity"] == 0.25


def test_a_new_run_forgets_the_old_ones_pictures(tmp_path, monitor, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor, truth = monitor
    for steps in ((0, 50, 100), (0,)):
        live = LiveRun(tmp_path / "live", tmp_path / "a.csv", monitor, tmp_path / "b.csv")
        live.start([])
        for step in steps:
            live.look(Knows(truth), step)
    assert list(progress_pictures(tmp_path / "live")) == ["photograph", "0"]


def test_a_long_run_shows_ten_rows_with_the_first_and_the_last(tmp_path, monitor, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor, truth = monitor
    live = LiveRun(tmp_path / "live", tmp_path / "a.csv", monitor, tmp_path / "b.csv")
    live.start([])
    for step in range(0, 250, 10):
        live.look(Knows(truth), step)
    titles = list(progress_pictures(tmp_path / "live"))
    assert len(titles) == PROGRESS_ROWS + 1 and titles[1] == "0" and titles[-1] == "240"


def test_a_run_without_validation_people_has_curves_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    live = LiveRun(tmp_path / "stage1", tmp_path / "stage1.csv")
    live.start([dict(epoch=1, loss=3.0)])
    live.record(dict(epoch=2, loss=2.0))
    curve = pd.read_csv(tmp_path / "stage1/plots/metrics/loss.tsv", sep="\t")
    assert curve.to_dict("list") == dict(step=[1, 2], loss=[3.0, 2.0])


def test_measuring_leaves_the_regressor_and_chance_alone(monitor):
    monitor, _ = monitor
    torch.manual_seed(0)
    regressor = Regressor(FEATURES, SHAPE, TEXTURE)
    before, chance = {name: value.clone() for name, value in regressor.state_dict().items()}, torch.get_rng_state()
    monitor.measure(regressor), monitor.faces(regressor)
    assert all(torch.equal(value, before[name]) for name, value in regressor.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(parameter.grad is None for parameter in regressor.parameters())
