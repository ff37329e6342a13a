"""The framing of a face: four landmarks are moved onto a network's canonical points by a similarity transform.

Photographs and renders reach a recognition network through the same crop: photographs are warped from detected
landmarks (`warp_to_crop`), renders are projected straight into it from known ones (`lib.rendering.camera`).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

POINT_NAMES = ("right_eye", "left_eye", "right_mouth", "left_mouth")
"""Order of the landmarks: centres of the subject's right and left eye, right and left mouth corner."""


@dataclass(frozen=True)
class Crop:
    """The square picture of a face that a recognition network was trained on.

    Attributes
    ----------
    size : int
        Height and width in pixels.
    points : tuple of four (x, y)
        Where the landmarks `POINT_NAMES` come to lie, in units of the picture: x to the right, y downwards, [0, 1].
    """

    size: int
    points: tuple[tuple[float, float], ...]

    def canonical_points(self, device=None):
        """Return the landmarks' places as a float32 tensor (4, 2), in units of the picture."""
        return torch.tensor(self.points, dtype=torch.float32, device=device)


def fit_similarity(source, target):
    """Fit the similarity transform (rotation, scale, shift, no mirror) that moves `source` onto `target`.

    Parameters
    ----------
    source, target : Tensor (..., P, 2)
        Corresponding points, P >= 2.

    Returns
    -------
    tuple of Tensor (...)
        (a, b, shift_x, shift_y) of x' = a x - b y + shift_x, y' = b x + a y + shift_y, least squares, differentiable.
    """
    source_mean, target_mean = source.mean(-2), target.mean(-2)
    s, t = source - source_mean.unsqueeze(-2), target - target_mean.unsqueeze(-2)
    spread = s.square().sum((-1, -2))
    a = (s * t).sum((-1, -2)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / spread
    shift_x = target_mean[..., 0] - (a * source_mean[..., 0] - b * source_mean[..., 1])
    shift_y = target_mean[..., 1] - (b * source_mean[..., 0] + a * source_mean[..., 1])
    return a, b, shift_x, shift_y


def warp_to_crop(image, points, crop):
    """Cut a face out of a photograph in a network's framing.

    Parameters
    ----------
    image : ndarray (H, W, 3)
        uint8 in [0, 255], RGB.
    points : array-like (4, 2)
        Landmarks `POINT_NAMES` in pixels, x to the right and y downwards; the first pixel's centre is at (0.5, 0.5).
    crop : Crop

    Returns
    -------
    Tensor (3, size, size)
        float32 in [0, 1]; black beyond the photograph's border. Antialiased when the photograph is shrunk.
    """
    points = torch.as_tensor(np.asarray(points), dtype=torch.float32)
    a, b, shift_x, shift_y = fit_similarity(crop.canonical_points() * crop.size, points)
    shrink = float(torch.hypot(a, b))
    image, left, top = _surroundings(image, a, b, shift_x, shift_y, crop.size, margin=3 * shrink + 2)
    shift_x, shift_y = shift_x - left, shift_y - top
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    if shrink > 1.5:
        height, width = picture.shape[2:]
        smaller = (max(1, round(height * 1.25 / shrink)), max(1, round(width * 1.25 / shrink)))
        picture = F.interpolate(picture, smaller, mode="bilinear", antialias=True, align_corners=False)
        # one scale an axis, since rounding to whole pixels makes the two differ slightly
        scale = torch.tensor([smaller[1] / width, smaller[0] / height])
    else:
        scale = torch.ones(2)
    matrix = torch.stack([torch.stack([a, -b, shift_x]), torch.stack([b, a, shift_y])]) * scale[:, None]
    centres = torch.arange(crop.size, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    where = torch.stack([x, y, torch.ones_like(x)], -1) @ matrix.T
    limits = torch.tensor([picture.shape[3], picture.shape[2]], dtype=torch.float32)
    return F.grid_sample(picture, (2 * where / limits - 1)[None], mode="bilinear", align_corners=False)[0]


def _surroundings(image, a, b, shift_x, shift_y, size, margin):
    """Cut off what the crop does not show; -> the rest and its left and top in the photograph."""
    corners = torch.tensor([[0.0, 0.0], [size, 0.0], [0.0, size], [size, size]])
    x = a * corners[:, 0] - b * corners[:, 1] + shift_x
    y = b * corners[:, 0] + a * corners[:, 1] + shift_y
    sides = []
    for along, length in ((x, image.shape[1]), (y, image.shape[0])):
        start = min(max(int(along.min() - margin), 0), length - 1)
        sides.append((start, max(min(int(along.max() + margin), length), start + 1)))
    (left, right), (top, bottom) = sides
    return image[top:bottom, left:right], left, top
