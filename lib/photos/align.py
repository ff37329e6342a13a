"""Cut the faces out of photographs: read, detect, align, batch by batch, in other processes than the networks' one."""

import ctypes
import sys
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from lib.core.pictures import to_tensor
from lib.photos.detect import FaceDetector
from lib.photos.read import UnreadablePictureError, read_picture
from lib.rendering.crop import POINT_NAMES, fit_similarity

BOX_COLUMNS = ("box_left", "box_top", "box_right", "box_bottom")
POINT_COLUMNS = tuple(f"{name}_{axis}" for name in POINT_NAMES for axis in "xy")
MEASURE_COLUMNS = (*BOX_COLUMNS, *POINT_COLUMNS, "probability")


def iterate_face_crops(photographs, crops, batch_size, workers, all_faces=False, work=None):
    """Cut the faces out of photographs, in the framing of each of the `crops`; `workers` processes work ahead.

    Yields
    ------
    records : list of dict
        One per photograph (with `all_faces` per face), in order: `reason` (why there is no face, or empty), `faces`
        (how many were found), `number` (from 1) and `MEASURE_COLUMNS` in pixels of the upright photograph.
    pictures : dict of str to uint8 ndarray (n, size, size, 3)
        The crops, RGB, of the n photographs with a face, in order; or what the workers' `work` makes of them.
    """
    batches = [photographs[start : start + batch_size] for start in range(0, len(photographs), batch_size)]
    cut = partial(_cut_batch, crops=crops, all_faces=all_faces, work=work)
    # as they are: arrays travel through a pipe, since shared memory is scarce in containers
    yield from DataLoader(batches, batch_size=None, num_workers=workers, collate_fn=cut)


_detector = lru_cache(FaceDetector)  # made in the process that uses it, not sent there


def _cut_batch(photographs, crops, all_faces, work):
    records, faces = _find_faces([photograph.path for photograph in photographs], all_faces)
    cut = {name: cut_faces(faces, crop) for name, crop in crops.items()}
    result = work(cut) if work else cut
    _return_free_memory()
    return records, result


def _return_free_memory():
    """Return freed memory to the system: the detector's buffers of ever-changing size leave 250 MB of holes."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _find_faces(paths, all_faces):
    opened = [_read(path) for path in paths]
    found = iter(_detector().detect([picture.pixels for picture, _ in opened if picture]))
    records, faces = [], []
    for picture, reason in opened:
        face = next(found) if picture else None
        if face is None:
            records.append({"reason": reason or "no face found", "faces": 0, "number": 0})
            continue
        scale = np.array(picture.scale)
        for number, each in enumerate((face, *face.others) if all_faces else (face,), 1):
            values = [*(each.box * np.tile(scale, 2)), *(each.points * scale).ravel(), each.probability]
            measures = dict(zip(MEASURE_COLUMNS, map(float, values), strict=True))
            records.append({"reason": "", "faces": 1 + len(face.others), "number": number, **measures})
            faces.append((picture.pixels, each.points))
    return records, faces


def _read(path):
    """The picture or None, and why there is none."""
    try:
        return read_picture(path), ""
    except UnreadablePictureError as error:
        return None, str(error)


def cut_faces(faces, crop):
    """Cut faces, pairs of pixels (H, W, 3) and landmarks (4, 2) in them: ndarray (n, size, size, 3), uint8."""
    pictures = np.zeros((len(faces), crop.size, crop.size, 3), np.uint8)
    for number, (pixels, points) in enumerate(faces):
        picture = warp_to_crop(pixels, points, crop) * 255
        pictures[number] = picture.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return pictures


def warp_to_crop(image, points, crop):
    """Cut a face out of a photograph (H, W, 3) in a network's framing: Tensor (3, size, size) in [0, 1]."""
    points = torch.as_tensor(np.asarray(points), dtype=torch.float32)
    a, b, shift_x, shift_y = fit_similarity(crop.canonical_points() * crop.size, points)
    shrink = float(torch.hypot(a, b))
    image, left, top = _surroundings(image, a, b, shift_x, shift_y, crop.size, margin=3 * shrink + 2)
    shift_x, shift_y = shift_x - left, shift_y - top
    picture = to_tensor(np.ascontiguousarray(image))[None]
    height, width = picture.shape[2:]
    if shrink > 1.5:
        smaller = (max(1, round(height * 1.25 / shrink)), max(1, round(width * 1.25 / shrink)))
        picture = F.interpolate(picture, smaller, mode="bilinear", antialias=True, align_corners=False)
    # one scale an axis, since rounding to whole pixels makes the two differ slightly
    scale = torch.tensor([picture.shape[3] / width, picture.shape[2] / height])
    matrix = torch.stack([torch.stack([a, -b, shift_x]), torch.stack([b, a, shift_y])]) * scale[:, None]
    centres = torch.arange(crop.size, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    where = torch.stack([x, y, torch.ones_like(x)], -1) @ matrix.T
    limits = torch.tensor([picture.shape[3], picture.shape[2]], dtype=torch.float32)
    return F.grid_sample(picture, (2 * where / limits - 1)[None], mode="bilinear", align_corners=False)[0]


def _surroundings(image, a, b, shift_x, shift_y, size, margin):
    """Cut off what the crop does not show; -> the rest and its left and top in the photograph."""
    corners = torch.tensor([[0.0, 0.0], [size, 0.0], [0.0, size], [size, size]])
    x = a * corners[:, 0] - b * corners[:, 1] + shift_x
    y = b * corners[:, 0] + a * corners[:, 1] + shift_y
    sides = []
    for along, length in ((x, image.shape[1]), (y, image.shape[0])):
        start = min(max(int(along.min() - margin), 0), length - 1)
        sides.append((start, max(min(int(along.max() + margin), length), start + 1)))
    (left, right), (top, bottom) = sides
    return image[top:bottom, left:right], left, top
