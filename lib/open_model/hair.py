"""Facial hair of the open model: its colour, brows, beard and lashes, painted as soft masks."""

import numpy as np

from lib.open_model.fields import clipped_normal, smooth_step
from lib.open_model.mesh import Part

ASIAN = 1
LASH_COLOUR = np.array([0.10, 0.07, 0.06], np.float32)


def sample_hair_colour(traits, darkness, random):
    """Draw the colour of brows and beard.

    Parameters
    ----------
    traits : Traits
    darkness : float
        Of the skin, 0 to 1.
    random : numpy.random.Generator

    Returns
    -------
    ndarray (3,)
        sRGB-encoded: from blond over red and brown to black, grey with age.
    """
    asian = traits.ancestry[ASIAN]
    eumelanin = clipped_normal(random, 0.62 + 0.5 * darkness + 0.38 * asian, 0.2, 0.2, 1)
    pheomelanin = clipped_normal(random, 0.25, 0.28, 0, 1) * (1 - darkness) * (1 - asian)
    blond, black, red = np.array([0.62, 0.47, 0.30]), np.array([0.085, 0.062, 0.052]), np.array([0.10, -0.06, -0.12])
    colour = blond * (1 - eumelanin) ** 1.3 + black + pheomelanin * (1 - eumelanin) * red
    grey = smooth_step(traits.age + random.normal(0, 0.12), 0.36, 0.82)
    return (colour * (1 - grey) + grey * np.array([0.55, 0.54, 0.53])).astype(np.float32)


def paint_brows(colour, maps, traits, complexion, random):
    """Paint brows (colour (n, 3) in and out): a soft arc whose strength, width and arch differ between people."""
    female = 1 - traits.gender
    lift, arch = random.normal(0, 0.7), random.normal(0, 1.2) + 0.7 * female
    start, end = 9.5 + random.normal(0, 1.6), 50 + random.normal(0, 2.5)
    thickness = clipped_normal(random, 3.0 + 1.1 * traits.gender, 0.7, 1.8, 5.2)
    density = clipped_normal(random, 0.74 + 0.08 * traits.gender, 0.17, 0.28, 1)
    along = np.clip((maps.across - start) / (end - start), -0.2, 1.25)
    inside = np.clip(along, 0, 1)
    middle = 18.5 + lift + (6.5 + arch) * np.sin(0.72 * np.pi * inside**1.35) - 7 * np.clip(along - 0.66, 0, 1)
    half = thickness * (1 - 0.72 * smooth_step(along, 0.45, 1.05)) * smooth_step(along, -0.12, 0.1)
    offset = (maps.height - middle) / np.maximum(half, 0.35)
    mask = np.exp(-0.5 * np.abs(offset) ** 2.2) * smooth_step(along, 1.1, 0.94) * smooth_step(along, -0.14, 0.08)
    mask *= density * (0.82 + 0.18 * maps.grain) * (half > 0.2) * (maps.part == Part.SKIN)
    # a quarter of the skin shines through even dense brows
    hair = 0.75 * (0.72 * complexion.hair + 0.02) + 0.15 * colour
    return colour + np.clip(mask, 0, 1)[:, None] * (hair - colour)


def paint_beard(colour, maps, traits, complexion, random):
    """Paint stubble to full beard (colour (n, 3) in and out); over light skin the shadow is bluish."""
    strength = traits.gender * clipped_normal(random, 0.34, 0.30, 0, 0.9) * (1 - 0.4 * traits.ancestry[ASIAN])
    chin, moustache, side = (random.random(3) * [0.35, 0.4, 0.35] + [0.65, 0.6, 0.55]).tolist()
    region = np.clip(chin * maps.chin_beard + moustache * maps.moustache + side * maps.side_beard, 0, 1)
    amount = strength * region * (0.78 + 0.22 * maps.grain) * (maps.part == Part.SKIN)
    shadow = colour.mean(axis=1, keepdims=True) * np.array([0.80, 0.85, 0.90], np.float32)
    return colour + np.clip(amount, 0, 0.9)[:, None] * (0.65 * complexion.hair + 0.25 * shadow - colour)


def paint_lashes(colour, maps, traits, complexion, random):
    """Darken the margins of the lids, the upper ones more; make-up strengthens the line."""
    usual = 0.55 + 0.25 * (1 - traits.gender) + 0.35 * complexion.make_up
    strength = clipped_normal(random, usual, 0.18, 0.2, 1)
    line = np.exp(-((maps.lid_distance / 1.25) ** 2)) * (0.45 + 0.55 * maps.upper_lid) * (maps.part == Part.SKIN)
    return colour + np.clip(strength * line, 0, 0.92)[:, None] * (LASH_COLOUR - colour)
