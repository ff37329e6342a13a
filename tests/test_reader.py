"""What regressors read beside the training network's features, of renders and of photographs, in two ways."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_world import EMBEDDING, FEATURES, SHAPE, SIZE, TEXTURE, SmallNetwork, small_face_model

from lib.core.pictures import to_tensor
from lib.face_model.model import Coefficients
from lib.recognition import network as recognition
from lib.recognition.network import IdentityNetwork
from lib.recognition.reader import COLOURS, FeatureReader, crop_colours
from lib.rendering.renderer import render, sample_scenes
from lib.training.augmentation import Augmentation
from lib.training.metric import front_colour, front_metric, read_colour
from lib.training.stage1 import SyntheticFaces


class SecondNetwork(SmallNetwork):
    name = "second"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_face_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reader():
    return FeatureReader(SmallNetwork(), SecondNetwork())


def some_faces(generator, count=3):
    return Coefficients(
        torch.randn(count, SHAPE, generator=generator), torch.randn(count, TEXTURE, generator=generator)
    )


def test_both_networks_and_the_colours_see_the_same_renders(model, reader, generator):
    faces, scene = some_faces(generator), sample_scenes(6, generator)
    seen = reader.see_renders(model, faces, scene)
    images = render(model, faces, scene, SmallNetwork.crop)
    features, descriptor = SmallNetwork().descriptor(images)
    assert seen.features.shape == (6, reader.feature_dimension) and reader.feature_dimension == 30
    assert torch.equal(seen.features[:, :FEATURES], features) and torch.equal(seen.features[:, FEATURES:18], descriptor)
    assert torch.equal(seen.features[:, 18:], crop_colours(images, SmallNetwork.crop))
    alone = FeatureReader(SmallNetwork()).see_renders(model, faces, scene)
    assert torch.equal(alone.features, features) and torch.equal(alone.embedding, seen.embedding)


def test_the_gradient_comes_through_the_training_network_alone(model, reader, generator):
    faces, scene = some_faces(generator), sample_scenes(3, generator)
    faces.shape.requires_grad_()
    features = reader.see_renders(model, faces, scene).features
    features[:, FEATURES:].sum().backward(retain_graph=True)
    assert faces.shape.grad is None or faces.shape.grad.abs().max() == 0
    features[:, :FEATURES].sum().backward()
    assert faces.shape.grad.abs().max() > 0


def test_blur_is_scaled_to_the_second_crop(generator):
    draw = Augmentation(blur=2.0, noise=0.1).draw(4, generator)
    half = draw.at_scale(0.5)
    assert torch.equal(half.blur, draw.blur / 2) and torch.equal(half.seeds, draw.seeds)


def test_photographs_are_read_alike_from_crops_and_from_the_store(reader):
    pictures = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    arrays = {name: {} for name in ("features", "descriptors")}
    for suffix, seen in (("", pictures), (recognition.MIRRORED, pictures[:, :, ::-1].copy())):
        for name in ("small", "second"):
            features, descriptors = SmallNetwork().descriptor(to_tensor(torch.from_numpy(seen)))
            arrays["features"][name + suffix] = features.numpy()
            arrays["descriptors"][name + suffix] = descriptors.numpy()
    store, rows = SimpleNamespace(crops=pictures, **arrays), np.array([0, 2, 3])
    crops = dict.fromkeys(("small", "second"), torch.from_numpy(pictures[rows]))
    stored = reader.mean_of_store(store, rows)
    assert torch.allclose(stored, reader.of_crops(crops), atol=1e-6)
    mirrored = dict.fromkeys(("small", "second"), torch.from_numpy(pictures[rows][:, :, ::-1].copy()))
    assert torch.allclose(stored, reader.of_crops(mirrored), atol=1e-6)
    features, other = reader.of_store(store, rows)
    assert not torch.allclose(features, other) and torch.allclose((features + other) / 2, stored)
    alone, missing = FeatureReader(SmallNetwork()).of_store(store, rows)
    assert torch.equal(alone[:], features[:, :FEATURES]) and missing is None


def test_colours_are_those_of_cheeks_forehead_and_nose():
    """A picture painted by hand in dlib's crop: eyes at a height of 46.6 pixels, 47.5 and 100.5 from the left."""
    image = torch.zeros(1, 3, 150, 150)
    image[:, 0, 60:, :74], image[:, 1, 60:, 74:] = 0.3, 0.4
    image[:, 2, :40] = 0.5
    colours = crop_colours(image, recognition.DLIB_CROP)[0].view(4, 3)
    assert torch.allclose(colours[:3], torch.tensor([[0.3, 0, 0], [0, 0.4, 0], [0, 0, 0.5]]))
    assert colours.numel() == COLOURS


def test_a_mirrored_network_sees_the_mirror_image():
    torch.manual_seed(0)
    body = recognition.KINDS["sface"].architecture()
    plain, mirrored = (IdentityNetwork(name, body, "random") for name in ("sface", "sface" + recognition.MIRRORED))
    images = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        assert torch.equal(mirrored.descriptor(images)[1], plain.descriptor(images.flip(3))[1])
    assert mirrored.embedding_dimension == plain.embedding_dimension != EMBEDDING


def test_the_front_colour_is_that_of_the_visible_face(model):
    colour = front_colour(model, SmallNetwork.crop)
    texture = torch.full((1, TEXTURE), 0.1)
    change = (model.albedo(texture) - model.albedo(torch.zeros(1, TEXTURE)))[0]
    assert colour.shape == (3, TEXTURE)
    # the picture shows part of the vertices: their mean lies among theirs, and is not that of all
    mean = colour @ texture[0]
    assert (change.amin(0) < mean).all() and (mean < change.amax(0)).all()


def test_similarity_motions_cost_nothing_in_the_front_metric():
    """A curved sheet whose components are a shift, a rotation, a growth, and a bump of 1 mm along the view axis."""
    x, y = torch.meshgrid(torch.linspace(-90, 90, 31), torch.linspace(-120, 60, 31), indexing="xy")
    mean = torch.stack([x, y, 110 - (x / 12).square()], -1).view(-1, 3)
    index = torch.arange(31 * 31).view(31, 31)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = torch.cat([torch.stack(t, -1).view(-1, 3) for t in ((a, b, c), (a, c, d))])
    bump = torch.zeros_like(mean)
    bump[:, 2] = torch.cos(mean[:, 1] / 8)
    turn = torch.stack([-mean[:, 1], mean[:, 0], torch.zeros(len(mean))], 1) / 100
    modes = torch.stack([torch.ones_like(mean), turn, mean / 100, bump])
    eyes = [[index[22, 10]], [index[22, 20]], [index[12, 11]], [index[12, 19]]]
    model = SimpleNamespace(
        shape_dimension=4,
        triangles=triangles,
        alignment_vertices=[torch.stack(points) for points in eyes],
        modes=lambda kind: modes,
        vertices=lambda shape: mean + torch.einsum("bk,knc->bnc", shape, modes),
    )
    metric = front_metric(model, SmallNetwork.crop)
    assert metric[:3, :3].abs().max() < 1e-6 and torch.allclose(metric, metric.T)
    # the mean square of a cosine is a half; its normals lean by as much as the sheet does
    assert 0.3 < metric[3, 3] < 0.5


def test_colours_are_read_from_features_that_show_them():
    """To the truth where features determine it, to the mean where they do not; a feature that never changes is fine."""
    generator = torch.Generator().manual_seed(0)
    texture, colour = torch.randn(4000, 5, generator=generator), torch.randn(3, 5, generator=generator)
    truth = texture @ colour.T
    telling = torch.cat([truth @ torch.randn(3, 6, generator=generator) + 2, torch.ones(4000, 1)], 1)
    for features, least, most in ((telling, 0.95, 1.0), (torch.randn(4000, 7, generator=generator), -0.2, 0.2)):
        synthetic = SyntheticFaces(features[:3000], Coefficients(torch.zeros(3000, 2), texture[:3000]))
        left = (read_colour(features[3000:], synthetic, colour) - truth[3000:]).square().mean() / truth.var()
        assert least <= 1 - left <= most
