"""MTCNN (Zhang et al. 2016): a cascade of three networks, P-Net, R-Net and O-Net, finds faces and five landmarks.

P-Net looks for candidates at every place of an image pyramid, R-Net refines them, O-Net once more with landmarks. The
weights are facenet-pytorch's, whose own code imports torchvision and torch's compiler: seconds for each command.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CELL, STRIDE = 12, 2  # receptive field and stride of P-Net, pixels
POOLS = dict(pnet=(2, 0, 0), rnet=(3, 3, 0), onet=(3, 3, 2, 0))  # of the max pooling after each convolution
SIZES = dict(rnet=24, onet=48)  # pixels a side of the input
THRESHOLDS = dict(pnet=0.6, rnet=0.7, onet=0.7)  # least score, the probability of a face
SAME_SCALE, SAME_FACE = 0.5, 0.7  # overlap that drops a box, within a level of the pyramid and later


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
        """Find faces of `smallest` pixels or more in pictures (B, H, W, 3), 0 to 255, on a pyramid of scale `factor`.

        Returns a tuple for each picture: boxes (F, 4), left, top, right, bottom; scores (F,); landmarks (F, 5, 2),
        eyes, nose and corners of the mouth, from the subject's right to the left.
        """
        images = pictures.permute(0, 3, 1, 2).float()
        candidates = self._propose(images, smallest, factor)
        return [self._refine(image[None], boxes) for image, boxes in zip(images, candidates, strict=True)]

    def _propose(self, images, smallest, factor):
        """Candidates of each image by P-Net: square boxes (C, 4)."""
        height, width = images.shape[2:]
        scale, found = CELL / smallest, [[] for _ in images]
        while min(height, width) * scale >= CELL:
            level = _resize(images, (int(height * scale + 1), int(width * scale + 1)))
            maps = [values.numpy() for values in self._run("pnet", level)]
            for rows, scores, offsets in zip(found, *maps, strict=True):
                y, x = np.nonzero(scores >= THRESHOLDS["pnet"])
                corners = STRIDE * np.stack([x, y, x, y], 1) + np.array([1, 1, CELL, CELL])
                boxes = np.floor(corners.astype(np.float32) / np.float32(scale))
                kept = _non_maximum_suppression(boxes, scores[y, x], SAME_SCALE)
                rows.append(np.hstack([boxes, scores[y, x, None], offsets[:, y, x].T])[kept])
            scale *= factor
        for rows in found:
            rows = np.concatenate([*rows, np.zeros((0, 9), np.float32)])
            boxes, scores, offsets = rows[:, :4], rows[:, 4], rows[:, 5:]
            kept = _non_maximum_suppression(boxes, scores, SAME_FACE)
            yield _square(_regress(boxes, offsets, 0)[kept])

    def _refine(self, image, boxes):
        """Boxes, scores and landmarks of one image by R-Net and O-Net."""
        boxes, scores, offsets = self._classify("rnet", image, boxes)
        kept = _non_maximum_suppression(boxes, scores, SAME_FACE)
        boxes = _square(_regress(boxes, offsets)[kept])
        boxes, scores, offsets, points = self._classify("onet", image, boxes)
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        points = np.moveaxis(points.reshape(-1, 2, 5), 1, 2) * sides[:, None] + boxes[:, None, :2] - 1
        boxes = _regress(boxes, offsets)
        kept = _non_maximum_suppression(boxes + np.float32([0, 0, 1, 1]), scores, SAME_FACE, of_smaller=True)
        return boxes[kept], scores[kept], points[kept]

    def _classify(self, name, image, boxes):
        """Boxes that hold a face by a network, their scores, and its other outputs."""
        height, width = image.shape[2:]
        left, top, right, bottom = boxes.astype(int).T
        left, top, right, bottom = left.clip(1) - 1, top.clip(1) - 1, right.clip(max=width), bottom.clip(max=height)
        inside = np.flatnonzero((right > left) & (bottom > top))
        size = SIZES[name]
        parts = [_resize(image[:, :, top[n] : bottom[n], left[n] : right[n]], (size, size)) for n in inside]
        outputs = [values.numpy() for values in self._run(name, torch.cat(parts or [torch.zeros(0, 3, size, size)]))]
        faces = outputs[0] > THRESHOLDS[name]
        return [values[faces] for values in (boxes[inside], *outputs)]

    def _run(self, name, images):
        """Run a network on images: scores, offsets of the bounding-box regression, of O-Net landmarks too."""
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
        logits, *others = (layer(work, head) for head in heads if f"{head}.weight" in state)
        return logits.softmax(1)[:, 1], *others  # of no face and of a face


def _resize(images, size):
    """Images (B, 3, H, W), 0 to 255, at another size and normalised."""
    return (F.interpolate(images, size, mode="area") - 127.5) / 128


def _regress(boxes, offsets, rim=1):
    """Bounding-box regression: offsets are shares of the sides, which include a `rim` of pixels."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + np.float32(rim), 2)


def _square(boxes):
    """Boxes made square about their centres."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.max(1, keepdims=True)
    corners = boxes[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    return np.hstack([corners, corners + longest])


def _non_maximum_suppression(boxes, scores, limit, of_smaller=False):
    """Rows of the boxes that no box of higher score overlaps by more than `limit` of their union (or the smaller)."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        both = np.prod((high - low).clip(0), 1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - both
        order = order[both <= limit * whole]
    return kept
