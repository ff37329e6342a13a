"""Phong's reflection model in screen space (paper 3.2.2).

Light adds up in linear light: the albedo and the picture are sRGB-encoded, so that each pixel is decoded, shaded, cut
off at white as a camera does, and encoded again. Distances are millimetres; every position is in the model's frame,
where Phong's model is the same as in any other and the attributes of a face serve all its views.
"""

import torch
import torch.nn.functional as F

from lib.core.pictures import decode_srgb, encode_srgb
from lib.core.tensors import constant
from lib.rendering.kernels.shading import ShadeOnCpu
from lib.rendering.rasterize import Fragments
from lib.rendering.visible import in_parts

SPECULAR = 0.1
"""The constant c of K_s = c - c K_d: dark skin has the stronger highlights (paper 3.2.2). 0.1 is the peak of a
Torrance-Sparrow lobe with skin's reflectance 0.028 and roughness 0.27 (Weyrich et al., SIGGRAPH 2006)."""
EXPONENT = 16  # Phong's exponent; skin's highlights are broad. Four squarings compute the power.


def phong(attributes, lights, eye):
    """Shade pixels: sRGB in [0, 1], Tensor (S, H, W, 3).

    `attributes` (S, H, W, 9) are albedo (sRGB), normal (any length but 0) and place (mm) of the surface; `lights` are
    (positions (S, L, 3) mm, colours (S, L, 3) linear, ambient (S, 3) linear); the camera stands at `eye` (S, 3), mm.
    """
    positions, colours, ambient = lights
    albedo, normal, place = attributes.split(3, -1)
    diffuse = decode_srgb(albedo)
    specular = SPECULAR - SPECULAR * diffuse
    normal = F.normalize(normal, dim=-1)
    toward_eye = F.normalize(eye[:, None, None] - place, dim=-1)
    total = ambient[:, None, None] * diffuse
    for position, colour in zip(positions.unbind(1), colours.unbind(1), strict=True):
        toward_light = F.normalize(position[:, None, None] - place, dim=-1)
        facing = (normal * toward_light).sum(-1, keepdim=True)
        mirrored = 2 * facing * normal - toward_light
        highlight = (mirrored * toward_eye).sum(-1, keepdim=True).clamp(min=0) ** EXPONENT * (facing > 0)
        total = total + colour[:, None, None] * (diffuse * facing.clamp(min=0) + specular * highlight)
    return encode_srgb(total)


def shade(fragments, lights, eye, background):
    """Shade `Fragments` with the attributes of `phong`, and put them before a background (S, 3, H, W): pictures alike.

    Differentiable with respect to attributes, lights and eye.
    """
    if background.device.type == "cpu":
        positions, colours, ambient = lights
        lamps = torch.cat([positions, colours], 2)
        tensors = (fragments.attributes, fragments.triangle_ids, lamps, ambient, eye, background)
        return ShadeOnCpu.apply(*(tensor.contiguous() for tensor in tensors), SPECULAR)

    def draw(ids, attributes, positions, colours, ambient, eye, background):
        return shade_in_torch(Fragments(ids, attributes), (positions, colours, ambient), eye, background)

    return in_parts(draw, fragments.triangle_ids, fragments.attributes, *lights, eye, background)


def shade_in_torch(fragments, lights, eye, background):
    """Do the same as `shade` on any device, from `phong`."""
    # an empty pixel has no normal: its gradient must be zero, not undefined
    covered = fragments.covered[..., None]
    filler = constant((0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0), background.device)
    picture = phong(torch.where(covered, fragments.attributes, filler), lights, eye)
    return torch.where(covered, picture, background.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
