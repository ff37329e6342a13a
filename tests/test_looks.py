"""What synthetic faces get beside shape and texture: expressions and hair."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.face_model.file import read_face_model
from lib.face_model.model import Coefficients, FaceModel
from lib.training.augmentation import CENTRE, THICKNESS, Looks
from tests.small_world import EXPRESSION, SHAPE, TEXTURE, write_face_model

FACES, ROWS = 200, 25


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A ball about the middle of the skull, with the modes of the small face model."""
    path = write_face_model(tmp_path_factory.mktemp("looks") / "model.h5", rows=ROWS)
    data = read_face_model(path, SHAPE, TEXTURE, EXPRESSION)
    polar, azimuth = np.meshgrid(np.linspace(0.1, 3.0, ROWS), np.linspace(-3, 3, ROWS), indexing="ij")
    ball = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    mean = (CENTRE + 100 * ball.reshape(-1, 3)).astype(np.float32)
    return FaceModel(replace(data, shape=replace(data.shape, mean=mean.ravel()), landmarks="[]"))


@pytest.fixture(scope="module")
def faces():
    generator = torch.Generator().manual_seed(1)
    return Coefficients(*(torch.randn(FACES, size, generator=generator) for size in (SHAPE, TEXTURE)))


def looks_of(model, faces, seed=2, **looks):
    return Looks(**looks).draw(model, faces, torch.Generator().manual_seed(seed))


def test_without_looks_a_face_is_the_models_own_and_no_chance_is_used(model, faces):
    generator = torch.Generator().manual_seed(2)
    vertices, albedo = Looks().draw(model, faces, generator)
    assert torch.equal(vertices, model.vertices(faces.shape)) and torch.equal(albedo, model.albedo(faces.texture))
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(2).get_state())


def test_expressions_move_vertices_by_the_models_modes_up_to_their_scale(model, faces):
    still = model.vertices(faces.shape, torch.zeros(FACES, model.expression_dimension))
    moved = [looks_of(model, faces, expression=scale) for scale in (0.5, 1.0)]
    half, whole = (vertices - still for vertices, _ in moved)
    assert torch.equal(moved[0][1], model.albedo(faces.texture))
    assert torch.allclose(2 * half, whole, atol=1e-4)
    modes = model.modes("expression").flatten(1)
    amounts = torch.linalg.lstsq(modes.T.double(), whole.flatten(1).T.double()).solution
    assert torch.allclose(amounts.T @ modes.double(), whole.flatten(1).double(), atol=1e-3)
    # a uniform share of a standard normal: variance 1 / 3
    assert abs(amounts.square().mean() - 1 / 3) < 0.15


def test_hair_covers_the_crown_moves_outwards_and_leaves_the_face(model, faces):
    vertices, albedo = looks_of(model, faces, hair=1.0)
    plain, skin = model.vertices(faces.shape), model.albedo(faces.texture)
    moved = vertices - plain
    outward = torch.nn.functional.normalize(model.vertices(torch.zeros(1, SHAPE))[0] - torch.tensor(CENTRE), dim=1)
    along = (moved * outward).sum(2)
    assert torch.allclose(moved, along[..., None] * outward, atol=1e-4)
    assert along.min() >= -1e-4 and along.max() <= THICKNESS[1] + 1e-3
    crown, front = outward[:, 1] > 0.9, (outward[:, 2] > 0.9) & (outward[:, 1] < 0.2)
    assert crown.any() and front.any()
    assert (along[:, crown] >= THICKNESS[0] - 1e-3).all() and (albedo != skin)[:, crown].any(2).all()
    assert (along[:, front] == 0).all() and torch.equal(albedo[:, front], skin[:, front])
    assert albedo.min() >= 0 and albedo.max() <= 1
    # some have long hair beside the face, most have not
    beside = (outward[:, 0].abs() > 0.7) & (outward[:, 1] < -0.35) & (outward[:, 2] < -0.2)
    long = (along[:, beside] > 0).all(1).float().mean()
    assert 0.3 < long < 0.5


def test_a_share_of_faces_has_hair_and_chance_repeats(model, faces):
    first, second = (looks_of(model, faces, expression=1.0, hair=0.6) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second))
    haired = (first[1] != model.albedo(faces.texture)).flatten(1).any(1)
    assert 0.5 < haired.float().mean() < 0.7
    assert not torch.equal(looks_of(model, faces, seed=3, hair=0.6)[0], looks_of(model, faces, hair=0.6)[0])
