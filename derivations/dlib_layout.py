"""Derive `lib/recognition/dlib_layout.csv`: where the arrays of dlib's face recognition ResNet-29 lie in its file.

The serialised file (``.dat``) starts with the loss and a run of version integers from the outermost layer inwards (tag
1, layer 2, innermost layer 3); the layers follow from the input outwards. Primitives are those of
``dlib/serialize.h``: integers are a control byte (byte count, sign) and little-endian bytes, floats a mantissa and an
exponent of two, tensors a version, a shape and raw float32.

    python -m derivations.dlib_layout
"""

import csv
from pathlib import Path

import numpy as np

from lib.recognition.dlib import LAYOUT, LEVELS
from lib.recognition.sources import find_dlib_file

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


def layout(path):
    """Find the arrays in the file: rows of layer, place of its parameters in bytes, place of its affine layer's."""
    layers = read_layers(path)
    blocks = sum(count for _, count, _ in LEVELS)
    names = ["stem", *(f"blocks.{block}.{part}" for block in range(blocks) for part in ("first", "second"))]
    convolutions, affines = ([fields[0] for kind, fields in layers if kind == each] for each in ("con_4", "affine_"))
    ((_, _, descriptor, *_),) = (fields for kind, fields in layers if kind == "fc_2")
    return [*zip(names, convolutions, affines, strict=True), ("descriptor", descriptor, "")]


def read_layers(path):
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
        """Pass over a tensor's numbers: where they begin."""
        size = 4 * int(np.prod(self.shape()))
        self.take(size)
        return self.position - size

    def fields(self, kinds):
        return [self.readers[kind]() for kind in kinds]

    def layer(self):
        kind = self.take(self.integer()).decode()
        return kind, self.fields(FIELDS[kind])


def main():
    """Derive and write the table."""
    with LAYOUT.open("w", newline="", encoding="utf-8") as file:
        rows = [("layer", "parameters", "affine"), *layout(find_dlib_file("data/raw/networks"))]
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
