"""The fit to scans recovers a known face, and reads the files it should."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from conftest import ROOT, SHARED
from meshes import head
from scipy.spatial.transform import Rotation

from benchmarks.face_model import fit_error
from lib.evaluation.scan_fit import fit_scan, outer_skin
from lib.evaluation.surfaces import make_surface
from lib.face_model.file import FaceModelFile, LinearModel
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import FaceModel

SCANS = SHARED / "scans/facefuns"
OPEN_MODEL = ROOT / "data/face_model/full.h5"
WAVES = np.array([[0.030, 0.010, 0.0], [0.0, 0.035, 0.01], [0.02, -0.03, 0.0], [0.045, 0.02, 0.0], [-0.01, 0.05, 0.01]])
DEVIATIONS = np.array([4.0, 3.0, 2.5, 2.0, 1.5])


def displacements(points):
    """Five smooth displacement fields (5, N, 3) in mm at points (N, 3): one standard deviation each."""
    phases = np.arange(len(WAVES))[:, None]
    directions = np.array([[1, 0, 1], [0, 1, 1], [0.5, -0.5, 1], [1, 1, 0], [0, 0, 1.0]])
    waves = np.sin(WAVES @ points.T + phases)
    return (DEVIATIONS[:, None] * waves)[..., None] * directions[:, None]


@cache
def model():
    """An egg-shaped head with a nose, and a ball inside that no scanner can see; the five fields are its components."""
    vertices, _, triangles, _ = head(5)
    points = vertices[0].double().numpy()
    points = np.concatenate([points, 0.4 * points])
    cells = np.concatenate([triangles.numpy(), triangles.numpy() + len(points) // 2])
    fields = displacements(points).reshape(len(WAVES), -1).T
    lengths = np.linalg.norm(fields, axis=0)
    shape = LinearModel(points.ravel(), fields / lengths, lengths**2, np.zeros(1))
    other = LinearModel(np.full(points.size, 0.5), np.zeros((points.size, 1)), np.ones(1), np.zeros(1))
    tip = points[points[:, 2].argmax()].tolist()
    landmarks = json.dumps([{"id": "center.nose.tip", "coordinates": tip}])
    parts = [
        LinearModel(*(np.ascontiguousarray(values, np.float32) for values in vars(part).values()))
        for part in (shape, other, other)
    ]
    return FaceModel(FaceModelFile(*parts, cells.T, points.T.astype(np.float32), landmarks))


def scan_of(coefficients, pose, shift, noise=0.0):
    """A scan of the model's front, sampled at other places than the model's vertices; and its unmoved vertices."""
    vertices, _, triangles, _ = head(6)
    points = vertices[0].double().numpy()
    points = points + np.tensordot(coefficients, displacements(points), axes=1)
    front = triangles.numpy()[(points[:, 2] > 5)[triangles.numpy()].all(1)]
    noisy = points + np.random.default_rng(0).normal(0, noise, points.shape)
    return make_surface(noisy @ pose.T + shift, front)


TRUTH = np.array([1.2, -0.9, 0.6, -1.1, 0.8])
TURN = Rotation.from_euler("YXZ", (12, -8, 5), degrees=True).as_matrix()


def test_a_known_face_is_recovered():
    scan = scan_of(TRUTH, TURN, [30, -20, 55], noise=0.1)
    coefficients, pose = fit_scan(model(), scan, 5)
    assert fit_error(model(), scan, coefficients, pose) < 0.15
    np.testing.assert_allclose(coefficients, TRUTH, atol=0.12)
    # the pose undoes the scan's
    assert np.degrees(np.linalg.norm(Rotation.from_matrix(pose.rotation @ TURN).as_rotvec())) < 0.5
    assert pose.scale == 1


def test_more_components_come_nearer():
    scan = scan_of(TRUTH, np.eye(3), [0, 0, 0])
    errors = [fit_error(model(), scan, *fit_scan(model(), scan, components)) for components in (0, 2, 5)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 1


def test_a_spoilt_part_of_the_scan_is_left_out():
    scan = scan_of(TRUTH, np.eye(3), [0, 0, 0])
    vertices = scan.vertices.copy()
    vertices[np.linalg.norm(vertices - [-45, 55, 60], axis=1) < 22] += [0, 15, 30]
    coefficients, _ = fit_scan(model(), make_surface(vertices, scan.triangles), 5)
    np.testing.assert_allclose(coefficients, TRUTH, atol=0.25)


def test_the_outer_skin_has_no_inside():
    rows, triangles = outer_skin(model())
    half = model().vertex_count // 2
    points = model().vertices(torch.zeros(1, 5))[0].numpy()
    assert rows.max() < half
    assert triangles.max() == len(rows) - 1
    # all of the front is seen
    assert set(np.flatnonzero(points[:half, 2] > 10)) <= set(rows)


@pytest.mark.skipif(not SCANS.exists() or not OPEN_MODEL.exists(), reason="needs a real scan and the built model")
def test_a_real_face_is_within_a_millimetre():
    mesh, built = read_mesh(SCANS / "f36.ply"), FaceModel.load(OPEN_MODEL)
    scan = make_surface(mesh.vertices, mesh.triangles)
    coefficients, pose = fit_scan(built, scan, 50)
    assert fit_error(built, scan, coefficients, pose) < 0.8
    assert np.sqrt(np.square(coefficients).mean()) < 2.5
