"""Find the face in a photograph: of all that MTCNN finds the one that is large and central.

MTCNN (Zhang et al. 2016) is a cascade of three networks: P-Net looks for candidates at every place of an image pyramid,
R-Net refines them, O-Net once more with landmarks. The weights are facenet-pytorch's, whose own code imports
torchvision and torch's compiler: seconds for each command.
"""

import importlib.util
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

DETECTION_SIDE = 512  # pixels: larger pictures are searched at this size first
SMALLEST_FACE = 40  # pixels at that size; the cost of the search falls with its square
SMALLEST_FACE_AGAIN = 20  # in pictures of their own size, in which nothing was found before
PYRAMID_FACTOR = 0.6  # ratio of the searched sizes; facenet-pytorch's 0.709 takes a third longer and finds no more
CENTRE_WEIGHT = 2.0
LANDMARK_BIAS = 0.5
"""MTCNN cuts its candidates at whole pixels, rounded down, but places landmarks as if it had not: they come
out half a pixel too far right and down (LFW: a face's landmarks and its mirror image's add up to width + 1.25
+- 0.08, not width)."""

CELL, STRIDE = 12, 2  # receptive field and stride of P-Net, pixels
POOLS = dict(pnet=(2, 0, 0), rnet=(3, 3, 0), onet=(3, 3, 2, 0))  # of the max pooling after each convolution
SIZES = dict(rnet=24, onet=48)  # pixels per side of the input
THRESHOLDS = dict(pnet=0.6, rnet=0.7, onet=0.7)  # least score, the probability of a face
SAME_SCALE, SAME_FACE = 0.5, 0.7  # overlap that drops a box, within a level of the pyramid and later


@dataclass(frozen=True)
class Face:
    """A detected face and the picture's `others`, the largest and most central one first."""

    box: np.ndarray  # left, top, right, bottom in pixels, the first one's centre at 0.5
    points: np.ndarray  # (4, 2), as `lib.rendering.crop.POINT_NAMES`
    probability: float  # the detector's score
    others: tuple = ()


class FaceDetector:
    """MTCNN over batches of pictures, on the CPU."""

    def __init__(self):
        folder = Path(importlib.util.find_spec("facenet_pytorch").origin).parent / "data"
        self.states = {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in POOLS}
        for state in self.states.values():
            for name, values in state.items():
                if values.ndim == 4:  # a third faster: torch pools this layout quicker
                    state[name] = values.contiguous(memory_format=torch.channels_last)

    def detect(self, pictures):
        """Find one `Face` per picture, None where there is none.

        Pictures, uint8 (H, W, 3) RGB, have at least `SMALLEST_FACE` pixels per side; equal sizes are searched together.
        """
        faces = [None] * len(pictures)
        same_size = defaultdict(list)
        for number, picture in enumerate(pictures):
            same_size[picture.shape].append(number)
        for numbers in same_size.values():
            batch = np.stack([pictures[number] for number in numbers])
            for number, face in zip(numbers, self._search(batch, DETECTION_SIDE, SMALLEST_FACE), strict=True):
                again = pictures[number][None], max(batch.shape[1:3]), SMALLEST_FACE_AGAIN
                faces[number] = face or self._search(*again)[0]
        return faces

    @torch.inference_mode()
    def _search(self, pictures, longest_side, smallest):
        """Search pictures (B, H, W, 3) of one size, shrunk to `longest_side` at most, for faces of so many pixels."""
        height, width = pictures.shape[1:3]
        shrink = min(1.0, max(longest_side / max(height, width), SMALLEST_FACE / min(height, width)))
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        if shrink < 1:
            size = (round(height * shrink), round(width * shrink))
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        scale = np.array([width / images.shape[3], height / images.shape[2]])
        candidates = zip(images, self._propose(images, smallest), strict=True)
        found = [self._refine(image[None], boxes) for image, boxes in candidates]
        return [_rank(*map(np.float64, each), scale, (width, height)) if len(each[0]) else None for each in found]

    def _propose(self, images, smallest):
        """Candidates of each image (B, 3, H, W), 0 to 255, by P-Net: square boxes (C, 4)."""
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
            scale *= PYRAMID_FACTOR
        for rows in found:
            rows = np.concatenate([*rows, np.zeros((0, 9), np.float32)])
            boxes, scores, offsets = rows[:, :4], rows[:, 4], rows[:, 5:]
            kept = _non_maximum_suppression(boxes, scores, SAME_FACE)
            yield _square(_regress(boxes, offsets, 0)[kept])

    def _refine(self, image, boxes):
        """Boxes (F, 4), scores (F,) and landmarks (F, 5, 2: eyes, nose, mouth; right first) by R-Net and O-Net."""
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


def _rank(boxes, scores, landmarks, scale, size):
    """Take the face that is large and central: box area minus twice the squared distance from the centre."""
    boxes = boxes * np.tile(scale, 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(CENTRE_WEIGHT * np.sum((centres - np.array(size) / 2) ** 2, axis=1) - areas, kind="stable")
    eyes_and_mouth = landmarks[:, [0, 1, 3, 4]]  # without the tip of the nose
    points = (eyes_and_mouth - LANDMARK_BIAS) * scale
    best, *others = (Face(boxes[n], points[n], float(scores[n])) for n in order)
    return replace(best, others=tuple(others))


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
