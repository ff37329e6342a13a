"""Both stages on a small world: every loss arrives, training helps, and a stopped run goes on bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from small_world import EMBEDDING, FEATURES, SHAPE, TEXTURE, SmallNetwork, small_face_model

from lib.core.errors import StudyError
from lib.core.params import load_params
from lib.core.processes import best_precision
from lib.core.tensors import MappedRows, load_tensors, save_tensors
from lib.face_model.model import Coefficients
from lib.photos.store import Photographs
from lib.recognition.dlib import DlibNetwork
from lib.recognition.facenet import FaceNetNetwork
from lib.recognition.mobilenet import SFaceNetwork
from lib.recognition.network import IdentityNetwork
from lib.recognition.reader import FeatureReader
from lib.rendering.renderer import render, sample_scenes
from lib.rendering.scenes import SceneDistribution
from lib.training.augmentation import Augmentation, Looks
from lib.training.losses import identity_loss, loopback_loss
from lib.training.metric import SHAPE_RIDGE, front_colour, front_metric, posterior_map
from lib.training.regressor import Regressor
from lib.training.stage1 import SyntheticFaces, make_faces_of_stage1, make_synthetic_faces, train_stage1
from lib.training.stage2 import Stage2Batch, Stage2Inputs, _some_of, draw_batch, stage2_losses, train_stage2

PARAMS = load_params(ROOT / "params.yaml")
STAGE1 = replace(PARAMS.stage1, faces=120, epochs=6, batch_size=16)
STAGE2 = replace(PARAMS.stage2, steps=6, photographs=3, distribution_batch=8, synthetic_faces=8, checkpoint_steps=2)


class Killed(Exception):
    """Stands for the power cut."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model, network = small_face_model(folder), SmallNetwork()
    reader, scenes = FeatureReader(network), SceneDistribution()
    synthetic = make_synthetic_faces(model, reader, STAGE1.faces, 1, scenes, folder / "pairs")
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.nn.functional.normalize(torch.randn(20, EMBEDDING, generator=generator), dim=1)
    photographs = Photographs(synthetic.features[:20] + 0.01, embeddings)
    return Stage2Inputs(model, reader, photographs, synthetic, scenes)


@pytest.fixture
def regressor(world):
    torch.manual_seed(0)
    result = Regressor(FEATURES, SHAPE, TEXTURE)
    result.standardise(world.synthetic.features)
    return result


def copy_of(regressor):
    result = Regressor(FEATURES, SHAPE, TEXTURE)
    result.load_state_dict(regressor.state_dict())
    return result


def equal(a, b):
    return all(torch.equal(a.state_dict()[name], b.state_dict()[name]) for name in a.state_dict())


def reproducible(history):
    """All entries without the speed, the only number that chance has a part in."""
    entries = history if isinstance(history, list) else history["losses"] + history["monitors"]
    return [{name: value for name, value in entry.items() if not name.endswith("per_second")} for entry in entries]


def batch_of(world):
    scene = sample_scenes(6, torch.Generator().manual_seed(2), world.distribution)
    return Stage2Batch(world.photographs, slice(0, 2), world.synthetic[:8], scene)


def test_regressor_is_the_papers_decoder():
    regressor = Regressor(256)
    sizes = [(layer.in_features, layer.out_features) for layer in regressor.layers if hasattr(layer, "in_features")]
    assert sizes == [(256, 1024), (1024, 1024), (1024, 398)]
    coefficients = regressor(torch.zeros(3, 256))
    assert coefficients.shape.shape == (3, 199) and coefficients.texture.shape == (3, 199)


def test_regressor_standardises_its_features(generator):
    regressor = Regressor(4, 2, 2)
    features = 3 + 2 * torch.randn(500, 4, generator=generator)
    regressor.standardise(features)
    scaled = (features - regressor.feature_mean) / regressor.feature_deviation
    assert torch.allclose(scaled.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(scaled.std(0), torch.ones(4), atol=1e-5)


def test_regressor_round_trip(tmp_path, regressor):
    regressor.save(tmp_path / "r.safetensors")
    assert equal(regressor, Regressor.load(tmp_path / "r.safetensors"))
    save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"feature_dimension": 3})
    with pytest.raises(StudyError, match="no regressor"):
        Regressor.load(tmp_path / "other.safetensors")


def test_synthetic_faces_are_made_once_and_grow(tmp_path, world, monkeypatch):
    monkeypatch.setattr("lib.training.stage1.FACES_PER_SHARD", 20)
    model, network, distribution = world.face_model, world.reader.network, world.distribution
    folder = tmp_path / "pairs"
    first = make_synthetic_faces(model, FeatureReader(network), 40, 1, distribution, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    more = make_synthetic_faces(model, FeatureReader(network), 60, 1, distribution, folder)
    assert torch.equal(more.features[:40], first.features) and len(more) == 60
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    again = make_synthetic_faces(model, FeatureReader(network), 60, 1, distribution, tmp_path / "elsewhere")
    assert torch.equal(again.features, more.features)
    assert torch.equal(again.coefficients.shape, more.coefficients.shape)
    for scenes, looks in ((SceneDistribution(yaw_degrees=0.0), None), (distribution, Looks(expression=1.0))):
        other = make_synthetic_faces(model, FeatureReader(network), 40, 1, scenes, folder, looks=looks)
        assert not torch.equal(other.features, first.features)
        assert torch.equal(other.coefficients.shape, first.coefficients.shape)


@pytest.mark.parametrize(("faces", "second_faces"), [(80, 64), (64, 80), (64, 64)])
def test_faces_of_stage_1_that_two_networks_read_are_rendered_once(tmp_path, world, faces, second_faces):
    params = replace(STAGE1, faces=faces, second_faces=second_faces)
    given = world.face_model, world.reader.network, SmallNetwork(), params, world.distribution, Augmentation(), tmp_path
    alone, both = make_faces_of_stage1(*given)
    assert (len(alone), len(both)) == (faces, second_faces)
    shared, size = min(faces, second_faces), world.reader.network.feature_dimension
    assert alone.features.shape[1] == size < both.features.shape[1]
    assert torch.equal(alone.features[:shared], both.features[:shared, :size])
    assert torch.equal(alone.coefficients.cat()[:shared], both.coefficients.cat()[:shared])
    assert len(alone.coefficients.shape.unique(dim=0)) == faces


def test_synthetic_faces_are_standard_normal_and_shape_is_independent_of_texture(world):
    synthetic = world.synthetic
    for values in (synthetic.coefficients.shape, synthetic.coefficients.texture):
        assert abs(values.mean()) < 0.15 and abs(values.var() - 1) < 0.25
    assert not torch.equal(synthetic.coefficients.shape[:, 0], synthetic.coefficients.texture[:, 0])


def test_stage1_learns_synthetic_faces(tmp_path, world, regressor):
    history = train_stage1(regressor, world.synthetic, replace(STAGE1, epochs=25), tmp_path / "run")
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    with torch.no_grad():
        predicted = regressor(world.synthetic.features).shape
    true = world.synthetic.coefficients.shape
    assert (predicted - true).square().mean() < 0.8 * true.square().mean()


def test_stage1_goes_on_with_a_fitted_regressor_and_more_faces(tmp_path, world, regressor):
    synthetic, anew = world.synthetic, copy_of(regressor)
    train_stage1(regressor, synthetic[:60], replace(STAGE1, epochs=25), tmp_path / "few")
    further = train_stage1(regressor, synthetic, STAGE1, tmp_path / "more")
    assert further[0]["loss"] < 0.9 * train_stage1(anew, synthetic, STAGE1, tmp_path / "anew")[0]["loss"]


@pytest.mark.parametrize("term", ["parameter", "identity", "batch", "loop"])
def test_every_term_reaches_the_regressor(world, regressor, term):
    terms = stage2_losses(regressor, world, batch_of(world), STAGE2, STAGE1)
    terms[term].backward()
    gradients = [parameter.grad for parameter in regressor.parameters()]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("path", ["image", "reader", "target"])
def test_each_way_of_the_loopback_gradient_alone_reaches_the_decoder(world, regressor, path):
    """Paper 3.3.4: through the rendered image, through the decoder that reads it, and through the moving target."""
    faces, still = regressor(world.photographs.features[:2]), copy_of(regressor).requires_grad_(False)
    fixed = Coefficients(faces.shape.detach(), faces.texture.detach())
    scene = sample_scenes(6, torch.Generator().manual_seed(2), world.distribution)
    images = render(world.face_model, faces if path == "image" else fixed, scene, world.reader.network.crop)
    reader = regressor if path == "reader" else still
    reread = reader(world.reader.network(images).features)
    loopback_loss(reread, faces if path == "target" else fixed, 0.4, 0.002).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in regressor.parameters())


def test_bfloat16_layers_leave_losses_and_coefficients_in_float32(world, regressor):
    exact = stage2_losses(regressor, world, batch_of(world), STAGE2, STAGE1)
    rough = stage2_losses(regressor, world, batch_of(world), replace(STAGE2, precision="bfloat16"), STAGE1)
    assert all(term.dtype == torch.float32 for term in rough.values())
    assert 0 < (exact["identity"] - rough["identity"]).abs() < 0.02
    assert rough["batch"] == exact["batch"]


def test_bfloat16_is_taken_where_the_processor_has_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr("lib.core.processes.get_host_cpu_features", lambda has=has: {"avx512bf16": has})
        assert best_precision("auto") == ("bfloat16" if has else "float32")
        assert [best_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]


def test_a_batch_holds_the_views_of_its_photographs_and_repeats_itself(world):
    batches = [draw_batch(world, STAGE2, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert len(batches[0].photographs) == STAGE2.distribution_batch and len(batches[0].synthetic) == 8
    assert len(batches[0].scene) == STAGE2.photographs * STAGE2.views
    assert torch.equal(batches[0].scene.angles, batches[1].scene.angles)
    assert torch.equal(batches[0].photographs.features, batches[1].photographs.features)


def test_the_single_view_limits_the_identity_loss_alone(world, regressor):
    """Paper Fig. 3: one frontal view is all that the identity loss sees; the loopback loss keeps its random views."""
    params, count = replace(STAGE2, frontal_identity=True, identity_weight=1.0), STAGE2.photographs
    batch = draw_batch(world, params, torch.Generator().manual_seed(3))
    angles = batch.scene.angles[:, :2].unflatten(0, (STAGE2.views + 1, count))
    assert angles[-1].abs().max() == 0 and angles[:-1].abs().min() > 0
    terms = stage2_losses(regressor, world, batch, params, STAGE1)
    rendered = batch.photographs[batch.rendered]
    faces = regressor(rendered.features)
    seen = world.reader.network(render(world.face_model, faces, batch.scene, world.reader.network.crop))
    reread = regressor(seen.features[:-count])
    loop = loopback_loss(reread, faces, STAGE1.shape_weight, STAGE1.texture_weight)
    assert torch.allclose(terms["identity"], identity_loss(seen.embedding[-count:], rendered.embeddings), atol=1e-5)
    assert torch.allclose(terms["loop"], loop, rtol=1e-4)


def test_what_the_paper_has_not_is_off_in_its_variants():
    published = load_params(ROOT / "presets/default.yaml")
    for name in ("full", "no_batch", "no_loopback", "single_view"):
        variant = published.variant(name)
        assert variant.features == "network"
        assert variant.eigenvalue_bound == variant.metric_weight == variant.skin_weight == 0
        assert variant.anchor_weight == variant.second_identity_weight == variant.posterior_share == 0


@pytest.mark.parametrize("term", ["metric", "anchor", "skin", "second_identity", "batch", "loop"])
def test_the_recommended_terms_reach_a_regressor_that_reads_more(world, generator, term):
    """Mirrored photographs, a second network and colours, the metric and the bound, in one step."""
    other = SmallNetwork()
    other.name = "other"
    reader = FeatureReader(world.reader.network, other)
    features, mirrored = torch.randn(2, 20, reader.feature_dimension, generator=generator)
    skin = torch.rand(20, 3, generator=generator)
    seconds = torch.nn.functional.normalize(torch.randn(20, other.embedding_dimension, generator=generator), dim=1)
    shape = torch.randn(20, SHAPE, generator=generator)
    more = dict(mirrored=mirrored, skin=skin, second_embeddings=seconds, shape=shape)
    photographs = replace(world.photographs, features=features, **more)
    synthetic = replace(world.synthetic, features=torch.randn(120, reader.feature_dimension, generator=generator))
    metric = front_metric(world.face_model, world.reader.network.crop)
    inputs = replace(world, reader=reader, photographs=photographs, synthetic=synthetic, metric=metric)
    inputs = replace(inputs, colour=front_colour(world.face_model, world.reader.network.crop))
    weights = dict(metric_weight=2.0, skin_weight=3.0, second_identity_weight=4.0, anchor_weight=5.0)
    params = replace(STAGE2, features="all", eigenvalue_bound=0.01, **weights)
    batch = draw_batch(inputs, params, torch.Generator().manual_seed(3))
    first = batch.photographs.features[:, None, 0]
    between = (first - features[:, 0]) * (first - mirrored[:, 0])
    assert (between <= 0).any(1).all() and batch.photographs.mirrored is None
    torch.manual_seed(0)
    regressor = Regressor(reader.feature_dimension, SHAPE, TEXTURE)
    terms = stage2_losses(regressor, inputs, batch, params, STAGE1)
    without = stage2_losses(regressor, inputs, batch, replace(params, metric_weight=0.0), STAGE1)
    assert torch.allclose(terms["total"] - 2 * terms["metric"], without["total"]) and "metric" not in without
    if term == "second_identity":
        count = len(batch.photographs[batch.rendered])
        faces = regressor(batch.photographs.features[batch.rendered])
        seen = other(render(world.face_model, faces, batch.scene[-count:], other.crop)).embedding
        expected = identity_loss(seen, batch.photographs.second_embeddings[batch.rendered])
        assert torch.allclose(terms[term], expected, atol=1e-5)
    terms[term].backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in regressor.parameters())


def test_the_published_variant_differs_from_full_by_its_identity_views_alone():
    published = load_params(ROOT / "presets/default.yaml")
    full, single = published.variant("full"), published.variant("single_view")
    assert single == replace(full, frontal_identity=True) and not full.frontal_identity


@pytest.fixture
def few_steps():
    return replace(STAGE2, steps=3, photographs=3, checkpoint_steps=1)


def test_a_regressor_may_read_the_embedding_and_be_deeper(tmp_path, world, few_steps):
    torch.manual_seed(0)
    regressor = Regressor(FEATURES, SHAPE, TEXTURE, hidden_layers=3, embedding_dimension=EMBEDDING)
    regressor.head.load_state_dict(world.reader.network.last.state_dict())
    regressor.standardise(world.synthetic.features)
    assert [layer.out_features for layer in regressor.layers[::2]] == [1024, 1024, 1024, SHAPE + TEXTURE]
    with torch.no_grad():
        read = torch.nn.functional.normalize(world.reader.network.last(world.synthetic.features))
    assert torch.allclose(regressor.feature_mean, read.mean(0)) and regressor.feature_dimension == FEATURES
    before = {name: values.clone() for name, values in regressor.state_dict().items()}
    train_stage2(regressor, world, few_steps, STAGE1, tmp_path / "run")
    after = regressor.state_dict()
    assert torch.equal(after["head.weight"], before["head.weight"])
    assert not torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    regressor.save(tmp_path / "r.safetensors")
    again = Regressor.load(tmp_path / "r.safetensors")
    assert torch.equal(again(world.photographs.features).shape, regressor(world.photographs.features).shape)


@pytest.mark.parametrize("network", [DlibNetwork, FaceNetNetwork])
def test_the_head_turns_features_into_descriptors(network, generator):
    network = IdentityNetwork("dlib" if network is DlibNetwork else "facenet", network(), "made up")
    weight, bias = network.head()
    with torch.no_grad():
        features, descriptor = network.descriptor(torch.rand(2, 3, *2 * [network.image_size], generator=generator))
    assert torch.allclose(features @ weight.T + bias, descriptor, atol=1e-4)


def test_a_network_without_such_a_head_is_refused():
    with pytest.raises(StudyError, match="pooled layer"):
        IdentityNetwork("sface", SFaceNetwork(), "made up").head()


def test_each_face_can_be_held_to_the_mean(tmp_path, world, regressor, few_steps):
    lengths = []
    for weight in (0.0, 100.0):
        trained = copy_of(regressor)
        params = replace(few_steps, steps=20, batch_weight=0.0, prior_weight=weight)
        history = train_stage2(trained, world, params, STAGE1, tmp_path / f"run{weight}")
        lengths.append(trained.of_all(world.photographs.features).cat().square().sum(1).mean())
        assert ("prior" in history["losses"][0]) == bool(weight)
    assert lengths[1] < 0.5 * lengths[0]


def test_the_shallow_network_starts_as_none_is_trained_and_is_not_kept(tmp_path, world, regressor, few_steps):
    plain, shallow = copy_of(regressor), copy_of(regressor)
    first = train_stage2(plain, world, few_steps, STAGE1, tmp_path / "plain")["losses"]
    params = replace(few_steps, render_transform=True)
    second = train_stage2(shallow, world, params, STAGE1, tmp_path / "shallow")["losses"]
    assert first[0]["identity"] == pytest.approx(second[0]["identity"])
    assert not equal(plain, shallow) and plain.state_dict().keys() == shallow.state_dict().keys()
    tensors, _ = load_tensors(tmp_path / "shallow")
    assert tensors["module.render_transform.2.weight"].abs().max() > 0


def test_identity_gradient_agrees_with_finite_differences(world, regressor):
    bias = regressor.layers[-1].bias

    def identity():
        return stage2_losses(regressor, world, batch_of(world), STAGE2, STAGE1)["identity"]

    identity().backward()
    gradient = bias.grad[SHAPE:].clone()
    differences = torch.zeros(TEXTURE)
    with torch.no_grad():
        for k in range(TEXTURE):
            values = []
            for sign in (1, -1):
                bias[SHAPE + k] += sign * 1e-2
                values.append(identity().item())
                bias[SHAPE + k] -= sign * 1e-2
            differences[k] = (values[0] - values[1]) / 2e-2
    assert torch.allclose(gradient, differences, atol=0.03 * gradient.abs().max().item())


def test_stage2_brings_renders_nearer_to_the_photographs(tmp_path, world, regressor):
    params = replace(STAGE2, steps=40, learning_rate=1e-3, checkpoint_steps=40)
    history = train_stage2(regressor, world, params, STAGE1, tmp_path / "run")
    assert history["losses"][-1]["identity"] < history["losses"][0]["identity"]
    assert history["losses"][-1]["batch"] < history["losses"][0]["batch"]
    assert [entry["step"] for entry in history["losses"]] == [1, 10, 20, 30, 40] and not history["monitors"]


def test_a_terms_weight_decides_where_the_regressor_goes(tmp_path, world, regressor):
    results = []
    for weight in (0.0, 5.0):
        trained = copy_of(regressor)
        params = replace(STAGE2, steps=2, batch_weight=weight)
        train_stage2(trained, world, params, STAGE1, tmp_path / f"run{weight}")
        results.append(trained)
    assert not equal(*results)


def test_the_posterior_map_is_the_least_squares_map(generator):
    true = torch.randn(4000, 3, generator=generator)
    mixing = torch.tensor([[2.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = posterior_map(true @ mixing.T, true)
    torch.testing.assert_close(found[:2, :2] @ mixing[:2, :2], torch.eye(2), rtol=0, atol=0.01)
    assert found[:, 2].abs().max() < 1e-6 and found[2].abs().max() < 0.1  # what is not read stays at the mean face
    alone = posterior_map(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]]))
    assert alone.item() == pytest.approx(7 / (10 + 2 * SHAPE_RIDGE))


def test_shapes_move_to_their_posterior_means_once_and_textures_stay(tmp_path, world, regressor, few_steps):
    features, moved = world.synthetic.features, copy_of(regressor)
    train_stage2(regressor, world, few_steps, STAGE1, tmp_path / "without.safetensors")
    params = replace(few_steps, posterior_share=0.25)
    again = copy_of(moved)
    train_stage2(moved, world, params, STAGE1, tmp_path / "with.safetensors")
    before, after = regressor(features), moved(features)
    means = before.shape @ posterior_map(before.shape, world.synthetic.coefficients.shape).T
    torch.testing.assert_close(after.shape, 0.75 * before.shape + 0.25 * means, rtol=1e-3, atol=1e-4)
    assert torch.equal(after.texture, before.texture)
    train_stage2(again, world, params, STAGE1, tmp_path / "with.safetensors")  # a finished run is only read
    assert equal(again, moved)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "shallow"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, world, regressor, monkeypatch, stage):
    params = replace(STAGE2, render_transform=stage == "shallow")

    def run(trained, checkpoint):
        if stage == "stage1":
            return train_stage1(trained, world.synthetic, STAGE1, checkpoint)
        return train_stage2(trained, world, params, STAGE1, checkpoint)

    whole, stopped = copy_of(regressor), copy_of(regressor)
    history = run(whole, tmp_path / "whole")
    from lib.training import stage1, stage2

    training = stage1 if stage == "stage1" else stage2
    backward, left = training.backward, [20 if stage == "stage1" else 3]

    def backward_until_killed(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return backward(*arguments)

    monkeypatch.setattr(training, "backward", backward_until_killed)
    with pytest.raises(Killed):
        run(stopped, tmp_path / "stopped")
    monkeypatch.setattr(training, "backward", backward)
    resumed = copy_of(regressor)
    resumed_history = run(resumed, tmp_path / "stopped")
    assert equal(whole, resumed)
    assert reproducible(resumed_history) == reproducible(history)
    meta = load_tensors(tmp_path / "stopped")[1]
    assert meta["step"] == (STAGE1.epochs if stage == "stage1" else STAGE2.steps)


class Watch:
    """Notes what `lib.training.monitor.LiveRun` would show; stops the run after so many looks."""

    def __init__(self, looks=100):
        self.shown, self.looks = [], looks

    def start(self, losses, monitors=()):
        self.shown = [entry["step"] for entry in (*losses, *monitors)]

    def record(self, entry):
        self.shown.append(entry["step"])

    def look(self, regressor, step):
        if self.looks == 0:
            raise Killed
        self.looks -= 1
        return dict(step=step, weight=regressor.layers[0].weight.sum().item())


def test_people_are_looked_at_from_before_the_first_step_on_also_after_a_stop(tmp_path, world, regressor):
    params = replace(STAGE2, validation_steps=2, checkpoint_steps=3)

    def run(watch, name):
        trained = copy_of(regressor)
        return train_stage2(trained, world, params, STAGE1, tmp_path / name, watch)

    whole = run(Watch(), "whole")
    assert [entry["step"] for entry in whole["monitors"]] == [0, 2, 4, 6]
    assert len({entry["weight"] for entry in whole["monitors"]}) == 4
    with pytest.raises(Killed):
        run(Watch(2), "stopped")  # at step 4, with a checkpoint of step 3
    watch = Watch()
    resumed = run(watch, "stopped")
    assert reproducible(resumed) == reproducible(whole)
    assert watch.shown == [1, 0, 2, 6]


def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path, world, regressor):
    train_stage2(copy_of(regressor), world, STAGE2, STAGE1, tmp_path / "run")
    other = replace(STAGE2, batch_weight=3.0)
    with pytest.raises(StudyError, match=r"batch_weight: 10\.0 in the checkpoint, 3\.0 now"):
        train_stage2(copy_of(regressor), world, other, STAGE1, tmp_path / "run")


def test_a_checkpoint_of_other_scenes_is_refused_and_one_of_the_same_is_not(tmp_path, world, regressor):
    for _ in range(2):
        train_stage2(copy_of(regressor), world, STAGE2, STAGE1, tmp_path / "run")
    other = replace(world, augmentation=Augmentation(blur=1.0))
    with pytest.raises(StudyError, match=r"augmentation: .*'blur': 0\.0.* in the checkpoint, .*'blur': 1\.0.* now"):
        train_stage2(copy_of(regressor), other, STAGE2, STAGE1, tmp_path / "run")


def test_augmentation_reaches_synthetic_faces_and_the_renders_of_photographs(tmp_path, world, regressor):
    augmentation = Augmentation(blur=3.0, contrast=0.5)
    model, network, distribution = world.face_model, world.reader.network, world.distribution
    rough = make_synthetic_faces(model, FeatureReader(network), 10, 1, distribution, tmp_path, augmentation)
    clean = make_synthetic_faces(model, FeatureReader(network), 10, 1, distribution, tmp_path / "clean")
    assert torch.equal(rough.coefficients.shape, clean.coefficients.shape)
    assert not torch.allclose(rough.features, clean.features)
    losses = []
    for each in (world, replace(world, augmentation=augmentation)):
        batch = draw_batch(each, STAGE2, torch.Generator().manual_seed(3))
        losses.append(stage2_losses(regressor, each, batch, STAGE2, STAGE1))
    assert torch.equal(losses[0]["batch"], losses[1]["batch"])
    assert not torch.equal(losses[0]["identity"], losses[1]["identity"])


def test_nan_names_the_term_and_the_step_and_keeps_the_last_checkpoint(tmp_path, world, regressor, monkeypatch):
    from lib.training import stage2

    calls = []

    def spoilt(coefficients):
        calls.append(coefficients)
        return coefficients.shape.sum() * (float("nan") if len(calls) == 4 else 0.0)

    monkeypatch.setattr(stage2.losses, "batch_distribution_loss", spoilt)
    with pytest.raises(StudyError, match="batch loss is nan at step 4") as error:
        train_stage2(regressor, world, STAGE2, STAGE1, tmp_path / "run")
    assert load_tensors(tmp_path / "run")[1]["step"] == 2
    # the advice can be followed
    assert f"kept in {tmp_path / 'run'}; lower the learning rate" in str(error.value)
    (tmp_path / "run").unlink()
    train_stage2(regressor, world, replace(STAGE2, learning_rate=STAGE2.learning_rate / 2), STAGE1, tmp_path / "run")


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tmp_path, world, regressor, monkeypatch):
    from lib.training import stage2

    class Spoilt(torch.autograd.Function):
        """A loss that is finite while its gradient is not."""

        @staticmethod
        def forward(context, values):
            return values.square().sum()

        @staticmethod
        def backward(context, gradient):
            return torch.full((8, SHAPE), float("inf"))

    monkeypatch.setattr(stage2.losses, "batch_distribution_loss", lambda values: Spoilt.apply(values.shape))
    before = copy_of(regressor)
    with pytest.raises(StudyError, match="gradient's norm is (nan|inf) at step 1"):
        train_stage2(regressor, world, STAGE2, STAGE1, tmp_path / "run")
    assert equal(before, regressor)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run"
    save_tensors(path, {"a": torch.zeros(2)}, {"step": 1})

    def full(*arguments, **settings):
        Path(arguments[1]).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.core.tensors.save_file", full)
    with pytest.raises(StudyError, match="No space left"):
        save_tensors(path, {"a": torch.ones(2)}, {"step": 2})
    tensors, meta = load_tensors(path)
    assert meta == {"step": 1} and tensors["a"].sum() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(StudyError, match="does not exist"):
        load_tensors(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(StudyError, match="damaged"):
        load_tensors(path)


def test_synthetic_faces_round_trip(tmp_path, world):
    synthetic = world.synthetic[:7]
    synthetic.save(tmp_path / "pairs.safetensors")
    again = SyntheticFaces.load(tmp_path / "pairs.safetensors")
    assert torch.equal(again.features, synthetic.features) and isinstance(again.coefficients, Coefficients)
    assert torch.equal(again.coefficients.texture, synthetic.coefficients.texture)


def test_photographs_on_disk_train_as_those_in_memory(tmp_path, world, regressor):
    mapped, rows, run = {}, np.arange(1, 20), replace(STAGE2, precision="float32")
    for name in ("features", "embeddings"):
        np.save(tmp_path / f"{name}.npy", getattr(world.photographs, name).numpy())
        mapped[name] = MappedRows(np.load(tmp_path / f"{name}.npy", mmap_mode="r"), rows)
    results = []
    for photographs in (world.photographs[rows], Photographs(**mapped)):
        inputs, trained = replace(world, photographs=photographs), copy_of(regressor)
        history = train_stage2(trained, inputs, run, STAGE1, tmp_path / f"run-{len(results)}")
        results.append((inputs.settings(), reproducible(history), trained.of_all(photographs.features).cat()))
    assert results[0][:2] == results[1][:2] and torch.equal(results[0][2], results[1][2])


def test_a_step_does_not_permute_millions_of_photographs(monkeypatch, generator):
    assert sorted(_some_of(50, 60, generator).tolist()) == [*range(50)]
    monkeypatch.setattr(torch, "randperm", None)
    drawn = torch.stack([_some_of(2_600_000, 512, generator) for _ in range(50)])
    assert all(len(step.unique()) == 512 for step in drawn) and drawn.max() < 2_600_000
    assert drawn.double().mean() == pytest.approx(1_300_000, rel=0.02)
