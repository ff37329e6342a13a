"""What photographs of faces show and renders of the face model lack: expressions, hair, coverings of the head.

Without them the regressor takes a smile for the shape of a mouth, and hair for that of a forehead (docs/training.md).
Hair lies on the face's own surface, which it colours and moves outwards.
"""

from dataclasses import dataclass

import torch

CENTRE = (0.0, 25.0, -5.0)  # middle of the skull in the model's frame, mm
AZIMUTHS = torch.tensor([0.0, 25.0, 55.0, 90.0, 180.0])
"""Degrees from the front, at which a hairline is drawn: forehead, its corner, temple, ear, back."""
LONG, COVERING = 0.4, 0.15  # shares whose hair falls on beside the face, and that wear a cap or scarf
THICKNESS = (2.0, 16.0)  # mm
EDGE = 2.5  # degrees over which hair begins
WAVES = 12
PER_DEGREE = 4
GRID = 360 * PER_DEGREE


@dataclass(frozen=True)
class Looks:
    """Random expressions, each a random part of this scale of the model's, and hair on this share of the faces."""

    expression: float = 0.0
    hair: float = 0.0

    @torch.no_grad()
    def draw(self, face_model, faces, generator):
        """Decode B faces (`Coefficients`) with random looks: vertices and albedo (B, N, 3) as of `render_meshes`."""
        if not (self.expression or self.hair):
            return face_model.vertices(faces.shape), face_model.albedo(faces.texture)
        count, device = len(faces.shape), face_model.triangles.device
        strength = self.expression * torch.rand(count, 1, generator=generator)
        expression = strength * torch.randn(count, face_model.expression_dimension, generator=generator)
        vertices, albedo = face_model.vertices(faces.shape, expression.to(device)), face_model.albedo(faces.texture)
        if not self.hair:
            return vertices, albedo
        ends, strands, thickness, colour = (values.to(device) for values in _draw_hair(count, generator))
        bald = (torch.rand(count, generator=generator) >= self.hair).to(device)
        mean = face_model.vertices(torch.zeros(1, face_model.shape_dimension, device=device))[0]
        outward = torch.nn.functional.normalize(mean - mean.new_tensor(CENTRE), dim=1)
        polar, azimuth = torch.rad2deg(outward[:, 1].acos()), torch.rad2deg(torch.atan2(outward[:, 0], outward[:, 2]))
        places, along = ((degrees * PER_DEGREE).long() % GRID for degrees in (azimuth, azimuth + 0.1 * polar))
        amount = ((ends[:, places] - polar) / EDGE).clamp(0, 1)
        amount[bald] = 0
        vertices = vertices + (amount * thickness)[..., None] * outward
        colour = (strands[:, along, None] * colour[:, None]).clamp(0.01, 0.95)
        return vertices, albedo.lerp(colour, amount[..., None])


def _draw_hair(count, generator):
    """By azimuth (B, GRID) where hair ends, degrees from the crown, and its brightness; thickness in mm and colour."""

    def uniform(low, high, size=1):
        return low + (high - low) * torch.rand(count, size, generator=generator)

    long, covering, kind = uniform(0, 1) < LONG, uniform(0, 1) < COVERING, uniform(0, 1)
    side, opening = torch.where(long, uniform(90, 150), uniform(80, 88)), uniform(58, 100)
    front = 62 + 4 * torch.randn(count, 1, generator=generator)
    ends = torch.cat([front, front + 1, uniform(74, 80), side, torch.full_like(side, 125)], 1)
    azimuth = torch.arange(GRID) / PER_DEGREE
    azimuth = torch.minimum(azimuth, 360 - azimuth)
    right = torch.searchsorted(AZIMUTHS, azimuth).clamp(1, len(AZIMUTHS) - 1)
    share = (azimuth - AZIMUTHS[right - 1]) / (AZIMUTHS[right] - AZIMUTHS[right - 1])
    line = torch.lerp(ends[:, right - 1], ends[:, right], share) + 1.2 * _waves(3, 6, uniform)
    line = line + torch.where(covering, 0.0, 0.7) * _waves(30, 70, uniform)
    # long hair falls on beyond this azimuth, over ears and neck
    line = line.where(~long | (azimuth < opening), torch.tensor(180.0))
    strands = (torch.where(covering, 0.0, 0.2) * _waves(20, 80, uniform)).exp()
    dark = torch.tensor([0.09, 0.07, 0.06]) + uniform(0, 1) * torch.tensor([0.3, 0.2, 0.12])
    fair, grey = torch.tensor([0.72, 0.58, 0.4]) * uniform(0.7, 1.1), uniform(0.4, 0.85)
    cloth = uniform(0.04, 0.8) + 0.1 * torch.randn(count, 3, generator=generator)
    colour = torch.where(covering, cloth, torch.where(kind < 0.7, dark, torch.where(kind < 0.87, fair, grey)))
    return line, strands, uniform(*THICKNESS), colour


def _waves(lowest, highest, uniform):
    """Smooth random periodic functions of the azimuth (B, GRID), of variance about 1."""
    orders, phases = uniform(lowest, highest, WAVES).round(), uniform(0, 2 * torch.pi, WAVES)
    angles = torch.deg2rad(torch.arange(GRID) / PER_DEGREE)
    return torch.sin(orders[..., None] * angles + phases[..., None]).sum(1) / (WAVES / 2) ** 0.5
