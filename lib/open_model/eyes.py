"""Eyes of the open model: pupil, iris and sclera on the polar grid of the eyeball."""

import numpy as np

from lib.open_model.fields import clipped_normal, smooth_step
from lib.open_model.mesh import Part

CAUCASIAN = 2
BROWN, BLUE, GREEN = np.array([0.20, 0.115, 0.065]), np.array([0.40, 0.52, 0.62]), np.array([0.42, 0.46, 0.30])


def paint_eyes(colour, maps, traits, complexion, random):
    """Paint both eyes (colour (n, 3) in and out, sRGB-encoded).

    Light irises come with light skin and European ancestry only; hazel and green lie between brown and blue.
    """
    pupil_edge = clipped_normal(random, 8.6, 0.8, 6.5, 11)
    iris_edge = random.normal(24.8, 0.4)
    light = (1 - complexion.darkness) ** 2 * traits.ancestry[CAUCASIAN] ** 1.5 * random.beta(1.1, 0.9) * 1.15
    green, brown_shade = 0.8 * random.random(), clipped_normal(random, 1, 0.2, 0.55, 1.6)
    veins, brightness = clipped_normal(random, 0.5, 0.4, 0, 1.6), random.normal(0, 0.02)
    eye = maps.part >= Part.RIGHT_EYE
    degrees, around = np.rad2deg(maps.eye_angles[eye, 0]), maps.eye_angles[eye, 1]
    light_colour = BLUE * (1 - green) + GREEN * green
    iris = BROWN * brown_shade * (1 - np.clip(light, 0, 1)) + light_colour * np.clip(light, 0, 1)
    rays = 1 + 0.10 * np.sin(16 * around + 0.8 * np.sin(3 * around))
    iris = iris * (rays * (0.78 + 0.45 * smooth_step(degrees, 9, 17)))[:, None]
    iris *= (1 - 0.55 * smooth_step(degrees, iris_edge - 4.5, iris_edge - 0.4))[:, None]
    iris = iris * smooth_step(degrees, pupil_edge - 0.7, pupil_edge + 0.7)[:, None] + 0.012
    sclera = np.array([0.86, 0.835, 0.82]) + brightness - veins * np.array([0.02, 0.05, 0.07])
    sclera = sclera - complexion.darkness * np.array([0.02, 0.03, 0.06])
    sclera = sclera - smooth_step(degrees, 42, 66)[:, None] * np.array([0.0, 0.05, 0.05])
    white = smooth_step(degrees, iris_edge - 0.6, iris_edge + 1.2)[:, None]
    shade = np.clip(0.62 + 0.38 * maps.openness[eye], 0.45, 1)[:, None]
    colour[eye] = (iris * (1 - white) + sclera * white) * shade
    return colour
