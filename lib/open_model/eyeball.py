"""A proper eyeball for the open face model: a polar grid whose rings are dense at pupil and iris."""

from dataclasses import dataclass

import numpy as np

RINGS_DEGREES = np.array(
    [3, 6, 7.4, 8.6, 10, 12.5, 15, 17.5, 20, 22, 23.4, 24.4, 25.4, 26.6, 28, 30, 33, 37, 42, 48, 54, 60, 66, 73, 80]
)
LIGHT_RINGS = [0, 3, 5, 7, 9, 11, 12, 13, 15, 17, 19, 21, 24]
SEGMENTS, LIGHT_STRIDE = 48, 2


@dataclass(frozen=True)
class Eyeball:
    """The visible cap of one eyeball.

    Attributes
    ----------
    weights : ndarray (P, H)
        Rows make its vertices from MakeHuman's helper vertices, exactly under any affine motion of them.
    angle_from_pupil, angle_around_pupil : ndarray (P,)
        Radians.
    triangles, light_triangles : ndarray (T, 3), (t, 3)
    """

    weights: np.ndarray
    angle_from_pupil: np.ndarray
    angle_around_pupil: np.ndarray
    triangles: np.ndarray
    light_triangles: np.ndarray


def eyeball(helper_points):
    """Fit a sphere to the helper vertices of an eye and cover its front with a polar grid.

    Parameters
    ----------
    helper_points : ndarray (H, 3)
        MakeHuman's eye helper, looking along +z.

    Returns
    -------
    Eyeball
    """
    centre = helper_points.mean(axis=0)
    radius = np.linalg.norm(helper_points - centre, axis=1).mean()
    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    theta = np.r_[0, np.repeat(np.deg2rad(RINGS_DEGREES), SEGMENTS)]
    phi = np.r_[0, np.tile(around, len(RINGS_DEGREES))]
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    homogeneous = np.c_[np.ones(len(helper_points)), helper_points]
    weights = np.c_[np.ones(len(theta)), centre + radius * directions] @ np.linalg.pinv(homogeneous)
    return Eyeball(weights, theta, phi, _grid(list(range(len(RINGS_DEGREES))), 1), _grid(LIGHT_RINGS, LIGHT_STRIDE))


def _grid(rings, stride):
    """Triangles over some of the rings and every `stride`-th segment, counter-clockwise seen from the front."""
    count = SEGMENTS // stride

    def vertex(ring, segment):
        return 1 + rings[ring] * SEGMENTS + (segment % count) * stride

    triangles = [(0, vertex(0, s), vertex(0, s + 1)) for s in range(count)]
    for ring in range(len(rings) - 1):
        for s in range(count):
            inner, outer = vertex(ring, s), vertex(ring + 1, s)
            outer_next, inner_next = vertex(ring + 1, s + 1), vertex(ring, s + 1)
            triangles += [(inner, outer, outer_next), (inner, outer_next, inner_next)]
    return np.array(triangles)
