"""Edges of the lips by their colour: landmarks give all people nearly the same lips.

Of lips 1 mm thicker, FaceMesh's are 0.2 mm thicker, and those found here 0.6 mm (docs/faces.md). Where a smile shows
teeth, its lower lip begins too low, and in some closed mouths it sees lips that are parted.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from lib.core.pictures import decode_srgb
from lib.fitting.pose import CLOSED, EYES, parting

MIDDLE = (
    ((81, 39), (82, 37), (13, 0), (312, 267), (311, 269), (80, 40), (310, 270)),
    ((178, 181), (87, 84), (14, 17), (317, 314), (402, 405), (88, 91), (318, 321)),
)
"""Pairs of landmarks, on the inner and the outer edge of the upper and of the lower lip, away from the corners."""
SIDES = ((191, 185), (415, 409)), ((95, 146), (324, 375))
"""The other pairs, beside the corners."""
PLACES = np.arange(0.1, 2.11, 0.05)
"""Where colours are read, from the inner edge (0) to where the landmarks have the outer one (1), and beyond."""
THINNEST, THICKEST, BESIDE = 0.4, 1.5, 0.6
"""Where the edge may be, and how far on both sides of it colours are compared."""
LANDMARKS_SPREAD, SAMPLES, NOISE = 0.25, 4.0, 0.06
"""Standard deviation of the edge about the landmarks'; how many independent samples a lip's colours are worth; least
standard deviation of a colour."""
ACROSS, FIRST, LAST = np.arange(0.02, 0.9, 0.02), 0.1, 0.8
"""Where colours are read from the middle of a parted mouth (0) to the outer edge of the lower lip (1), and where the
inner edge may be."""
INNER_SPREAD = 0.5
"""Standard deviation of the inner edge about the landmarks', in half openings of the mouth."""
DOUBTFUL = 0.09
"""Lips that the landmarks part by less, in distances between the eyes, may be closed."""
MIDDLE_COLUMNS, BOTH_LIPS = slice(5), np.linspace(0.05, 0.95, 73)
"""Of the `MIDDLE` the columns that show teeth first, and where in them colours are read from the outer edge of the
upper lip (0) to that of the lower one (1)."""
UPPER, LOWER, BETWEEN = slice(5, 16), slice(54, 68), slice(17, 56)
"""Which of these places show the upper lip, which the lower one, and at which the lips can meet."""
DARKER, BRIGHTER, LESS_RED = 0.5, 0.72, 0.12
"""Differences of opponent colours: a gap is so much darker than the lips; teeth are so much brighter or less red."""
WIDEST_LINE, FEWEST_TEETH = 0.032, 0.005
"""In distances between the eyes: a wider gap, or more teeth than this, show that lips are parted."""


def correct_lips(landmarks, picture):
    """Move the outer edges of lips, and the inner edge of a lower lip below teeth, to where the colour changes.

    Lips that show nothing between them but a line meet at that line. The landmarks (468, 2), those given and those
    returned, are FaceMesh's in units of the sides of the picture (S, S, 3), uint8.
    """
    corrected, colours = landmarks.copy(), opponent_colours(picture)
    for middle, sides in zip(MIDDLE, SIDES, strict=True):
        inner, outer = (landmarks[list(rows)] for rows in zip(*middle))
        edge = find_edge(_read(colours, inner, outer, PLACES)[..., :2])
        inner, outer = map(list, zip(*middle, *sides))
        corrected[outer] = landmarks[inner] + edge * (landmarks[outer] - landmarks[inner])
    opening = parting(landmarks)
    if opening < CLOSED:
        return corrected
    (upper, top), (lower, bottom) = ([list(rows) for rows in zip(*pairs)] for pairs in MIDDLE)
    across, line = corrected[bottom] - corrected[top], None
    if opening < DOUBTFUL:
        height = np.linalg.norm(across, axis=1).mean() / EYES
        line = find_line(_read(colours, corrected[top], corrected[bottom], BOTH_LIPS)[MIDDLE_COLUMNS], height)
    if line:
        corrected[[upper, lower]] = corrected[top] + line * across
    else:
        middle = (landmarks[upper] + landmarks[lower]) / 2
        half, down = landmarks[lower] - middle, corrected[bottom] - middle
        usual = np.linalg.norm(half, axis=1).mean() / np.linalg.norm(down, axis=1).mean()
        edge = find_inner_edge(_read(colours, middle, corrected[bottom], ACROSS), usual)
        corrected[lower] = middle + edge * down
    return corrected


def opponent_colours(picture):
    """Of a picture (H, W, 3), uint8: two colours that light changes little, and brightness, (H, W, 3)."""
    red, green, blue = np.moveaxis(np.log(decode_srgb(picture / 255) + 0.005), -1, 0)
    return np.stack([red - green, blue - green, green], -1)


def _read(colours, start, end, shares):
    """Colours (H, W, 3) at shares (T,) of the C ways from start to end (C, 2), in units of the sides: (C, T, 3)."""
    places = start[:, None] + shares[:, None] * (end - start)[:, None]
    rows_columns = np.moveaxis(places[..., ::-1] * len(colours) - 0.5, -1, 0)
    channels = np.moveaxis(colours, -1, 0)
    return np.stack([map_coordinates(one, rows_columns, order=1, mode="nearest") for one in channels], -1)


def find_edge(colours):
    """Where in the `PLACES` lips become skin, by colours (C, T, 2) of C columns across the edge.

    Both are normally distributed with the same covariance, and the edge is normally distributed about 1.
    """
    best = -np.inf, 1.0
    for place in PLACES[(PLACES > THINNEST) & (PLACES < THICKEST)]:
        lip, skin = (
            colours[:, (sign * (PLACES - place) > 1e-9) & (abs(PLACES - place) < BESIDE)].reshape(-1, 2)
            for sign in (-1, 1)
        )
        covariance = 0.5 * (np.cov(lip.T) + np.cov(skin.T)) + NOISE**2 * np.eye(2)
        apart = lip.mean(0) - skin.mean(0)
        likelihood = SAMPLES * np.log1p(0.25 * apart @ np.linalg.solve(covariance, apart))
        best = max(best, (likelihood - 0.5 * ((place - 1) / LANDMARKS_SPREAD) ** 2, place))
    return best[1]


def find_inner_edge(colours, usual):
    """Where in `ACROSS` teeth or the mouth's darkness become the lower lip, by colours (C, T, 3) of C columns.

    Both are normally distributed, each with its own covariance, and the edge about the `usual` one. Each column counts
    as `SAMPLES` independent samples.
    """
    best = -np.inf, usual
    for place in ACROSS[(ACROSS > FIRST) & (ACROSS < LAST)]:
        sides = colours[:, place - ACROSS > 1e-9], colours[:, ACROSS - place > 1e-9]
        shares = np.array([side.shape[1] for side in sides]) / len(ACROSS)
        spreads = [np.linalg.slogdet(np.cov(side.reshape(-1, 3).T) + NOISE**2 * np.eye(3))[1] for side in sides]
        likelihood = -0.5 * SAMPLES * len(colours) * shares @ spreads
        best = max(best, (likelihood - 0.5 * ((place - usual) / (INNER_SPREAD * usual)) ** 2, place))
    return best[1]


def find_line(colours, height):
    """Where in `BOTH_LIPS` closed lips meet, by colours (C, T, 3) of C columns across both; None where they are parted.

    `height` is that of both lips, in distances between the eyes.
    """
    upper, lower = (colours[:, lip].reshape(-1, 3).mean(0) for lip in (UPPER, LOWER))
    lips = np.outer(1 - BOTH_LIPS, upper) + np.outer(BOTH_LIPS, lower)
    red, _, brightness = (np.median(colours, 0) - lips)[BETWEEN].T
    step = height * (BOTH_LIPS[1] - BOTH_LIPS[0])
    dark, teeth = brightness < -DARKER, (brightness > BRIGHTER) | (red < -LESS_RED)
    if dark.sum() * step > WIDEST_LINE or teeth.sum() * step > FEWEST_TEETH:
        return None
    return BOTH_LIPS[BETWEEN][brightness.argmin()]
