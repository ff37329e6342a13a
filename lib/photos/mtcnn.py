"""MTCNN: three networks, each after the other, find faces and five landmarks (Zhang et al. 2016).

The weights are those of the package facenet-pytorch. Its code does the same, but imports torchvision and torch's
compiler, which takes longer than all else that one photograph needs.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CELL, STRIDE = 12, 2
"""Pixels that the first network sees at once, and between the places where it looks."""
POOLS = dict(pnet=(2, 0, 0), rnet=(3, 3, 0), onet=(3, 3, 2, 0))
"""Side of the maximum after each convolution, 0 for none."""
SIZES = dict(rnet=24, onet=48)
LIKELY = dict(pnet=0.6, rnet=0.7, onet=0.7)
"""Probability from which a network takes something for a face."""
SAME_SCALE, SAME_FACE = 0.5, 0.7
"""Overlap beyond which the less likely one of two boxes goes."""


class MTCNN:
    """The three networks, on the CPU."""

    def __init__(self):
        folder = Path(importlib.util.find_spec("facenet_pytorch").origin).parent / "data"
        self.states = {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in POOLS}
        for state in self.states.values():
            for name, values in state.items():
                if values.ndim == 4:  # a third faster: torch pools this layout quicker
                    state[name] = values.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def search(self, pictures, smallest, factor):
        """Find all faces.

        Parameters
        ----------
        pictures : Tensor (B, H, W, 3)
            RGB, 0 to 255.
        smallest : float
            Pixels of a face's side.
        factor : float
            Ratio of the sizes that are searched.

        Returns
        -------
        list of tuple
            For each picture boxes (F, 4): left, top, right, bottom, probabilities (F,) and landmarks (F, 5, 2): eyes,
            nose and corners of the mouth, from the subject's right to the left.
        """
        images = pictures.permute(0, 3, 1, 2).float()
        candidates = self._candidates(images, smallest, factor)
        return [self._refine(image[None], *some) for image, some in zip(images, candidates, strict=True)]

    def _candidates(self, images, smallest, factor):
        """Boxes (C, 4), square, of each image by the first network."""
        height, width = images.shape[2:]
        scale, found = CELL / smallest, [[] for _ in images]
        while min(height, width) * scale >= CELL:
            likely, moved = self._see("pnet", _shrink(images, (int(height * scale + 1), int(width * scale + 1))))
            for rows, probability, shift in zip(found, likely[:, 1].numpy(), moved.numpy(), strict=True):
                y, x = np.nonzero(probability >= LIKELY["pnet"])
                corners = STRIDE * np.stack([x, y, x, y], 1) + np.array([1, 1, CELL, CELL])
                boxes = np.floor(corners.astype(np.float32) / np.float32(scale))
                kept = _suppress(boxes, probability[y, x], SAME_SCALE)
                rows.append(np.hstack([boxes, probability[y, x, None], shift[:, y, x].T])[kept])
            scale *= factor
        for rows in found:
            rows = np.concatenate([*rows, np.zeros((0, 9), np.float32)])
            boxes, probability, shift = rows[:, :4], rows[:, 4], rows[:, 5:]
            kept = _suppress(boxes, probability, SAME_FACE)
            yield (_square(_moved(boxes, shift, 0)[kept]),)

    def _refine(self, image, boxes):
        """Boxes, probabilities and landmarks of one image by the second and the third network."""
        boxes, probability, shift = self._judge("rnet", image, boxes)
        kept = _suppress(boxes, probability, SAME_FACE)
        boxes = _square(_moved(boxes, shift)[kept])
        boxes, probability, shift, points = self._judge("onet", image, boxes)
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        points = np.moveaxis(points.reshape(-1, 2, 5), 1, 2) * sides[:, None] + boxes[:, None, :2] - 1
        boxes = _moved(boxes, shift)
        kept = _suppress(boxes + np.float32([0, 0, 1, 1]), probability, SAME_FACE, of_smaller=True)
        return boxes[kept], probability[kept], points[kept]

    def _judge(self, name, image, boxes):
        """Which of the boxes hold a face: those, their probabilities, and what else the network says of them."""
        height, width = image.shape[2:]
        left, top, right, bottom = boxes.astype(int).T
        left, top, right, bottom = left.clip(1) - 1, top.clip(1) - 1, right.clip(max=width), bottom.clip(max=height)
        inside = np.flatnonzero((right > left) & (bottom > top))
        size = SIZES[name]
        parts = [_shrink(image[:, :, top[n] : bottom[n], left[n] : right[n]], (size, size)) for n in inside]
        likely, *others = self._see(name, torch.cat(parts or [torch.zeros(0, 3, size, size)]))
        sure = likely[:, 1].numpy() > LIKELY[name]
        return [boxes[inside][sure], *(values.numpy()[sure] for values in (likely[:, 1], *others))]

    def _see(self, name, images):
        """Run a network: probabilities of no face and of a face, the box's correction, of the last one landmarks."""
        state, maps = self.states[name], images

        def layer(work, which):
            return work(maps, state[f"{which}.weight"], state[f"{which}.bias"])

        for number, pool in enumerate(POOLS[name], 1):
            maps = F.prelu(layer(F.conv2d, f"conv{number}"), state[f"prelu{number}.weight"])
            maps = F.max_pool2d(maps, pool, 2, ceil_mode=True) if pool else maps
        kind, work, number = "conv", F.conv2d, number + 1
        if name != "pnet":
            maps = maps.permute(0, 3, 2, 1).flatten(1)
            maps = F.prelu(layer(F.linear, f"dense{number}"), state[f"prelu{number}.weight"])
            kind, work, number = "dense", F.linear, number + 1
        heads = [f"{kind}{number}_{head}" for head in (1, 2, 3)]
        likely, *others = (layer(work, head) for head in heads if f"{head}.weight" in state)
        return likely.softmax(1), *others


def _shrink(images, size):
    """Images (B, 3, H, W), 0 to 255, at another size and as the networks take them."""
    return (F.interpolate(images, size, mode="area") - 127.5) / 128


def _moved(boxes, shift, rim=1):
    """Boxes corrected by shares of their sides, which include a `rim` of pixels."""
    return boxes + shift * np.tile(boxes[:, 2:] - boxes[:, :2] + np.float32(rim), 2)


def _square(boxes):
    """Boxes made square about their centres."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.max(1, keepdims=True)
    corners = boxes[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    return np.hstack([corners, corners + longest])


def _suppress(boxes, likely, limit, of_smaller=False):
    """Keep the likelier one of two boxes that share more than `limit` of both (or the smaller): list of rows."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    order, kept = np.argsort(-likely, kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        both = np.prod((high - low).clip(0), 1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - both
        order = order[both <= limit * whole]
    return kept
