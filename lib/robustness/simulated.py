"""Simulated people photographed again under one change at a time (paper Fig. 6)."""

import copy
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from lib.open_model.generator import FaceGenerator
from lib.photos.simulated.camera import FACE_POINTS, alignment_vertices_of, draw_mesh, simulated_person
from lib.photos.simulated.looks import dress
from lib.rendering.crop import Crop
from lib.rendering.scenes import frontal_scene
from lib.robustness.changes import BLUR, OCCLUSION, RESOLUTION, Change, change_pixels

POSE = Change("pose", "degrees of yaw", 0.0, 60.0)
LIGHT = Change("light", "degrees that the lamps go round the head", 0.0, 100.0)
EXPRESSION = Change("expression", "times a random expression", 0.0, 2.0)
SIMULATED_CHANGES = (POSE, LIGHT, EXPRESSION, OCCLUSION, BLUR, RESOLUTION)

EYES_APART = 0.2  # distance between the eyes as a share of the photograph's side
LEAST_AMBIENT = 0.2  # share of the light from everywhere that is left when the lamps are farthest round the head


@dataclass(frozen=True)
class SimulatedSubject:
    """A simulated person (`seed`, `number`) who sits still: the same clothes, glasses and expression throughout."""

    generator: FaceGenerator
    seed: int
    number: int
    size: int
    changes = SIMULATED_CHANGES

    @cached_property
    def _drawn(self):
        """Person, looks, displacements of one expression, and the chance that clothes are drawn with."""
        person, looks, rng = simulated_person(self.generator, self.seed, self.number)
        return person, looks, self.generator.expression(rng), rng

    @property
    def points(self):
        """Landmarks `lib.rendering.crop.POINT_NAMES` in pixels, ndarray (4, 2): all photographs are framed alike."""
        return (FACE_POINTS * EYES_APART + 0.5) * self.size

    def photograph(self, kind=None, strength=None):
        """Take one photograph, float32 (size, size, 3), sRGB, under one of `SIMULATED_CHANGES` or (None) as it is."""
        person, looks, displacement, rng = self._drawn
        rng = copy.deepcopy(rng)  # every photograph has the same clothes
        vertices = person.vertices + (strength * displacement if kind == EXPRESSION.name else 0)
        whole = dress(self.generator, person, looks, vertices, 0.0, rng)
        scene = frontal_scene(1)
        if kind == POSE.name:
            scene = replace(scene, angles=torch.tensor([[math.radians(strength), 0.0, 0.0]]))
        if kind == LIGHT.name:
            scene = _turn_lamps(scene, strength)
        crop = Crop(self.size, tuple(map(tuple, (self.points / self.size).tolist())))
        points = alignment_vertices_of(self.generator)
        image = draw_mesh(whole.vertices, whole.albedo, whole.triangles, points, scene, crop)
        if kind in (OCCLUSION.name, BLUR.name, RESOLUTION.name):
            image = change_pixels(image, self.points, kind, strength)
        return image.astype(np.float32)


def _turn_lamps(scene, degrees):
    """Turn both lamps about the vertical axis through the head; the light from everywhere fades with the angle."""
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(angle), 0.0, -math.sin(angle)], [0.0, 1.0, 0.0], [math.sin(angle), 0.0, math.cos(angle)]]
    )
    left = 1 - (1 - LEAST_AMBIENT) * degrees / LIGHT.largest
    return replace(scene, light_positions=scene.light_positions @ turn, ambient=scene.ambient * left)
