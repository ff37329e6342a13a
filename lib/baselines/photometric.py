"""A photograph explained by its pixels: face, expression, pose and light together (MoFA, Tewari et al. 2017).

The classical method finds them for one photograph at a time (Blanz and Vetter 1999; survey of Levine and Yu 2009, [13]
in the paper): render, compare, improve all unknowns by gradient descent, from a coarse image to a fine one.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from lib.core.pictures import to_uint8
from lib.core.processes import best_device, on_best_device
from lib.core.progress import progress
from lib.core.tensors import Batch, digest, fingerprint, kept_tensors
from lib.face_model.model import Coefficients, digest_face_model
from lib.rendering.crop import Crop
from lib.rendering.renderer import Scene, render_with_landmarks
from lib.rendering.scenes import CONTROL_COLOURS, frontal_scene
from lib.training.loop import set_learning_rate

# Standard deviations of what a view holds, about the neutral studio of `frontal_scene`; those of `SceneDistribution`
# where it says so. Each value of a view is standard normal, as the coefficients of a face are.
TURN = (0.3, 0.15)
DISTANCE, PLACE, ZOOM, ROLL = 0.25, 0.02, 0.04, 0.03
LAMP = (1500.0, 1200.0, 800.0)
BRIGHTNESS, TINT = 0.5, 0.1
LAMPS = 2
VIEW_PARTS = (2, 1, 4, 3 * LAMPS, LAMPS + 1, 3)
"""Yaw and pitch; distance; framing (right, up, growth, roll); positions of the lamps; their brightness and
that of the light from everywhere; tint of the three channels."""
VIEW_DIMENSION = sum(VIEW_PARTS)

NOTHING = -1.0  # colour of the background that tells empty pixels from a face's, whose colours are in [0, 1]
SMALLEST_DIFFERENCE = 1e-3  # below this a pixel's difference counts squared: a norm has no slope at zero

BATCH = 12  # photographs that are fitted at once
SIZES = (40, 75, 150)  # sides of the pictures that are compared, in pixels, from coarse to fine
STARTS = (-1.0, 0.0, 1.0)
"""Yaw of the starts, in standard deviations of the views'. Pose and light alone are fitted from each of them, to the
mean face in the coarsest picture, and the best one goes on."""


@dataclass(frozen=True)
class Explanation(Batch):
    """All that B pictures of faces depend on, standard normal; `view` is pose, place and light."""

    shape: torch.Tensor
    texture: torch.Tensor
    expression: torch.Tensor
    view: torch.Tensor

    @property
    def coefficients(self):
        """Who it is: shape and texture alone."""
        return Coefficients(self.shape, self.texture)


def scene_of(view):
    """Turn views (B, VIEW_DIMENSION) into pose, lights and an empty background (`NOTHING`): a differentiable Scene."""
    turn, distance, framing, lamps, brightness, tint = view.split(VIEW_PARTS, 1)
    studio = frontal_scene(len(view)).to(view.device)
    yaw, pitch = (turn * turn.new_tensor(TURN)).unbind(1)
    bright = (BRIGHTNESS * brightness).exp()[..., None] * (TINT * tint).exp()[:, None]
    return Scene(
        # a roll of the head is one of the picture (`framing`) and of the lamps, which have places of their own
        angles=torch.stack([yaw, pitch, torch.zeros_like(yaw)], 1),
        distance=studio.distance * (DISTANCE * distance[:, 0]).exp(),
        light_positions=studio.light_positions + lamps.unflatten(1, (LAMPS, 3)) * view.new_tensor(LAMP),
        light_colours=studio.light_colours * bright[:, :LAMPS],
        ambient=studio.ambient * bright[:, LAMPS],
        background=view.new_full((len(view), 3, CONTROL_COLOURS, CONTROL_COLOURS), NOTHING),
        # the exact place that a detector errs from, by a pixel or two
        framing=framing * view.new_tensor([PLACE, PLACE, ZOOM, ROLL]),
    )


def draw(face_model, explanation, crop):
    """Render B explanations: pictures (B, 3, size, size), sRGB or `NOTHING`, and places (B, 4, 2) of the landmarks."""
    mesh = face_model.vertices(explanation.shape, explanation.expression), face_model.albedo(explanation.texture)
    topology = face_model.triangles, face_model.alignment_vertices
    return render_with_landmarks(*mesh, *topology, scene_of(explanation.view), crop)


@torch.no_grad()
def overlay(face_model, explanation, pictures, crop):
    """Draw explained faces over their photographs (B, H, W, 3), uint8, in the crop, for people to look at."""
    drawn = draw(face_model, explanation, crop)[0].permute(0, 2, 3, 1)
    return torch.where(drawn[..., :1] >= 0, to_uint8(drawn), pictures).numpy()


def photometric_loss(pictures, photographs):
    """Mean length (B,) of the colours' difference over the pixels that show a face (MoFA's photometric term, l2,1)."""
    covered = (pictures[:, 0] >= 0).float()
    squares = (pictures - photographs).square().sum(1)
    # beyond the smallest difference d: sqrt(s + d²) - d
    lengths = (squares + SMALLEST_DIFFERENCE**2).sqrt() - SMALLEST_DIFFERENCE
    return (lengths * covered).sum((1, 2)) / covered.sum((1, 2)).clamp(min=1)


def pixel_energy(face_model, explanation, photographs, detected, crop, params):
    """MoFA's energy terms (B,) of explanations of photographs (B, 3, H, W); weighted, they are `total`.

    Landmarks (B, 4, 2) are compared in units of the picture; the prior is the squared length of all unknowns.
    """
    pictures, places = draw(face_model, explanation, crop)
    photometric = photometric_loss(pictures, photographs)
    landmarks = (places - detected).square().sum(2).mean(1)
    prior = sum(values.square().sum(1) for values in vars(explanation).values())
    total = photometric + params.landmark_weight * landmarks + params.prior_weight * prior
    return dict(photometric=photometric, landmarks=landmarks, prior=prior, total=total)


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
    # the mean face, without expression, in the neutral studio
    sizes = (face_model.shape_dimension, face_model.texture_dimension, face_model.expression_dimension, VIEW_DIMENSION)
    current = Explanation(*(images.new_zeros(count * len(STARTS), size) for size in sizes))
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
