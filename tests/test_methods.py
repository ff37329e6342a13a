"""The setup with which all methods are measured, and the decoder that learns from fits."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_world import FEATURES, SHAPE, TEXTURE, SmallNetwork, small_face_model, small_protocol

from lib.baselines import methods
from lib.core.errors import StudyError
from lib.core.params import FitRegressedParams
from lib.core.pictures import to_pictures
from lib.evaluation.distances import SurfaceErrors
from lib.evaluation.protocol import load_evaluation, padded, reconstruct_all
from lib.evaluation.setup import EvaluationSetup
from lib.evaluation.tables import METRICS, ROWS, read_metrics
from lib.face_model.model import Coefficients
from lib.open_model.generator import FaceGenerator
from lib.photos.store import Photographs
from lib.recognition.reader import FeatureReader
from lib.rendering.renderer import frontal_scene, render_meshes
from lib.rendering.scenes import SceneDistribution
from lib.training.regressor import Regressor

PROTOCOL = small_protocol()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """-> the setup and the faces that are on its photographs, two of each of eight people."""
    model, network = small_face_model(tmp_path_factory.mktemp("world")), SmallNetwork()
    generator = torch.Generator().manual_seed(0)
    faces = Coefficients(*(torch.randn(8, n, generator=generator).repeat_interleave(2, 0) for n in (SHAPE, TEXTURE)))
    faces.shape[:, -1] = faces.texture[:, -1] = 0
    fixed = {}, model, network, FeatureReader(network), SceneDistribution(), PROTOCOL, None
    seen = reconstruct_all(EvaluationSetup(None, None, *fixed), faces)
    persons = np.repeat(list("abcdefgh"), 2).astype(object)
    conditions = np.full(16, "", dtype=object)
    photographed = Photographs(torch.zeros(16, FEATURES), seen.frontal, persons, conditions, np.arange(16) + 100)
    people = {person: dict(gender="x" if person < "e" else "y") for person in "abcdefgh"}
    return EvaluationSetup(photographed, photographed, people, *fixed[1:]), faces


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def leading(faces):
    """The faces without their last components, which are zero."""
    return Coefficients(faces.shape[:, :-1], faces.texture[:, :-1])


def test_faces_of_fewer_components_are_padded(world):
    setup, faces = world
    whole = padded(leading(faces), setup.face_model)
    assert torch.equal(whole.shape, faces.shape) and torch.equal(whole.texture, faces.texture)


def test_what_is_measured_is_kept(world):
    setup, faces = world
    methods.evaluate_method(setup, "right", leading(faces))
    kept = load_evaluation("data/methods/right.h5")
    assert kept["rows"].tolist() == list(range(100, 116)) and np.allclose(kept["similarity"], 1, atol=1e-5)
    metrics = read_metrics("right")
    assert METRICS / "methods/right.json" == methods.METRICS / "right.json"
    assert metrics["recall"]["all"]["top1"]["value"] == 1
    assert metrics["groups"]["gender"]["similarity"]["x"]["frontal"]["n"] == 8


def test_a_method_of_few_photographs_stands_beside_the_others_with_its_number(world):
    setup, faces = world
    which = np.array([0, 1, 4, 5])
    methods.evaluate_method(setup, "mean_face", Coefficients(torch.zeros(16, 1), torch.zeros(16, 1)))
    methods.evaluate_method(replace(setup, photographed=setup.photographed[which]), "few", faces[which])
    assert "groups" not in read_metrics("few")  # the four are of one group
    table = methods.method_table({name: read_metrics(name) for name in ("mean_face", "few")})
    assert table.loc["photographs"].tolist() == ["16", "4"]


def test_few_photographs_are_compared_by_what_was_kept(world):
    setup, faces = world
    which = np.array([0, 1, 4, 5])
    errors = SurfaceErrors(np.array(list("abc"), object), np.full(3, "all", object), np.array([1.0, 9.0, 2.0]))
    for name, some in dict(few=which, one=which[2:], others=np.arange(8, 16)).items():
        methods.evaluate_method(replace(setup, photographed=setup.photographed[some]), name, faces[some])
    evaluations = {name: load_evaluation(f"data/methods/{name}.h5") for name in ("few", "one", "others")}
    everything = dict(rows=setup.photographed.rows, frontal=setup.photographed.embeddings, errors=errors)
    everything["pictures"] = np.zeros((16, 2, 2, 3), np.uint8)
    evaluations["single"] = {name: values[:1] for name, values in evaluations["few"].items()}
    table = methods.few_table(setup, dict(all=everything, **evaluations), which)
    assert table.columns.tolist() == ["all", "few", "one", "single"]
    assert table.loc["top-1 recall"].str.startswith("1.000").all()
    # of the people on the four photographs, a and c
    geometry = table.loc[ROWS["geometry.all.mean"]]
    assert geometry["all"].startswith("1.5") and geometry["few"] == geometry["one"] == ""
    rest = table.drop(index=geometry.name)
    assert rest["all"].tolist() == rest["few"].tolist()


def test_the_grid_has_a_place_for_every_face(world):
    setup, faces = world
    pictures = np.arange(2, dtype=np.uint8)[:, None, None, None] + np.zeros((2, 4, 4, 3), np.uint8)
    store = SimpleNamespace(crops={7: "photograph 7", 9: "photograph 9"})
    evaluations = dict(
        all=dict(rows=np.array([7, 9]), pictures=pictures), one=dict(rows=np.array([9]), pictures=pictures)
    )
    (first, _, empty), (second, face, one) = methods.comparison_rows(store, [7, 9], evaluations)
    assert (first, second) == ("photograph 7", "photograph 9")
    assert (empty == methods.EMPTY_GREY).all() and (face == 1).all() and (one == 0).all()


def test_photographs_of_the_first_people_are_chosen():
    """As for the fits that are regressed."""
    rows, persons = np.array([2, 3, 5, 6, 8, 9]), np.array([*"bbbaac"], object)
    crops = Photographs(torch.zeros(6, 1), persons=persons, rows=rows)
    for people, photographs, wanted in ((2, 2, [2, 5, 6, 8]), (9, 9, rows.tolist())):
        chosen = np.isin(crops.persons, np.unique(crops.persons)[:people])
        assert crops[np.flatnonzero(chosen)].at_most(photographs).rows.tolist() == wanted


def test_the_decoder_learns_the_average_of_a_persons_fits(tmp_path):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, FEATURES, generator=generator).repeat_interleave(2, 0)
    persons = np.array([f"{number}" for number in range(20)]).repeat(2).astype(object)
    means = torch.randn(20, SHAPE, generator=generator).repeat_interleave(2, 0)
    # two fits of a person differ by plus and minus one
    spread = torch.tensor([[1.0], [-1.0]]).repeat(20, SHAPE)
    fits = Coefficients(means + spread, torch.zeros(40, TEXTURE))
    torch.manual_seed(0)
    regressor = Regressor(FEATURES, SHAPE, TEXTURE)
    params = FitRegressedParams(
        seed=1,
        people=20,
        photographs_per_person=2,
        epochs=60,
        batch_size=10,
        learning_rate=1e-3,
        weight_decay=0.0,
        shape_weight=1.0,
        texture_weight=1.0,
    )
    crops = Photographs(features)
    history = methods.regress_fits(regressor, crops, persons, fits, params, tmp_path / "run.safetensors")
    taught = regressor(features[:38]).shape
    assert (taught - means[:38]).abs().mean() < 0.1 * spread.abs().mean()
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]


@pytest.mark.parametrize("persons", ["aabbccaab", "abcabcabcabc", "a" * 30 + "b" * 30, "".join("abcdefghij" * 5)])
def test_people_are_held_out_whole(persons):
    persons = np.array(list(persons), object)
    held_out = methods.held_out_people(persons)
    assert 0 < held_out.sum() < len(persons)
    assert not set(persons[held_out]) & set(persons[~held_out])


def test_a_person_alone_is_trained_on():
    assert methods.held_out_people(np.array(["a"] * 3, object)).tolist() == [False, False, True]


def test_an_evaluation_is_found_by_its_name(world):
    setup, faces = world
    methods.evaluate_method(setup, "mean_face", leading(faces))
    assert methods.evaluation_file("mean_face") == Path("data/methods/mean_face.h5")
    for folder in ("data/evaluate", "data/external"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "no_batch.h5").touch()
    with pytest.raises(StudyError, match="two methods are called no_batch"):
        methods.evaluation_file("no_batch")
    with pytest.raises(StudyError, match="mofa has not been evaluated"):
        methods.evaluation_file("mofa")
    (Path("data/external") / "no_batch.h5").unlink()
    assert methods.evaluation_file("no_batch") == Path("data/evaluate/no_batch.h5")


def cell(value, spread=0.01):
    return dict(value=value, low=value - spread, high=value + spread, n=9)


def measured(recall, steady=0.5, n=9):
    return dict(
        recall={"all": dict(top1=cell(recall), random_top1=cell(0.1))},
        similarity={"all": dict(frontal=cell(recall / 2) | dict(n=n))},
        consistency={"all": dict(same=cell(1 - steady))},
        coefficients={"all": dict(shape_within_person=cell(steady))},
    )


def test_conclusions_follow_the_numbers():
    metrics = dict(
        mean_face=measured(0.1, 0.0), full=measured(0.8, 0.2), stage1=measured(0.79, 0.6), few=measured(0.9, n=4)
    )
    for name, distance in dict(mean_face=2.0, full=1.2, stage1=0.9, few=0.5).items():
        metrics[name]["geometry"] = {"all": dict(mean=cell(distance))}
    table = methods.conclusions(metrics | dict(ground_truth=measured(0.95, 0.0)))
    assert table.loc["Most recognisable"].tolist() == ["full", "top-1 recall 0.800 [0.790, 0.810]", "stage 1 only"]
    assert table.loc["Nearest to the true shape"].tolist() == ["stage 1 only", "mm 0.900 [0.890, 0.910]", ""]
    assert table.loc["Steadiest shape"]["method"] == "full"  # the mean face is steady as nobody
    other = dict(mean_face=measured(0.1), full=measured(0.3), stage1=measured(0.6))
    table = methods.conclusions(other)
    assert table["method"]["Most recognisable"] == "stage 1 only" and "Nearest to the true shape" not in table.index


def test_the_true_faces_are_measured_as_every_method_where_they_are_known(world):
    setup, _ = world
    assert methods.evaluate_truth(setup, None, 0) == [] and read_metrics("ground_truth") == {}
    generator = FaceGenerator("light")
    persons = np.repeat([f"person-{number:04d}" for number in range(8)], 2).astype(object)
    people = [generator.person(np.random.default_rng([5, number])) for number in range(8)]
    frontal = methods.evaluate_truth(
        replace(setup, photographed=replace(setup.photographed, persons=persons)), generator, 5
    )
    assert frontal == ["ground_truth"]
    kept = load_evaluation(methods.evaluation_file("ground_truth"))
    assert np.allclose(kept["frontal"][::2], kept["frontal"][1::2], atol=1e-5)
    image = render_meshes(
        torch.from_numpy(people[3].vertices)[None],
        torch.from_numpy(people[3].albedo)[None],
        torch.as_tensor(generator.triangles),
        generator.alignment_vertices,
        frontal_scene(1),
        setup.reader.network.crop,
    )
    np.testing.assert_allclose(kept["pictures"][6], to_pictures(image)[0], atol=1)
    metrics = read_metrics("ground_truth")
    assert metrics["consistency"]["all"]["same"]["value"] == pytest.approx(1, abs=1e-3)  # of bins
    assert "geometry" not in metrics and "coefficients" not in metrics


def test_skin_is_compared_with_the_true_faces_in_the_same_light(world):
    setup, _ = world
    rows, plain = setup.photographed.rows, np.full((len(setup.photographed), 20, 20, 3), 200, np.uint8)
    darker = plain.copy()
    darker[:, 9:11, 9:11] = 100
    darker[:, :5] = 0  # hair and forehead do not count
    kept = {methods.TRUTH: dict(rows=rows, pictures=plain), "same": dict(rows=rows, pictures=plain)}
    kept["few"] = dict(rows=rows[2:4], pictures=darker[2:4])
    skin = methods.skin_differences(setup, kept)
    assert list(skin) == ["same", "few"] and skin["same"]["value"] == 0 and skin["same"]["n"] == len(rows)
    assert 1 < skin["few"]["low"] == pytest.approx(skin["few"]["high"]) and skin["few"]["n"] == 2
    assert methods.skin_differences(setup, {"same": kept["same"]}) == {}
