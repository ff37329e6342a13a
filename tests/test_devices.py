"""Everything that is computed on a GPU where there is one, on a device that is pretended (tests/pretend_device.py)."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import test_photometric as photometric
import torch
from safetensors.torch import save_file
from small_world import EXPRESSION, FEATURES, SHAPE, TEXTURE, SmallNetwork, small_face_model
from test_evaluation import PERSONS, photographed_as, setup_of
from test_training import STAGE1, STAGE2, regressor, world  # noqa: F401 (fixtures)

from benchmarks import gpu_check, rasterize
from lib.baselines import external
from lib.baselines.methods import evaluate_truth
from lib.baselines.photometric import fit_photographs
from lib.baselines.pixel_autoencoder import PixelAutoencoder, teach_views, train_pixel_autoencoder
from lib.core.processes import on_best_device
from lib.evaluation.protocol import evaluate_faces, load_evaluation, loopback_table
from lib.evaluation.tables import leaves
from lib.face_model.mesh_reading import Mesh
from lib.face_model.model import Coefficients
from lib.open_model.generator import FaceGenerator
from lib.photos.embed import _describe
from lib.recognition import network as recognition
from lib.recognition.reader import FeatureReader
from lib.rendering.crop import POINT_NAMES
from lib.rendering.rasterize import BACKENDS
from lib.rendering.renderer import render, sample_scenes
from lib.robustness.protocol import frontal_embeddings
from lib.training.augmentation import Augmentation, Looks
from lib.training.regressor import Regressor
from lib.training.stage1 import make_synthetic_faces, train_stage1
from lib.training.stage2 import train_stage2
from tests.pretend_device import CUDA, OnDevice, pretended


@pytest.fixture
def cuda(monkeypatch):
    """The device, for one test."""
    with pretended(monkeypatch) as device:
        yield device


def test_the_device_is_as_strict_as_a_real_one(cuda):
    there, here = torch.ones(2, device=cuda), torch.ones(2)
    assert there.device == CUDA and (there + 1).device == CUDA and there.cpu().device.type == "cpu"
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()


def test_renders_and_their_gradients_are_those_of_the_cpu(tmp_path, generator, cuda):
    model = small_face_model(tmp_path)
    scene = sample_scenes(4, generator)
    results = []
    for one in (model, on_best_device(model)):
        faces = Coefficients(*(torch.full((2, size), 0.5, requires_grad=True) for size in (5, 4)))
        picture = render(one, faces, scene, SmallNetwork.crop)
        gradients = torch.autograd.grad(picture.square().sum(), (faces.shape, faces.texture))
        results.append([picture.detach().cpu(), *gradients])
    assert isinstance(picture, OnDevice)
    for ours, theirs in zip(*results):
        torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-3)


def moved(inputs, device):
    """Stage 2's inputs (`Stage2Inputs`) as `load_stage2` leaves them."""
    reader = FeatureReader(SmallNetwork().to(device))
    model = on_best_device(inputs.face_model)
    return replace(inputs, face_model=model, reader=reader, augmentation=Augmentation(0.03, 0.03, 3.0, 1.0, 0.02, 0.2))


def test_synthetic_faces_are_those_of_the_cpu(tmp_path, world, cuda):  # noqa: F811
    there = moved(world, cuda)
    draw = [60, 1, world.distribution]
    changes = there.augmentation, Looks(1.0, 0.8)
    ours = make_synthetic_faces(world.face_model, world.reader, *draw, tmp_path / "ours", *changes)
    theirs = make_synthetic_faces(there.face_model, there.reader, *draw, tmp_path / "theirs", *changes)
    assert theirs.features.device.type == "cpu"
    torch.testing.assert_close(theirs.features, ours.features, atol=1e-4, rtol=1e-3)


def test_both_stages_run_there_and_go_on_on_the_cpu(tmp_path, world, regressor, cuda):  # noqa: F811
    """The digests of what a checkpoint depends on are the same, whichever device the run began on."""
    regressor = regressor.to(cuda)
    stage1, stage2 = replace(STAGE1, epochs=2), replace(STAGE2, steps=4, precision="float32")
    train_stage1(regressor, world.synthetic.to(cuda), stage1, tmp_path / "one")
    there = moved(world, cuda)
    begun = regressor.cpu()
    state = {name: values.clone() for name, values in begun.state_dict().items()}
    history = train_stage2(begun.to(cuda), there, stage2, stage1, tmp_path / "two")
    assert history["losses"][-1]["step"] == 4
    begun = begun.cpu()
    begun.load_state_dict(state)
    here = replace(there, face_model=world.face_model, reader=world.reader)
    again = train_stage2(begun, here, stage2, stage1, tmp_path / "two")
    assert again["losses"] == history["losses"]


def test_the_evaluation_gives_the_numbers_of_the_cpu(tmp_path, generator, regressor, monkeypatch):  # noqa: F811
    model, results = small_face_model(tmp_path), []
    faces = Coefficients(*(torch.randn(16, size, generator=generator) for size in (SHAPE, TEXTURE)))
    embeddings = np.eye(6, dtype=np.float32)[np.arange(16) % 6]

    def measure(network):
        setup = setup_of(model, network, photographed_as(embeddings, PERSONS))
        metrics, reconstructed = evaluate_faces(setup, faces)
        metrics["loopback"] = loopback_table(setup, regressor, faces)
        faced = frontal_embeddings(faces, model, network)
        np.testing.assert_allclose(faced, reconstructed.frontal, atol=1e-5)
        results.append({key: cell["value"] for key, cell in leaves(metrics)})

    measure(SmallNetwork())
    with pretended(monkeypatch) as cuda:
        measure(SmallNetwork().to(cuda))
    assert results[1] == pytest.approx(results[0], abs=1e-3, nan_ok=True)


def test_true_faces_are_drawn_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    persons = np.array([f"person-{number // 2:04d}" for number in range(8)], object)
    embeddings = np.eye(6, dtype=np.float32)[np.arange(8) % 6]
    photographed = photographed_as(embeddings, persons, np.full(8, "", object))

    def measure(network):
        evaluate_truth(setup_of(small_face_model(tmp_path), network, photographed), FaceGenerator("light"), 5)
        return load_evaluation("data/external/ground_truth.h5")["frontal"]

    here = measure(SmallNetwork())
    with pretended(monkeypatch) as cuda:
        np.testing.assert_allclose(measure(SmallNetwork().to(cuda)), here, atol=1e-4)


def test_meshes_of_other_methods_are_drawn_there(tmp_path, monkeypatch):
    model = small_face_model(tmp_path)
    vertices, albedo = (
        part[0].numpy() for part in (model.vertices(torch.zeros(1, SHAPE)), model.albedo(torch.zeros(1, TEXTURE)))
    )
    landmarks = dict(zip(POINT_NAMES, model.alignment_vertices.values()))
    face = external.PlacedMesh(Mesh(vertices, model.triangles.numpy(), albedo), landmarks)

    def measure(network):
        return external._draw(setup_of(model, network), [face]).frontal

    here = measure(SmallNetwork())
    with pretended(monkeypatch) as cuda:
        np.testing.assert_allclose(measure(SmallNetwork().to(cuda)), here, atol=1e-3)


def test_methods_that_explain_pixels_run_there(tmp_path, generator, cuda, monkeypatch):
    monkeypatch.setattr("lib.baselines.pixel_autoencoder.VIEW_EPOCHS", 1)
    monkeypatch.setattr("lib.baselines.photometric.SIZES", (10, 20))
    model, crop, few = small_face_model(tmp_path), SmallNetwork.crop, replace(photometric.FIT, steps=1)
    crops = photometric.crops_of(model, photometric.random_explanation(3, generator, 0.3))
    fits, left = fit_photographs(model, crops, crop, few, tmp_path / "fits")
    assert left.device.type == fits.shape.device.type == "cpu" and left.isfinite().all()
    autoencoder = PixelAutoencoder(Regressor(FEATURES, SHAPE, TEXTURE), SHAPE, TEXTURE, EXPRESSION)
    teach_views(autoencoder, model, crop, 8, 0)
    settings = replace(photometric.AUTOENCODER, steps=2)
    history = train_pixel_autoencoder(autoencoder, model, crops, crop, settings, tmp_path / "run")
    assert history[-1]["step"] == 2 and autoencoder(crops.features, crops.images()).shape.device.type == "cpu"


def test_networks_are_loaded_there_and_give_what_the_cpu_keeps(tmp_path, generator, monkeypatch):
    """Photographs are embedded as on the CPU: what is stored, and what is computed from it, are of the CPU."""
    torch.manual_seed(0)
    save_file(recognition.SFaceNetwork().state_dict(), tmp_path / "sface.safetensors")
    pictures = torch.randint(256, (3, 112, 112, 3), generator=generator, dtype=torch.uint8)
    mirrored, results = "sface" + recognition.MIRRORED, []

    def embed():
        network = recognition.load_network("sface", tmp_path)
        kept = _describe({"sface": pictures.numpy()}, {"sface": network})
        embeddings = network.embed(torch.from_numpy(kept["descriptors_sface"])).numpy()
        reader = FeatureReader(network, recognition.load_network(mirrored, tmp_path))
        seen = reader.of_crops(dict.fromkeys(("sface", mirrored), pictures)).numpy()
        results.append([kept["features_sface"], embeddings, seen])
        return network

    embed()
    with pretended(monkeypatch):
        assert embed().centre.device == CUDA
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


def test_the_check_for_a_gpu_measures_how_far_a_backend_is_from_the_cpus(tmp_path):
    arguments = gpu_check.workload(small_face_model(tmp_path), 2, 2, 20)
    found = gpu_check.agreement(arguments, 20, "torch")
    assert found["other_ids"] == 0 and found["finite"]
    assert max(value for name, value in found.items() if name.endswith("error")) < 1e-3
    found = gpu_check.coverage(arguments, 20, "torch")
    assert found["covered"] > 100 and found["other_ids"] == 0


def broken(ids, image):
    raise RuntimeError("a kernel failed")


@pytest.mark.parametrize(
    "fault, told",
    [
        (None, None),
        (broken, "error"),
        (lambda ids, image: (ids.roll(1, 2), image), "other_ids above"),
        (lambda ids, image: (ids, image * 1.001), "attribute_error above"),
        (lambda ids, image: (ids, image + 0.01 * (image - image.detach())), "clip_gradient_error above"),
        (lambda ids, image: (ids, image * torch.nan), "not finite"),
    ],
)
def test_the_check_for_a_gpu_fails_on_errors_and_beyond_limits(tmp_path, monkeypatch, capsys, fault, told):
    model, sound = small_face_model(tmp_path), BACKENDS["torch"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check, "FaceModel", SimpleNamespace(load=lambda path: model))
    monkeypatch.setattr(gpu_check, "RESULTS", [])
    monkeypatch.setitem(BACKENDS, "torch", lambda *arguments: (fault or (lambda *same: same))(*sound(*arguments)))
    with pytest.raises(SystemExit) if fault else nullcontext() as left:
        gpu_check.main(["rasterisers", "--tiny"])
    printed = capsys.readouterr()
    if fault:
        assert left.value.code.startswith("failed: ") and told in printed.out
    else:
        assert printed.out.splitlines()[-1].startswith("passed: ") and "wrong" not in printed.out


def test_the_check_for_a_gpu_fails_without_one_and_without_the_stages_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check, "RESULTS", [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="failed: there is no CUDA device"):
        gpu_check.main(["device"])
    with pytest.raises(SystemExit, match="failed: 2 of "):
        gpu_check.main(["rasterisers", "study", "--tiny"])
    assert "data/face_model/full.h5" in capsys.readouterr().out


@pytest.mark.parametrize("backend, wrong", [("kaolin", True), ("torch", True), ("kaolin-nvdiffrast", False)])
def test_nvdiffrast_alone_may_show_other_triangles(tmp_path, monkeypatch, backend, wrong):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_check, "RESULTS", [])
    gpu_check.say("agreement", backend=backend, other_ids=0.09)
    gpu_check.say("agreement", backend=backend, other_ids=0.11)
    gpu_check.say("agreement", backend=backend, clip_gradient_error=float("nan"))
    assert ["wrong" in result for result in gpu_check.RESULTS] == [wrong, True, True]


def test_memory_is_the_gpus_where_a_backend_draws_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {("ours", "cpu"), ("torch", "cpu"), ("naive", "cpu"), ("torch", "cuda")} <= set(rasterize.backends())
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    _, memory = rasterize.take_turns({name: (1, name, lambda: 0.0) for name in ("cpu", "cuda")}, 1)
    assert memory["cuda"] == 3 and memory["cpu"] > 50


def test_the_memory_of_a_steps_renders_is_counted_without_a_gpu(tmp_path):
    model, changes = small_face_model(tmp_path), Augmentation(0.03, 0.03, 3.0, 1.0, 0.02, 0.2)
    some, more = (rasterize.step_memory_mb(model, changes, faces, 3, 40) for faces in (16, 32))
    # nine attributes and three colours of each pixel at the least; what only 16 pictures at a time need does not grow
    assert 4 * (9 + 3) < (more - some) * 2**20 / (48 * 40 * 40) < 4 * 50
