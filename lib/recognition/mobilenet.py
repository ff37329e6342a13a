"""MobileNets as torch modules: FaceRes (HSE-FaceRec's) and SFace (Zhong et al. 2021, OpenCV's), both Apache-2.0.

FaceRes, trained on VGGFace2, comes from TensorFlow.js files. Its values must be BGR in 0..255 minus a mean: with the
RGB that the npm package feeds it, it recognises worse. SFace comes from an ONNX file, whose large arrays are integers
with a scale and a zero point for every block of values.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""MobileNet's, after the stem and after each of the 13 separable blocks."""
BLOCKS = tuple(zip(CHANNELS, CHANNELS[1:], (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)))
"""Channels in and out, and stride, of each block."""
MEAN_BGR = (103.939, 116.779, 123.68)  # of FaceRes
MAP_SIDE = 7  # of SFace
CONVOLUTION_EPSILON, LAST_EPSILON = 0.001, 2e-5  # of the batch normalisations, as the file has them


class FaceResNetwork(nn.Module):
    """MobileNet (version 1, width 1) whose batch normalisation is folded into its convolutions."""

    feature_dimension = 1024
    descriptor_dimension = 1024

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_BGR).reshape(1, 3, 1, 1))
        self.stem = SamePaddedConvolution(3, CHANNELS[0], stride=2)
        self.blocks = nn.Sequential(*(SeparableBlock(*block) for block in BLOCKS))

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
    names = {"stem": "conv1"}
    for number in range(1, len(CHANNELS)):
        names[f"blocks.{number - 1}.depthwise"] = f"conv_dw_{number}"
        names[f"blocks.{number - 1}.pointwise"] = f"conv_pw_{number}"
    state = {"mean": torch.tensor(MEAN_BGR).reshape(1, 3, 1, 1)}
    for ours, theirs in names.items():
        if ours.endswith("depthwise"):
            # height, width, channels, 1, unlike the others, which are height, width, in, out
            kernel = arrays[f"{theirs}/depthwise_kernel"].swapaxes(2, 3) * arrays[f"{theirs}_bn/batchnorm_1/mul"]
        else:
            kernel = arrays[f"{theirs}/convolution/merged_input"]
        state[f"{ours}.weight"] = torch.tensor(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32))
        state[f"{ours}.bias"] = torch.tensor(arrays[f"{theirs}_bn/batchnorm_1/sub"])
    return state


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


class _FixedPReLUFunction(torch.autograd.Function):
    """PReLU with fixed slopes: torch's own computes their gradient in any case, half of the network's backward pass."""

    @staticmethod
    def forward(ctx, values, slopes):
        ctx.save_for_backward(values, slopes)
        return F.prelu(values, slopes)

    @staticmethod
    def backward(ctx, gradient):
        values, slopes = ctx.saved_tensors
        return torch.where(values > 0, gradient, gradient * slopes.view(-1, 1, 1)), None


class FixedPReLU(nn.PReLU):
    """PReLU whose slopes are not trained."""

    def forward(self, values):
        """Apply it to (B, C, H, W)."""
        return _FixedPReLUFunction.apply(values, self.weight.to(values.dtype))


class SFaceNetwork(nn.Module):
    """MobileNet with PReLU; batch normalisation is folded into the layers before or after it."""

    feature_dimension = 1024
    descriptor_dimension = 128

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, CHANNELS[0], 3, padding=1), FixedPReLU(CHANNELS[0])]
        for inputs, outputs, stride in BLOCKS:
            layers += [nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs), FixedPReLU(inputs)]
            layers += [nn.Conv2d(inputs, outputs, 1), FixedPReLU(outputs)]
        self.layers = nn.Sequential(*layers)
        self.descriptor = nn.Linear(CHANNELS[-1] * MAP_SIDE**2, self.descriptor_dimension)
        self.register_buffer("scale", torch.ones(CHANNELS[-1]))
        self.register_buffer("shift", torch.zeros(CHANNELS[-1]))

    def forward(self, images):
        """Map images (B, 3, 112, 112), sRGB in [0, 1], to pooled features (B, 1024) and raw descriptors (B, 128)."""
        # (255 image - 127.5) / 128, in one pass
        maps = self.layers(torch.add(images.new_tensor(-127.5 / 128), images, alpha=255 / 128))
        return maps.mean((2, 3)) * self.scale + self.shift, self.descriptor(maps.flatten(1))


def convert_sface_weights(path):
    """Turn the ONNX file into the state of `SFaceNetwork`."""
    import onnx  # a quarter of a second, which users of the converted file need not wait

    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    names = ["conv_1"] + [f"conv_{k}{part}" for k in range(2, len(CHANNELS) + 1) for part in ("_dw", "")]
    state = {}
    for number, name in enumerate(names):
        scale, shift = _normalisation(arrays, f"{name}_batchnorm", CONVOLUTION_EPSILON)
        weight = _dequantised(arrays, f"{name}_conv2d_weight")
        state[f"layers.{2 * number}.weight"] = weight * scale.reshape(-1, 1, 1, 1)
        state[f"layers.{2 * number}.bias"] = shift
        state[f"layers.{2 * number + 1}.weight"] = arrays[f"{name}_relu_gamma"].ravel()
    before, after = (_normalisation(arrays, name, LAST_EPSILON) for name in ("bn1", "fc1"))
    weight = _dequantised(arrays, "pre_fc1_weight").astype(np.float64).reshape(-1, CHANNELS[-1], MAP_SIDE**2)
    bias = _dequantised(arrays, "pre_fc1_bias") + np.einsum("ocp,c->o", weight, before[1])
    weight = weight * before[0][:, None] * after[0][:, None, None]
    state |= {"descriptor.weight": weight.reshape(len(bias), -1), "descriptor.bias": bias * after[0] + after[1]}
    state |= dict(scale=before[0], shift=before[1])
    return {name: torch.tensor(np.ascontiguousarray(values, np.float32)) for name, values in state.items()}


def _normalisation(arrays, name, epsilon):
    """Scale and shift of a batch normalisation, float64."""
    gamma, beta, mean, variance = (
        arrays[f"{name}_{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _dequantised(arrays, name):
    """(integer - zero point) * scale, both of its block along the last axis, in the array's true shape."""
    integers, scales, zeros = (arrays[f"{name}_{part}"] for part in ("quantized", "scales", "zero_point"))
    block = np.arange(integers.shape[-1]) // -(-integers.shape[-1] // scales.shape[-1])
    values = (integers.astype(np.float32) - zeros[..., block]) * scales[..., block]
    return values.reshape(arrays.get(f"{name}_shape", values.shape))
