"""The light of a photograph: spherical harmonics of the normals, fitted to the pixels that look like skin.

Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps" (SIGGRAPH 2001): nine numbers a
channel describe how much light reaches a matt surface from everywhere, for each direction that it faces.
"""

import numpy as np

from lib.core.pictures import decode_srgb

BRIGHTEST = 0.98  # sRGB: what a camera cut off at white tells nothing
PENALTY = 0.003
"""On the squared coefficients of all but the first, per pixel: one side of a face alone does not show them."""
ROUNDS = 8


def harmonics(normals):
    """The nine spherical harmonics of degree 2 and less, up to constants: unit normals (..., 3) -> (..., 9)."""
    x, y, z = np.moveaxis(np.asarray(normals, np.float64), -1, 0)
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)


def fit_light(albedo, normals, pixels):
    """Find the light (9, 3) under which a surface looks like the pixels; hair, glasses and hands do not count.

    `albedo` and `pixels` (P, 3) are sRGB in [0, 1] of the surface and of the photograph, `normals` (P, 3) those in the
    camera's frame. Pixels far from the fit have little weight (`robust_weights`).
    """
    usable = (pixels < BRIGHTEST).all(1)
    usable = usable if usable.any() else ~usable
    surface, light = decode_srgb(albedo[usable]), decode_srgb(pixels[usable])
    basis, weights = harmonics(normals[usable]), np.ones(usable.sum())
    penalty = PENALTY * len(basis) * np.diag([0.0] + [1.0] * 8) + 1e-9 * np.eye(9)
    for _ in range(ROUNDS):
        lamps = []
        for channel in range(3):
            known = basis * surface[:, channel, None]
            weighted = known * weights[:, None]
            lamps.append(np.linalg.solve(weighted.T @ known + penalty, weighted.T @ light[:, channel]))
        lamps = np.stack(lamps, 1)
        weights = robust_weights(np.linalg.norm(basis @ lamps * surface - light, axis=1))
    return lamps


def robust_weights(differences, usual=slice(None)):
    """Weights of pixels: small from about three times the median difference of the `usual` ones (Geman and McClure)."""
    limit = 3 * np.median(differences[usual]) + 1e-6
    return (1 + (differences / limit) ** 2) ** -2


def irradiance(normals, light):
    """Light that reaches a surface: unit normals (..., 3) and `fit_light`'s (9, 3) to linear (..., 3), not negative."""
    return (harmonics(normals) @ light).clip(0)
