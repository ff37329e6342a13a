"""A photograph explained by its pixels: face, expression, pose and light together (MoFA, Tewari et al. 2017)."""

from dataclasses import dataclass

import torch

from lib.core.pictures import to_uint8
from lib.core.tensors import Batch
from lib.face_model.model import Coefficients
from lib.rendering.renderer import Scene, render_with_landmarks
from lib.rendering.scenes import CONTROL_COLOURS, frontal_scene

# Standard deviations of what a view holds, about the neutral studio of `frontal_scene`; those of `SceneDistribution`
# where it says so. Each value of a view is standard normal, as the coefficients of a face are.
TURN = (0.3, 0.15)
DISTANCE, PLACE, ZOOM, ROLL = 0.25, 0.02, 0.04, 0.03
LAMP = (1500.0, 1200.0, 800.0)
BRIGHTNESS, TINT = 0.5, 0.1
LAMPS = 2
VIEW_DIMENSION = len(TURN) + 5 + 3 * LAMPS + LAMPS + 1 + 3
"""Yaw and pitch; distance; framing (right, up, growth, roll); positions of the lamps; their brightness and
that of the light from everywhere; tint of the three channels."""

NOTHING = -1.0  # colour of the background that tells empty pixels from a face's, whose colours are in [0, 1]
SMALLEST_DIFFERENCE = 1e-3  # below this a pixel's difference counts squared: a norm has no slope at zero


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

    @classmethod
    def neutral(cls, face_model, count):
        """Return `count` times the mean face, without expression, in the neutral studio."""
        device = face_model.triangles.device
        sizes = (face_model.shape_dimension, face_model.texture_dimension, face_model.expression_dimension)
        return cls(*(torch.zeros(count, size, device=device) for size in (*sizes, VIEW_DIMENSION)))


def scene_of(view):
    """Turn views (B, VIEW_DIMENSION) into pose, lights and an empty background (`NOTHING`): a differentiable Scene."""
    turn, distance, framing, lamps, brightness, tint = view.split([2, 1, 4, 3 * LAMPS, LAMPS + 1, 3], 1)
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
    vertices = face_model.vertices(explanation.shape, explanation.expression)
    scene = scene_of(explanation.view)
    albedo = face_model.albedo(explanation.texture)
    landmarks = face_model.alignment_vertices
    return render_with_landmarks(vertices, albedo, face_model.triangles, landmarks, scene, crop)


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


def landmark_loss(places, detected):
    """Mean squared distance of landmarks (B, 4, 2), drawn and detected, in units of the picture: Tensor (B,)."""
    return (places - detected).square().sum(2).mean(1)


def prior(explanation):
    """|shape|² + |texture|² + |expression|² + |view|² (B,): MoFA's statistical term."""
    return sum(values.square().sum(1) for values in vars(explanation).values())


def pixel_energy(face_model, explanation, photographs, detected, crop, params):
    """Energy terms (B,) of explanations of photographs (B, 3, H, W) and their landmarks; weighted, they are `total`."""
    pictures, places = draw(face_model, explanation, crop)
    terms = dict(
        photometric=photometric_loss(pictures, photographs),
        landmarks=landmark_loss(places, detected),
        prior=prior(explanation),
    )
    return terms | dict(
        total=terms["photometric"] + params.landmark_weight * terms["landmarks"] + params.prior_weight * terms["prior"]
    )
