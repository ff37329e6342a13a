"""Simulated photographs: people of the open generator, whose true faces are known, seen by an imperfect camera.

They come straight from the generator that the open face model was fitted to, so that no regressor can reproduce them
exactly, and are photographed in three conditions of rising difficulty, named as those of MICC (paper 4.2).
"""

import io
import math
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, shift
from torch.utils.data import DataLoader

from lib.core.pictures import to_uint8
from lib.core.progress import progress
from lib.photos.files import read_folder
from lib.photos.simulated.looks import dress, sample_looks
from lib.rendering.crop import Crop
from lib.rendering.renderer import SceneDistribution, draw_mesh, sample_scenes


@dataclass(frozen=True)
class Condition:
    """How hard a photograph is: ranges of pose, expression and camera."""

    name: str
    yaw_degrees: float  # at most
    pitch_degrees: float
    roll: float  # of the camera: radians, at most
    expression: float  # scale of the generator's expressions
    blur: float  # pixels, at most
    motion: float  # of the face during the exposure: pixels, at most
    noise: float  # standard deviation at most, of 1, before it is smoothed by `NOISE_BLUR`
    quality: tuple[int, int]  # JPEG
    sunglasses: float  # chance


CONDITIONS = (
    Condition("cooperative", 8.0, 5.0, 0.05, 0.3, 0.4, 0.5, 0.01, (80, 95), 0.0),
    Condition("indoor", 22.0, 10.0, 0.12, 0.8, 0.9, 3.0, 0.03, (60, 90), 0.0),
    Condition("outdoor", 35.0, 14.0, 0.2, 1.0, 1.3, 5.0, 0.045, (40, 85), 0.06),
)

BACKGROUND_COLOUR = 0.45
DARKEST_CORNER = 0.35  # share of the light that a lens may lose in the corners
SMEAR_STEPS = 8  # of a moving face
NOISE_BLUR = 0.45  # pixels: a sensor's noise is not independent, since each colour is measured at some pixels only

FACE_POINTS = np.array([[-0.5, -0.5], [0.5, -0.5], [-0.39, 0.62], [0.39, 0.62]])
"""Eyes and mouth corners about the middle of the face, in units of the distance between the eyes (x right, y down)."""


def simulate_photographs(generator, folder, people, photographs, size, seed):
    """Draw people and photograph them into one sub-folder per person: `person-0000/0-cooperative.jpg`, ...

    `photographs` of each, `size` pixels square, take the conditions in turn; with one of each, people do. More people
    leave the first ones as they were. Return age, gender and ancestry by name. People of an earlier run are deleted.
    """
    for old in Path(folder).glob("person-*"):
        shutil.rmtree(old)
    workers = min(torch.get_num_threads(), people)
    draw = partial(_draw_person, generator, Path(folder), photographs, size, seed)
    # one core per person: most of the work, meshes and the camera, cannot be shared out
    drawn = DataLoader(range(people), batch_size=None, num_workers=workers if workers > 1 else 0, collate_fn=draw)
    return dict(progress(drawn, "simulated photographs", total=people, unit="person"))


def _draw_person(generator, folder, photographs, size, seed, number):
    """Photograph one person into their folder, and return their name and group."""
    name = f"person-{number:04d}"
    person, looks, rng = simulated_person(generator, seed, number)
    for index in range(photographs):
        turn = index if photographs > 1 else number  # a photograph each: people take the conditions in turn
        condition = CONDITIONS[turn % len(CONDITIONS)]
        vertices = person.vertices + condition.expression * generator.expression(rng)
        whole = dress(generator, person, looks, vertices, condition.sunglasses, rng)
        mesh = whole.vertices, whole.albedo, whole.triangles, generator.alignment_vertices
        picture = photograph_mesh(*mesh, condition, size, rng)
        save_photograph(picture, folder / name / f"{index}-{condition.name}.jpg", condition, rng)
    return name, person.group


def read_simulated(folder):
    """List the photographs of `simulate_photographs` as `lib.photos.files.read_folder` does, with their conditions."""
    return [replace(one, condition=Path(one.file).stem.partition("-")[2]) for one in read_folder(folder)]


def true_faces(generator, persons, seed):
    """Draw the neutral faces (P, N, 3), in mm, of people of `simulate_photographs` by their names."""
    return np.asarray([true_person(generator, name, seed).vertices for name in persons], np.float32)


def true_person(generator, name, seed):
    """Draw a `Person` of `simulate_photographs` by the name."""
    return generator.person(np.random.default_rng([seed, int(name.rsplit("-", 1)[1])]))


def simulated_person(generator, seed, number):
    """Draw one of the people of `simulate_photographs`: Person, Looks, and the chance of this person's photographs."""
    rng = np.random.default_rng([seed, number])
    person = generator.person(rng)
    return person, sample_looks(generator, person, rng), rng


def photograph_mesh(vertices, albedo, triangles, alignment_vertices, condition, size, rng):
    """Photograph any mesh of a face in one condition: light, pose, framing, lens, sensor."""
    angles = condition.yaw_degrees, condition.pitch_degrees
    distribution = SceneDistribution(*angles, white_balance=(0.7, 1.0), tint=0.05)
    scene = sample_scenes(1, torch.Generator().manual_seed(int(rng.integers(2**62))), distribution)
    # walls and gardens are less colourful than the backgrounds that train a network to ignore them
    grey = scene.background.mean(1, keepdim=True)
    scene = replace(scene, background=grey + BACKGROUND_COLOUR * (scene.background - grey))
    crop = Crop(size, _framing(condition, rng))
    return _camera(draw_mesh(vertices, albedo, triangles, alignment_vertices, scene, crop)[0], condition, rng)


def save_photograph(picture, path, condition, rng):
    """Write a photograph as the JPEG that this condition's camera makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=int(rng.integers(*condition.quality, endpoint=True)))


def _framing(condition, rng):
    """Place the face in the photograph: a random size, place and roll."""
    eyes_apart = rng.uniform(0.17, 0.25)
    roll = rng.uniform(-condition.roll, condition.roll)
    turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    centre = 0.5 + rng.uniform(-0.06, 0.06, 2)
    return tuple(map(tuple, (FACE_POINTS @ turn.T * eyes_apart + centre).tolist()))


def smear(image, length, direction):
    """Blur an image (H, W, 3) along a line of so many pixels; direction in radians from the horizontal, downwards."""
    step = np.array([math.sin(direction), math.cos(direction), 0]) * length / SMEAR_STEPS
    places = np.arange(SMEAR_STEPS) - (SMEAR_STEPS - 1) / 2
    return np.mean([shift(image, place * step, order=1, mode="nearest") for place in places], axis=0)


def _camera(image, condition, rng):
    """Lens (blur, darker corners), motion, exposure and tone, sensor noise, and a first round of JPEG as on the web."""
    blur = rng.uniform(0, condition.blur)
    image = gaussian_filter(image, (blur, blur, 0))
    image = smear(image, condition.motion * rng.uniform() ** 2, rng.uniform(0, math.pi))
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j].astype(np.float32)
    image = image * (1 - rng.uniform(0, DARKEST_CORNER) * (x**2 + y**2) / 2)[..., None]
    gain = rng.uniform(0.93, 1.05) * rng.uniform(0.96, 1.04, 3)
    image = image ** rng.uniform(0.85, 1.2) * gain.astype(np.float32)
    noise = rng.uniform(0, condition.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image = image + gaussian_filter(noise, (NOISE_BLUR, NOISE_BLUR, 0))
    picture = Image.fromarray(to_uint8(image))
    compressed = io.BytesIO()
    picture.save(compressed, "JPEG", quality=int(rng.integers(*condition.quality, endpoint=True)))
    return Image.open(compressed).convert("RGB")
