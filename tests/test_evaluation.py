"""The protocol on a small world: known faces give known numbers."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model, small_protocol

from lib.core.tensors import write_json
from lib.evaluation import distances
from lib.evaluation.bootstrap import resample_people
from lib.evaluation.distances import AveragedShapes, SurfaceErrors, component_columns, true_coefficients
from lib.evaluation.protocol import (
    Reconstructed,
    evaluate_faces,
    evaluate_pictures,
    load_evaluation,
    reconstruct_all,
    save_evaluation,
)
from lib.evaluation.setup import EvaluationSetup
from lib.evaluation.tables import (
    PAIRED,
    ROWS,
    comparison_table,
    group_measures,
    group_table,
    leaves,
    long_table,
    look_up,
    metrics_table,
    read_metrics,
)
from lib.face_model.model import Coefficients
from lib.figures import group_intervals
from lib.photos.people import GroundTruth, load_truth
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.scenes import SceneDistribution
from lib.report.tables import paper_table
from lib.training.losses import moments_of

PROTOCOL = small_protocol(bootstrap_samples=60, photographs_per_person=3, geometry_people=4)
PERSONS = np.repeat(np.array(list("abcdefgh"), object), 2)
CONDITIONS = np.tile(np.array(["indoor", "outdoor"], object), 8)
PEOPLE = {person: dict(gender="female" if person < "e" else "male") for person in "abcdefgh"}


def photographed_as(embeddings, persons=PERSONS, conditions=CONDITIONS):
    return Photographs(torch.zeros(len(persons), 1), embeddings, persons, conditions, np.arange(len(persons)))


def setup_of(model, network, photographed=None, truth=None, people=None):
    world = model, network, FeatureReader(network), SceneDistribution()
    return EvaluationSetup(photographed, photographed, people or {}, *world, PROTOCOL, truth)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    model, network = small_face_model(tmp_path_factory.mktemp("world")), SmallNetwork()
    generator = torch.Generator().manual_seed(0)
    faces = Coefficients(*(torch.randn(8, n, generator=generator).repeat_interleave(2, 0) for n in (SHAPE, TEXTURE)))
    reconstructed = reconstruct_all(setup_of(model, network), faces)
    return model, network, faces, reconstructed


@pytest.fixture(scope="module")
def truth(tmp_path_factory, world):
    """The true faces of four people are those of their coefficients."""
    import h5py

    model, _, faces, _ = world
    path = tmp_path_factory.mktemp("truth") / "truth.h5"
    with h5py.File(path, "w") as file:
        file["persons"], file["triangles"] = list("abcd"), model.triangles.numpy()
        file["vertices"] = model.vertices(faces.shape[:8:2]).numpy()
    return load_truth(path, 4)


@pytest.fixture(scope="module")
def metrics(world, truth):
    """Of faces that are the truth, for photographs that are alike to their renders."""
    model, network, faces, reconstructed = world
    photographed = photographed_as(reconstructed.frontal)
    return evaluate_faces(setup_of(model, network, photographed, truth, PEOPLE), faces)[0]


def test_true_coefficients_are_found_again_and_correlate(world, truth, monkeypatch):
    model, _, faces, _ = world
    assert torch.allclose(true_coefficients(model, truth).float(), faces.shape[:8:2], atol=1e-3)
    monkeypatch.setattr(distances, "COMPONENT_GROUPS", ((0, 2), (2, 4), (4, 50)))
    shape, persons, conditions = faces.shape[:8:2].clone(), np.array([*"abcd"], object), np.full(4, "all", object)
    shape[:, 2:4] *= -3
    resampling = resample_people(persons, 50, 1)
    columns = component_columns(AveragedShapes(persons, conditions, shape), model, truth, resampling)
    assert columns["1_2"]["value"] == pytest.approx(1, abs=1e-4) and columns["1_2"]["n"] == 4
    assert columns["3_4"]["value"] == pytest.approx(-1, abs=1e-4) and columns.keys() == {"1_2", "3_4"}
    # to one side of the mean face only, scaled: the same correlation
    shifted = AveragedShapes(persons, conditions, 0.5 * shape + 2)
    again = component_columns(shifted, model, truth, resampling)
    assert again["1_2"]["value"] == pytest.approx(columns["1_2"]["value"], abs=1e-4)


def test_further_judges_have_tables_of_their_own(world):
    """The same render under two judges; a second one whose photographs are other people's than the first one's."""
    model, network, faces, reconstructed = world
    swapped = np.roll(reconstructed.frontal, 2, 0)  # each photograph looks like the next person's
    photographed = replace(photographed_as(reconstructed.frontal), judged=dict(second_judge=swapped))
    setup = replace(setup_of(model, network, photographed), further_judges=dict(second_judge=network))
    metrics, seen = evaluate_faces(setup, faces)
    assert np.allclose(seen.judged["second_judge"], seen.frontal, atol=1e-6)
    second, first = metrics["second_judge"], {name: table for name, table in metrics.items() if name != "second_judge"}
    assert first == evaluate_faces(setup_of(model, network, photographed), faces)[0]
    assert first["recall"]["all"]["top1"]["value"] == 1 and second["recall"]["all"]["top1"]["value"] == 0
    cosines = (swapped * seen.frontal).sum(1)
    assert second["similarity"]["all"]["frontal"]["value"] == pytest.approx(cosines.mean(), abs=1e-5)
    assert second["similarity"].keys() == {"all", "indoor", "outdoor"}
    assert not second.keys() & {"groups", "geometry", "coefficients"}
    # some of the photographs alone: embeddings go with them
    some = np.arange(4, 10)
    few, _ = evaluate_faces(replace(setup, photographed=photographed[some]), faces[some])
    assert few["second_judge"]["similarity"]["all"]["frontal"]["value"] == pytest.approx(cosines[some].mean(), abs=1e-5)


def test_a_perfect_likeness(metrics):
    similarity = metrics["similarity"]["all"]
    assert similarity["frontal"]["value"] == pytest.approx(1, abs=1e-5)
    assert similarity["random_scene"]["value"] < 1 and similarity["side"]["value"] < 1
    assert metrics["recall"]["all"]["top1"]["value"] == 1
    assert metrics["earth_movers_distance"]["all"]["same"]["value"] < 2e-3
    assert metrics["recall"]["all"]["random_top1"]["value"] == pytest.approx(2 / 16)
    assert metrics["consistency"]["all"]["same"]["value"] == pytest.approx(1, abs=1e-3)
    assert metrics["geometry"]["all"]["mean"]["value"] < 0.05 and metrics["geometry"]["all"]["mean"]["n"] == 4


def test_every_condition_and_group_has_its_row(metrics):
    for table in ("similarity", "earth_movers_distance", "recall", "coefficients", "exaggeration", "geometry"):
        assert list(metrics[table]) == ["all", "indoor", "outdoor"]
    assert metrics["similarity"]["indoor"]["frontal"]["n"] == 8
    gender = metrics["groups"]["gender"]
    assert list(gender["similarity"]) == ["female", "male"]
    assert gender["geometry"].keys() == {"female"}, "nobody's true face is known among the others"
    assert gender["recall"]["female"]["top1"]["n"] == 8


def test_every_number_lies_within_its_interval(metrics):
    found = list(leaves(metrics))
    assert len(found) > 100
    for path, leaf in found:
        kept = {"draws"} if ".".join(path) in PAIRED else set()
        assert leaf.keys() == {"value", "low", "high", "n"} | kept, path
        assert leaf["low"] - 1e-6 <= leaf["high"] and leaf["n"] >= 1, path
        if path[-1] not in ("same_below", "different_above"):  # steps of a few pairs
            assert leaf["low"] - 2e-3 <= leaf["value"] <= leaf["high"] + 2e-3, path


def test_a_wrong_likeness(world):
    reconstructed = world[3]
    metrics = evaluate_pictures(
        setup_of(*world[:2], photographed_as(np.roll(reconstructed.frontal, 2, axis=0))), reconstructed
    )
    assert metrics["recall"]["all"]["top1"]["value"] == 0
    distance = metrics["earth_movers_distance"]["all"]
    assert distance["different"]["value"] < distance["same"]["value"]


def test_shares_of_pairs_beyond_the_mean_by_hand():
    """Two people of two photographs each; renders at 60 degrees from the first photograph of each."""
    angles = np.radians([0, 30, 100, 170])
    photographs = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    renders = np.stack([np.cos(angles + np.radians(60)), np.sin(angles + np.radians(60))], 1).astype(np.float32)
    photographed = photographed_as(photographs, np.array(list("aabb"), object), np.full(4, "", object))
    metrics = evaluate_pictures(setup_of(None, SmallNetwork(), photographed), Reconstructed(renders, None, {}))
    row = metrics["similarity"]["all"]
    assert row["frontal"]["value"] == pytest.approx(0.5, abs=1e-6)
    # pairs of one person: 30 and 70 degrees; of two: 100, 170, 70, 140
    assert (row["same_below"]["value"], row["different_above"]["value"]) == (0.5, 0.0)
    assert metrics["photographs"]["all"]["same"]["value"] == pytest.approx(
        np.cos(np.radians([30, 70])).mean(), abs=1e-3
    )
    assert row["same_below"]["n"] == 2 and row["different_above"]["n"] == 4
    assert set(metrics) == {"photographs", "similarity", "earth_movers_distance", "recall", "consistency"}


def test_unlabelled_photographs_have_fewer_measures(world):
    reconstructed = world[3]
    persons = np.array([f"{n:02}" for n in range(16)], object)
    photographed = photographed_as(reconstructed.frontal, persons, np.full(16, "", object))
    metrics = evaluate_pictures(setup_of(*world[:2], photographed), reconstructed)
    assert list(metrics["similarity"]) == ["all"]
    assert metrics["earth_movers_distance"]["all"].keys() == {"different"}
    assert "same_below" not in metrics["similarity"]["all"] and metrics["photographs"]["all"].keys() == {"different"}
    assert "shape_within_person" not in metrics["coefficients"]["all"]


def test_coefficients_are_measured_as_the_losses_do(metrics, world):
    measured = metrics["coefficients"]["all"]
    for name, value in moments_of(world[2]).items():
        if name.endswith("_rank"):
            continue
        assert measured[name]["value"] == pytest.approx(value, rel=1e-4)
    assert measured["shape_within_person"]["value"] == pytest.approx(0, abs=1e-6)


def test_random_coefficients_vary_as_much_within_a_person(world, generator):
    faces = Coefficients(torch.randn(400, 3, generator=generator), torch.randn(400, 3, generator=generator))
    embeddings = torch.nn.functional.normalize(torch.randn(400, 4, generator=generator), dim=1).numpy()
    reconstructed = Reconstructed(embeddings, None, {}, faces)
    photographed = photographed_as(embeddings, np.repeat(np.arange(200), 2).astype(object), np.full(400, "", object))
    metrics = evaluate_pictures(setup_of(*world[:2], photographed), reconstructed)
    share = metrics["coefficients"]["all"]["shape_within_person"]
    assert share["value"] == pytest.approx(1, abs=0.1) and share["low"] < 1 < share["high"] + 0.1


def test_caricatures_are_farther_from_the_mean_face(world):
    model, network, faces, reconstructed = world
    grown = Coefficients(3 * faces.shape, 3 * faces.texture)
    flat = Coefficients(0 * faces.shape, 0 * faces.texture)
    exaggerated, mean = (reconstruct_all(setup_of(model, network), one).distances for one in (grown, flat))
    assert exaggerated.mean() > 1.5 * reconstructed.distances.mean()
    assert mean == pytest.approx(0, abs=1e-4)
    assert 0.5 < reconstructed.distances.mean() < 2


def test_photographs_are_limited_evenly_and_keep_their_rows():
    persons = np.array(list("aaaaaabb"), object)
    everything = photographed_as(np.eye(8), persons, np.array(list("xxyyzzxy"), object))
    kept = everything.at_most(3)
    assert kept.rows.tolist() == [1, 3, 5, 6, 7] and kept.conditions.tolist() == list("xyzxy")
    assert (kept.embeddings == np.eye(8)[kept.rows]).all() and len(kept.features) == 5
    assert everything.at_most(10).rows.tolist() == list(range(8))


def test_evaluation_is_kept(tmp_path, world):
    _, _, faces, reconstructed = world
    photographed = replace(photographed_as(reconstructed.frontal), rows=np.arange(16) + 5)
    errors = SurfaceErrors(
        *(np.array(names, object) for names in (["a", "b"], ["all", "dark"])), np.array([0.5, np.nan])
    )
    save_evaluation(tmp_path / "e.h5", photographed, replace(reconstructed, errors=errors), {"other": np.ones(3)})
    kept = load_evaluation(tmp_path / "e.h5")
    assert (kept["pictures"] == reconstructed.pictures).all() and kept["pictures"].dtype == np.uint8
    assert np.allclose(kept["coefficients"], faces.cat().numpy()) and np.allclose(kept["similarity"], 1, atol=1e-5)
    assert kept["rows"].tolist() == list(range(5, 21)) and (kept["frontal"] == reconstructed.frontal).all()
    assert all(np.array_equal(one[:1], other[:1]) for one, other in zip(kept["errors"], errors))
    assert kept["sources"]["other"].tolist() == [1, 1, 1]
    assert (
        kept["errors"].conditions[1] == "dark"
        and np.isnan(kept["errors"].distances[kept["errors"].persons == "b"]).all()
    )
    save_evaluation(tmp_path / "p.h5", photographed, replace(reconstructed, coefficients=None))
    assert not {"coefficients", "errors"} & set(load_evaluation(tmp_path / "p.h5"))


@pytest.fixture
def written(tmp_path, monkeypatch, metrics):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/metrics/evaluate").mkdir(parents=True)
    for name in ("full", "stage1"):
        write_json(f"reports/metrics/evaluate/{name}.json", metrics)
    return metrics


def test_the_long_table_has_every_number(written):
    table = long_table(["stage1", "full"])
    assert list(table.columns) == ["table", "row", "column", "method", "value", "low", "high", "n"]
    assert len(table) == 2 * len(list(leaves(written)))
    row = table[(table["table"] == "groups.gender.recall") & (table["row"] == "male") & (table["column"] == "top1")]
    assert row["method"].tolist() == ["stage1", "full"] and row["value"].tolist() == [1, 1]


def test_tables_show_what_was_measured(written):
    table = comparison_table({name: read_metrics(name) for name in ("stage1", "full")})
    assert table.loc["top-1 recall", "full"] == "1.000 [1.000, 1.000]"
    assert "… from cooperative photographs" not in table.index and "… from indoor photographs" in table.index
    assert paper_table("full").loc["top-1 recall", "this run"] == "1.000 [1.000, 1.000]"
    assert len({title for title in ROWS.values()}) == len(ROWS)
    shown = metrics_table(written, ("similarity", "nothing"))
    assert shown.loc[("similarity", "frontal"), "indoor"].startswith("1.000")
    groups = group_table(written)
    assert groups.loc[("gender", "female"), "photographs"] == 8
    assert groups.loc[("gender", "male"), "distance to the true shape, mm"] == ""
    assert look_up(written, "similarity.nowhere.frontal") is None


def test_the_figure_of_groups_shows_each_of_them(metrics):
    figure = group_intervals(*group_measures(metrics))
    axes = np.array(figure.axes).reshape(1, 3)
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["female", "male"]
    assert [axis.get_title() for axis in axes[0]] == ["similarity", "top-1 recall", "distance to the true shape, mm"]
    # the line of all people, and a bar and a dot for each group that was measured
    assert [len(axis.lines) for axis in axes[0]] == [5, 5, 3]


def documented_keys():
    """Return table.column of each row of the tables in docs/metrics.md."""
    # the numbers of the stress test are in a file and a chapter of their own
    text = (ROOT / "docs/metrics.md").read_text().split("\n# The stress test")[0]
    keys, table = set(), ""
    for line in text.splitlines():
        table = match[1] if (match := re.match(r"#+ `(\w+)`", line)) else table
        keys |= (
            {f"{table}.{name}" for name in re.findall(r"`(\w+)`", line.split("|")[1])} if line[:3] == "| `" else set()
        )
    return keys


def test_the_documentation_names_exactly_the_keys_that_are_written(metrics):
    written = {f"{table}.{column}" for (*_, table, _, column), _ in leaves(metrics)}
    # of regressors alone: test_loopback.py
    assert written | {"loopback.shape", "loopback.texture"} == documented_keys()


def test_people_without_truth_do_not_count(world):
    truth = GroundTruth(None, ())
    model, network, faces, reconstructed = world
    photographed = photographed_as(reconstructed.frontal)
    metrics, _ = evaluate_faces(setup_of(model, network, photographed, truth), faces)
    assert "geometry" not in metrics
