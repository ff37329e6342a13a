"""FaceNet's successors: InceptionResnetV1 as facenet-pytorch trained it, and as the first one was published."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import h5py
import torch
from torch import nn

BLOCKS = dict(repeat_1="Block35", repeat_2="Block17", repeat_3="Block8")  # in Keras


class FaceNetNetwork(nn.Module):
    """InceptionResnetV1 without its classifier, trained on VGGFace2 (facenet-pytorch)."""

    feature_dimension = 1792
    descriptor_dimension = 512

    def __init__(self):
        super().__init__()
        self.inception = _layers_of_the_package().InceptionResnetV1(pretrained=None, classify=False)

    def forward(self, images):
        """Map images (B, 3, 160, 160), sRGB in [0, 1], to pooled features (B, 1792) and raw descriptors (B, E)."""
        maps = self.normalised(images)
        for layer in list(self.inception.children())[:-3]:  # without dropout and the two of the head
            maps = layer(maps)
        features = maps.flatten(1)
        return features, self.head(features)

    def head(self, features):
        """Map pooled features to raw descriptors."""
        return self.inception.last_bn(self.inception.last_linear(features))

    def normalised(self, images):
        """Values (B, 3, 160, 160) as the network was trained on them."""
        return (images * 255 - 127.5) / 128


def _layers_of_the_package():
    """The module of facenet-pytorch alone: the whole imports torchvision and torch's compiler, which takes seconds."""
    package = sys.modules.setdefault("facenet_pytorch_models", ModuleType("facenet_pytorch_models"))
    package.__path__ = [str(Path(find_spec("facenet_pytorch").origin).parent / "models")]
    return import_module("facenet_pytorch_models.inception_resnet_v1")


class FaceNet128Network(FaceNetNetwork):
    """The first published one, with 128 numbers, trained on MS-Celeb-1M (facenet 20170512-110547, for Keras)."""

    descriptor_dimension = 128

    def __init__(self):
        super().__init__()
        layers = self.inception
        layers.last_linear = nn.Linear(self.feature_dimension, self.descriptor_dimension, bias=False)
        layers.last_bn = nn.BatchNorm1d(self.descriptor_dimension, layers.last_bn.eps)

    def normalised(self, images):
        """Each image with mean 0 and variance 1 over its pixels and colours."""
        variance, mean = torch.var_mean(images, (1, 2, 3), correction=0, keepdim=True)
        return (images - mean) / variance.sqrt().clamp_min(1 / 255 / images[0].numel() ** 0.5)


def convert_facenet_weights(path):
    """Turn facenet-pytorch's published weights into the state of `FaceNetNetwork`."""
    weights = torch.load(path, map_location="cpu", weights_only=True)
    body = {name: values for name, values in weights.items() if not name.startswith("logits.")}
    return {f"inception.{name}": values.contiguous() for name, values in body.items()}


def convert_keras_weights(path):
    """Turn the Keras file into the state of `FaceNet128Network`."""
    network = FaceNet128Network()
    with h5py.File(path) as file:
        for name, module in network.inception.named_modules():
            if isinstance(module, nn.Conv2d):
                title = _keras_name(name.removesuffix(".conv"), module)
                _fill(module, file, title)
            elif isinstance(module, nn.BatchNorm2d):  # of the convolution before
                _fill(module, file, f"{title}_BatchNorm")
        _fill(network.inception.last_linear, file, "Bottleneck")
        _fill(network.inception.last_bn, file, "Bottleneck_BatchNorm")
    return {name: values.contiguous() for name, values in network.state_dict().items()}


@torch.no_grad()
def _fill(module, file, title):
    """Set a layer's weights from the Keras layer's; Keras' normalisations have no scale: it stays 1."""
    titles = dict(kernel="weight", beta="bias", moving_mean="running_mean", moving_variance="running_var")
    for key, stored in file[f"model_weights/{title}/{title}"].items():
        values, name = stored[()], key.removesuffix(":0")
        values = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        getattr(module, titles.get(name, name)).copy_(torch.from_numpy(values))


def _keras_name(name, convolution):
    """Return what Keras calls a convolution: `repeat_2.0.branch1.1` is `Block17_1_Branch_1_Conv2d_0b_1x7`."""
    size = "{}x{}".format(*convolution.kernel_size)
    block, *inner = name.split(".")
    if not inner:
        return f"Conv2d_{block.removeprefix('conv2d_')}_{size}"
    if block in BLOCKS:
        block = f"{BLOCKS[block]}_{int(inner.pop(0)) + 1}"
    block = "Block8_6" if block == "block8" else block.capitalize()
    if inner == ["conv2d"]:
        return f"{block}_Conv2d_{size}"
    branch, *place = inner
    step = "1a_" if convolution.stride[0] == 2 else f"0{'abc'[int(place[0])]}_" if place else ""
    return f"{block}_Branch_{branch[-1]}_Conv2d_{step}{size}"
