"""Edges of the lips by their colour: landmarks give all people nearly the same lips.

Of lips 1 mm thicker, FaceMesh's are 0.2 mm thicker, and those found here 0.6 mm (docs/faces.md). Where a smile shows
teeth, its lower lip begins too low.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from lib.core.pictures import decode_srgb
from lib.fitting.pose import lips_closed

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


def correct_lips(landmarks, picture):
    """Move the outer edges of lips, and the inner edge of a lower lip below teeth, to where the colour changes.

    Parameters
    ----------
    landmarks : ndarray (468, 2)
        Of FaceMesh, in units of the picture's sides.
    picture : uint8 ndarray (S, S, 3)

    Returns
    -------
    ndarray (468, 2)
    """
    corrected, colours = landmarks.copy(), opponent_colours(picture)
    for middle, sides in zip(MIDDLE, SIDES, strict=True):
        inner, outer = (landmarks[list(rows)] for rows in zip(*middle))
        places = inner[:, None] + PLACES[:, None] * (outer - inner)[:, None]
        edge = find_edge(_read(colours, places * len(picture))[..., :2])
        inner, outer = map(list, zip(*middle, *sides))
        corrected[outer] = landmarks[inner] + edge * (landmarks[outer] - landmarks[inner])
    if not lips_closed(landmarks):
        upper, lower = ([inner for inner, _ in pairs] for pairs in MIDDLE)
        outer = corrected[[outer for _, outer in MIDDLE[1]]]
        middle = (landmarks[upper] + landmarks[lower]) / 2
        usual = np.linalg.norm(landmarks[lower] - middle, axis=1).mean() / np.linalg.norm(outer - middle, axis=1).mean()
        places = middle[:, None] + ACROSS[:, None] * (outer - middle)[:, None]
        edge = find_inner_edge(_read(colours, places * len(picture)), usual)
        corrected[lower] = middle + edge * (outer - middle)
    return corrected


def opponent_colours(picture):
    """Of a picture (H, W, 3), uint8: two colours that light changes little, and brightness, (H, W, 3)."""
    red, green, blue = np.moveaxis(np.log(decode_srgb(picture / 255) + 0.005), -1, 0)
    return np.stack([red - green, blue - green, green], -1)


def _read(colours, places):
    """Colours (H, W, 3) at places (C, T, 2) in pixels, between pixels linearly."""
    rows_columns = np.moveaxis(places[..., ::-1] - 0.5, -1, 0)
    return np.stack(
        [map_coordinates(one, rows_columns, order=1, mode="nearest") for one in np.moveaxis(colours, -1, 0)], -1
    )


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
