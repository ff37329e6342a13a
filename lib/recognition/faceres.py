"""FaceRes (HSE-FaceRec's MobileNet trained on VGGFace2, Apache-2.0) as a torch module, from its TensorFlow.js
files.

It evaluates what another network trained, as VGG-Face does in the paper (section 4.3). The pooled 1024-D layer
is both its features and its descriptor. Values must be BGR in 0..255 minus a mean: with the RGB that the npm
package feeds it, it recognises worse.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.core.errors import StudyError

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels after the stem and after each of the 13 separable blocks."""
HALVING_BLOCKS = (2, 4, 6, 12)
MEAN_BGR = (103.939, 116.779, 123.68)
RELU_LIMIT = 6.0


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
    """A 3x3 convolution with TensorFlow's SAME padding: at stride 2 even sizes are padded at the far end
    only."""

    def __init__(self, channels_in, channels_out, stride, groups=1):
        super().__init__(channels_in, channels_out, 3, stride, padding=1 if stride == 1 else 0, groups=groups)

    def forward(self, maps):
        if self.stride[0] == 2:
            rows, columns = maps.shape[2] % 2, maps.shape[3] % 2
            maps = F.pad(maps, [columns, 1, rows, 1])
        return super().forward(maps)


def convert_faceres_weights(path):
    """Turn the TensorFlow.js model into the state of `FaceResNetwork`."""
    arrays = read_tfjs_weights(path)
    network, state = FaceResNetwork(), {}
    try:
        _check_activations(arrays)
        state["mean"] = network.mean
        state |= _convolution(arrays, "stem", "conv1")
        for number in range(1, len(CHANNELS)):
            prefix = f"blocks.{number - 1}"
            state |= _depthwise_convolution(arrays, f"{prefix}.depthwise", f"conv_dw_{number}")
            state |= _convolution(arrays, f"{prefix}.pointwise", f"conv_pw_{number}")
        network.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise StudyError(f"{path} is not the FaceRes network of @vladmandic/human 3.3.6: {error}") from error
    return state


def _check_activations(arrays):
    limits = {name: float(values) for name, values in arrays.items() if name.endswith("_relu/Cast")}
    if not limits or any(limit != RELU_LIMIT for limit in limits.values()):
        raise KeyError(f"its activations are not all cut off at {RELU_LIMIT}")


def _convolution(arrays, name, source):
    kernel = arrays[f"{source}/convolution/merged_input"]  # height, width, in, out; already scaled
    bias = arrays[f"{source}_bn/batchnorm_1/sub"]
    return {f"{name}.weight": _tensor(kernel.transpose(3, 2, 0, 1)), f"{name}.bias": _tensor(bias)}


def _depthwise_convolution(arrays, name, source):
    kernel = arrays[f"{source}/depthwise_kernel"].transpose(2, 3, 0, 1)  # height, width, channels, 1
    scale = arrays[f"{source}_bn/batchnorm_1/mul"][:, None, None, None]
    bias = arrays[f"{source}_bn/batchnorm_1/sub"]
    return {f"{name}.weight": _tensor(kernel * scale), f"{name}.bias": _tensor(bias)}


def _tensor(values):
    return torch.tensor(np.ascontiguousarray(values, dtype=np.float32))


def read_tfjs_weights(path):
    """Read the arrays of a TensorFlow.js model."""
    path = Path(path)
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is not a readable TensorFlow.js model ({error!r}).") from error
    arrays = {}
    for group in groups:
        files = [path.parent / Path(name).name for name in group["paths"]]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise StudyError(f"{path} needs {', '.join(missing)}: put the file there.")
        arrays |= _split_weights(b"".join(file.read_bytes() for file in files), group["weights"], path)
    return arrays


def _split_weights(content, entries, path):
    arrays, start = {}, 0
    for entry in entries:
        quantization = entry.get("quantization", {})
        stored = np.dtype(quantization.get("dtype", entry["dtype"])).newbyteorder("<")
        count = int(np.prod(entry["shape"]))
        stop = start + count * stored.itemsize
        if stop > len(content):
            raise StudyError(f"The weights of {path} end early, in {entry['name']}: fetch them again.")
        values = np.frombuffer(content, stored, count, start)
        if "scale" in quantization:
            values = values.astype(np.float64) * quantization["scale"] + quantization.get("min", 0.0)
        arrays[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
        start = stop
    if start != len(content):
        raise StudyError(f"The weights of {path} have {len(content) - start} bytes too many: fetch them again.")
    return arrays
