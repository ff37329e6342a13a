"""dlib's face recognition ResNet-29 (King 2017, weights CC0) as a torch module, from dlib's serialised file (``.dat``).

The file starts with the loss and a run of version integers from the outermost layer inwards (tag 1, layer 2, innermost
layer 3); the layers follow from the input outwards. Primitives are those of ``dlib/serialize.h``: integers are a
control byte (byte count, sign) and little-endian bytes, floats a mantissa and an exponent of two, tensors a version, a
shape and raw float32. `lib.recognition.sources` has checked the file's SHA-256 before.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""(channels, residual blocks, whether the first block halves the size), from the input to the output."""
TAG_VERSION, INNERMOST_VERSION = 1, 3
FIELDS = {
    "input_rgb_image_sized": "fffii",  # mean of each channel, size
    "con_4": "tiiiiiiiaaffff",  # parameters; filters, kernel, stride, padding; shapes of weight and bias; multipliers
    "affine_": "taai",  # scale and shift
    "fc_2": "iitaaiffff",  # outputs, inputs, parameters
    "max_pool_2": "iiiiii",
    "avg_pool_2": "iiiiii",
    "relu_": "",
    "add_prev_": "",
    "loss_metric_2": "ff",
}
"""What each kind of layer stores: booleans, floats, integers, shapes (of arrays elsewhere) and tensors."""


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
    layers = _read_layers(path)
    convolutions, affines, linears = (
        [v for kind, v in layers if kind == wanted] for wanted in ("con_4", "affine_", "fc_2")
    )
    blocks = sum(count for _, count, _ in LEVELS)
    names = ["stem"] + [f"blocks.{i}.{part}" for i in range(blocks) for part in ("first", "second")]
    outputs, inputs, weights = linears[0][:3]
    # dlib stores (inputs, outputs)
    state = {"descriptor.weight": weights.ravel()[: inputs * outputs].reshape(inputs, outputs).T}
    state["mean"] = np.array(layers[0][1][:3], np.float32).reshape(1, 3, 1, 1)
    for name, convolution, affine in zip(names, convolutions, affines, strict=True):
        parameters, shape = convolution[0].ravel(), convolution[8]
        weight, bias = np.split(parameters, [int(np.prod(shape))])
        scale, shift = np.split(affine[0].ravel(), 2)
        state[f"{name}.weight"] = weight.reshape(shape) * scale[:, None, None, None]
        state[f"{name}.bias"] = bias * scale + shift
    return {name: torch.tensor(np.ascontiguousarray(values)) for name, values in state.items()}


def _read_layers(path):
    """Return all layers from the input outwards, each as its kind and the values of its `FIELDS`."""
    stream = _Stream(path)
    stream.integer()
    stream.layer()  # the loss
    versions = [stream.integer()]
    while versions[-1] != INNERMOST_VERSION:
        versions.append(stream.integer())
    layers = [stream.layer()]
    for version in reversed(versions):
        if version == TAG_VERSION:
            continue
        layers.append(stream.layer())
        stream.fields("bbbttt")  # left by training
        if version == INNERMOST_VERSION:
            stream.integer()  # how many samples an input expands to
    return layers


class _Stream:
    """The primitives of ``dlib/serialize.h``, read one after the other."""

    def __init__(self, path):
        self.content, self.position = Path(path).read_bytes(), 0
        self.readers = dict(b=lambda: self.take(1), f=self.float, i=self.integer, a=self.shape, t=self.tensor)

    def take(self, count):
        self.position += count
        return self.content[self.position - count : self.position]

    def integer(self):
        control = self.take(1)[0]
        magnitude = int.from_bytes(self.take(control & 0x0F), "little")
        return -magnitude if control & 0x80 else magnitude

    def float(self):
        mantissa, exponent = self.integer(), self.integer()
        return float(np.ldexp(float(mantissa), exponent))

    def shape(self):
        _, *shape = self.fields("iiiii")
        return shape

    def tensor(self):
        shape = self.shape()
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(shape)

    def fields(self, kinds):
        return [self.readers[kind]() for kind in kinds]

    def layer(self):
        kind = self.take(self.integer()).decode()
        return kind, self.fields(FIELDS[kind])
