"""What needs no render: distances in mm and colours of coefficients, colours of features, posterior means of shapes."""

import torch

from lib.core.tensors import ROWS_AT_ONCE
from lib.rendering.camera import alignment_points, crop_projection, project
from lib.rendering.rasterize import rasterize
from lib.rendering.scenes import frontal_scene

RIDGE = 100.0  # penalty on squared weights of standardised features; ten times as much changes nothing
SHAPE_RIDGE = 1e-3  # the same for shape coefficients, per face


@torch.no_grad()
def front_metric(face_model, crop):
    """Mean squared distance of two faces' fronts, up to a similarity, per unit of shape coefficients: G (S, S), mm².

    The front is what `crop` shows of the mean face. To first order, a point moves along the normal by N c for
    coefficients c, and by J m for a similarity motion m, which the evaluation removes (paper 4.2): G = R^T R / points
    with R = (I - J J^+) N.
    """
    mean, corners = _front(face_model, crop)
    first, second, third = mean[0, corners].double().unbind(1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(second - first, third - first), dim=1)
    middle = (first + second + third) / 3
    arms = middle - middle.mean(0)
    moved = torch.stack([mode[corners].double().mean(1) for mode in face_model.modes("shape")])
    along = (moved * normals).sum(2).T
    motions = [torch.linalg.cross(arms, normals), normals, (arms * normals).sum(1, keepdim=True)]
    free, _ = torch.linalg.qr(torch.cat(motions, 1))
    rest = along - free @ (free.T @ along)
    return (rest.T @ rest / len(rest)).float()


@torch.no_grad()
def front_colour(face_model, crop):
    """Mean colour of a face's front (`front_metric`) per unit of texture coefficients: Tensor (3, K), sRGB."""
    corners = _front(face_model, crop)[1].flatten()
    return torch.stack([mode[corners].mean(0) for mode in face_model.modes("texture")], 1)


@torch.no_grad()
def read_colour(features, synthetic, colour):
    """Read the mean colours of faces' fronts in features (N, F), by a ridge regression that synthetic faces teach.

    `colour` is that of `front_colour`. Returns differences (N, 3) from the model's mean colour, sRGB.
    """
    mean, deviation = synthetic.features.double().mean(0), synthetic.features.double().std(0).clamp(min=1e-6)

    def standardised(values):
        return torch.nn.functional.pad((values.double() - mean) / deviation, (0, 1), value=1.0)

    known, truth = standardised(synthetic.features), synthetic.coefficients.texture.double() @ colour.T.double()
    penalty = RIDGE * torch.eye(known.shape[1], dtype=known.dtype)
    weights = torch.linalg.solve(known.T @ known + penalty, known.T @ truth)
    parts = (features[row : row + ROWS_AT_ONCE] for row in range(0, len(features), ROWS_AT_ONCE))
    return torch.cat([standardised(part) @ weights for part in parts]).float()


@torch.no_grad()
def posterior_map(regressed, true):
    """The linear map from regressed shapes to their posterior means: Tensor (S, S).

    `regressed` and `true` are shapes (N, S) of the same synthetic faces. Of all B, B r is nearest to the true shape of
    a face in which r was read, on average: it takes back what likeness alone made of the shapes (docs/training.md).
    """
    regressed, true = regressed.double(), true.double()
    penalty = SHAPE_RIDGE * len(regressed) * torch.eye(regressed.shape[1], dtype=torch.double, device=regressed.device)
    return torch.linalg.solve(regressed.T @ regressed + penalty, regressed.T @ true).T.float()


def _front(face_model, crop):
    """The mean face's vertices (1, N, 3), and the corners (P, 3) of the triangle that each pixel of the crop shows."""
    scene = frontal_scene(1).to(face_model.triangles.device)
    mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension, device=face_model.triangles.device))
    points = alignment_points(mean, face_model.alignment_vertices)
    projection, _, _ = crop_projection(scene.angles, scene.distance, points, crop)
    seen = rasterize(project(mean, projection), face_model.triangles, mean, crop.size, crop.size).triangle_ids
    return mean, face_model.triangles[seen[seen >= 0].long()]
