"""What docs/extending.md says of adding a network, a renderer backend and a data set, done."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_world import SHAPE, TEXTURE, small_face_model
from torch import nn

from lib.core.errors import StudyError
from lib.face_model.model import Coefficients
from lib.photos import sources as photo_sources
from lib.photos.files import inspect_file
from lib.recognition import network as recognition
from lib.rendering import rasterize
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render


class MineNetwork(nn.Module):
    feature_dimension, descriptor_dimension = 8, 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 5, 5)
        self.last = nn.Linear(8, 4)

    def forward(self, images):
        features = self.layer(images * 2 - 1).relu().mean((2, 3))
        return features, self.last(features)


def test_a_network(tmp_path, monkeypatch):
    published = tmp_path / "raw/mine.weights"
    published.parent.mkdir()
    save_file(MineNetwork().state_dict(), published)
    crop = Crop(40, ((0.3, 0.3), (0.7, 0.3), (0.35, 0.7), (0.65, 0.7)))
    kind = recognition.NetworkKind(MineNetwork, crop, lambda folder: folder / "mine.weights", load_file)
    monkeypatch.setitem(recognition.KINDS, "mine", kind)
    assert recognition.prepare_network("mine", tmp_path, published.parent) == tmp_path / "mine.safetensors"
    network = recognition.load_network("mine", tmp_path)
    # the renderer frames faces as the new network wants them, and gradients reach the coefficients through both
    model = small_face_model(tmp_path)
    shape = torch.zeros(2, SHAPE, requires_grad=True)
    images = render(model, Coefficients(shape, torch.zeros(2, TEXTURE)), frontal_scene(2), network.crop)
    identity = network(images)
    assert identity.features.shape == (2, 8) and identity.embedding.shape == (2, 4)
    identity.embedding[:, 0].sum().backward()
    assert shape.grad.abs().max() > 0


def test_a_renderer_backend(tmp_path, monkeypatch):
    calls = []

    def rasterize_with_mine(clip_vertices, triangles, attributes, height, width, cull_backfaces):
        calls.append((height, width, cull_backfaces))
        return rasterize.BACKENDS["cpu"](clip_vertices, triangles, attributes, height, width, cull_backfaces)

    monkeypatch.setitem(rasterize.BACKENDS, "mine", rasterize_with_mine)
    model = small_face_model(tmp_path)
    faces = Coefficients(torch.zeros(1, SHAPE), torch.zeros(1, TEXTURE))
    crop = Crop(24, ((0.3, 0.3), (0.7, 0.3), (0.35, 0.7), (0.65, 0.7)))
    pictures = {name: render(model, faces, frontal_scene(1), crop, backend=name) for name in ("mine", "cpu")}
    assert calls == [(24, 24, True)] and torch.equal(pictures["mine"], pictures["cpu"])
    with pytest.raises(StudyError, match="choose one of auto, cpu, torch, kaolin, kaolin-nvdiffrast, mine"):
        render(model, faces, frontal_scene(1), crop, backend="other")


def test_a_data_set(tmp_path, monkeypatch):
    def read_mine(folder):
        for path in sorted(folder.rglob("*.jpg")):
            session = path.parent.name
            yield replace(inspect_file(path, folder, path.parent.parent.name), condition=session)

    readme = tmp_path / "README.md"
    readme.write_text("## Mine: `mine/`\nAsk me for it.\n")
    monkeypatch.setattr(photo_sources, "README", readme)
    mine = photo_sources.DataSet("mine", read_mine, "sessions of people")
    monkeypatch.setitem(photo_sources.SOURCES, "mine", mine.list)
    with pytest.raises(StudyError, match="(?s)mine is missing.*Ask me for it"):
        photo_sources.list_photographs("mine", tmp_path / "mine")
    picture = tmp_path / "mine/ada/indoor/1.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(np.zeros(4, np.uint8))
    (found,) = photo_sources.list_photographs("mine", tmp_path / "mine")
    assert (found.person, found.condition, found.problem) == ("ada", "indoor", "")
