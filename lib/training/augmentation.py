"""Random augmentation of renders: brings a render's crop closer to a photograph's (paper 3.2.2, 3.3.2).

It keeps training from fooling the identity network with what only a clean, exactly framed render can show. The framing
is part of the scene (`lib.rendering.scenes`); the rest changes the image. The evaluation has no augmentation.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from lib.core.tensors import Batch


@dataclass(frozen=True)
class Augmentation:
    """Largest changes; each picture's own are drawn uniformly between none and these."""

    shift: float = 0.0  # of the framing, to either side: in each direction as a share of the crop's side
    scale: float = 0.0  # as a share
    roll: float = 0.0  # radians
    blur: float = 0.0  # standard deviation of a Gaussian, pixels of the crop
    noise: float = 0.0  # standard deviation of Gaussian noise on each channel of each pixel, where white is 1
    contrast: float = 0.0  # change of the contrast about the picture's mean, to either side, as a share

    @classmethod
    def from_degrees(cls, roll_degrees, **rest):
        """Build what the section `augmentation` of `params.yaml` describes."""
        return cls(roll=math.radians(roll_degrees), **rest)

    def scenes(self, distribution):
        """Return the range of scenes (`SceneDistribution`) with these changes of the framing."""
        return replace(distribution, crop_shift=self.shift, crop_scale=self.scale, crop_roll=self.roll)

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
