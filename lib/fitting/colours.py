"""The colours of a face from the pixels of its photograph, once its pose is known: above all of lips, brows, eyes.

What the recognition network tells of the texture is a start; the pixels, freed of the light, correct it by a ridge
regression on the leading components of the face model. Skin and light cannot be told apart in one photograph. But
cameras balance white and choose the exposure, so that part of what is unusual in the light is the skin's.
"""

from typing import NamedTuple

import numpy as np

from lib.core.pictures import decode_srgb, encode_srgb
from lib.fitting.light import fit_light, irradiance, robust_weights

COMPONENTS = 100
PENALTY = 1e-5
"""On squared coefficients beside the mean squared error of a pixel (sRGB): neighbouring pixels err alike, by shadows,
hair and landmarks that are a little off, so that all together count as a few hundred with the usual error."""
USUAL_ERROR = 0.06
"""Of a pixel (sRGB). Where what is left is larger, by hard shadows or a cap, the pixels count less."""
MEAN_PENALTY = 1.0  # on the squared distance of the mean colour from what is expected of it
USUAL, EXPOSURE, BALANCE = 0.9, 0.4, 0.5
"""Brightness of the usual light; shares of another brightness, and of the hue, that the skin is given: exponents."""
FACING, LIT = 0.3, 0.05
"""Pixels count whose normal has this share towards the camera, and that receive so much light."""
LIPS, IRISES = 4.0, 8.0
"""Their pixels count so many times: they are few, and training for likeness makes lips redder than they are."""
STRANGE = 0.25
"""Difference (sRGB) from the median of plain skin below the brows, beyond which a pixel is hair, a cap or a shadow: the
skin there is taken to be like that median."""
ROUNDS = 3  # of light and texture in turn


class Parts(NamedTuple):
    """Which pixels or vertices belong to which part of the face: (P,), bool."""

    plain: np.ndarray  # skin, without brows, eyes, lips and beards
    forehead: np.ndarray  # above the brows
    brows: np.ndarray  # the band in which brows are
    lips: np.ndarray
    irises: np.ndarray


def fit_colours(modes, surface, normals, pixels, parts):
    """Find what P pixels of a photograph change of the texture's coefficients, (K,), and the light of `fit_light`.

    `modes` (K, P, 3) are the texture's at each pixel, sRGB per standard deviation; `surface` and `pixels` (P, 3) sRGB
    in [0, 1] of the face as it is known so far, and of the photograph; `normals` (P, 3) those in the camera's frame.
    The pixels of lips and of irises are no outliers where all of them differ alike. A cap or a fringe over the forehead
    hides or darkens the brows: the more it covers, the more brows change as the skin does, whatever their pixels show.
    """
    lit = ~parts.forehead  # hair may hide it, in much the same colour as the skin's
    lit = lit if lit.any() else ~lit
    light, change, mean = fit_light(surface[lit], normals[lit], pixels[lit]), np.zeros(len(modes)), modes.mean(1)
    received = irradiance(normals, light).mean(0).clip(1e-3)
    brightness, middle = np.exp(np.log(received).mean()), surface.mean(0)
    given = (brightness / USUAL) ** EXPOSURE * (received / brightness) ** BALANCE
    light, expected = light / given, encode_srgb((decode_srgb(middle) * given).clip(0, 1)) - middle
    irises = parts.irises
    if irises.any():  # eyes mirror what is before them: the darker half tells more
        brightness = pixels.mean(1)
        irises = irises & (brightness <= np.median(brightness[irises]))
    columns = modes.reshape(len(modes), -1).astype(float)
    prior, held = PENALTY * np.eye(len(modes)), MEAN_PENALTY * mean @ mean.T
    for _ in range(ROUNDS):
        received = irradiance(normals, light)
        wanted = encode_srgb((decode_srgb(pixels) / received.clip(1e-3)).clip(0, 1)) - surface
        counted = (normals[:, 2] > FACING) & (received.min(1) > LIT)
        if not counted.any():
            break
        skin = counted & parts.plain
        known = next(some for some in (skin & ~parts.forehead, skin, counted) if some.any())
        usual = np.median(wanted[known], axis=0)
        strange = skin & (np.linalg.norm(wanted - usual, axis=1) > STRANGE)
        wanted[strange] = usual
        forehead = skin & parts.forehead
        hidden = strange[forehead].sum() / max(1, forehead.sum())
        wanted[parts.brows] += hidden * (usual - wanted[parts.brows])
        rest = wanted - (change @ columns).reshape(-1, 3)
        weights = counted * robust_weights(np.linalg.norm(rest, axis=1), counted)
        for own, share in ((counted & parts.lips, LIPS), (counted & irises, IRISES)):
            if own.any():
                weights[own] = share * robust_weights(np.linalg.norm(rest[own] - np.median(rest[own], 0), axis=1))
        weights = weights / weights.sum()
        excess = max(1.0, weights @ (rest**2).mean(1) / USUAL_ERROR**2)
        weighted = columns * np.repeat(weights, 3)
        change = np.linalg.solve(
            weighted @ columns.T + excess * prior + held, weighted @ wanted.ravel() + MEAN_PENALTY * mean @ expected
        )
        corrected = (surface + (change @ columns).reshape(-1, 3)).clip(0, 1)
        light = fit_light(corrected[~strange], normals[~strange], pixels[~strange])
    return change, light
