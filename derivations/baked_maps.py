"""Derive `lib/open_model/baked_maps.npz`: how open to light the reference face is, and its fixed fine grain.

In ten seconds, after an edit here and after `derivations.base_mesh`, `.morph_targets`, `.shape_statistics` and
`.photographed_proportions`, which all move the reference face:

    python -m derivations.baked_maps
"""

import numpy as np

from lib.open_model.generator import generator_parts
from lib.open_model.maps import BAKED, of_one_size
from lib.rendering.vertices import unit_normals

GRAIN_SEED = 9
WAVES = 60  # of a fine field
OCCLUSION_DIRECTIONS, OCCLUSION_CELL = 60, 2.2


def baked_maps(parts):
    """Draw the maps (N,) on the reference of `GeneratorParts`."""
    mesh, random = parts.mesh, np.random.default_rng(GRAIN_SEED)
    points = of_one_size(mesh.operator @ parts.reference, parts.landmarks)
    openness = ambient_occlusion(points, mesh.triangles)
    maps = {
        "openness": 0.5 * (openness + openness[mesh.mirror]),
        "grain": random.random(len(points)),
        "freckles": fine_field(points, 1.5, random),
        "spots": fine_field(points, 3.0, random),
    }
    return {name: values.astype(np.float32) for name, values in maps.items()}


def fine_field(points, length, random):
    """One fixed fine-grained random field (N,) of variance 1: a sum of random cosine waves."""
    waves, phases = random.normal(0, 1 / length, (WAVES, 3)), random.random(WAVES) * 2 * np.pi
    return np.sqrt(2 / WAVES) * np.cos(points @ waves.T + phases).sum(axis=1)


def ambient_occlusion(points, triangles):
    """Share (N,) of the light that reaches each vertex: 1 in the open, towards 0 in clefts."""
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


def main():
    """Derive and write the maps."""
    np.savez_compressed(BAKED, **baked_maps(generator_parts()))


if __name__ == "__main__":
    main()
