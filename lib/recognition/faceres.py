"""FaceRes (HSE-FaceRec's MobileNet trained on VGGFace2, Apache-2.0) as a torch module, from TensorFlow.js files.

Values must be BGR in 0..255 minus a mean: with the RGB that the npm package feeds it, it recognises worse.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""MobileNet's, after the stem and after each of the 13 separable blocks."""
HALVING_BLOCKS = (2, 4, 6, 12)
MEAN_BGR = (103.939, 116.779, 123.68)


class FaceResNetwork(nn.Module):
    """MobileNet (version 1, width 1) whose batch normalisation is folded into its convolutions."""

    feature_dimension = 1024
    descriptor_dimension = 1024

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_BGR).reshape(1, 3, 1, 1))
        self.stem = SamePaddedConvolution(3, CHANNELS[0], stride=2)
        self.blocks = nn.Sequential(
            *(
                SeparableBlock(channels_in, channels_out, 2 if number in HALVING_BLOCKS else 1)
                for number, (channels_in, channels_out) in enumerate(zip(CHANNELS, CHANNELS[1:], strict=False), 1)
            )
        )

    def forward(self, images):
        """Map images (B, 3, 224, 224), sRGB in [0, 1], to the pooled layer (B, 1024), returned twice."""
        # 255 image - mean, in one pass; here and below activations are cut off in place: memory holds these layers up
        normalised = torch.add(-self.mean, images.flip(1), alpha=255)
        pooled = self.blocks(F.relu6(self.stem(normalised), inplace=True)).mean((2, 3))
        return pooled, pooled


class SeparableBlock(nn.Module):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution over the channels."""

    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.depthwise = SamePaddedConvolution(channels_in, channels_in, stride, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, kernel_size=1)

    def forward(self, maps):
        maps = F.relu6(self.depthwise(maps), inplace=True)
        return F.relu6(self.pointwise(maps), inplace=True)


class SamePaddedConvolution(nn.Conv2d):
    """A 3x3 convolution with TensorFlow's SAME padding: at stride 2 even sizes are padded at the far end alone."""

    def __init__(self, channels_in, channels_out, stride, groups=1):
        super().__init__(channels_in, channels_out, 3, stride, padding=1 if stride == 1 else 0, groups=groups)

    def forward(self, maps):
        if self.stride[0] == 2:
            rows, columns = maps.shape[2] % 2, maps.shape[3] % 2
            maps = F.pad(maps, [columns, 1, rows, 1])
        return super().forward(maps)


def convert_faceres_weights(path):
    """Turn the TensorFlow.js model into the state of `FaceResNetwork`; its last layers are not needed."""
    arrays = read_tfjs_weights(path)
    layers = {"stem": arrays["conv1/convolution/merged_input"]}
    shifts = {"stem": arrays["conv1_bn/batchnorm_1/sub"]}
    for number in range(1, len(CHANNELS)):
        depthwise, pointwise = f"blocks.{number - 1}.depthwise", f"blocks.{number - 1}.pointwise"
        scale = arrays[f"conv_dw_{number}_bn/batchnorm_1/mul"]
        # height, width, channels, 1, unlike the others, which are height, width, in, out
        layers[depthwise] = arrays[f"conv_dw_{number}/depthwise_kernel"].swapaxes(2, 3) * scale
        shifts[depthwise] = arrays[f"conv_dw_{number}_bn/batchnorm_1/sub"]
        layers[pointwise] = arrays[f"conv_pw_{number}/convolution/merged_input"]
        shifts[pointwise] = arrays[f"conv_pw_{number}_bn/batchnorm_1/sub"]
    state = {f"{name}.weight": values.transpose(3, 2, 0, 1) for name, values in layers.items()}
    state |= {f"{name}.bias": values for name, values in shifts.items()}
    state = {name: torch.tensor(np.ascontiguousarray(values, np.float32)) for name, values in state.items()}
    return state | {"mean": torch.tensor(MEAN_BGR).reshape(1, 3, 1, 1)}


def read_tfjs_weights(path):
    """Read the arrays of a TensorFlow.js model, whose files have been checked: dict of str to ndarray."""
    path, arrays = Path(path), {}
    for group in json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]:
        content, start = b"".join((path.parent / Path(name).name).read_bytes() for name in group["paths"]), 0
        for entry in group["weights"]:
            quantization = entry.get("quantization", {})
            stored = np.dtype(quantization.get("dtype", entry["dtype"])).newbyteorder("<")
            values = np.frombuffer(content, stored, int(np.prod(entry["shape"])), start)
            start += values.nbytes
            if "scale" in quantization:
                values = values.astype(np.float64) * quantization["scale"] + quantization.get("min", 0.0)
            arrays[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
    return arrays
