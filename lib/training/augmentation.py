"""Random augmentation of renders: brings a render's crop closer to a photograph's (paper 3.2.2, 3.3.2).

It keeps training from fooling the identity network with what only a clean, exactly framed render can show. The framing
is part of the scene (`lib.rendering.scenes`); blur, noise and contrast change the image. Synthetic faces also have what
photographs show and the face model lacks, expressions and hair (`Looks`): without them the regressor takes a smile for
the shape of a mouth, and hair for that of a forehead (docs/training.md). The evaluation has no augmentation.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from lib.core.tensors import Batch

CENTRE = (0.0, 25.0, -5.0)  # middle of the skull in the model's frame, mm
AZIMUTHS = torch.tensor([0.0, 25.0, 55.0, 90.0, 180.0])
"""Degrees from the front, at which a hairline is drawn: forehead, its corner, temple, ear, back."""
LONG, COVERING, FRINGE = 0.4, 0.15, 0.3  # shares whose hair falls on beside the face, a cap or scarf, over the forehead
BROWS = 75.0  # degrees from the crown, above the brows: the lowest end of a fringe
THICKNESS = (2.0, 16.0)  # mm
EDGE = 2.5  # degrees over which hair begins
WAVES = 12
PER_DEGREE = 4
GRID = 360 * PER_DEGREE


@dataclass(frozen=True)
class Augmentation:
    """Largest changes, as in `params.yaml`; each picture's own are drawn uniformly between none and these."""

    shift: float = 0.0  # of the framing, to either side: in each direction as a share of the crop's side
    scale: float = 0.0  # as a share
    roll_degrees: float = 0.0
    blur: float = 0.0  # standard deviation of a Gaussian, pixels of the crop
    noise: float = 0.0  # standard deviation of Gaussian noise on each channel of each pixel, where white is 1
    contrast: float = 0.0  # change of the contrast about the picture's mean, to either side, as a share

    def scenes(self, distribution):
        """Return the range of scenes (`SceneDistribution`) with these changes of the framing."""
        roll = math.radians(self.roll_degrees)
        return replace(distribution, crop_shift=self.shift, crop_scale=self.scale, crop_roll=roll)

    def draw(self, count, generator):
        """Draw those of `count` pictures: an `AugmentationDraw` on the CPU, or None (and no draw) where all are off."""
        if not (self.blur or self.noise or self.contrast):
            return None
        blur, noise, contrast = torch.rand(3, count, generator=generator)
        seeds = torch.randint(2**62, (count,), generator=generator)
        return AugmentationDraw(self.blur * blur, self.noise * noise, seeds, self.contrast * (2 * contrast - 1))


@dataclass(frozen=True)
class AugmentationDraw(Batch):
    """Of S pictures each: blur (S,) in pixels, noise (S,) with its seeds (S,), and contrast (S,), 0 for none."""

    blur: torch.Tensor
    noise: torch.Tensor
    seeds: torch.Tensor
    contrast: torch.Tensor

    def at_scale(self, scale):
        """The same for pictures in which everything is `scale` times as large."""
        return replace(self, blur=self.blur * scale)

    def apply(self, images):
        """Blur, add noise, change the contrast of images (S, 3, H, W), sRGB in [0, 1]; any device, differentiable."""
        noise, contrast = (values.to(images)[:, None, None, None] for values in (self.noise, self.contrast))
        images = _blurred(images, self.blur)
        if self.noise.any():
            images = images + noise * normal_noise(images.shape, self.seeds, images.device)
        if self.contrast.any():
            mean = images.mean((1, 2, 3), keepdim=True)
            images = mean + (1 + contrast) * (images - mean)
        return images.clamp(0, 1)


def normal_noise(shape, seeds, device="cpu"):
    """Draw standard normal noise of pictures, each from its own seed (S,), on a device: Tensor `shape` (S, ...)."""
    generators = (torch.Generator(device).manual_seed(seed) for seed in seeds.tolist())
    return torch.stack([torch.randn(shape[1:], generator=generator, device=device) for generator in generators])


def gaussian_taps(deviations):
    """Weights (S, 2 R + 1) of the pixels about each, R = ceil(3 max deviation); a row ends at its own 3 deviations."""
    deviations, reach = deviations[:, None].clamp(min=1e-3), (3 * deviations[:, None]).ceil()
    places = torch.arange(-int(reach.max()), int(reach.max()) + 1)
    weights = torch.exp(-0.5 * (places / deviations).square()) * (places.abs() <= reach)
    return weights / weights.sum(1, keepdim=True)


def _blurred(images, deviations):
    """Gaussian blur of each picture (S, 3, H, W) with its own standard deviation (S,) in pixels."""
    kernels = gaussian_taps(deviations).repeat_interleave(3, 0)[:, None].to(images)
    channels = F.pad(images, [kernels.shape[2] // 2] * 4, mode="replicate").flatten(0, 1)[None]
    channels = F.conv2d(channels, kernels[..., None], groups=len(kernels))
    channels = F.conv2d(channels, kernels[..., None, :], groups=len(kernels))
    return channels[0].view_as(images)


@dataclass(frozen=True)
class Looks:
    """Random expressions, each a random part of this scale of the model's, and hair on this share of the faces.

    Hair, or a covering of the head, lies on the face's own surface, which it colours and moves outwards.
    """

    expression: float = 0.0
    hair: float = 0.0

    @torch.no_grad()
    def draw(self, face_model, faces, generator):
        """Decode B faces (`Coefficients`) with random looks: vertices and albedo (B, N, 3) as of `render_meshes`."""
        if not (self.expression or self.hair):
            return face_model.vertices(faces.shape), face_model.albedo(faces.texture)
        count, device = len(faces.shape), face_model.triangles.device
        strength = self.expression * torch.rand(count, 1, generator=generator)
        expression = strength * torch.randn(count, face_model.expression_dimension, generator=generator)
        vertices, albedo = face_model.vertices(faces.shape, expression.to(device)), face_model.albedo(faces.texture)
        if not self.hair:
            return vertices, albedo
        ends, strands, thickness, colour = (values.to(device) for values in _draw_hair(count, generator))
        bald = (torch.rand(count, generator=generator) >= self.hair).to(device)
        mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension, device=device))[0]
        outward = F.normalize(mean - mean.new_tensor(CENTRE), dim=1)
        polar, azimuth = torch.rad2deg(outward[:, 1].acos()), torch.rad2deg(torch.atan2(outward[:, 0], outward[:, 2]))
        places, along = ((degrees * PER_DEGREE).long() % GRID for degrees in (azimuth, azimuth + 0.1 * polar))
        amount = ((ends[:, places] - polar) / EDGE).clamp(0, 1)
        amount[bald] = 0
        vertices = vertices + (amount * thickness)[..., None] * outward
        colour = (strands[:, along, None] * colour[:, None]).clamp(0.01, 0.95)
        return vertices, albedo.lerp(colour, amount[..., None])


def _draw_hair(count, generator):
    """By azimuth (B, GRID) where hair ends, degrees from the crown, and its brightness; thickness in mm and colour."""

    def uniform(low, high, size=1):
        return low + (high - low) * torch.rand(count, size, generator=generator)

    long, covering, kind = uniform(0, 1) < LONG, uniform(0, 1) < COVERING, uniform(0, 1)
    side, opening = torch.where(long, uniform(90, 150), uniform(80, 88)), uniform(58, 100)
    front = 55 + 4 * torch.randn(count, 1, generator=generator)
    ends = torch.cat([front, front + 1, uniform(74, 80), side, torch.full_like(side, 125)], 1)
    azimuth = torch.arange(GRID) / PER_DEGREE
    azimuth = torch.minimum(azimuth, 360 - azimuth)
    right = torch.searchsorted(AZIMUTHS, azimuth).clamp(1, len(AZIMUTHS) - 1)
    share = (azimuth - AZIMUTHS[right - 1]) / (AZIMUTHS[right] - AZIMUTHS[right - 1])
    line = torch.lerp(ends[:, right - 1], ends[:, right], share) + 1.2 * _waves(3, 6, uniform)
    line = line + torch.where(covering, 0.0, 0.7) * _waves(30, 70, uniform)
    fringe = torch.where((uniform(0, 1) < FRINGE) & ~covering, uniform(0.3, 1) * (BROWS - front), 0.0)
    line = line + fringe * ((50 - azimuth) / 15).clamp(0, 1)
    # long hair falls on beyond this azimuth, over ears and neck
    line = line.where(~long | (azimuth < opening), torch.tensor(180.0))
    strands = (torch.where(covering, 0.0, 0.2) * _waves(20, 80, uniform)).exp()
    dark = torch.tensor([0.09, 0.07, 0.06]) + uniform(0, 1) * torch.tensor([0.3, 0.2, 0.12])
    fair, grey = torch.tensor([0.72, 0.58, 0.4]) * uniform(0.7, 1.1), uniform(0.4, 0.85)
    cloth = uniform(0.04, 0.8) + 0.1 * torch.randn(count, 3, generator=generator)
    colour = torch.where(covering, cloth, torch.where(kind < 0.7, dark, torch.where(kind < 0.87, fair, grey)))
    return line, strands, uniform(*THICKNESS), colour


def _waves(lowest, highest, uniform):
    """Smooth random periodic functions of the azimuth (B, GRID), of variance about 1."""
    orders, phases = uniform(lowest, highest, WAVES).round(), uniform(0, 2 * torch.pi, WAVES)
    angles = torch.deg2rad(torch.arange(GRID) / PER_DEGREE)
    return torch.sin(orders[..., None] * angles + phases[..., None]).sum(1) / (WAVES / 2) ** 0.5
