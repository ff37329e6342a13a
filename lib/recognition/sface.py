"""SFace (Zhong et al. 2021, from OpenCV's model zoo, Apache-2.0): a MobileNet as a torch module, from its ONNX file.

The file's large arrays are integers with a scale and a zero point for every block of values.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.recognition.faceres import CHANNELS, HALVING_BLOCKS

MAP_SIDE = 7
CONVOLUTION_EPSILON, LAST_EPSILON = 0.001, 2e-5  # of the batch normalisations, as the file has them


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
        for number, (inputs, outputs) in enumerate(zip(CHANNELS, CHANNELS[1:]), 1):
            stride = 2 if number in HALVING_BLOCKS else 1
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
