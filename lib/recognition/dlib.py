"""dlib's face recognition ResNet-29 (King 2017, weights CC0) as a torch module, from dlib's serialised file (``.dat``).

`lib.recognition.sources` has checked the file's SHA-256 before, so that its layout is known.
"""

import csv
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""(channels, residual blocks, whether the first block halves the size), from the input to the output."""
MEAN_RGB = (122.782, 117.001, 104.298)  # as in the file
LAYOUT = Path(__file__).with_name("dlib_layout.csv")
"""Where the arrays of each layer lie in the file, in bytes, made by `derivations/dlib_layout.py`: `parameters`, weight
and bias, and those of the `affine` layer behind it, scale and shift."""


class DlibNetwork(nn.Module):
    """ResNet-29 with the affine layers (dlib's frozen batch normalisation) folded into the convolutions."""

    feature_dimension = 256
    descriptor_dimension = 128

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 32, kernel_size=7, stride=2)
        blocks, channels = [], 32
        for level_channels, count, halves in LEVELS:
            for position in range(count):
                blocks.append(ResidualBlock(channels, level_channels, halves and position == 0))
                channels = level_channels
        self.blocks = nn.Sequential(*blocks)
        self.descriptor = nn.Linear(self.feature_dimension, self.descriptor_dimension, bias=False)

    def forward(self, images):
        """Map images (B, 3, 150, 150), sRGB in [0, 1], to pooled features (B, 256) and raw descriptors (B, 128)."""
        # dlib's (255 image - mean) / 256, in one pass
        normalised = torch.add(self.mean / -256, images, alpha=255 / 256)
        # dlib cuts off at 0 before it takes the largest of nine: the same, on four times as many numbers
        maps = F.relu_(F.max_pool2d(self.stem(normalised), kernel_size=3, stride=2))
        features = self.blocks(maps).mean((2, 3))
        return features, self.head(features)

    def head(self, features):
        """Map pooled features to raw descriptors."""
        return self.descriptor(features)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 2x2 mean where the block halves the size."""

    def __init__(self, channels_in, channels_out, halves):
        super().__init__()
        # dlib pads a convolution only at stride 1; strided ones and poolings are unpadded
        stride, padding = (2, 0) if halves else (1, 1)
        self.first = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=padding)
        self.second = nn.Conv2d(channels_out, channels_out, kernel_size=3, padding=1)
        self.halves = halves

    def forward(self, maps):
        residual = self.second(F.relu_(self.first(maps)))
        if self.halves:
            maps = F.avg_pool2d(maps, kernel_size=2, stride=2)
            # dlib's add_prev pads with zeros at the end: the one with channels, the other with rows and columns
            rest = maps.shape[2] - residual.shape[2]
            residual = F.pad(residual, (0, rest, 0, rest))
            maps = F.pad(maps, (0, 0, 0, 0, 0, residual.shape[1] - maps.shape[1]))
        # in place: no backward pass needs a convolution's output, and memory bandwidth limits these layers
        return F.relu_(residual.add_(maps))


def convert_dlib_weights(path):
    """Turn dlib's file into the state of `DlibNetwork`, each affine layer folded into the convolution before it."""
    content, state = Path(path).read_bytes(), {}
    with torch.device("meta"):
        shapes = {name: tuple(values.shape) for name, values in DlibNetwork().state_dict().items()}

    def numbers(start, *shape):
        return np.frombuffer(content, "<f4", math.prod(shape), int(start)).reshape(shape)

    with LAYOUT.open(encoding="utf-8") as file:
        *convolutions, descriptor = csv.DictReader(file)
    # dlib stores (inputs, outputs)
    state["descriptor.weight"] = numbers(descriptor["parameters"], *shapes["descriptor.weight"][::-1]).T
    state["mean"] = np.array(MEAN_RGB, np.float32).reshape(1, 3, 1, 1)
    for row in convolutions:
        name, start = row["layer"], int(row["parameters"])
        weight = numbers(start, *shapes[f"{name}.weight"])
        bias = numbers(start + weight.nbytes, len(weight))
        scale, shift = numbers(row["affine"], 2, len(weight))
        state[f"{name}.weight"] = weight * scale[:, None, None, None]
        state[f"{name}.bias"] = bias * scale + shift
    return {name: torch.tensor(np.ascontiguousarray(values)) for name, values in state.items()}
