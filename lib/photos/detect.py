"""Find the face in a photograph: of all that MTCNN finds the one that is large and central."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from lib.photos.mtcnn import MTCNN

DETECTION_SIDE = 512  # pixels: larger pictures are searched at this size first
SMALLEST_FACE = 40  # pixels at that size; the cost of the search falls with its square
SMALLEST_FACE_AGAIN = 20  # in pictures of their own size, in which nothing was found before
PYRAMID_FACTOR = 0.6  # ratio of the searched sizes; facenet-pytorch's 0.709 takes a third longer and finds no more
CENTRE_WEIGHT = 2.0
LANDMARK_BIAS = 0.5
"""MTCNN cuts its candidates at whole pixels, rounded down, but places landmarks as if it had not: they come
out half a pixel too far right and down (LFW: a face's landmarks and its mirror image's add up to width + 1.25
+- 0.08, not width)."""


@dataclass(frozen=True)
class Face:
    """A detected face and the picture's `others`, the largest and most central one first."""

    box: np.ndarray  # left, top, right, bottom in pixels, the first one's centre at 0.5
    points: np.ndarray  # (4, 2), as `lib.rendering.crop.POINT_NAMES`
    probability: float  # the detector's score
    others: tuple = ()

    @property
    def count(self):
        """How many faces the picture shows."""
        return 1 + len(self.others)


class FaceDetector:
    """MTCNN over batches of pictures, on the CPU."""

    def __init__(self):
        self.networks = MTCNN()

    def detect(self, pictures):
        """Find one `Face` per picture, None where there is none.

        Pictures, uint8 (H, W, 3) RGB, have at least `SMALLEST_FACE` pixels a side; equal sizes are searched together.
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

    @torch.no_grad()
    def _search(self, pictures, longest_side, smallest):
        """Search pictures (B, H, W, 3) of one size, shrunk to `longest_side` at most, for faces of so many pixels."""
        height, width = pictures.shape[1:3]
        shrink = min(1.0, max(longest_side / max(height, width), SMALLEST_FACE / min(height, width)))
        batch = torch.from_numpy(pictures)
        if shrink < 1:
            size = (round(height * shrink), round(width * shrink))
            smaller = F.interpolate(batch.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
            batch = smaller.permute(0, 2, 3, 1)
        scale = np.array([width / batch.shape[2], height / batch.shape[1]])
        found = self.networks.search(batch, smallest, PYRAMID_FACTOR)
        return [_rank(*map(np.float64, each), scale, (width, height)) if len(each[0]) else None for each in found]


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
