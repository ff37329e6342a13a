"""Random augmentation of renders: brings a render's crop closer to a photograph's (paper 3.2.2, 3.3.2).

Photographs are framed by detected landmarks, to within a few pixels, and are blurred, noisy and of any contrast;
renders are framed exactly and clean. Augmentation keeps training from fooling the identity network with what only a
clean render can show. The framing is part of the scene (`lib.rendering.scenes`), folded into the projection, so that no
pixel is resampled; the rest changes the image, differentiably. The evaluation has no augmentation.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from lib.core.tensors import constant
from lib.rendering.kernels.augmentation import NORMAL, AugmentOnCpu, gaussian_taps


@dataclass(frozen=True)
class Augmentation:
    """Largest changes; each picture's own are drawn uniformly between none and these.

    Attributes
    ----------
    shift, scale : float
        Of the framing, to either side: the shift in each direction as a share of the crop's side, the scale as a share.
    roll : float
        Of the framing, radians.
    blur : float
        Standard deviation of a Gaussian, pixels of the crop.
    noise : float
        Standard deviation of Gaussian noise on each channel of each pixel, where white is 1.
    contrast : float
        Change of the contrast about the picture's mean, to either side, as a share.
    """

    shift: float = 0.0
    scale: float = 0.0
    roll: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    contrast: float = 0.0

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
class AugmentationDraw:
    """Of S pictures each: blur (S,) in pixels, noise (S,) with its seeds (S,), and contrast (S,), 0 for none."""

    blur: torch.Tensor
    noise: torch.Tensor
    seeds: torch.Tensor
    contrast: torch.Tensor

    def __getitem__(self, rows):
        return AugmentationDraw(self.blur[rows], self.noise[rows], self.seeds[rows], self.contrast[rows])

    def at_scale(self, scale):
        """The same for pictures in which everything is `scale` times as large."""
        return replace(self, blur=self.blur * scale)

    def apply(self, images):
        """Blur, add noise, change the contrast.

        Parameters
        ----------
        images : Tensor (S, 3, H, W)
            sRGB in [0, 1].

        Returns
        -------
        Tensor (S, 3, H, W)
            In [0, 1], on the same device. A picture's noise depends on its seed alone, not on the batch it is in.
        """
        if images.device.type == "cpu" and images.dtype == torch.float32:
            return AugmentOnCpu.apply(images.contiguous(), self.blur, self.noise, self.seeds, self.contrast)
        return self.apply_in_torch(images)

    def apply_in_torch(self, images):
        """Do the same as `apply` on any device."""
        images = _blurred(images, self.blur)
        if self.noise.any():
            deviation = self.noise.to(images.device)[:, None, None, None]
            images = images + deviation * normal_noise(images.shape, self.seeds.to(images.device))
        mean = images.mean((1, 2, 3), keepdim=True)
        contrast = 1 + self.contrast.to(images.device)[:, None, None, None]
        return (mean + contrast * (images - mean)).clamp(0, 1)


def normal_noise(shape, seeds):
    """Standard normal noise of pictures, each from its own seed (S,): Tensor `shape` (S, ...), on the seeds' device.

    That of `lib.rendering.kernels.augmentation`: bits mixed by splitmix64, whose constants are negative as int64.
    """
    count = math.prod(shape[1:])
    bits = seeds[:, None] + torch.arange(1, -(-count // 4) + 1, device=seeds.device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        bits = (bits ^ (bits >> shift & 2 ** (64 - shift) - 1)) * factor
    places = (bits[..., None] >> constant((0, 16, 32, 48), seeds.device)) & len(NORMAL) - 1
    return torch.from_numpy(NORMAL).to(seeds.device)[places.flatten(1)[:, :count]].view(shape)


def _blurred(images, deviations):
    """Gaussian blur of each picture (S, 3, H, W) with its own standard deviation (S,) in pixels."""
    taps = [gaussian_taps(deviation) for deviation in deviations.tolist()]
    radius = max(len(weights) for weights in taps) - 1
    kernels = torch.zeros(len(taps), 2 * radius + 1)
    for kernel, weights in zip(kernels, taps, strict=True):
        kernel[radius : radius + len(weights)] = torch.from_numpy(weights)
    kernels = torch.maximum(kernels, kernels.flip(1)).repeat_interleave(3, 0)[:, None].to(images)
    channels = F.pad(images, [radius] * 4, mode="replicate").flatten(0, 1)[None]
    channels = F.conv2d(channels, kernels[..., None], groups=len(kernels))
    channels = F.conv2d(channels, kernels[..., None, :], groups=len(kernels))
    return channels[0].view_as(images)
