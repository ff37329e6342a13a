"""How a simulated person looks besides the face: what stays (skull, hair) and what changes between photographs."""

from dataclasses import dataclass

import numpy as np

from lib.open_model.mesh import Part
from lib.photos.simulated.hair import hair, sample_covering, sample_hair_style, skull, skull_radii
from lib.photos.simulated.mesh import Mesh, join, loft, rolled_grid, tube

WEARS_GLASSES, LEAVES_THEM_OFF = 0.35, 0.3
WEARS_COVERING = 0.14
FRAME_COLOURS = np.array(
    [[0.03, 0.03, 0.03], [0.18, 0.1, 0.06], [0.5, 0.48, 0.45], [0.3, 0.05, 0.06], [0.1, 0.12, 0.25]]
)
LENS_COLOUR = np.array([0.03, 0.03, 0.035])
BEFORE_THE_EYES = 13.0  # mm from the front of the eyeballs to the glasses


@dataclass(frozen=True)
class Looks:
    """What a person keeps from one photograph to the next; `hair` is None for the bald, `radii` are the skull's."""

    bare: Mesh
    hair: Mesh | None
    skin_colour: np.ndarray
    radii: np.ndarray
    wears_glasses: bool
    glasses_seed: int


def sample_looks(generator, person, random):
    """Draw what belongs to a person: a skull that fits the face, hair of the brows' colour, perhaps glasses."""
    skin, vertices = (generator.maps.part == Part.SKIN) & (generator.maps.ears < 0.2), person.vertices
    radii, face = skull_radii(vertices[skin])
    edge = skin & (vertices[:, 1] > np.quantile(vertices[skin, 1], 0.93))
    skin_colour = np.median(person.albedo[edge], axis=0)
    style = sample_hair_style(person.group["gender"], person.group["age"], random)
    colour = _brow_colour(generator, person, skin) * random.uniform(0.75, 1.15)
    grown = None if style is None else hair(style, radii, colour, random)
    wears = random.random() < WEARS_GLASSES * (0.7 + person.group["age"] / 130)
    return Looks(skull(radii, face, skin_colour), grown, skin_colour, radii, wears, int(random.integers(2**31)))


def dress(generator, person, looks, vertices, sunglasses, random):
    """Put a face with its expression (`vertices`, mm) on a body for one photograph: a Mesh, its vertices first."""
    parts = [Mesh(vertices, generator.triangles, person.albedo), looks.bare]
    # a grey with a tint
    cloth, fabric = (np.clip(random.uniform(0.04, 0.75) + random.normal(0, 0.1, 3), 0.02, 0.85) for _ in range(2))
    neck_colour = None
    if random.random() < WEARS_COVERING:
        covering = sample_covering(person.group["gender"], random)
        parts.append(hair(covering, looks.radii, fabric, random))
        neck_colour = fabric if covering.curtain else None
    elif looks.hair is not None:
        parts.append(looks.hair)
    dark = random.random() < sunglasses
    if dark or (looks.wears_glasses and random.random() > LEAVES_THEM_OFF):
        parts.append(_glasses_of(generator, person, looks, dark))
    chin = person.vertices[generator.landmarks["center.chin.tip"]]
    broad = float(person.group["gender"] == "male")
    parts.append(body(chin, 0.93 * looks.skin_colour, cloth, broad, random, neck_colour))
    return join(parts)


def _glasses_of(generator, person, looks, dark):
    landmarks, vertices = generator.landmarks, person.vertices
    eyes = vertices[[landmarks[f"{side}.eye.pupil.center"] for side in ("right", "left")]]
    between = (np.abs(vertices[:, 0]) < 10) & (np.abs(vertices[:, 1] - eyes[:, 1].mean()) < 6)
    bridge = vertices[between][vertices[between, 2].argmax()]
    flank = vertices[(np.abs(vertices[:, 1] - eyes[:, 1].mean()) < 12) & (vertices[:, 2] > 0) & (vertices[:, 2] < 35)]
    half_width = np.abs(flank[:, 0]).max() + 2
    return glasses(eyes, bridge, half_width, np.random.default_rng(looks.glasses_seed), dark)


def _brow_colour(generator, person, skin):
    """Colour of the darkest tenth of the skin where the brows are."""
    x, y, _ = person.vertices.T
    eyes = person.vertices[generator.landmarks["right.eye.pupil.center"]]
    brows = skin & (np.abs(y - eyes[1] - 20) < 9) & (np.abs(np.abs(x) - 30) < 16)
    albedo = person.albedo[brows]
    darkest = albedo[albedo.sum(1) <= np.quantile(albedo.sum(1), 0.1)]
    return np.median(darkest, axis=0)


def glasses(eyes, bridge, half_width, random, dark=False):
    """Draw glasses (dark: with opaque lenses) for pupils (2, 3), right and left, and a point (3,) on the nose.

    `half_width` is from the middle of the head to the temples before the ears. All in mm.
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
        t = np.linspace(0, 1, 20)[:, None]
        temple = (1 - t) ** 2 * hinge + 2 * t * (1 - t) * bend + t**2 * ear  # a Bezier curve
        parts.append(tube(temple, radius, colour))
        if dark:
            # a disc of several rings inside the rim, whose last point is its first
            share = np.linspace(1, 0.02, 5)[:, None, None]
            parts.append(rolled_grid((middle + share * (rim[:-1] - middle))[:, ::-1], LENS_COLOUR))
    inner = [-(max(abs(eyes[0, 0]), wide + 7) - wide), max(abs(eyes[1, 0]), wide + 7) - wide]
    arch = np.linspace(inner[0], inner[1], 9)
    height = eyes[:, 1].mean() + 2 + 2 * (1 - (2 * (arch - arch.mean()) / np.ptp(arch)) ** 2)
    parts.append(tube(np.stack([arch, height, np.full(9, depth)], -1), radius, colour))
    return join(parts)


def body(chin, skin_colour, cloth_colour, broad, random, neck_colour=None):
    """Draw a neck, from slender (0) to strong (1), with a scarf or not, and shoulders below a chin (3,), mm."""
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
