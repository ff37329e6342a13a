"""Read dlib's stream of serialised networks (``.dat``) with numpy alone: one record per layer, no dlib, no C++
type.

The stream of a ``dnn`` network starts with a run of small version integers from the outermost layer inwards
(loss 1, tag or skip 1, layer 2, innermost layer 3), then come the input layer's own data and each layer's
from the innermost outwards. Primitives are those of ``dlib/serialize.h``: integers are a control byte (byte
count, sign) and little-endian bytes, floats are a mantissa and an exponent of two, tensors a shape and raw
little-endian float32.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.core.errors import StudyError

TAG_VERSION, LAYER_VERSION, INNERMOST_VERSION = 1, 2, 3
SPECIAL_EXPONENTS = {32000: np.inf, 32001: -np.inf, 32002: np.nan}


class DlibFormatError(StudyError):
    """The file is no dlib network of the layers known here."""


@dataclass(frozen=True)
class DlibLayer:
    """One layer: its kind as dlib names it (without the format version) and its arrays."""

    kind: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_dlib_network(path):
    """Read all layers of a network that ends in a metric loss; DlibFormatError says where that fails."""
    stream = _Stream(Path(path))
    try:
        return _read_layers(stream)
    except (ValueError, KeyError, OverflowError, MemoryError) as error:
        message = f"{path} is not a dlib network as it is known here ({error}, near byte {stream.position})."
        raise DlibFormatError(f"{message} Fetch the file again.") from error


def _read_layers(stream):
    if stream.integer() != 1:
        raise ValueError("no loss layer at the start")
    loss = _read_layer(stream)
    versions = []
    while not versions or versions[-1] != INNERMOST_VERSION:
        versions.append(stream.integer())
        if versions[-1] not in (TAG_VERSION, LAYER_VERSION, INNERMOST_VERSION):
            raise ValueError(f"layer version {versions[-1]}")
    layers = [_read_layer(stream)]
    for version in reversed(versions):
        if version == TAG_VERSION:
            continue
        layers.append(_read_layer(stream))
        stream.booleans(3)  # whether it was set up, has a stale gradient, is disabled
        for _ in range(3):  # left-over gradients and outputs of training, empty in published files
            stream.tensor()
        if version == INNERMOST_VERSION:
            stream.integer()  # how many samples an input expands to
    if not stream.at_end():
        raise ValueError("bytes are left over")
    return [*layers, loss]


def _read_layer(stream):
    name = stream.string()
    kind, version = re.fullmatch(r"(.*?)_?(\d*)", name).groups()
    readers = {
        "con": _read_convolution,
        "affine": _read_affine,
        "fc": _read_linear,
        "max_pool": _read_pooling,
        "avg_pool": _read_pooling,
        "relu": _read_activation,
        "add_prev": lambda stream, version: {},
        "input_rgb_image_sized": _read_input,
        "loss_metric": _read_loss,
    }
    if kind not in readers:
        raise ValueError(f"unknown layer {name!r}")
    return DlibLayer(kind, readers[kind](stream, int(version or 1)))


def _read_convolution(stream, version):
    parameters = stream.tensor().ravel()
    filters = stream.integers(7)[0]  # then kernel, stride and padding, which the network's definition knows
    weight_shape, bias_shape = stream.alias(), stream.alias()
    stream.floats(4)  # multipliers of learning rate and weight decay
    has_bias = stream.boolean() if version >= 5 else True
    if version >= 6:
        stream.boolean()  # whether a ReLU is fused
    count = int(np.prod(weight_shape))
    bias = parameters[count : count + int(np.prod(bias_shape))] if has_bias else np.zeros(filters, np.float32)
    return {"weight": parameters[:count].reshape(weight_shape), "bias": bias}


def _read_affine(stream, version):
    parameters = stream.tensor().ravel()
    count = int(np.prod(stream.alias()))
    stream.alias()
    stream.integer()  # whether it follows a convolution or a linear layer
    if version >= 2:
        stream.boolean()
    return {"weight": parameters[:count], "bias": parameters[count:]}


def _read_linear(stream, version):
    outputs, inputs = stream.integers(2)
    parameters = stream.tensor().ravel()
    stream.alias(), stream.alias()
    stream.integer()  # bias mode
    stream.floats(4)
    if version >= 3:
        stream.boolean()
    return {"weight": parameters[: inputs * outputs].reshape(inputs, outputs).T}  # dlib stores (inputs, outputs)


def _read_pooling(stream, version):
    stream.integers(6)
    return {}


def _read_activation(stream, version):
    if version >= 2:
        stream.boolean()
    return {}


def _read_input(stream, version):
    mean = np.array(stream.floats(3), dtype=np.float32)
    stream.integers(2)
    return {"mean": mean}


def _read_loss(stream, version):
    if version >= 2:
        stream.floats(2)
    return {}


class _Stream:
    """The primitives of ``dlib/serialize.h``, read one after the other."""

    def __init__(self, path):
        self.content, self.position = path.read_bytes(), 0

    def at_end(self):
        return self.position == len(self.content)

    def take(self, count):
        if not 0 <= count <= len(self.content) - self.position:
            raise ValueError("it ends early")
        self.position += count
        return self.content[self.position - count : self.position]

    def integer(self):
        control = self.take(1)[0]
        length = control & 0x0F
        if control & 0x70 or not 1 <= length <= 8:
            raise ValueError(f"bad control byte {control:#x} of an integer")
        magnitude = int.from_bytes(self.take(length), "little")
        return -magnitude if control & 0x80 else magnitude

    def integers(self, count):
        return [self.integer() for _ in range(count)]

    def float(self):
        mantissa, exponent = self.integers(2)
        return SPECIAL_EXPONENTS.get(exponent, float(np.ldexp(float(mantissa), min(exponent, 2000))))

    def floats(self, count):
        return [self.float() for _ in range(count)]

    def boolean(self):
        return {b"1": True, b"0": False}[self.take(1)]

    def booleans(self, count):
        return [self.boolean() for _ in range(count)]

    def string(self):
        return self.take(self.integer()).decode("latin-1")

    def tensor(self):
        version, *shape = self.integers(5)
        if version != 2:
            raise ValueError(f"tensor version {version}")
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(shape)

    def alias(self):
        version, *shape = self.integers(5)
        if version != 1:
            raise ValueError(f"tensor alias version {version}")
        return shape
