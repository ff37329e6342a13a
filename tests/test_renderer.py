"""Whole renders: golden pictures, the Jacobian, recovery by descent; scenes that can be kept and drawn again."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from meshes import CROP, head
from PIL import Image

from lib.photos.align import warp_to_crop
from lib.recognition.network import DLIB_CROP, FACENET_CROP, FACERES_CROP
from lib.rendering.crop import POINT_NAMES, Crop
from lib.rendering.renderer import (
    Scene,
    SceneDistribution,
    frontal_scene,
    render,
    render_meshes,
    render_with_landmarks,
    sample_scenes,
)
from lib.rendering.scenes import background_pictures, light_source_colours
from lib.rendering.vertices import vertex_normals, vertex_stage

GOLDEN = Path(__file__).parent / "golden"
SMALL = Crop(28, CROP.points)


def draw(vertices, scene, albedo=None, crop=CROP):
    _, own_albedo, triangles, alignment = head()
    albedo = own_albedo.expand(len(vertices), -1, -1) if albedo is None else albedo
    return render_meshes(vertices, albedo, triangles, alignment, scene, crop)


def golden_scene(name):
    scene = frontal_scene(1)
    if name == "turned":
        lights = torch.tensor([[[2000.0, 500, 2500], [-2500, -500, 1500]]])
        colours = torch.tensor([[[0.9, 0.7, 0.4], [0.1, 0.15, 0.3]]])
        scene = replace(scene, angles=torch.tensor([[0.5, 0.2, 0.1]]), light_positions=lights, light_colours=colours)
    if name == "near":
        background = torch.linspace(0, 1, 108).view(1, 3, 6, 6)
        angles = torch.tensor([[-0.4, -0.2, 0.0]])
        scene = replace(scene, angles=angles, distance=torch.tensor([350.0]), background=background)
    return scene


@pytest.mark.parametrize("name", ["frontal", "turned", "near"])
def test_golden_pictures(name, tmp_path):
    """At most 0.2 % of the pixels differ by more than 0.01: an id may tip over at an edge on another machine."""
    picture = draw(head()[0], golden_scene(name))[0].permute(1, 2, 0)
    golden = torch.from_numpy(np.array(Image.open(GOLDEN / f"{name}.png"))) / 255
    outliers = ((picture - golden).abs().amax(2) > 0.01).float().mean()
    if outliers > 0.002:
        failed = tmp_path / f"{name}.png"
        Image.fromarray((picture * 255).round().byte().numpy()).save(failed)
        pytest.fail(f"{outliers:.1%} of the pixels differ from {GOLDEN / failed.name}; the new picture is {failed}")


def test_the_face_lies_where_the_crop_wants_it():
    """Coloured dots on the landmarks are seen where the camera says that the landmarks are."""
    vertices, albedo, triangles, alignment = head()
    dots, scene = torch.zeros_like(albedo), frontal_scene(1)
    for channel, (index,) in enumerate(alignment[:3]):
        dots[0, index, channel] = 1.0
    pictures, landmarks = render_with_landmarks(vertices, dots, triangles, alignment, scene, Crop(200, CROP.points))
    picture = pictures[0]
    centres = (torch.arange(200) + 0.5) / 200
    for channel in range(3):
        x, y = landmarks[0, channel].tolist()
        glow = (picture[channel] - picture.mean(0)).clamp(min=0)
        brightest = glow.flatten().argmax()
        assert float(centres[brightest % 200]) == pytest.approx(x, abs=0.015)
        assert float(centres[brightest // 200]) == pytest.approx(y, abs=0.015)
        assert (x, y) == pytest.approx(CROP.points[channel], abs=0.03)


@pytest.mark.parametrize("crop", [DLIB_CROP, FACERES_CROP, FACENET_CROP])
@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_renders_are_framed_as_photographs_are(crop, yaw):
    """A large render taken for a photograph and cut out at its landmarks is the render in the network's crop."""
    vertices, albedo, triangles, alignment = head()
    scene = replace(frontal_scene(1), angles=torch.tensor([[yaw, 0.1, 0.2]]))
    wide = Crop(500, ((0.42, 0.45), (0.55, 0.44), (0.44, 0.57), (0.56, 0.56)))
    pictures, landmarks = render_with_landmarks(vertices, albedo, triangles, alignment, scene, wide)
    photograph = (pictures[0].permute(1, 2, 0) * 255).round().byte().numpy()
    cut, direct = warp_to_crop(photograph, landmarks[0] * wide.size, crop), draw(vertices, scene, crop=crop)[0]
    assert (cut - direct).abs().mean() < 0.01
    # a shift by two hundredths of the picture would be seen
    assert (cut - direct.roll(round(0.02 * crop.size), 2)).abs().mean() > 0.01


# ------------------------------------------------------------------------------------------ gradients


def smooth_change(vertices, amounts):
    """Three smooth changes of a head, in mm: wider, a longer nose, a higher brow."""
    x, y, z = vertices.unbind(-1)
    nose = torch.exp(-((x / 15) ** 2 + ((y + 10) / 20) ** 2)) * (z > 0)
    brow = torch.exp(-((x / 40) ** 2 + ((y - 45) / 20) ** 2)) * (z > 0)
    zero = torch.zeros_like(x)
    modes = torch.stack([torch.stack(m, -1) for m in ((x / 75, zero, zero), (zero, zero, nose), (zero, zero, brow))])
    return vertices + torch.einsum("m,mbnk->bnk", amounts, modes)


@pytest.mark.parametrize("what", ["shape", "angles", "distance", "light_positions", "light_colours", "ambient"])
def test_jacobian_agrees_with_finite_differences(what):
    """Of a render at 28 x 28, relative to the magnitude; but for pixels at outlines and creases, which differences
    see and gradients by definition (paper 3.2.1) do not."""
    scene, (vertices, albedo, triangles, alignment) = golden_scene("turned"), head()
    units = dict(shape=1.0, angles=0.01, distance=60.0, light_positions=100.0, light_colours=0.02, ambient=0.02)
    size = dict(shape=3, angles=3, distance=1, light_positions=6, light_colours=6, ambient=3)[what]

    def pictures(steps):
        """One picture (3 * 28 * 28,) for each row of steps (S, size)."""
        changed, shapes = scene[torch.arange(len(scene)).repeat(len(steps))], vertices
        if what == "shape":
            shapes = torch.cat([smooth_change(vertices, step) for step in steps])
        else:
            original = getattr(changed, what)
            changed = replace(changed, **{what: original + units[what] * steps.view_as(original)})
        colours = albedo.expand(len(shapes), -1, -1)
        return render_meshes(shapes, colours, triangles, alignment, changed, SMALL).flatten(1)

    # as many copies of the picture as it has values: each sends back the gradient of one of them
    outputs = 3 * SMALL.size**2
    steps = torch.zeros(outputs, size, requires_grad=True)
    jacobian = torch.autograd.grad(pictures(steps).diagonal().sum(), steps)[0]
    with torch.no_grad():
        numeric = ((pictures(0.05 * torch.eye(size)) - pictures(-0.05 * torch.eye(size))) / 0.1).T
    magnitude = jacobian.norm(dim=0) / outputs**0.5
    assert (magnitude > 1e-4).all()
    close = (jacobian - numeric).abs() < 0.02 * magnitude
    assert close.float().mean() > 0.99
    within = close.all(1)
    assert (jacobian - numeric)[within].norm() < 1e-3 * jacobian[within].norm()


def descend(start, loss, rate, steps):
    value = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([value], lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        loss(value).backward()
        optimiser.step()
    return value.detach()


def test_descent_recovers_a_pose():
    vertices, scene = head()[0], golden_scene("turned")
    target = draw(vertices, scene)

    def loss(angles):
        return (draw(vertices, replace(scene, angles=angles)) - target).square().mean()

    found = descend(scene.angles + torch.tensor([[-0.25, 0.15, 0.0]]), loss, 0.03, 60)
    torch.testing.assert_close(found[:, :2], scene.angles[:, :2], atol=0.02, rtol=0)


def test_descent_recovers_a_light():
    vertices, scene = head()[0], golden_scene("turned")
    target = draw(vertices, scene)
    start = torch.tensor([[[0.0, 1500, 2500], [-2500, -500, 1500]]]) / 1000

    def loss(positions):
        return (draw(vertices, replace(scene, light_positions=positions * 1000)) - target).square().mean()

    found = torch.nn.functional.normalize(descend(start, loss, 0.15, 80)[0, 0], dim=0)
    expected = torch.nn.functional.normalize(scene.light_positions[0, 0], dim=0)
    assert math.degrees(math.acos(float(found @ expected))) < 3


def test_descent_recovers_a_shape():
    vertices, scene = head()[0], golden_scene("turned")
    truth = torch.tensor([6.0, -5.0, 8.0])
    target = draw(smooth_change(vertices, truth), scene)

    def loss(amounts):
        return (draw(smooth_change(vertices, amounts), scene) - target).square().mean()

    found = descend(torch.zeros(3), loss, 1.0, 100)
    torch.testing.assert_close(found, truth, atol=1.0, rtol=0)


def test_normals_point_outwards_and_follow_the_vertices(generator):
    vertices, albedo, triangles, _ = head(3)
    normals = vertex_normals(vertices, triangles)
    assert ((normals * vertices).sum(-1) > 0).all()
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones_like(normals[..., 0]))
    projection = torch.eye(4)[None]
    _, attributes = vertex_stage(vertices, albedo, triangles, projection)
    torch.testing.assert_close(attributes[..., 3:6], normals, atol=1e-5, rtol=0)


def meshes_and_cameras(faces, generator):
    """Bumpy heads with colours, and two views of each."""
    vertices, albedo, triangles, _ = head(1)
    vertices = vertices + torch.randn(faces, *vertices.shape[1:], generator=generator)
    albedo = albedo * torch.rand(faces, *albedo.shape[1:], generator=generator)
    return vertices, albedo, triangles, torch.randn(2 * faces, 4, 4, generator=generator)


@pytest.mark.parametrize("faces", [2, 11])
def test_fused_vertex_stage_agrees_with_torch(faces, generator):
    vertices, albedo, triangles, projection = meshes_and_cameras(faces, generator)
    variables = [tensor.requires_grad_() for tensor in (vertices, albedo, projection)]
    ours = vertex_stage(vertices, albedo, triangles, projection)
    homogeneous = torch.cat([vertices, torch.ones_like(vertices[..., :1])], 2).repeat(2, 1, 1)
    attributes = torch.cat([albedo, vertex_normals(vertices, triangles), vertices], 2)
    theirs = homogeneous @ projection.mT, attributes
    output_grads = [torch.randn(tensor.shape, generator=generator) for tensor in theirs]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    ours, theirs = (torch.autograd.grad(outputs, variables, output_grads) for outputs in (ours, theirs))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=1e-3)


def test_a_face_alone_gets_the_same_bytes_as_among_others(generator):
    faces = 4
    vertices, albedo, triangles, projection = meshes_and_cameras(faces, generator)
    output_grads = (
        torch.randn(2 * faces, vertices.shape[1], 4, generator=generator),
        torch.randn(faces, vertices.shape[1], 9, generator=generator),
    )

    def through(some, views):
        inputs = [tensor.clone().requires_grad_() for tensor in (vertices[some], albedo[some], projection[views])]
        outputs = vertex_stage(inputs[0], inputs[1], triangles, inputs[2])
        return *outputs, *torch.autograd.grad(outputs, inputs, (output_grads[0][views], output_grads[1][some]))

    together = through(slice(None), slice(None))
    for face in (0, faces - 1):
        views = [face, face + faces]
        clip, attributes, *gradients = through([face], views)
        assert torch.equal(clip, together[0][views]) and torch.equal(attributes[0], together[1][face])
        assert torch.equal(gradients[0][0], together[2][face]) and torch.equal(gradients[1][0], together[3][face])
        assert torch.equal(gradients[2], together[4][views])


@pytest.mark.gpu
def test_a_render_on_a_gpu_agrees_with_the_cpu(generator):
    """With Kaolin where it is installed; an id may tip over at an edge."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    vertices, albedo, triangles, alignment = head()
    scene, results = sample_scenes(3, generator), []
    output_grad = torch.randn(3, 3, CROP.size, CROP.size, generator=generator)
    for device in ("cpu", "cuda"):
        places, colours = vertices.to(device, copy=True).requires_grad_(), albedo.to(device, copy=True).requires_grad_()
        picture = render_meshes(places, colours, triangles.to(device), alignment, scene.to(device), CROP)
        gradients = torch.autograd.grad(picture, (places, colours), output_grad.to(device))
        results.append([tensor.detach().cpu() for tensor in (picture, *gradients)])
    (ours, *our_gradients), (theirs, *their_gradients) = results
    assert ((ours - theirs).abs().amax(1) > 0.01).float().mean() < 0.002
    for one, other in zip(our_gradients, their_gradients, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


# ---------------------------------------------------------------------------------- faces and scenes


class FakeFaceModel:
    """A head with one mode of shape and one of texture; counts how many faces it has decoded."""

    def __init__(self):
        self.mean, self.colour, self.triangles, alignment = head()
        self.alignment_vertices = dict(zip(POINT_NAMES, alignment, strict=True))
        self.decoded = 0

    def vertices(self, shape, expression=None):
        self.decoded += len(shape)
        lift = 0 if expression is None else expression[:, :1, None]
        return self.mean * (1 + 0.1 * shape[:, :1, None] * torch.tensor([1.0, 0, 0])) + lift

    def albedo(self, texture):
        return (self.colour + 0.1 * texture[:, :1, None]).clamp(0, 1)


def faces(*values):
    column = torch.tensor(values)[:, None]
    return SimpleNamespace(shape=column, texture=column.clone())


def test_views_are_stacked_and_faces_decoded_once(generator):
    model, scene = FakeFaceModel(), sample_scenes(6, generator)
    together = render(model, faces(-1.0, 1.0), scene, CROP)
    assert together.shape == (6, 3, 48, 48) and model.decoded == 2
    for i in range(6):
        alone = render(model, faces((-1.0, 1.0)[i % 2]), scene[[i]], CROP)
        torch.testing.assert_close(together[i], alone[0], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="6 pictures cannot show 4 faces"):
        render(model, faces(0.0, 0, 0, 0), scene, CROP)


def test_coefficients_and_expression_receive_gradients(generator):
    coefficients = faces(0.5, -0.5)
    expression = torch.zeros(2, 1, requires_grad=True)
    coefficients.shape.requires_grad_(), coefficients.texture.requires_grad_()
    picture = render(FakeFaceModel(), coefficients, sample_scenes(4, generator), CROP, expression=expression)
    picture.square().sum().backward()
    for variable in (coefficients.shape, coefficients.texture):
        assert variable.grad.isfinite().all() and (variable.grad != 0).all()
    # a shift of the whole head is taken back by the framing
    assert expression.grad.abs().max() < 1e-2 * coefficients.shape.grad.abs().max()


def test_order_of_the_batch_does_not_matter(generator):
    scene, order = sample_scenes(4, generator), torch.tensor([3, 1, 0, 2])
    heads = head()[0] + torch.randn(4, 1, 1, generator=generator)
    assert torch.equal(draw(heads[order], scene[order]), draw(heads, scene)[order])


def test_a_scene_can_be_kept_and_drawn_again(generator, tmp_path):
    scene = sample_scenes(3, generator)
    torch.save(vars(scene), tmp_path / "scene.pt")
    again = Scene(**torch.load(tmp_path / "scene.pt", weights_only=True))
    heads = head()[0].expand(3, -1, -1)
    assert torch.equal(draw(heads, scene), draw(heads, again))
    assert len(scene) == 3 and len(scene[1:]) == 2 and len(scene[torch.tensor([True, False, False])]) == 1
    assert torch.equal(scene[[2]].angles, scene.angles[2:]) and torch.equal(scene.to("cpu").ambient, scene.ambient)


def test_random_scenes_stay_in_their_ranges_and_repeat():
    ranges = SceneDistribution(20.0, 5.0, roll_degrees=0.0, distance_mm=(500.0, 600.0))
    first, second = (sample_scenes(500, torch.Generator().manual_seed(3), ranges) for _ in range(2))
    assert all(torch.equal(vars(first)[name], vars(second)[name]) for name in vars(first))
    yaw, pitch, roll = first.angles.rad2deg().abs().amax(0).tolist()
    assert 19.5 < yaw <= 20 and 4.5 < pitch <= 5 and roll == 0
    assert first.distance.min() >= 500 and first.distance.max() <= 600
    assert first.light_positions.norm(dim=-1).min() > 1500 and first.light_positions.shape == (500, 2, 3)
    total = first.light_colours.sum(1) + first.ambient
    luminance = total @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert luminance.min() >= ranges.exposure[0] - 1e-3 and luminance.max() <= ranges.exposure[1] + 1e-3
    assert first.background.min() >= 0 and first.background.max() <= 1
    assert first.background.std((2, 3)).amax(1).gt(0.02).float().mean().item() == pytest.approx(2 / 3, abs=0.1)


def test_backgrounds_are_random_by_choice(generator):
    state = generator.get_state()
    random = sample_scenes(5, generator)
    ranges = SceneDistribution(30.0, 15.0, distance_mm=[600.0, 1500.0], random_backgrounds=False)
    plain = sample_scenes(5, generator.set_state(state), ranges)
    assert (plain.background == 0.5).all() and not (random.background == 0.5).all()
    assert torch.equal(plain.angles, random.angles) and torch.equal(plain.light_colours, random.light_colours)


def test_light_sources_go_from_warm_to_cold():
    colours = light_source_colours()
    assert (colours > 0).all()
    torch.testing.assert_close(colours @ torch.tensor([0.2126, 0.7152, 0.0722]), torch.ones(len(colours)))
    # D65 is sRGB's white; the incandescent lamp is the reddest but for the warm LED, the north sky the bluest
    torch.testing.assert_close(colours[8], torch.ones(3), atol=2e-3, rtol=0)
    warmth = colours[:, 0] / colours[:, 2]
    assert warmth.argmin() == 9 and warmth.argsort(descending=True)[:2].sort().values.tolist() == [0, 1]


def test_backgrounds_are_exact_for_plain_colours_and_gradients():
    plain = torch.full((1, 3, 6, 6), 0.3)
    torch.testing.assert_close(background_pictures(plain, 20), torch.full((1, 3, 20, 20), 0.3))
    ramp = torch.linspace(0, 1, 6).expand(1, 3, 6, 6)
    expected = ((torch.arange(20) + 0.5) / 20).expand(1, 3, 20, 20)
    torch.testing.assert_close(background_pictures(ramp, 20), expected)
    rows = background_pictures(ramp.mT, 20)
    torch.testing.assert_close(rows, expected.mT)


def test_random_pictures_are_well_exposed(generator):
    """Faces are neither in the dark nor burnt out, on average and with few exceptions."""
    scene = sample_scenes(60, generator)
    colour = torch.tensor([0.72, 0.54, 0.45]).expand(1, head()[0].shape[1], 3)
    middle = draw(head()[0], scene, colour)[:, :, 12:40, 14:34]
    luminance = middle.mean((2, 3)) @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert 0.45 < luminance.mean() < 0.65
    assert ((luminance > 0.25) & (luminance < 0.8)).float().mean() > 0.95
    assert (middle >= 0.999).float().mean() < 0.02


_DIGEST_OF_A_STEP = """
import sys
from pathlib import Path
import torch
from small_world import SHAPE, TEXTURE, SmallNetwork, small_face_model
from lib.core.tensors import digest
from lib.face_model.model import Coefficients
from lib.rendering.renderer import render, sample_scenes
generator = torch.Generator().manual_seed(1)
model = small_face_model(Path(sys.argv[1]))
faces = Coefficients(*(torch.randn(3, count, generator=generator).requires_grad_() for count in (SHAPE, TEXTURE)))
picture = render(model, faces, sample_scenes(6, generator), SmallNetwork.crop)
picture.square().sum().backward()
kernels = [kernel for name in sys.modules if name.startswith("lib.rendering.kernels.")
           for kernel in vars(sys.modules[name]).values() if getattr(kernel, "stats", None)]
print(digest(picture, faces.shape.grad, faces.texture.grad), sum(sum(k.stats.cache_misses.values()) for k in kernels))
"""


def test_a_second_process_compiles_nothing_and_gives_the_same_bytes(tmp_path):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    command = [sys.executable, "-c", _DIGEST_OF_A_STEP, str(tmp_path)]
    (digest, compiled), (again, compiled_again) = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    )
    assert digest == again and len(digest) == 16
    assert int(compiled) >= 3 and compiled_again == "0"
