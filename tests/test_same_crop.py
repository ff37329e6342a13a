"""Photographs and renders reach a network through the same crop: one by detection, the other by known landmarks."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from lib.face_model.model import ALIGNMENT_LANDMARKS
from lib.open_model.build import FaceGenerator
from lib.photos.align import warp_to_crop
from lib.photos.detect import FaceDetector
from lib.photos.read import read_picture
from lib.recognition.network import load_network, prepare_network
from lib.recognition.sources import FACERES_SHA256
from lib.rendering.crop import Crop
from lib.rendering.renderer import SceneDistribution, render_meshes, sample_scenes

PEOPLE = 8
PHOTOGRAPH = Crop(400, ((0.42, 0.40), (0.60, 0.43), (0.42, 0.62), (0.55, 0.64)))
"""A face somewhere in a photograph, a little turned in the plane."""


@pytest.fixture(scope="module")
def render():
    """-> a function from a crop to renders (PEOPLE, 3, size, size) of the same people in the same scenes."""
    generator = FaceGenerator("light")
    people = [generator.person(np.random.default_rng([7, number])) for number in range(PEOPLE)]
    scenes = sample_scenes(PEOPLE, torch.Generator().manual_seed(7), SceneDistribution(20.0, 8.6))
    vertices, albedo = (torch.tensor(np.stack(values)) for values in zip(*((p.vertices, p.albedo) for p in people)))
    points = [[generator.landmarks[name] for name in names] for names in ALIGNMENT_LANDMARKS]
    triangles = torch.as_tensor(generator.triangles)
    return lambda crop: render_meshes(vertices, albedo, triangles, points, scenes, crop)


@pytest.fixture(scope="module")
def photographs(render, tmp_path_factory):
    """-> pixels and detected face of each render, saved and read as a photograph."""
    folder, pictures = tmp_path_factory.mktemp("photographs"), []
    for number, image in enumerate(render(PHOTOGRAPH)):
        path = folder / f"{number}.jpg"
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)).save(path, quality=92)
        pictures.append(read_picture(path).pixels)
    return list(zip(pictures, FaceDetector().detect(pictures), strict=True))


@pytest.mark.parametrize("name", ["dlib", "faceres"])
def test_both_ways_into_a_network_show_it_the_same_person(render, photographs, tmp_path, name):
    raw = ROOT / "data" / "raw" / "networks"
    if name == "faceres" and not all((raw / file).is_file() for file in FACERES_SHA256):
        pytest.skip("the networks stage has not fetched FaceRes")
    prepare_network(name, tmp_path, raw)
    network = load_network(name, tmp_path)
    rendered = render(network.crop)
    detected = torch.stack([warp_to_crop(pixels, face.points, network.crop) for pixels, face in photographs])
    with torch.no_grad():
        descriptors = [network.descriptor(images)[1] for images in (rendered, detected)]
    # without its centre a network finds everybody alike, and the test could not fail
    network = network.with_centre(descriptors[0].mean(0))
    cosines = network.embed(descriptors[0]) @ network.embed(descriptors[1]).T
    assert cosines.diagonal().min() >= 0.9
    different = cosines[~torch.eye(PEOPLE, dtype=torch.bool)]
    assert different.max() < 0.8 and different.mean() < 0.1


def test_the_way_of_renders_is_differentiable(tmp_path):
    """From the embedding down to the shape of the face (paper 3.3.2); photographs need no gradient."""
    generator = FaceGenerator("light")
    person = generator.person(np.random.default_rng(1))
    prepare_network("dlib", tmp_path, tmp_path)
    network = load_network("dlib", tmp_path)
    vertices = torch.tensor(person.vertices[None], requires_grad=True)
    points = [[generator.landmarks[name] for name in names] for names in ALIGNMENT_LANDMARKS]
    scene = sample_scenes(1, torch.Generator().manual_seed(1))
    albedo, triangles = torch.tensor(person.albedo[None]), torch.as_tensor(generator.triangles)
    images = render_meshes(vertices, albedo, triangles, points, scene, network.crop)
    network(images).embedding[0, 0].backward()
    assert torch.isfinite(vertices.grad).all() and (vertices.grad.abs().sum(2) > 0).float().mean() > 0.2
