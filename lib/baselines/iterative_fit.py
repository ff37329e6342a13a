"""Iterative fitting: face, pose and light of one photograph by analysis by synthesis.

The classical method (Blanz and Vetter 1999; survey of Levine and Yu 2009, [13] in the paper): render, compare the
pixels, improve all unknowns by gradient descent, from a coarse image to a fine one.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from lib.baselines.photometric import Explanation, pixel_energy
from lib.core.processes import best_device, on_best_device
from lib.core.progress import progress
from lib.core.tensors import digest, fingerprint, kept_tensors
from lib.face_model.model import digest_face_model
from lib.rendering.crop import Crop
from lib.training.loop import set_learning_rate

BATCH = 12
SIZES = (40, 75, 150)  # sides of the pictures that are compared, in pixels, from coarse to fine
STARTS = (-1.0, 0.0, 1.0)
"""Yaw of the starts, in standard deviations of the views'. Pose and light alone are fitted from each of them, to the
mean face in the coarsest picture, and the best one goes on."""


def fit_photographs(face_model, crops, crop, params, folder):
    """Fit each photograph of `crops`, resuming in `folder`: their Explanation, and the photometric term left (N,)."""

    def make(part):
        explanation, photometric = fit(face_model, part, crop, params)
        return vars(explanation) | dict(photometric=photometric)

    fitted = []
    settings = asdict(params) | dict(face_model=digest_face_model(face_model), sizes=SIZES, starts=STARTS)
    with progress(description="iterative fit", total=len(crops), unit="photo") as bar:
        for number, rows in enumerate(torch.arange(len(crops)).split(BATCH)):
            part, path = crops[rows], Path(folder) / f"fit-{number:03d}.safetensors"
            meta = dict(settings=fingerprint(settings | dict(photographs=digest(part.pictures, part.landmarks))))
            fitted.append(kept_tensors(path, partial(make, part), meta))
            bar.update(len(rows))
    joined = {name: torch.cat([part[name] for part in fitted]) for name in fitted[0]}
    photometric = joined.pop("photometric")
    return Explanation(**joined), photometric


def fit(face_model, crops, crop, params):
    """Fit one batch of photographs: as `fit_photographs`, keeping nothing."""
    face_model, crops = on_best_device(face_model), crops.to(best_device())
    count, images = len(crops), crops.images()
    current = Explanation.neutral(face_model, count * len(STARTS))
    current.view[:, 0] = torch.tensor(STARTS).repeat_interleave(count)
    current, energy, _ = _descend(face_model, current, crops, images, SIZES[0], crop, params, ("view",))
    best = energy.cpu().view(len(STARTS), count).argmin(0) * count + torch.arange(count)
    current = current[best]
    for size in SIZES:
        current, _, photometric = _descend(face_model, current, crops, images, size, crop, params, vars(current))
    return current, photometric


def _descend(face_model, start, crops, images, size, crop, params, free):
    """Improve the unknowns named in `free` by Adam; several starts of all photographs may stand one after the other."""
    times = len(start) // len(crops)
    pictures = F.interpolate(images, size, mode="bilinear", antialias=True).repeat(times, 1, 1, 1)
    detected = crops.landmarks.repeat(times, 1, 1)
    state = {name: values.clone().requires_grad_(name in free) for name, values in vars(start).items()}
    explanation, small = Explanation(**state), Crop(size, crop.points)
    optimizer = torch.optim.Adam([state[name] for name in free], params.learning_rate)
    for step in range(params.steps):
        set_learning_rate(optimizer, params.learning_rate, step, params.steps)
        optimizer.zero_grad(set_to_none=True)
        # a sum, so that no photograph's step depends on how many are fitted beside it
        pixel_energy(face_model, explanation, pictures, detected, small, params)["total"].sum().backward()
        optimizer.step()
    with torch.no_grad():
        terms = pixel_energy(face_model, explanation, pictures, detected, small, params)
    return explanation.each(torch.Tensor.detach), terms["total"], terms["photometric"]
