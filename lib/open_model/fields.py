"""Tools for fields on a surface: smooth steps, random fields with a length scale, and ambient occlusion."""

import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from lib.rendering.vertices import unit_normals

OCCLUSION_DIRECTIONS, OCCLUSION_CELL = 60, 2.2


def smooth_step(values, start, end):
    """Rise smoothly from 0 at `start` to 1 at `end` (which may be the smaller one)."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def clipped_normal(random, mean, deviation, low=-np.inf, high=np.inf):
    """Draw one normal number, moved into [low, high]; a Python float, so that float32 maps stay float32."""
    return float(min(max(random.normal(mean, deviation), low), high))


def gaussian_bump(x, y, centre, radii):
    """exp of minus half the squared distance from `centre`, in units of the two `radii`."""
    return np.exp(-0.5 * (((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2))


def random_field_basis(points, candidates, length, count, inducing_count):
    """Basis of smooth random fields: the leading eigenfunctions of a Gaussian kernel (Nystrom's method).

    Parameters
    ----------
    points : ndarray (N, 3)
        Where the fields are wanted, mm.
    candidates : ndarray (M, 3)
        Points among which the inducing ones are chosen, each time the farthest from those before.
    length : float
        Standard deviation of the kernel in mm.
    count : int
        Number of fields.
    inducing_count : int
        Enough that neighbours are closer than `length`.

    Returns
    -------
    ndarray (N, count)
        float32; standard normal weights give fields of variance 1 on average.
    """
    chosen, distance = [0], np.full(len(candidates), np.inf)
    for _ in range(inducing_count - 1):
        distance = np.minimum(distance, ((candidates - candidates[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    inducing = candidates[chosen]
    kernel = np.exp(-cdist(inducing, inducing, "sqeuclidean") / (2 * length**2))
    leading = [inducing_count - count, inducing_count - 1]
    values, vectors = scipy.linalg.eigh(kernel, subset_by_index=leading)
    weights = vectors / np.sqrt(values)
    blocks = np.array_split(points, 1 + len(points) // 8192)
    basis = np.concatenate(
        [np.exp(-cdist(block, inducing, "sqeuclidean") / (2 * length**2)) @ weights for block in blocks]
    )
    return (basis / np.sqrt((basis**2).sum(axis=1).mean())).astype(np.float32)


def fine_field(points, length, count, random):
    """One fixed fine-grained random field (N,) of variance 1: a sum of `count` random cosine waves."""
    waves = random.normal(0, 1 / length, (count, 3))
    phases = random.random(count) * 2 * np.pi
    return np.sqrt(2 / count) * np.cos(points @ waves.T + phases).sum(axis=1)


def ambient_occlusion(points, triangles):
    """Share of the surrounding light that reaches each vertex (from the front and the sides).

    Parameters
    ----------
    points : ndarray (N, 3)
    triangles : ndarray (T, 3)

    Returns
    -------
    ndarray (N,)
        1 in the open, towards 0 in clefts; weighted by the cosine to the normal.
    """
    normals = unit_normals(points, triangles)
    corners = points[triangles]
    surface = np.concatenate([points, corners.mean(axis=1)])
    seen, total = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction in _directions(OCCLUSION_DIRECTIONS):
        cosine = np.clip(normals @ direction, 0, None)
        side = np.cross(direction, [0.0, 1.0, 0.01])
        side /= np.linalg.norm(side)
        plane = np.stack([side, np.cross(side, direction)], axis=1)
        cells = np.floor(surface @ plane / OCCLUSION_CELL).astype(int)
        cells -= cells.min(axis=0)
        cell = cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1]
        depth = surface @ direction
        nearest = np.full(cell.max() + 1, -np.inf)
        np.maximum.at(nearest, cell, depth)
        # within a cell a slanted surface spans some depth: it must not hide itself
        slack = 0.8 + OCCLUSION_CELL * np.minimum(np.sqrt(1 - np.minimum(cosine, 1) ** 2) / (cosine + 0.1), 4)
        visible = depth[: len(points)] + slack >= nearest[cell[: len(points)]]
        seen += cosine * visible
        total += cosine
    return seen / total


def _directions(count):
    """Evenly spread unit vectors (golden spiral), without those far behind."""
    index = np.arange(count) + 0.5
    angle, height = np.pi * (1 + 5**0.5) * index, 1 - 2 * index / count
    radius = np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    return directions[height > -0.3]
