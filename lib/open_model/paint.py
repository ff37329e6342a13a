"""Albedo of people for the open model: skin painted vertex by vertex, then hair, make-up, mouth and eyes.

The spread of every feature is wide where the eye tells people apart (brows, lips, beard, skin, eyes), and features vary
in strength and colour rather than in place: a linear model follows the former well and turns the latter into halos.
"""

from dataclasses import dataclass

import numpy as np

from lib.open_model.eyes import paint_eyes
from lib.open_model.fields import clipped_normal, smooth_step
from lib.open_model.hair import paint_beard, paint_brows, paint_lashes, sample_hair_colour
from lib.open_model.mesh import Part
from lib.open_model.skin import look_up_skin_colour

TYPICAL_MELANIN = np.log([0.33, 0.075, 0.024])
"""Log melanin fraction typical of `open_face_shape.ANCESTRIES`; people of one ancestry differ by `MELANIN_SPREAD`."""

MELANIN_SPREAD = 0.36
MELANIN_LIMITS = np.log([0.009, 0.62])


@dataclass(frozen=True)
class Complexion:
    """What the painters share about a person.

    Attributes
    ----------
    log_melanin : float
        Natural logarithm of the melanin fraction.
    blood : float
        Blood fraction.
    darkness : float
        0 for light skin to 1 for dark skin.
    make_up : float
        0 for none to about 1.
    hair : ndarray (3,)
        sRGB-encoded colour of the hair.
    """

    log_melanin: float
    blood: float
    darkness: float
    make_up: float
    hair: np.ndarray


def paint_person(maps, traits, random):
    """Paint one person's albedo.

    Parameters
    ----------
    maps : FaceMaps
        Of n vertices.
    traits : Traits
    random : numpy.random.Generator
        The numbers drawn do not depend on the vertices: the same person comes out on any choice of them.

    Returns
    -------
    ndarray (n, 3)
        sRGB-encoded in [0, 1], float32.
    """
    complexion = _sample_complexion(traits, random)
    colour = _paint_skin(maps, traits, complexion, random)
    colour = _paint_age(colour, maps, traits, random)
    colour = paint_brows(colour, maps, traits, complexion, random)
    colour = paint_beard(colour, maps, traits, complexion, random)
    colour = _paint_make_up(colour, maps, complexion, random)
    colour = paint_lashes(colour, maps, traits, complexion, random)
    colour = _shade_clefts(colour, maps)
    colour = _paint_mouth(colour, maps, complexion, random)
    colour = paint_eyes(colour, maps, traits, complexion, random)
    return np.clip(colour, 0, 1).astype(np.float32, copy=False)


def _sample_complexion(traits, random):
    log_melanin = float(np.dot(traits.ancestry, TYPICAL_MELANIN)) + random.normal(0, MELANIN_SPREAD)
    log_melanin = float(np.clip(log_melanin, *MELANIN_LIMITS))
    darkness = float(smooth_step(log_melanin, np.log(0.04), np.log(0.36)))
    return Complexion(
        log_melanin=log_melanin,
        blood=0.030 * float(np.exp(clipped_normal(random, 0, 0.36, -1.3, 1.0))),
        darkness=darkness,
        make_up=(1 - traits.gender) * clipped_normal(random, 0.25, 0.45, 0, 1.3),
        hair=sample_hair_colour(traits, darkness, random),
    )


def _paint_skin(maps, traits, complexion, random):
    """Melanin and blood vary over the face in smooth fields and region by region; lips have little melanin."""
    dark, fields = complexion.darkness, random.normal
    coarse_melanin, coarse_blood = (maps.coarse @ fields(size=(maps.coarse.shape[1], 2)).astype(np.float32)).T
    medium = maps.medium @ fields(size=maps.medium.shape[1]).astype(np.float32)
    log_melanin = (
        complexion.log_melanin
        + 0.13 * coarse_melanin
        + 0.085 * medium
        + clipped_normal(random, 0, 0.12) * maps.forehead
        + clipped_normal(random, 0.06, 0.10) * (0.4 + dark) * maps.around_eye
        + clipped_normal(random, 0, 0.09) * maps.chin
        + clipped_normal(random, 0, 0.08) * maps.flank
        + clipped_normal(random, 0.14, 0.18, 0, 0.7) * maps.eyelids
        + clipped_normal(random, 0.20, 0.22, 0, 0.8) * maps.under_eye
    )
    freckled = clipped_normal(random, -0.1, 0.7, 0) * (1 - dark) * (complexion.log_melanin < np.log(0.06))
    freckle_region = np.exp(-0.5 * (((maps.across - 24) / 26) ** 2 + ((maps.height + 22) / 20) ** 2))
    log_melanin += 0.5 * freckled * smooth_step(maps.freckles, 0.6, 1.6) * freckle_region
    log_melanin += traits.age * clipped_normal(random, 0.2, 0.25, 0) * smooth_step(maps.spots, 0.9, 1.9)
    log_blood = (
        0.15 * coarse_blood
        + 0.08 * clipped_normal(random, 0, 0.7) * medium
        + clipped_normal(random, 0.32, 0.32, -0.2, 1.1) * maps.cheeks
        + clipped_normal(random, 0.36, 0.34, -0.2, 1.2) * maps.nose
        + clipped_normal(random, 0.15, 0.18) * maps.chin
        + clipped_normal(random, 0.25, 0.2, 0, 1) * maps.ears
        + clipped_normal(random, 0.25, 0.25, -0.1, 0.9) * maps.eyelids
        + clipped_normal(random, 0.20, 0.22, 0, 0.8) * maps.under_eye
    )
    blood = complexion.blood * np.exp(log_blood)
    lip_blood = complexion.blood * float(np.exp(clipped_normal(random, 0.95, 0.45, 0, 2))) + 0.02
    blood = blood + (float(np.clip(lip_blood, 0.025, 0.24)) - blood) * maps.lips
    log_melanin += (clipped_normal(random, 0.05, 0.22) + 0.10 - 0.30 * dark) * maps.lips
    colour = look_up_skin_colour(log_melanin, blood)
    # brightness, and an undertone between rosy and olive
    undertone = np.array([0.5, -0.2, -1.0]) * clipped_normal(random, 0, 0.026)
    return colour * (clipped_normal(random, 1, 0.035, 0.9, 1.1) + undertone).astype(np.float32)


def _paint_age(colour, maps, traits, random):
    """Furrows darken the skin a little: the mesh is too coarse for their shape."""
    strength = traits.age * clipped_normal(random, 1, 0.35, 0.3, 1.8)
    forehead = maps.forehead_lines @ random.dirichlet([0.6] * 3).astype(np.float32)
    lines = (
        0.05 * maps.laugh_lines
        + 0.12 * maps.crow_feet
        + 0.10 * forehead
        + 0.10 * maps.frown_lines
        + 0.08 * maps.eye_bags
    )
    return colour * (1 - strength * lines)[:, None]


def _paint_make_up(colour, maps, complexion, random):
    """Lipstick and eye shadow of any strength, rouge on the cheeks."""
    lipstick = np.array([0.55, 0.12, 0.18]) + random.normal(0, 1, 3) * [0.12, 0.05, 0.07]
    shadow = np.array([0.30, 0.22, 0.25]) + random.normal(0, 0.06, 3)
    amounts = np.clip(random.normal([0.42, 0.40, 0.18], [0.25, 0.25, 0.18]), 0, 0.85) * complexion.make_up
    lipstick_amount, shadow_amount, rouge_amount = amounts.tolist()
    lid = maps.upper_lid * np.exp(-0.5 * ((maps.lid_distance - 3) / 3.5) ** 2) * (maps.part == Part.SKIN)
    colour = _blend(colour, lipstick, lipstick_amount * maps.lips)
    colour = _blend(colour, shadow, shadow_amount * lid)
    return _blend(colour, colour * np.array([1.0, 0.75, 0.78], np.float32), rouge_amount * maps.cheeks)


def _blend(colour, paint, amount):
    """Mix `paint` (3,) or (n, 3) over `colour` (n, 3) by `amount` (n,)."""
    return colour + np.clip(amount, 0, 0.95)[:, None] * (np.asarray(paint, np.float32) - colour)


def _shade_clefts(colour, maps):
    """Little light reaches nostrils and folds, and what comes back is reddish; renderers here cast no shadows."""
    closed = (1 - maps.openness) * (maps.part == Part.SKIN)
    return colour * (1 - 0.55 * closed[:, None] * np.array([0.85, 1.05, 1.10], np.float32))


def _paint_mouth(colour, maps, complexion, random):
    """The cavity darkens inwards; lid rims are pink; teeth are off-white."""
    cavity, rim, teeth = (maps.part == part for part in (Part.MOUTH, Part.LID_RIM, Part.TEETH))
    brightness, whiteness = clipped_normal(random, 1, 0.08, 0.8, 1.2), clipped_normal(random, 0.95, 0.08, 0.7, 1.15)
    fading = 0.9 - 0.6 * smooth_step(maps.cavity_depth[cavity], 0, 12)
    colour[cavity] = brightness * (np.array([0.45, 0.19, 0.18]) * fading[:, None] + 0.02)
    colour[rim] = 0.45 * colour[rim] + 0.55 * np.array([0.62, 0.38, 0.34]) * (1 - 0.45 * complexion.darkness)
    colour[teeth] = whiteness * np.array([0.60, 0.56, 0.49])
    return colour
