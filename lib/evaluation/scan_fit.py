"""Fit the face model to a 3D scan: its pose and the nearest face."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lib.evaluation.surfaces import Similarity, make_surface
from lib.rendering.rasterize import rasterize

NOSE_TIP = "center.nose.tip"
RIGID_ROUNDS, SHAPE_ROUNDS = 25, 25
FIT_POINTS = 8000  # vertices of the model that the fit looks at, spread evenly over the face

# standard deviation (mm) of a point's distance to the scan that the fit expects, against the coefficients' standard
# normal prior: more than a scanner's noise, since neighbouring points err together
NOISE = 2.0

LEAST_COSINE = 0.6  # of the angle between the normals of two points that may belong together
OUTLIER_FACTOR, SMALLEST_REACH = 4.0, 2.0  # pairs farther apart than so many medians, and so many mm, are left out
VIEWS = [(0, 0), (-45, 0), (45, 0), (-80, 0), (80, 0), (0, -40), (0, 40)]  # turn and nod in degrees, for the outer skin
VIEW_RADIUS, VIEW_SIZE, COVER = 250.0, 512, 1.0
"""Half the side of a view and the depth below the visible surface that still counts as it, mm; pixels per side."""


def fit_scan(face_model, scan, components):
    """Fit shape coefficients (K,) and the scan's pose, a `Similarity` of scale 1 into the model's frame.

    Closest points alternate with ridge regression of all unknowns at once: each round pairs points of the model with
    the closest ones of the scan and minimises, in closed form, ``sum of squared distances / NOISE² + |coefficients|²``
    over the coefficients and a small rigid motion of the scan (distances to tangent planes, Chen and Medioni 1992; the
    second term is the model's own prior). The first rounds move the scan only. The model has a landmark
    `center.nose.tip`; the scan is a `Surface` in mm, upright and frontal within some 20 degrees (+y up, +z out of the
    face), its foremost vertex taken for the nose tip; K = `components`, the leading shape components that may be used.
    """
    rows, triangles = outer_skin(face_model)
    mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension))[0, rows].double().numpy()
    directions = face_model.modes("shape")[:components, rows].double().numpy()  # a standard deviation long
    average = make_surface(mean, triangles)
    chosen = np.flatnonzero(~average.border)
    chosen = chosen[:: max(1, len(chosen) // FIT_POINTS)]
    model = mean[chosen], directions[:, chosen], average.normals[chosen]
    tip = np.searchsorted(rows, face_model.landmarks[NOSE_TIP])
    shift = mean[tip] - scan.vertices[scan.vertices[:, 2].argmax()]
    pose, coefficients = Similarity(1.0, np.eye(3), shift), np.zeros(components)
    for free in [0] * RIGID_ROUNDS + [components] * SHAPE_ROUNDS:
        pose, coefficients = _improve(scan, *model, pose, coefficients, free)
    return coefficients, pose


def outer_skin(face_model):
    """Find what a scanner can see of the mean face, without the inside of the mouth and the backs of the eyeballs.

    Vertices (M,) that are not covered in one of the views at least, rising, and triangles (T, 3) that count in these.
    """
    mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension))[0]
    turns = Rotation.from_euler("YX", VIEWS, degrees=True).as_matrix()
    turned = (mean - mean.mean(0)) @ torch.from_numpy(turns).float().mT
    clip = torch.cat([turned / VIEW_RADIUS * torch.tensor([1, 1, -1]), torch.ones(*turned.shape[:2], 1)], 2)
    fragments = rasterize(clip, face_model.triangles, turned[..., 2:].contiguous(), VIEW_SIZE, VIEW_SIZE)
    column, row = ((turned[..., :2] / VIEW_RADIUS * torch.tensor([1, -1]) + 1) * VIEW_SIZE / 2).long().unbind(2)
    front = fragments.attributes[torch.arange(len(VIEWS))[:, None], row, column, 0]
    seen = (turned[..., 2] > front - COVER).any(0)
    triangles = face_model.triangles[seen[face_model.triangles].all(1)].numpy()
    rows, triangles = np.unique(triangles, return_inverse=True)
    return rows, triangles.reshape(-1, 3)


def _improve(scan, mean, directions, normals, pose, coefficients, free):
    """One round at P points of the model, whose directions are (K, P, 3): all but `free` coefficients stay 0."""
    face = mean + np.tensordot(coefficients, directions, axes=1)
    # the closest points are looked for in the scan's own frame, so that its tree is built once
    _, nearest = scan.tree.query((face - pose.shift) @ pose.rotation, workers=-1)
    points, scan_normals = pose.apply(scan.vertices[nearest]), scan.normals[nearest] @ pose.rotation.T
    distances = np.linalg.norm(face - points, axis=1)
    kept = ~scan.border[nearest] & ((scan_normals * normals).sum(1) > LEAST_COSINE)
    kept &= distances < max(OUTLIER_FACTOR * np.median(distances[kept]), SMALLEST_REACH)
    points, normals, mean = points[kept], scan_normals[kept], mean[kept]
    centre = points.mean(0)
    arms, directions = points - centre, directions[:free, kept]
    growth = (directions * normals).sum(2).T
    columns = np.concatenate([growth, -np.cross(arms, normals), -normals], axis=1)
    distances = ((points - mean) * normals).sum(1)
    prior = np.diag(np.r_[np.full(free, NOISE**2), np.zeros(6)])
    found = np.linalg.solve(columns.T @ columns + prior, columns.T @ distances)
    turn, shift = found[free : free + 3], found[free + 3 :]
    rotation = Rotation.from_rotvec(turn).as_matrix()
    moved = Similarity(1.0, rotation @ pose.rotation, rotation @ (pose.shift - centre) + centre + shift)
    return moved, np.concatenate([found[:free], np.zeros(len(coefficients) - free)])
