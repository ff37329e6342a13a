"""The procedural generator of people to which the open model's principal components are fitted."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lib.core.pictures import smooth_step
from lib.face_model.model import ALIGNMENT_LANDMARKS
from lib.open_model.expression import ExpressionSampler
from lib.open_model.lips import LipClosure, place_teeth
from lib.open_model.maps import draw_maps
from lib.open_model.mesh import find_landmarks, load_mesh
from lib.open_model.paint import paint_person
from lib.open_model.shape import ShapeSampler

REFERENCE_SEED, REFERENCE_PEOPLE = 2018, 300  # of the average person that maps and alignment are drawn on
ALIGNMENT_ROUNDS = 3
CALM_SKULLS, CALMED = np.array([0.6, 0.3, 0.3]), (60.0, 110.0)
"""Shares of the deviation from the average that skulls lose, by axis, from the first of these heights (mm) to the
second: no measurement of the survey reaches there. With all of it some heads are pointed; with these shares the height
from tragion to crown has a standard deviation of 5.9 mm (of people: 6.4 mm, ANSUR II)."""
NOSE_TIP = np.array([0.0, -27.0, 112.0])  # the reference's in the model's frame (mm), as in the Basel Face Model


@dataclass(frozen=True)
class Person:
    """One simulated person."""

    vertices: np.ndarray  # (N, 3), float32: the neutral face in mm, in the model's frame
    albedo: np.ndarray  # (N, 3), float32, sRGB-encoded in [0, 1]
    group: dict  # `age` in years, `gender`, `ancestry`


class FaceGenerator:
    """Draws people and expressions from MakeHuman's sliders and a model of skin, not from principal components.

    Their mesh is that of the open model's file of this `resolution`, "full" or "light": `triangles` (T, 3), `landmarks`
    (vertices by name), `texture_coordinates` (U, 2) and `texture_triangles` (T, 3) are as a `FaceModel` has them, and
    `alignment_vertices` as `lib.rendering.camera.alignment_points` takes them.
    """

    def __init__(self, resolution="full"):
        if resolution not in ("full", "light"):
            raise ValueError(f"resolution is {resolution!r}, expected 'full' or 'light'")
        self.parts = generator_parts()
        mesh = self.parts.mesh
        rows, triangles, uv_triangles = np.arange(mesh.operator.shape[0]), mesh.triangles, mesh.uv_triangles
        if resolution == "light":
            rows, triangles, uv_triangles = mesh.light_rows, mesh.light_triangles, mesh.light_uv_triangles
        self.rows, self.triangles = rows, triangles.astype(np.int64)
        used, corners = np.unique(uv_triangles, return_inverse=True)
        self.texture_coordinates, self.texture_triangles = mesh.uv[used], corners.reshape(-1, 3)
        self.vertex_count = len(self.rows)
        self.operator = mesh.operator[self.rows].astype(np.float32)
        self.mirror = np.searchsorted(self.rows, mesh.mirror[self.rows])
        self.landmarks = {name: int(np.searchsorted(self.rows, row)) for name, row in self.parts.landmarks.items()}
        self.alignment_vertices = [[self.landmarks[name] for name in names] for names in ALIGNMENT_LANDMARKS]
        self.maps = self.parts.maps.take(self.rows)

    def person(self, random):
        """Draw one person."""
        amounts, traits = self.parts.shapes.sample(random)
        cage = self.parts.neutral_cages(amounts[None])[0]
        albedo = paint_person(self.maps, traits, random)
        return Person(self.operator @ cage.astype(np.float32), albedo, traits.group)

    def expression(self, random):
        """Draw one expression: displacements (N, 3) in mm, float32, to be added to any person's vertices."""
        return self.operator @ self.parts.expressions.sample(random)


class GeneratorParts:
    """What both resolutions share: the mesh, the samplers, the reference and the maps drawn on it."""

    def __init__(self):
        self.mesh, self.landmarks = load_mesh(), find_landmarks()
        self.lips, base_cage = LipClosure(self.mesh), self.mesh.base
        self.shapes = ShapeSampler(base_cage, self.mesh.cage)
        # the front of the face settles the pose: necks and ears vary too much
        self._weights = ((base_cage[:, 2] > 20) & (np.abs(base_cage[:, 1]) < 80)).astype(float)
        self.reference = self._average_person(base_cage, self.mesh.cage_mirror)
        self._calm = CALM_SKULLS * smooth_step(self.reference[:, 1:2], *CALMED)
        self.expressions = ExpressionSampler(self.mesh.cage, self.lips, self.reference)
        self._offset = NOSE_TIP - (self.mesh.operator @ self.reference)[self.landmarks["center.nose.tip"]]

    @cached_property
    def maps(self):
        """`FaceMaps` of the reference: on first use, so that `BAKED` can be derived where it is not there."""
        return draw_maps(self.mesh, self.mesh.operator @ self.reference, self.landmarks)

    def neutral_cages(self, amounts):
        """Make cages (n, C, 3) from amounts of the morph targets (n, A): closed lips, in the model's frame, mm."""
        cages = rigid_align(self._closed(amounts), self.reference, self._weights)
        return cages + self._calm * (self.reference - cages) + self._offset

    def _closed(self, amounts):
        """Cages (n, C, 3) in the base mesh's frame, with closed lips and the teeth behind them."""
        closed = (self.lips.separate(self.lips.close(cage)) for cage in self.shapes.cages(amounts))
        return np.stack([place_teeth(self.mesh, cage) for cage in closed])

    def _average_person(self, base_cage, mirror):
        random = np.random.default_rng(REFERENCE_SEED)
        amounts = np.stack([self.shapes.sample(random)[0] for _ in range(REFERENCE_PEOPLE)])
        cages, reference = self._closed(amounts), base_cage
        for _ in range(ALIGNMENT_ROUNDS):
            reference = rigid_align(cages, reference, self._weights).mean(axis=0)
            reference = 0.5 * (reference + reference[mirror] * [-1, 1, 1])
        return reference


generator_parts = cache(GeneratorParts)  # built once per process, in some four seconds


def rigid_align(points, reference, weights):
    """Turn and shift points (..., C, 3) onto a reference (C, 3): weighted least squares (Kabsch), no scale."""
    weights = weights / weights.sum()
    centre, target = weights @ points, weights @ reference
    moved = points - centre[..., None, :]
    u, _, vt = np.linalg.svd(np.swapaxes(moved, -1, -2) @ (weights[:, None] * (reference - target)))
    handed = np.ones(u.shape[:-1])
    handed[..., 2] = np.sign(np.linalg.det(u @ vt))
    return moved @ ((u * handed[..., None, :]) @ vt) + target
