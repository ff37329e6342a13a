"""The framing of a face: four landmarks are moved onto a network's canonical points by a similarity transform.

Photographs and renders reach a recognition network through the same crop: photographs are warped from detected
landmarks (`lib.photos.align`), renders are projected straight into it from known ones (`lib.rendering.camera`).
"""

from dataclasses import dataclass

import torch

from lib.core.tensors import constant

POINT_NAMES = ("right_eye", "left_eye", "right_mouth", "left_mouth")
"""Order of the landmarks: centres of the subject's right and left eye, right and left mouth corner."""


@dataclass(frozen=True)
class Crop:
    """The square picture of a face that a recognition network was trained on, of `size` pixels.

    `points` are where the landmarks `POINT_NAMES` lie, in units of the picture: x to the right, y downwards, in [0, 1].
    """

    size: int
    points: tuple[tuple[float, float], ...]

    def canonical_points(self, device=None):
        """Return the landmarks' places as a float32 tensor (4, 2), in units of the picture."""
        return constant(self.points, device or torch.device("cpu")).float()


def fit_similarity(source, target):
    """Fit the similarity transform (rotation, scale, shift, no mirror) that moves points (..., P, 2) onto `target`.

    Returns (a, b, shift_x, shift_y), each (...), of x' = a x - b y + shift_x, y' = b x + a y + shift_y: least squares,
    differentiable.
    """
    source_mean, target_mean = source.mean(-2), target.mean(-2)
    s, t = source - source_mean.unsqueeze(-2), target - target_mean.unsqueeze(-2)
    spread = s.square().sum((-1, -2))
    a = (s * t).sum((-1, -2)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / spread
    shift_x = target_mean[..., 0] - (a * source_mean[..., 0] - b * source_mean[..., 1])
    shift_y = target_mean[..., 1] - (b * source_mean[..., 0] + a * source_mean[..., 1])
    return a, b, shift_x, shift_y


def landmarks_in_crop(points, crop):
    """Map landmarks `POINT_NAMES` (B, 4, 2), pixels of photographs, to where crops show them, as `Crop.points`."""
    a, b, shift_x, shift_y = (value[:, None] for value in fit_similarity(points, crop.canonical_points()))
    x, y = points.unbind(2)
    return torch.stack([a * x - b * y + shift_x, b * x + a * y + shift_y], 2)
