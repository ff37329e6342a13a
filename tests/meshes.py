"""Meshes and cameras for the renderer's tests."""

from functools import cache

import torch

from lib.rendering.crop import Crop

CROP = Crop(48, ((0.32, 0.34), (0.68, 0.34), (0.36, 0.70), (0.64, 0.70)))


@cache
def sphere(subdivisions=2):
    """A closed unit sphere: vertices (N, 3), triangles (T, 3) counter-clockwise as seen from outside."""
    corners = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    for _ in range(subdivisions):
        middles, finer = {}, []
        for a, b, c in faces:
            ab, bc, ca = (_middle(corners, middles, *pair) for pair in ((a, b), (b, c), (c, a)))
            finer += [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]
        faces = finer
    return torch.tensor(corners), torch.tensor(faces)


def _middle(corners, middles, a, b):
    key = (min(a, b), max(a, b))
    if key not in middles:
        middles[key] = len(corners)
        total = torch.tensor(corners[a]) + torch.tensor(corners[b])
        corners.append((total / total.norm()).tolist())
    return middles[key]


def head(subdivisions=4):
    """An egg with a nose and coloured cheeks: vertices (1, N, 3) mm, albedo, triangles, alignment vertices."""
    vertices, triangles = sphere(subdivisions)
    vertices = vertices * torch.tensor([75.0, 105, 90])
    nose = torch.exp(-((vertices[:, :2] - torch.tensor([0.0, -10])) / torch.tensor([10.0, 18])).square().sum(1))
    vertices[:, 2] += 25 * nose * (vertices[:, 2] > 0)
    frequency = torch.tensor([[0.05, 0.02, 0.01], [-0.02, 0.06, 0.02], [0.03, -0.04, 0.03]])
    albedo = 0.55 + 0.25 * torch.sin(vertices @ frequency)
    places = torch.tensor([[-32.0, 30, 75], [32, 30, 75], [-25, -40, 75], [25, -40, 75]])
    alignment = [[int(index)] for index in torch.cdist(places, vertices).argmin(1)]
    return vertices[None], albedo[None], triangles, alignment


def perspective(vertices, distance=4.0, zoom=3.0, near=1.0, far=10.0):
    """Clip coordinates (..., 4) of a camera at +distance on the z axis."""
    x, y, z = vertices.unbind(-1)
    w = distance - z
    return torch.stack([zoom * x, zoom * y, (far + near) / (far - near) * w - 2 * far * near / (far - near), w], -1)


def random_rotations(count, generator):
    """Rotation matrices (count, 3, 3)."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return q * torch.linalg.det(q)[:, None, None]
