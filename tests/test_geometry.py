"""Distances between surfaces (paper 4.2): zero where they must be, and known where they can be computed."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from lib.evaluation.surfaces import (
    Similarity,
    crop_to_sphere,
    make_surface,
    point_to_plane,
    reconstruction_error,
    register,
    symmetric_distance,
)


def bump(step=2.0, height=30.0, shift=(0.0, 0.0), size=80.0):
    """A face-like relief over a square of 160 mm: a ridge, and two pits that tell left from right."""
    x, y = np.meshgrid(np.arange(-size, size + step, step), np.arange(-size, size + step, step), indexing="ij")
    z = height * np.exp(-((x / 18) ** 2) - (y / 35) ** 2) + 60 * np.cos(np.hypot(x, y) / 90)
    z -= 12 * np.exp(-(((x - 33) / 12) ** 2) - ((y - 30) / 9) ** 2) + 9 * np.exp(
        -(((x + 30) / 9) ** 2) - ((y - 26) / 12) ** 2
    )
    n = len(x)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    vertices = np.stack([x + shift[0], y + shift[1], z], -1).reshape(-1, 3)
    return make_surface(vertices, triangles)


NOSE = np.array([0.0, 0.0, 90.0])


def moved(surface, degrees, scale, shift):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return make_surface(scale * surface.vertices @ turn.T + shift, surface.triangles)


def test_normals_point_out_and_border_is_the_rim():
    surface = bump()
    assert (surface.normals[:, 2] > 0).mean() > 0.99
    assert surface.border.sum() == 4 * (np.sqrt(len(surface.vertices)) - 1)


def test_crop_keeps_what_is_near():
    surface = crop_to_sphere(bump(), NOSE, 50)
    assert np.linalg.norm(surface.vertices - NOSE, axis=1).max() <= 50
    with pytest.raises(ValueError, match="no triangle"):
        crop_to_sphere(bump(), NOSE + 1000, 50)


def test_a_moved_copy_has_no_error():
    truth = bump()
    for degrees, scale, shift in (
        ((0, 0, 0), 1, (0, 0, 0)),
        ((6, -4, 5), 1.08, (3, -4, 6)),
        ((0, 8, 0), 0.93, (0, 0, 9)),
    ):
        assert reconstruction_error(moved(truth, degrees, scale, shift), crop_to_sphere(truth, NOSE)) < 0.01


def test_registration_recovers_scale_and_rotation_under_noise():
    truth = bump()
    noise = np.random.default_rng(0).normal(0, 0.2, truth.vertices.shape)
    source = moved(make_surface(truth.vertices + noise, truth.triangles), (5, 3, -6), 1 / 1.1, (4, 2, -3))
    found = register(source, crop_to_sphere(truth, NOSE))
    assert found.scale == pytest.approx(1.1, rel=2e-3)
    undone = Rotation.from_matrix(found.rotation @ Rotation.from_euler("xyz", (5, 3, -6), degrees=True).as_matrix())
    assert undone.magnitude() < np.radians(0.3)


def test_distance_does_not_depend_on_how_densely_a_surface_is_sampled():
    assert reconstruction_error(bump(step=2.7), crop_to_sphere(bump(step=2.0), NOSE)) < 0.05


def test_another_face_is_as_far_as_it_differs():
    flat, tall = crop_to_sphere(bump(height=30), NOSE), bump(height=36)
    error = reconstruction_error(tall, flat)
    assert 0.1 < error < 2
    assert reconstruction_error(bump(height=42), flat) > 1.5 * error


def test_parallel_planes_are_as_far_apart_as_they_are():
    truth = bump(height=0)
    lifted = make_surface(truth.vertices + 0.7 * truth.normals, truth.triangles)
    assert point_to_plane(lifted, truth).mean() == pytest.approx(0.7, abs=0.01)


def test_only_the_region_of_intersection_counts():
    truth, larger = bump(size=60.0), bump(size=80.0)
    assert point_to_plane(larger, truth).max() < 0.05


def test_the_distance_is_symmetric_and_zero_for_itself():
    one, other = bump(), bump(step=2.6, height=33)
    assert symmetric_distance(one, other) == symmetric_distance(other, one) > 0.1
    assert symmetric_distance(one, one) == 0


def test_closest_vertices_agree_with_exact_closest_points():
    """Planes through the closest vertex stand for the surface: trimesh finds the closest points on triangles."""
    one, other = bump(step=1.6, height=33), bump(step=1.2)
    inside = np.abs(one.vertices[:, :2]).max(1) < 60
    points = one.vertices[inside][::23]
    exact = np.linalg.norm(_closest(other, points) - points, axis=1)
    _, nearest = other.tree.query(points)
    planes = np.abs(((points - other.vertices[nearest]) * other.normals[nearest]).sum(1))
    assert planes.mean() == pytest.approx(exact.mean(), abs=0.01)


def _closest(surface, points):
    """Exact closest points: of all triangles around the nearest vertices, with trimesh's point-to-triangle distance."""
    near = surface.tree.query(points, k=12)[1]
    best = np.full(len(points), np.inf)
    result = np.empty_like(points)
    touching = [[] for _ in surface.vertices]
    for number, triangle in enumerate(surface.triangles):
        for vertex in triangle:
            touching[vertex].append(number)
    for row, point in enumerate(points):
        around = np.unique(np.concatenate([touching[vertex] for vertex in near[row]]))
        corners = surface.vertices[surface.triangles[around]]
        found = trimesh.triangles.closest_point(corners, np.broadcast_to(point, (len(around), 3)))
        distances = np.linalg.norm(found - point, axis=1)
        best[row], result[row] = distances.min(), found[distances.argmin()]
    return result


def test_a_moved_surface_is_the_one_made_anew():
    surface = bump(step=8.0)
    turn = Rotation.from_euler("xyz", (5, 3, -6), degrees=True).as_matrix()
    similarity = Similarity(1.1, turn, np.array([1.0, 2.0, 3.0]))
    anew = make_surface(similarity.apply(surface.vertices), surface.triangles)
    moved = surface.moved(similarity)
    assert np.allclose(moved.vertices, anew.vertices) and np.allclose(moved.normals, anew.normals)
    assert (moved.border == anew.border).all()


def test_vertices_without_triangles_are_dropped_and_the_others_are_named():
    surface = bump(step=8.0)
    vertices = np.insert(surface.vertices, 3, [500.0, 0, 0], axis=0)
    triangles = surface.triangles + (surface.triangles >= 3)
    found = make_surface(vertices, triangles)
    assert (found.triangles == surface.triangles).all() and 3 not in found.used
    assert np.allclose(found.vertices, vertices[found.used]) and len(found.used) == len(vertices) - 1


def test_surfaces_that_do_not_overlap_are_refused():
    truth = crop_to_sphere(bump(), NOSE)
    with pytest.raises(ValueError, match="do not overlap"):
        reconstruction_error(bump(shift=(1000.0, 0.0)), truth)
