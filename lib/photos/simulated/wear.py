"""What simulated people wear besides hair: glasses, and clothes below a neck."""

import numpy as np

from lib.photos.simulated.mesh import join, loft, rolled_grid, tube

FRAME_COLOURS = np.array(
    [[0.03, 0.03, 0.03], [0.18, 0.1, 0.06], [0.5, 0.48, 0.45], [0.3, 0.05, 0.06], [0.1, 0.12, 0.25]]
)
LENS_COLOUR = np.array([0.03, 0.03, 0.035])
BEFORE_THE_EYES = 13.0
"""mm from the front of the eyeballs to the glasses."""


def glasses(eyes, bridge, half_width, random, dark=False):
    """Draw a pair of glasses.

    Parameters
    ----------
    eyes : ndarray (2, 3)
        Middles of the right and left pupil, mm.
    bridge : ndarray (3,)
        A point on the nose between the eyes.
    half_width : float
        From the middle of the head to where the temples lie, before the ears, mm.
    random : numpy.random.Generator
    dark : bool
        True: sunglasses, with opaque lenses.

    Returns
    -------
    Mesh
    """
    colour = FRAME_COLOURS[random.integers(len(FRAME_COLOURS))]
    radius, wide, high = random.uniform(0.7, 2.2), random.uniform(22, 26), random.uniform(16, 21)
    roundness = random.uniform(2, 4.5)
    depth = max(eyes[:, 2].max() + BEFORE_THE_EYES, bridge[2] + 1.5)
    angle = np.linspace(0, 2 * np.pi, 49)
    # a superellipse: 2 is round, 4 a rounded rectangle
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / roundness) * wide
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / roundness) * high
    parts = []
    for side, eye in zip((-1, 1), eyes):
        middle = np.array([side * max(abs(eye[0]), wide + 7), eye[1] - 2, depth])
        rim = middle + np.stack([x, y, -0.006 * (x * side + wide) ** 2], -1)
        parts.append(tube(rim, radius, colour))
        hinge = middle + [side * wide, 0.5 * high, -0.006 * (2 * wide) ** 2]
        ear = np.array([side * half_width, hinge[1] - 3, -15.0])
        bend = np.array([side * half_width, hinge[1], hinge[2] - 8])
        temple = _smooth_line(np.stack([hinge, bend, ear]), 20)
        parts.append(tube(temple, radius, colour))
        if dark:
            parts.append(_lens(middle, rim))
    inner = [-(max(abs(eyes[0, 0]), wide + 7) - wide), max(abs(eyes[1, 0]), wide + 7) - wide]
    arch = np.linspace(inner[0], inner[1], 9)
    height = eyes[:, 1].mean() + 2 + 2 * (1 - (2 * (arch - arch.mean()) / np.ptp(arch)) ** 2)
    parts.append(tube(np.stack([arch, height, np.full(9, depth)], -1), radius, colour))
    return join(parts)


def _lens(middle, rim):
    """A disc of several rings inside a rim (K, 3), seen from the front; the last point of the rim is its first."""
    share = np.linspace(1, 0.02, 5)[:, None, None]
    return rolled_grid((middle + share * (rim[:-1] - middle))[:, ::-1], LENS_COLOUR)


def _smooth_line(corners, count):
    """Bezier curve (count, 3) over control points."""
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * corners[0] + 2 * t * (1 - t) * corners[1] + t**2 * corners[2]


def body(chin, skin_colour, cloth_colour, broad, random, neck_colour=None):
    """A neck and shoulders.

    Parameters
    ----------
    chin : ndarray (3,)
        Tip of the chin, mm.
    skin_colour, cloth_colour : ndarray (3,)
    broad : float
        0 for a slender neck to 1 for a strong one.
    random : numpy.random.Generator
    neck_colour : ndarray (3,) or None
        Of a scarf about the neck; None: skin.

    Returns
    -------
    Mesh
    """
    top, wide = chin[1] + 25, 47 + 8 * broad
    middle = -18.0
    covered = neck_colour is not None
    neck = loft(
        [top, top - 35, top - 62, top - 85, top - 115],
        np.array([wide, wide, wide + 1, wide + 8, wide + 30]) * (1.2 if covered else 1),
        np.array([wide - 2, wide - 1, wide, wide + 4, wide + 10]) * (1.2 if covered else 1),
        [middle - 4, middle, middle - 4, middle - 10, middle - 16],
        neck_colour if covered else skin_colour,
    )
    collar, shoulders = top - 78 + random.uniform(-14, 20), 165 + 35 * broad
    clothes = loft(
        [collar, collar - 6, collar - 22, collar - 45, collar - 75, collar - 120, collar - 320],
        [wide + 9, wide + 18, wide + 50, shoulders * 0.8, shoulders * 0.96, shoulders, shoulders * 0.95],
        [wide + 8, wide + 12, wide + 22, 80, 92, 100, 105],
        [middle - 8, middle - 9, middle - 14, middle - 18, middle - 18, middle - 16, middle - 10],
        cloth_colour,
    )
    return join([neck, clothes])
