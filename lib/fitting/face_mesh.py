"""468 landmarks of a face: MediaPipe's FaceMesh (Apache-2.0) as a torch module, from its TensorFlow.js files.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (2019). Of its three outputs
the mesh alone is kept, and of the mesh what lies in the picture.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.core import paths
from lib.core.errors import StudyError
from lib.recognition.mobilenet import SamePaddedConvolution, read_tfjs_weights
from lib.recognition.sources import find_face_mesh_files
from lib.rendering.crop import Crop

POINTS = 468
CROP = Crop(192, ((0.385, 0.4), (0.615, 0.4), (0.41, 0.622), (0.59, 0.622)))
"""Framed so that the points fill two thirds of the picture, as where the network follows a face through a video."""
CHANNELS = (16,) * 3 + (32,) * 3 + (64,) * 3 + (128,) * 9  # after the stem and after each of the 17 blocks
HALVING_BLOCKS = (3, 6, 9, 12, 15)


class FaceMesh(nn.Module):
    """Pictures (B, 3, 192, 192), sRGB in [0, 1], in the framing of `CROP` to points (B, 468, 2) in its units."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(SamePaddedConvolution(3, CHANNELS[0], stride=2), nn.PReLU(CHANNELS[0]))
        strides = [2 if number in HALVING_BLOCKS else 1 for number in range(1, len(CHANNELS))]
        self.blocks = nn.Sequential(*map(ResidualBlock, CHANNELS, CHANNELS[1:], strides))
        self.narrow = nn.Sequential(nn.Conv2d(CHANNELS[-1], 32, 1), nn.PReLU(32))
        self.last, self.head = ResidualBlock(32, 32), nn.Conv2d(32, 3 * POINTS, 3)

    @torch.inference_mode()
    def forward(self, images):
        maps = self.head(self.last(self.narrow(self.blocks(self.stem(images)))))
        return maps.view(-1, POINTS, 3)[..., :2] / CROP.size


class ResidualBlock(nn.Module):
    """A separable convolution beside the input, which is halved and given further, empty channels where needed."""

    def __init__(self, channels_in, channels_out, stride=1):
        super().__init__()
        self.depthwise = SamePaddedConvolution(channels_in, channels_in, stride, groups=channels_in)
        self.pointwise, self.activation = nn.Conv2d(channels_in, channels_out, 1), nn.PReLU(channels_out)
        self.stride, self.more = stride, channels_out - channels_in

    def forward(self, maps):
        kept = F.pad(F.max_pool2d(maps, self.stride), (0, 0, 0, 0, 0, self.more))
        return self.activation(kept + self.pointwise(self.depthwise(maps)))


def load_face_mesh(folder=paths.RAW / "networks"):
    """Load the network from its published files, fetched where missing; StudyError: they cannot be, or are damaged."""
    path = find_face_mesh_files(folder)
    network = FaceMesh()
    try:
        network.load_state_dict(_state(read_tfjs_weights(path)))
    except (KeyError, RuntimeError) as error:
        raise StudyError(f"{path} is not the FaceMesh network of @vladmandic/human 3.3.6: {error}") from error
    return network.eval()


def _state(arrays):
    """Convolutions and activations are numbered through the network, depthwise convolutions by themselves."""
    arrays = {name.rpartition("model_1/")[2]: values for name, values in arrays.items()}
    blocks = [f"blocks.{number}" for number in range(len(CHANNELS) - 1)]
    state = {}
    for number, name in enumerate(("stem", *blocks, "narrow", "last"), 1):
        inside = name in ("stem", "narrow")
        kernel, slope = f"{name}.{0 if inside else 'pointwise'}", f"{name}.{1 if inside else 'activation'}"
        state[f"{kernel}.weight"] = arrays[f"conv2d_{number}/Conv2D_weights"].transpose(3, 2, 0, 1)
        state[f"{kernel}.bias"] = arrays[f"conv2d_{number}/Conv2D_bn_offset"]
        state[f"{slope}.weight"] = arrays[f"p_re_lu_{number}/Neg"].ravel()
    for number, name in enumerate((*blocks, "last"), 1):
        kernel = arrays[f"depthwise_conv2d_{number}/depthwise/ReadVariableOp"].transpose(2, 3, 0, 1)
        state |= {f"{name}.depthwise.weight": kernel, f"{name}.depthwise.bias": np.zeros(len(kernel))}
    state["head.weight"] = arrays["conv2d_21/Conv2D/ReadVariableOp"].transpose(3, 2, 0, 1)
    state["head.bias"] = arrays["conv2d_21/BiasAdd/ReadVariableOp"]
    return {name: torch.tensor(np.ascontiguousarray(values, np.float32)) for name, values in state.items()}
