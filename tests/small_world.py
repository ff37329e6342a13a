"""A world small enough for a unit test: a face model of few vertices and a frozen random network."""

import json

import h5py
import numpy as np
import torch
from torch import nn

from lib.core.params import EvaluateParams
from lib.face_model.model import ALIGNMENT_LANDMARKS, FaceModel
from lib.recognition.network import Identity
from lib.rendering.crop import Crop

SHAPE, TEXTURE, EXPRESSION = 5, 4, 2
FEATURES, EMBEDDING, SIZE = 12, 6, 20


def write_face_model(path, seed=0, rows=9, shape=SHAPE, texture=TEXTURE, expression=EXPRESSION, layout=False):
    """Write a curved sheet of rows x rows vertices (mm) with smooth random modes in the BFM 2017 layout.

    With `layout` its texture has two islands of the left and the right half, which share a column of vertices.
    """
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-70, 70, rows), np.linspace(-90, 90, rows))
    mean = np.stack([x, y - 27, 112 - (x / 9) ** 2 / 3 - (y / 12) ** 2 / 3], -1).reshape(-1, 3)
    index = np.arange(rows * rows).reshape(rows, rows)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    cells = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]).T

    def model(group, centre, components, deviation):
        basis = np.linalg.qr(random.normal(size=(centre.size, components)))[0]
        group["model/mean"] = centre.ravel().astype(np.float32)
        group["model/pcaBasis"] = basis.astype(np.float32)
        group["model/pcaVariance"] = np.full(components, deviation**2, np.float32)
        group["model/noiseVariance"] = np.zeros(1, np.float32)
        group["representer/cells"] = cells.astype(np.int32)
        group["representer/points"] = mean.T.astype(np.float32)

    places = {"center.nose.tip": (0, -27), "center.chin.tip": (0, -105)}
    for names, side, height in zip(ALIGNMENT_LANDMARKS, (-1, 1, -1, 1), (10, 10, -65, -65)):
        places |= {name: (side * (18 + 25 * number), height) for number, name in enumerate(names)}
    nearest = {name: np.square(mean[:, :2] - place).sum(1).argmin() for name, place in places.items()}
    landmarks = [{"id": name, "coordinates": mean[vertex].tolist()} for name, vertex in nearest.items()]
    with h5py.File(path, "w") as file:
        model(file.create_group("shape"), mean, shape, 6.0)
        model(file.create_group("color"), np.full_like(mean, 0.5), texture, 1.0)
        model(file.create_group("expression"), np.zeros_like(mean), expression, 4.0)
        file["metadata/landmarks/json"] = json.dumps(landmarks)
        if layout:
            right = mean[cells].mean(0)[:, 0] > 0
            islands = [(mean[:, :2] + [0, 27]) / [350, 200] + [0.25 + shift, 0.5] for shift in (0, 0.5)]
            file["shape/representer/texture/points"] = np.concatenate(islands).T
            file["shape/representer/texture/cells"] = (cells + len(mean) * right).astype(np.int32)
    return path


def small_face_model(folder, seed=0):
    """Write and load the model."""
    return FaceModel.load(write_face_model(folder / "model.h5", seed), SHAPE, TEXTURE, EXPRESSION)


def small_protocol(**changes):
    """A protocol for few people, without test sources unless they are named."""
    few = dict(bootstrap_samples=20, photographs_per_person=2, geometry_people=2, smallest_group=2, test_sources={})
    return EvaluateParams(seed=1, **few | changes)


class SmallNetwork(nn.Module):
    """Frozen random convolutions with the contract of `lib.recognition.network.IdentityNetwork`."""

    name, fingerprint = "small", "small"
    feature_dimension, embedding_dimension = FEATURES, EMBEDDING
    crop = Crop(SIZE, ((0.32, 0.31), (0.67, 0.31), (0.34, 0.69), (0.65, 0.69)))

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.layers = nn.Sequential(nn.Conv2d(3, FEATURES, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.last = nn.Linear(FEATURES, EMBEDDING)
        self.requires_grad_(False)

        self.register_buffer("centre", torch.zeros(EMBEDDING))

    def with_centre(self, centre):
        other = SmallNetwork().to(self.centre.device)
        other.centre.copy_(centre)
        return other

    def descriptor(self, images):
        features = self.layers(4 * (images - 0.5))
        return features, self.last(features)

    def embed(self, descriptor):
        return nn.functional.normalize(descriptor - self.centre, dim=-1)

    def forward(self, images):
        features, descriptor = self.descriptor(images)
        return Identity(features, self.embed(descriptor))
