"""The camera: turns, framing by the crop, perspective, gradients."""

import math

import pytest
import torch
from meshes import CROP, head

from lib.rendering.camera import alignment_points, crop_projection, project, rotation_matrices
from lib.rendering.crop import POINT_NAMES


def angles(yaw=0.0, pitch=0.0, roll=0.0):
    return torch.tensor([[yaw, pitch, roll]])


def seen(points, projection):
    """Where model points (S, P, 3) come to lie, in units of the picture (x right, y down)."""
    clip = project(points, projection)
    place = clip[..., :2] / clip[..., 3:]
    return torch.stack([place[..., 0] + 1, 1 - place[..., 1]], -1) / 2


@pytest.fixture
def points():
    """Four landmarks in one plane whose shape is the crop's: the fit is exact in frontal view."""
    canonical = CROP.canonical_points()
    flat = torch.stack([canonical[:, 0] - 0.5, 0.5 - canonical[:, 1]], 1) * 180
    return torch.cat([flat, torch.full((4, 1), 80.0)], 1)[None]


def test_rotations_turn_the_right_way():
    nose, top, quarter = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1, 0]), math.pi / 2
    for turn, vector, expected in (
        (angles(yaw=quarter), nose, [1.0, 0, 0]),
        (angles(pitch=quarter), nose, [0.0, -1, 0]),
        (angles(roll=quarter), top, [-1.0, 0, 0]),
        (angles(yaw=quarter, roll=quarter), nose, [0.0, 1, 0]),
    ):
        torch.testing.assert_close(rotation_matrices(turn)[0] @ vector, torch.tensor(expected), atol=1e-6, rtol=0)


def test_rotations_are_proper(generator):
    rotation = rotation_matrices(torch.randn(20, 3, generator=generator))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(20, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(20))


def test_landmarks_come_to_lie_on_the_crop(points):
    for roll in (0.0, 0.3):
        projection, _, _ = crop_projection(angles(roll=roll), torch.tensor([900.0]), points, CROP)
        torch.testing.assert_close(seen(points, projection)[0], CROP.canonical_points(), atol=1e-5, rtol=0)


def test_landmarks_stay_near_the_crop_when_the_face_turns(points):
    turn = torch.tensor([[0.5, 0.2, 0.1], [-0.5, -0.2, 0]])
    projection, _, _ = crop_projection(turn, torch.tensor([700.0, 1500]), points.repeat(2, 1, 1), CROP)
    places = seen(points.repeat(2, 1, 1), projection)
    assert (places - CROP.canonical_points()).norm(dim=-1).max() < 0.08
    # least squares leaves the mean in its place
    torch.testing.assert_close(places.mean(1), CROP.canonical_points().mean(0).expand(2, 2), atol=1e-5, rtol=0)


def test_distance_is_measured_to_the_landmarks_mean_along_the_axis(points):
    turn, distance = torch.tensor([[0.4, -0.1, 0.2]]), torch.tensor([800.0])
    projection, rotation, centre = crop_projection(turn, distance, points, CROP)
    torch.testing.assert_close(centre, points.mean(1))
    ahead = centre + (rotation.mT @ torch.tensor([0.0, 0, 100]))[0]
    w = project(torch.stack([centre, ahead], 1), projection)[0, :, 3]
    torch.testing.assert_close(w, torch.tensor([800.0, 700]), atol=1e-3, rtol=0)


def test_perspective_is_full(points):
    """A nearer camera shows the nose, 40 mm before the landmarks, larger: by the ratio of the distances."""
    tip = points.mean(1, keepdim=True) + torch.tensor([[[0.0, 0, 40]]])
    sides = torch.cat([tip - torch.tensor([10.0, 0, 0]), tip + torch.tensor([10.0, 0, 0])], 1)
    widths = []
    for distance in (500.0, 2000.0):
        projection, _, _ = crop_projection(angles(), torch.tensor([distance]), points, CROP)
        places = seen(sides, projection)[0]
        widths.append(float(places[1, 0] - places[0, 0]))
    expected = (500 / 460) / (2000 / 1960)
    assert widths[0] / widths[1] == pytest.approx(expected, rel=1e-4)


def test_depth_runs_from_near_to_far_plane(points):
    projection, rotation, centre = crop_projection(angles(0.3), torch.tensor([1000.0]), points, CROP)
    ahead = (rotation.mT @ torch.tensor([0.0, 0, 1]))[0]
    clip = project(torch.stack([centre[0] + 900 * ahead, centre[0], centre[0] - 9000 * ahead])[None], projection)[0]
    depth = clip[:, 2] / clip[:, 3]
    torch.testing.assert_close(depth[[0, 2]], torch.tensor([-1.0, 1]), atol=1e-4, rtol=0)
    assert -1 < depth[1] < 1


def test_profile_stays_finite(points):
    turn = torch.tensor([[math.pi / 2, 0, 0], [-math.pi / 2, 0, 0], [0, math.pi / 2, 0]]).requires_grad_()
    many = points.repeat(3, 1, 1).requires_grad_()
    projection, _, _ = crop_projection(turn, torch.full((3,), 900.0), many, CROP)
    places = seen(many, projection)
    assert places.isfinite().all()
    for gradient in torch.autograd.grad(places.square().sum(), (turn, many)):
        assert gradient.isfinite().all()


def test_gradients_of_the_projection(points, generator):
    """Against finite differences, in float64."""
    turn = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    distance = torch.tensor([900.0], dtype=torch.float64, requires_grad=True)
    places = points.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *arguments: crop_projection(*arguments, CROP), (turn, distance, places), atol=1e-4
    )


def test_projections_belong_to_meshes_in_turn(generator):
    vertices, projection = (torch.randn(2, 5, 3, generator=generator), torch.randn(4, 4, 4, generator=generator))
    clip = project(vertices, projection)
    for i in range(4):
        expected = torch.cat([vertices[i % 2], torch.ones(5, 1)], 1) @ projection[i].T
        torch.testing.assert_close(clip[i], expected)


def test_landmarks_are_means_of_their_vertices():
    vertices, _, _, _ = head(2)
    by_name = dict(zip(POINT_NAMES, [(0, 1), (2,), (3, 4, 5), (6,)], strict=True))
    points = alignment_points(vertices, by_name)
    expected = torch.stack([vertices[0, list(indices)].mean(0) for indices in by_name.values()])
    torch.testing.assert_close(points[0], expected)
    torch.testing.assert_close(alignment_points(vertices, list(by_name.values())), points)
