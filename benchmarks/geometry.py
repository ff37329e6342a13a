"""Distances between surfaces: how exact, how fast, and what real scans say.

    python -m benchmarks.geometry [PART ...] [--json] [--regressor FILE] [--scans DIR]

exactness  faces of the model of `params.yaml`. `similarity`: the error of a face against itself moved by a rotation, a
           scale and a shift (mm, the largest of some). `recovered`: rotation (degrees) and scale (relative) that
           registration leaves after such a move and noise of 0.2 mm on every vertex. `planes`, `exact`: mean distance
           to planes through the closest vertices, which is what the metric takes, and to the exact closest points on
           triangles (trimesh), of some vertices of another face.
speed      seconds to register and measure a face of about 50,000 vertices, best and median of some.
scans      real scans, photographed and reconstructed: mm by condition (left out where the folder is missing).
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation

from benchmarks.scan_study import load_scans, study_scans
from lib.core import paths
from lib.core.params import load_params
from lib.evaluation.scan_fit import NOSE_TIP
from lib.evaluation.surfaces import IDENTITY, Similarity, crop_to_sphere, make_surface, reconstruction_error, register
from lib.face_model.model import FaceModel
from lib.recognition.network import load_network
from lib.training.regressor import Regressor

MOVES = (((6, -4, 5), 1.08, (3, -4, 6)), ((0, 8, 0), 0.93, (0, 0, 9)), ((-7, 5, -3), 1.04, (-5, 6, 2)))
"""Degrees about the axes, scale, shift in mm."""
NOISE = 0.2
FACES = 6
EXACT_POINTS = 400


def faces_of(model, count):
    """Random faces as surfaces, and the tips of their noses."""
    shape = torch.randn(count, model.shape_dimension, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vertices = model.vertices(shape).numpy()
    triangles = model.triangles.numpy()
    return [make_surface(face, triangles) for face in vertices], vertices[:, model.landmarks[NOSE_TIP]]


def exactness(model):
    """Errors that should be nought."""
    (face, other), (tip, _) = faces_of(model, 2)
    truth = crop_to_sphere(face, tip)
    noise = np.random.default_rng(0).normal(0, NOISE, face.vertices.shape)
    result = {"similarity_mm": 0.0, "recovered_degrees": 0.0, "recovered_scale": 0.0}
    for degrees, scale, shift in MOVES:
        turn = Rotation.from_euler("xyz", degrees, degrees=True)
        move = Similarity(scale, turn.as_matrix(), np.array(shift, float))
        error = reconstruction_error(face.moved(move), truth)
        result["similarity_mm"] = max(result["similarity_mm"], error)
        found = register(make_surface(face.vertices + noise, face.triangles).moved(move), truth)
        left = (Rotation.from_matrix(found.rotation) * turn).magnitude()
        result["recovered_degrees"] = max(result["recovered_degrees"], float(np.degrees(left)))
        result["recovered_scale"] = max(result["recovered_scale"], abs(found.scale * scale - 1))
    return result | _exact_distances(other.moved(register(other, truth)), truth)


def _exact_distances(face, truth):
    """Mean distance of some vertices of a face to the truth, to tangent planes and to exact closest points."""
    _, nearest = truth.tree.query(face.vertices)
    rows = np.flatnonzero(~truth.border[nearest])
    rows = rows[:: len(rows) // EXACT_POINTS]
    planes = np.abs(((face.vertices - truth.vertices[nearest]) * truth.normals[nearest]).sum(1))[rows]
    mesh = trimesh.Trimesh(truth.vertices, truth.triangles, process=False)
    exact = np.array([_exact_distance(mesh, truth, point) for point in face.vertices[rows]])
    return {"planes_mm": float(planes.mean()), "exact_mm": float(exact.mean())}


def _exact_distance(mesh, surface, point, reach=6.0):
    """Distance to the closest point on any triangle within reach of the nearest vertex."""
    distance, _ = surface.tree.query(point)
    around = surface.tree.query_ball_point(point, distance + reach)
    triangles = np.unique(mesh.vertex_faces[around])
    corners = mesh.triangles[triangles[triangles >= 0]]
    closest = trimesh.triangles.closest_point(corners, np.broadcast_to(point, (len(corners), 3)))
    return np.linalg.norm(closest - point, axis=1).min()


def speed(model):
    """Seconds a face."""
    surfaces, tips = faces_of(model, FACES)
    truth, seconds = crop_to_sphere(surfaces[0], tips[0]), []
    for surface, tip in zip(surfaces[1:], tips[1:]):
        start = time.perf_counter()
        reconstruction_error(surface.moved(replace(IDENTITY, shift=tips[0] - tip)), truth)
        seconds.append(time.perf_counter() - start)
    result = {"vertices": len(surfaces[0].vertices), "vertices_of_truth": len(truth.vertices)}
    return result | {"best_seconds": min(seconds), "median_seconds": float(np.median(seconds))}


def scans(model, folder, regressor, training):
    """Distances in mm of each scan and of all of them, by condition."""
    if not folder or not list(Path(folder).glob("*.ply")):
        return {}
    found = load_scans(folder, Path(folder) / "example.obj", model)
    table = study_scans(found, model, load_network(training, paths.NETWORKS), Regressor.load(regressor))
    table.loc["mean"], table.loc["deviation"] = table.mean(), table.std()
    return table.round(3).to_dict("index")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("exactness", "speed", "scans")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}; none: all")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")
    parser.add_argument("--regressor", default=paths.REGRESSORS / "full.safetensors")
    parser.add_argument("--scans", help="folder of scans with colour maps, mm; scans are left out without it")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    params = load_params()
    model = FaceModel.load(params.face_model.path)
    measure = {
        "exactness": lambda: exactness(model),
        "speed": lambda: speed(model),
        "scans": lambda: scans(model, options.scans, options.regressor, params.networks.training),
    }
    results = {name: measure[name]() for name in options.parts or parts}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for name, values in results.items():
        for key, value in values.items():
            row = value.items() if isinstance(value, dict) else [("", value)]
            print(f"{name:<12}{key:<22}" + "  ".join(f"{label} {number:.4g}".strip() for label, number in row))


if __name__ == "__main__":
    main()
