"""The rest of a simulated head: skull, hair and head coverings, as shells about the face that the generator draws.

A shell is a radius for every direction from the middle of the head. The skull follows the rim of the person's own face
and goes over into an ellipsoid; hair and coverings lie on it, down to a hairline, and may fall on from there.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter, map_coordinates

from lib.photos.simulated.mesh import Mesh, join, rolled_grid

CENTRE = np.array([0.0, 25.0, -5.0])  # middle of the skull in the model's frame, mm
ROWS, COLUMNS = 60, 120
"""Of the map of radii: polar angle from the crown, 3 degrees a row; azimuth from the front to the subject's left."""
HAIR_ROWS, HAIR_COLUMNS = 44, 160  # from the crown to the hairline; as many again where it falls on
TOP, BACK = 100.0, 98.0  # half axes of the skull upwards and backwards, mm (a head is about 190 mm long)
RIM_BLUR = 4.0
HAIRLINE = 55.0  # at the front, degrees from the crown: some 70 mm above the eyes
FRINGES, STRANDS_OF_FRINGE = 0.3, 0.1  # share of women who have one; how unequally long it is
LEAST_LIFT = 1.2  # mm of hair above the skin at the hairline
UNDER_THE_FACE = 26.0  # how far the skull keeps behind the face, mm, where there is a face


@dataclass(frozen=True)
class HairStyle:
    """How hair or a covering lies, in degrees from the crown and mm."""

    front: float  # where it ends: at the front, temple, side and back
    temple: float
    side: float
    back: float
    thickness: float
    waves: float = 0.0
    strands: float = 1.0  # how much strands differ in length; 0: cloth
    curtain: float = 0.0  # how far it falls on from the azimuth `opening`
    opening: float = 180.0
    gather: float = 1.0  # share of its distance from the middle that is left at its lower end
    fringe: float = 0.0  # how far it hangs over the forehead; above 21 it would cover eyes
    swept: float = 0.0  # -1 to 1: to which side the fringe is longer, the subject's right or left


def sample_hair_style(gender, age, random):
    """Draw a style, or None for a bald head; `gender` is "female" or "male", `age` in years."""
    front = random.normal(HAIRLINE, 3)
    fringe = {}
    if random.random() < (FRINGES if gender == "female" else 0.6 * FRINGES):
        fringe = {"fringe": random.uniform(8, 20), "swept": random.uniform(-1, 1)}
    if gender == "female":
        if random.random() < 0.25:
            return HairStyle(front, 76, 82, 125, random.uniform(6, 14), random.uniform(1, 4), **fringe)
        opening, fall = random.uniform(58, 100), random.uniform(60, 230)
        return HairStyle(front, 78, 88, 96, random.uniform(12, 22), random.uniform(1, 5), 1.0, fall, opening, **fringe)
    if random.random() < 0.1 + 0.25 * (age > 45):
        return None
    receded = random.uniform(0, 14) * (age > 35)
    thickness = random.choice([2.5, random.uniform(5, 16)])
    fringe = fringe if receded == 0 else {}
    return HairStyle(front - receded, 76 - receded, 84, 125, thickness, random.uniform(0.5, 3), **fringe)


def sample_covering(gender, random):
    """Draw a head covering: a woollen cap, or for some women a headscarf."""
    if gender == "female" and random.random() < 0.5:
        return HairStyle(random.uniform(62, 68), 84, 92, 100, 15, 1.0, 0.0, random.uniform(120, 200), 58, 0.72)
    return HairStyle(random.uniform(66, 74), 78, 82, 104, random.uniform(8, 14), 0.4, 0.0)


def skull_radii(skin):
    """Fit a skull to skin (n, 3) without ears: radii (ROWS, COLUMNS) in mm, and where the face is, smoothly 1 to 0."""
    directions = _direction(*_angles())
    temples = skin[(skin[:, 1] > 15) & (skin[:, 1] < 60) & (skin[:, 2] < 30)]
    side = np.quantile(np.abs(temples[:, 0]), 0.9) + 2 if len(temples) else 74.0
    ellipsoid = 1 / np.sqrt(((directions / [side, TOP, BACK]) ** 2).sum(-1))
    relative = skin - CENTRE
    distance = np.linalg.norm(relative, axis=1)
    row = (np.arccos(relative[:, 1] / distance) / np.pi * ROWS).astype(int).clip(0, ROWS - 1)
    column = np.floor(np.arctan2(relative[:, 0], relative[:, 2]) / (2 * np.pi) * COLUMNS).astype(int) % COLUMNS
    seen, beyond = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
    np.add.at(seen, (row, column), 1.0)
    np.add.at(beyond, (row, column), distance - ellipsoid[row, column])
    beyond, seen = beyond / np.maximum(seen, 1), (seen > 0).astype(float)
    near = _blur(seen, RIM_BLUR)
    face = binary_fill_holes(seen).astype(float)  # the eyes are no skin
    radii = ellipsoid + _blur(seen * beyond, RIM_BLUR) / np.maximum(near, 1e-3) * np.clip(near / 0.2, 0, 1)
    return radii, np.clip(_blur(face, 1.5) * 4 - 3, 0, 1)


def skull(radii, face, colour):
    """The skull as a mesh of one colour (3,): a little inside its radii, and well behind the face."""
    return rolled_grid(_shell(radii - 1.0 - UNDER_THE_FACE * face, *_angles()), colour)


def hair(style, radii, colour, random):
    """Hair or a covering as a mesh on the radii of a skull; strands differ about the colour (3,), sRGB in [0, 1]."""
    azimuth = np.linspace(0, 2 * np.pi, HAIR_COLUMNS, endpoint=False)
    from_front = np.degrees(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    line = _hairline(style, azimuth, from_front, random)
    share = np.linspace(0.002, 1, HAIR_ROWS)[:, None]
    polar, sideways = np.radians(line) * share, np.broadcast_to(azimuth, (HAIR_ROWS, HAIR_COLUMNS))
    # it lies flat at the hairline; where it falls on there is no hairline
    falls = np.clip((from_front - style.opening) / 4, 0, 1) if style.curtain else np.zeros(HAIR_COLUMNS)
    flat = np.clip((1 - share) * line / 14, 0, 1)
    fullness = np.maximum(flat * (2 - flat), falls)
    bumps = _waves(azimuth, random, 5, 25) * np.sin(6 * polar + random.uniform(0, 6))
    strands = _blur(random.normal(size=polar.shape), (6, 0.6))
    away_from_crown = np.clip(5 * share - 0.3, 0, 1)  # there all strands meet
    strands = away_from_crown * style.strands * strands / strands.std()
    relief = style.waves * (away_from_crown * bumps + 0.35 * strands)
    lift = LEAST_LIFT + fullness * (style.thickness + relief)
    points = _shell(_look_up(radii, polar, sideways) + lift, polar, sideways)
    colours = np.clip(colour * np.exp(0.22 * strands)[..., None], 0.01, 0.95)
    if not style.curtain:
        return rolled_grid(points, colours)
    colours = np.concatenate([colours, np.tile(colours[-1:], (HAIR_ROWS, 1, 1))])
    outside = rolled_grid(np.concatenate([points, _curtain(points[-1], style, falls)]), colours)
    # what hangs behind the neck is seen from within
    return join([outside, Mesh(outside.vertices, outside.triangles[:, ::-1], 0.6 * outside.albedo)])


def _hairline(style, azimuth, from_front, random):
    """Polar angle in degrees at which hair ends, by azimuth: between the style's four, uneven, jagged by strands."""
    ends = [style.front, style.front + 1, style.temple, style.side, style.back, style.back]
    even = np.interp(from_front, [0, 25, 55, 90, 130, 180], ends)
    fringe = style.fringe * np.clip((50 - from_front) / 15, 0, 1) * (1 + style.swept * np.sin(2 * azimuth))
    strands = style.strands * (0.7 + STRANDS_OF_FRINGE * fringe)
    return even + fringe + 1.2 * _waves(azimuth, random, 3, 6) + strands * _waves(azimuth, random, 30, 70)


def _curtain(edge, style, falls):
    """Hair that falls from an edge (C, 3): (HAIR_ROWS, C, 3)."""
    down = np.linspace(0, 1, HAIR_ROWS + 1)[1:, None]
    points = np.repeat(edge[None], HAIR_ROWS, axis=0)
    points[..., 1] -= down * style.curtain * falls
    # hair that is not gathered swings out a little before it comes back
    keep = 1 + ((style.gather - 1) * down**1.5 + 0.16 * np.sin(np.pi * down)) * falls
    points[..., 0] *= keep
    points[..., 2] = CENTRE[2] + (points[..., 2] - CENTRE[2]) * keep
    return points


def _angles():
    """Polar angle and azimuth of the places of the map."""
    row, column = np.indices((ROWS, COLUMNS))
    return (row + 0.5) / ROWS * np.pi, column / COLUMNS * 2 * np.pi


def _direction(polar, azimuth):
    return np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)


def _shell(radii, polar, azimuth):
    return CENTRE + radii[..., None] * _direction(polar, azimuth)


def _look_up(radii, polar, azimuth):
    rows, columns = polar / np.pi * ROWS - 0.5, azimuth / (2 * np.pi) * COLUMNS
    padded = np.pad(radii, ((0, 0), (0, 1)), mode="wrap")
    return map_coordinates(padded, [rows, columns], order=1, mode="nearest")


def _blur(values, deviation):
    return gaussian_filter(values, deviation, mode=("nearest", "wrap"))


def _waves(azimuth, random, lowest, highest):
    """A smooth random periodic function of variance about 1."""
    orders = random.integers(lowest, highest, 6)
    return np.sin(np.outer(orders, azimuth) + random.uniform(0, 2 * np.pi, (6, 1))).sum(0) / np.sqrt(3)
