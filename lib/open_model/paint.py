"""Albedo of people for the open model: skin painted vertex by vertex, then hair, make-up, mouth and eyes.

Features that distinguish people (brows, lips, beard, skin, eyes) vary widely, in strength and colour rather than in
place: a linear model represents the former well and turns the latter into halos.
"""

from dataclasses import dataclass

import numpy as np

from lib.core.pictures import smooth_step
from lib.open_model.maps import clipped_normal, gaussian_bump
from lib.open_model.mesh import Part
from lib.open_model.shape import ANCESTRIES
from lib.open_model.skin import look_up_skin_colour

TYPICAL_MELANIN, MELANIN_SPREAD = np.log([0.37, 0.122, 0.106]), (0.18, 0.16, 0.27)
YELLOWNESS, YELLOWNESS_SPREAD = (-0.02, 0.02, 0.005), 0.026
"""By `ANCESTRIES`: mean and standard deviation of the log melanin fraction, mean of the yellow that neither pigment
explains (carotene, bilirubin) as a share of blue that is absorbed. Set so that foreheads and cheeks have the means of
`derivations/skin_tables/groups.csv`, and spreads somewhat below: random faces of linear components have longer tails
than people."""

STRAIGHTENING = 0.08
"""Skin between light and dark is yellower than both: on linear components, which cannot bend, the darkest faces would
be orange. So much of the yellow is taken off in the middle that they stay human (percentiles in `gamut.csv`)."""

BLOOD, BLOOD_SPREAD = np.array([[0.026, 0.018], [0.36, 0.22]])
"""Mean, and standard deviation of the logarithm, in light and in dark skin: with as much and as varied blood, dark skin
is redder than published and random dark faces lie outside the human gamut."""

MELANIN_LIMITS = np.log([0.033, 0.72])  # of the lightest and darkest measured skin
ASIAN, CAUCASIAN = (ANCESTRIES.index(name) for name in ("asian", "caucasian"))
BROW_ARCH = 0.64  # where a brow is highest, as a share of its length: above the outer rim of the iris or farther out

LIP_YELLOWNESS = -0.06
"""Added on light lips, which are bluer than their blood alone. With the other numbers of lips in `_paint_skin` it gives
about the differences from the skin around that `derivations/skin_tables/lips.csv` has."""

LASH_COLOUR = np.array([0.10, 0.07, 0.06], np.float32)
BROWN, BLUE, GREEN = np.array([0.20, 0.115, 0.065]), np.array([0.40, 0.52, 0.62]), np.array([0.42, 0.46, 0.30])


@dataclass(frozen=True)
class Complexion:
    """What the painters share about a person."""

    log_melanin: float  # logarithm of the melanin fraction
    blood: float  # fraction
    yellowness: float  # share of blue that is absorbed besides
    darkness: float  # 0 for light skin to 1
    make_up: float  # 0 for none to about 1
    hair: np.ndarray  # (3,), sRGB


def paint_person(maps, traits, random):
    """Paint one person's albedo (n, 3), float32 sRGB; the numbers drawn do not depend on the vertices."""
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
    typical, spread, yellowness = np.dot([TYPICAL_MELANIN, MELANIN_SPREAD, YELLOWNESS], traits.ancestry)
    # women are a little lighter and less red (CIE x050-OP065, 2023)
    log_melanin = clipped_normal(random, typical + 0.1 * (traits.gender - 0.5), spread, *MELANIN_LIMITS)
    darkness = float(smooth_step(log_melanin, np.log(0.08), np.log(0.45)))
    yellowness -= STRAIGHTENING * 4 * darkness * (1 - darkness)
    blood, spread = (np.interp(darkness, [0, 1], ends) for ends in (BLOOD, BLOOD_SPREAD))
    return Complexion(
        log_melanin=log_melanin,
        blood=blood * float(np.exp(clipped_normal(random, 0.2 * (traits.gender - 0.5), spread, -0.7, 0.7))),
        yellowness=clipped_normal(random, yellowness, YELLOWNESS_SPREAD, -0.1, 0.1),
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
        + clipped_normal(random, 0.06, 0.12) * maps.forehead
        + clipped_normal(random, 0.06, 0.10) * (0.4 + dark) * maps.around_eye
        + clipped_normal(random, 0, 0.09) * maps.chin
        + clipped_normal(random, 0, 0.08) * maps.flank
        + clipped_normal(random, 0.14, 0.18, 0, 0.7) * maps.eyelids
        + clipped_normal(random, 0.18, 0.2, 0, 0.7) * (1 - 0.6 * dark) * maps.under_eye
    )
    freckled = clipped_normal(random, -0.1, 0.7, 0) * (1 - dark) * (complexion.log_melanin < np.log(0.11))
    freckle_region = gaussian_bump(maps.across, maps.height, (24, -22), (26, 20))
    log_melanin += 0.4 * freckled * smooth_step(maps.freckles, 0.6, 1.6) * freckle_region
    log_melanin += traits.age * clipped_normal(random, 0.15, 0.2, 0) * smooth_step(maps.spots, 1.3, 2.2)
    log_blood = (
        0.15 * coarse_blood
        + 0.08 * clipped_normal(random, 0, 0.7) * medium
        + clipped_normal(random, 0.05, 0.28, -0.3, 0.9) * maps.cheeks
        + clipped_normal(random, 0.20, 0.30, -0.2, 1.0) * maps.nose
        + clipped_normal(random, 0.15, 0.18) * maps.chin
        + clipped_normal(random, 0.25, 0.2, 0, 1) * maps.ears
        + clipped_normal(random, 0.25, 0.25, -0.1, 0.9) * maps.eyelids
        + clipped_normal(random, 0.20, 0.22, 0, 0.8) * maps.under_eye
    )
    blood = complexion.blood * np.exp(log_blood)
    female = 1 - traits.gender
    lip_blood = (4.1 + 2.2 * female * (1 - dark) - 0.9 * dark) * complexion.blood
    lip_blood = min(lip_blood * float(np.exp(clipped_normal(random, 0, 0.28, -0.6, 0.6))), 0.24)
    blood = blood + (lip_blood - blood) * maps.lips
    log_melanin += clipped_normal(random, 0.32 - 0.25 * dark, 0.15) * maps.lips
    yellowness = complexion.yellowness + LIP_YELLOWNESS * (1 - 0.6 * dark) * maps.lips
    colour = look_up_skin_colour(log_melanin, blood)
    colour[:, 2] *= 1 - yellowness
    return colour


def _paint_age(colour, maps, traits, random):
    """Furrows darken the skin a little: the mesh is too coarse for their shape."""
    strength = traits.age * clipped_normal(random, 1, 0.35, 0.3, 1.8)
    forehead = maps.forehead_lines @ random.dirichlet([0.6] * 3).astype(np.float32)
    lines = 0.05 * maps.laugh_lines + 0.12 * maps.crow_feet + 0.10 * forehead
    lines = lines + 0.10 * maps.frown_lines + 0.08 * maps.eye_bags
    return colour * (1 - strength * lines)[:, None]


def _paint_make_up(colour, maps, complexion, random):
    """Lipstick and eye shadow of any strength, rouge on the cheeks."""
    lipstick = np.array([0.55, 0.20, 0.24]) + random.normal(0, 1, 3) * [0.08, 0.04, 0.05]
    shadow = np.array([0.30, 0.22, 0.25]) + random.normal(0, 0.06, 3)
    amounts = np.clip(random.normal([0.15, 0.40, 0.18], [0.25, 0.25, 0.18]), 0, 0.85) * complexion.make_up
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
    colour[teeth] = whiteness * np.array([0.74, 0.70, 0.62])
    return colour


def sample_hair_colour(traits, darkness, random):
    """Draw the sRGB colour (3,) of brows and beard: blond over red and brown to black, grey with age."""
    asian = traits.ancestry[ASIAN]
    eumelanin = clipped_normal(random, 0.62 + 0.5 * darkness + 0.38 * asian, 0.2, 0.2, 1)
    pheomelanin = clipped_normal(random, 0.25, 0.28, 0, 1) * (1 - darkness) * (1 - asian)
    blond, black, red = np.array([0.62, 0.47, 0.30]), np.array([0.085, 0.062, 0.052]), np.array([0.10, -0.06, -0.12])
    colour = blond * (1 - eumelanin) ** 1.3 + black + pheomelanin * (1 - eumelanin) * red
    grey = smooth_step(traits.age + random.normal(0, 0.12), 0.42, 0.90)
    return (colour * (1 - grey) + grey * np.array([0.55, 0.54, 0.53])).astype(np.float32)


def paint_brows(colour, maps, traits, complexion, random):
    """Paint brows (colour (n, 3) in and out): a soft arc whose strength, width and arch differ between people."""
    female = 1 - traits.gender
    base, arch = random.normal(17.2 + 0.8 * female, 0.8), clipped_normal(random, 2.4 + 1.4 * female, 0.9, 0.8, 5.5)
    start, end = random.normal(11.0, 1.4), random.normal(49.5, 2.0)
    tail = random.normal(1.4, 0.9)
    thickness = clipped_normal(random, 2.5 + 1.2 * traits.gender, 0.6, 1.6, 4.8)
    density = clipped_normal(random, 0.70 + 0.10 * traits.gender, 0.16, 0.28, 1)
    along = np.clip((maps.across - start) / (end - start), -0.2, 1.25)
    # up to the arch at two thirds of the length, then down to the level of the start
    rising, falling = np.clip(along, 0, BROW_ARCH) / BROW_ARCH, np.clip(along - BROW_ARCH, 0, 1) / (1 - BROW_ARCH)
    middle = base + arch * (np.sin(0.5 * np.pi * rising) - falling**1.5) + tail * along
    half = thickness * (1 - 0.75 * smooth_step(along, 0.5, 1.05)) * smooth_step(along, -0.2, 0.2)
    offset = (maps.height - middle) / np.maximum(half, 0.35)
    mask = np.exp(-0.5 * np.abs(offset) ** 2.2) * smooth_step(along, 1.1, 0.9) * smooth_step(along, -0.15, 0.2)
    mask *= density * (0.72 + 0.28 * maps.grain) * (half > 0.2) * (maps.part == Part.SKIN)
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
    line = np.exp(-((maps.eye_distance / (1.2 + 1.1 * maps.upper_lid)) ** 4)) * (0.3 + 0.7 * maps.upper_lid)
    line *= maps.part == Part.SKIN
    return colour + np.clip(strength * line, 0, 0.92)[:, None] * (LASH_COLOUR - colour)


def paint_eyes(colour, maps, traits, complexion, random):
    """Light irises come with light skin and European ancestry only; hazel and green lie between brown and blue.

    An iris is 11.8 mm wide (standard deviation 0.5 mm), among East Asians 0.4 mm less; angles are those of MakeHuman's
    eyeball, larger than life.
    """
    pupil_edge = clipped_normal(random, 6.8, 0.8, 5, 9)
    iris_edge = clipped_normal(random, 20.8 - 0.7 * traits.ancestry[ASIAN], 0.8, 19, 23)
    light = (1 - complexion.darkness) ** 2 * traits.ancestry[CAUCASIAN] ** 1.5 * random.beta(1.1, 0.9) * 1.15
    green, brown_shade = 0.8 * random.random(), clipped_normal(random, 1.1 - 0.2 * complexion.darkness, 0.2, 0.55, 1.6)
    veins, brightness = clipped_normal(random, 0.5, 0.4, 0, 1.6), random.normal(0, 0.02)
    eye = maps.part >= Part.RIGHT_EYE
    degrees, around = np.rad2deg(maps.eye_angles[eye, 0]), maps.eye_angles[eye, 1]
    light_colour = BLUE * (1 - green) + GREEN * green
    iris = BROWN * brown_shade * (1 - np.clip(light, 0, 1)) + light_colour * np.clip(light, 0, 1)
    rays = 1 + 0.10 * np.sin(16 * around + 0.8 * np.sin(3 * around))
    iris = iris * (rays * (0.78 + 0.45 * smooth_step(degrees, 7, 14)))[:, None]
    iris *= (1 - 0.55 * smooth_step(degrees, iris_edge - 3.5, iris_edge - 0.3))[:, None]
    iris = iris * smooth_step(degrees, pupil_edge - 0.7, pupil_edge + 0.7)[:, None] + 0.012
    sclera = np.array([0.77, 0.735, 0.71]) + brightness - veins * np.array([0.02, 0.05, 0.07])
    sclera = sclera - complexion.darkness * np.array([0.03, 0.05, 0.08])
    sclera = sclera - smooth_step(degrees, 42, 66)[:, None] * np.array([0.0, 0.05, 0.05])
    white = smooth_step(degrees, iris_edge - 0.6, iris_edge + 1.2)[:, None]
    # the lid and its lashes shade the ball below them
    lid_shadow = 0.35 * np.exp(-((maps.lid_distance[eye] / 2.2) ** 2)) * maps.upper_lid[eye]
    shade = np.clip(0.62 + 0.38 * maps.openness[eye], 0.45, 1) * (1 - lid_shadow)
    colour[eye] = (iris * (1 - white) + sclera * white) * shade[:, None]
    return colour
