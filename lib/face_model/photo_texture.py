"""Photographs' own pixels as a texture: projected, without their light, mirrored where hidden, blended in, averaged."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter, uniform_filter

from lib.core.pictures import decode_srgb, encode_srgb, smooth_step, to_uint8
from lib.face_model.texture import Texture
from lib.rendering.camera import clip_projection, project
from lib.rendering.rasterize import rasterize
from lib.rendering.vertices import unit_normals

FACING, FLAT = (0.25, 0.65), (0.05, 0.3)
"""Cosines between the surface's normal and the direction to the camera: not used, and used in full; the latter pair
for eyes and nostrils where the mirrored place is seen no better."""
FEATHER = 2  # texels over which what is seen fades in from where something hides it
DEPTH_TOLERANCE = 0.5  # mm that a place may lie behind what the camera sees there, in addition to the slope of a pixel
DARKEST = 0.05  # irradiance below which a pixel does not tell the albedo; used in full from four times of it
BRIGHTEST = 0.96  # sRGB from which a pixel is taken for a highlight or cut off: used less and less towards 1
LARGEST_GAIN = 2.0
BRIGHTER, DARKER = (0.3, 0.7), (1.4, 2.1)
"""How much (natural logarithm) a colour may differ from the model's where brows, eyes and beards are: used in full up
to the first number, not from the second."""
PLAIN_BRIGHTER, PLAIN_DARKER, PLAIN_HUE = (0.25, 0.5), (0.45, 0.9), (0.3, 0.6)
"""The same of plain skin, and of its hue: else it is hair, background, glasses or a highlight."""
LOOSER = 0.5  # share by which these limits are wider below the forehead, where fringes and caps seldom hang
TURNED = 0.5, 0.8
"""Cosines as above: up to the first one all must be plain skin, since it may be the background that is seen; from the
second one only what `Places` says."""
GROWTH, SOFTNESS = 9, 15
"""Texels, odd: what is left out of plain skin grows by half of the first, and its edge is blurred over the second."""
TRUSTED = 0.4, 0.65
"""Shares of the plain skin that looks like skin: up to the first one, light or a cap spoil the whole photograph, and
the texture is the model's."""
SURE = 4
"""Power of a colour's weight where it is continued to places without one: what is doubtful does not spread."""
SMOOTH, POOLED = 40, 4
"""Texels: standard deviation of what is too smooth to be anything but light; it is computed on so much smaller maps."""
AROUND = 61  # texels, odd: over which the mean colour of eyes and nostrils is judged in place of each
DARK = 0.02  # linear: what two colours differ by at least counts little
ELSEWHERE = 0.03  # added to each texel's weight in a mean: where no photograph has own pixels, all count alike


class Places(NamedTuple):
    """What the places on a face model's surface are, an ndarray (N,) each."""

    mirror: np.ndarray  # the vertex at the mirror image
    inside: np.ndarray  # from 0 to 1: how far it belongs to the face at rest, not to hair or neck
    plain: np.ndarray  # from 0 to 1: skin, without brows, eyes, lips and beards
    brows: np.ndarray  # from 0 to 1: the band in which brows are
    forehead: np.ndarray  # from 0 to 1: above the brows
    deep: np.ndarray  # from 0 to 1: eyes and nostrils, which are darker in places, but no glasses


def photo_texture(atlas, vertices, camera, photograph, irradiance, albedo, places):
    """Make the texture of a face from its photograph.

    Each texel has the colour of the photograph where it lies, in linear light divided by the irradiance and by what
    this leaves of the light (`_uneven_light`). Where it is hidden, seen too flat, too dark, cut off or something else
    than skin (`_likeness`), it fades into that of the mirrored place, and from there into the model's albedo, scaled to
    the colours of the photograph and of the places around (`_fill`). Where little skin below the brows looks like skin
    (`TRUSTED`), the whole texture fades into the scaled albedo.
    Returns a `Texture`, and the weight (H, W), from 0 to 1, of the photograph's own pixels in it.

    Parameters
    ----------
    atlas : Atlas
    vertices, irradiance, albedo : ndarray (N, 3)
        As photographed, with pose and expression, mm; the linear light that falls on them: a pixel is irradiance times
        albedo; the model's albedo, sRGB in [0, 1].
    camera : ndarray (3, 4)
        From the vertices (homogeneous) to the photograph (homogeneous, the third number positive), in units of its
        sides, x to the right and y downwards.
    photograph : ndarray (H, W, 3)
        uint8, sRGB: the part with the face.
    places : Places
    """
    triangles = atlas.vertices[atlas.triangles]
    # the third number is then the depth in mm; single precision takes half the time
    camera = (camera / np.linalg.norm(camera[2, :3])).astype(np.float32)
    vertices, irradiance = vertices.astype(np.float32), irradiance.astype(np.float32)
    picture = photograph.astype(np.float32) / 255
    depth = _depth(vertices, triangles, camera, picture.shape[:2])
    normals = unit_normals(vertices, triangles)
    eye = -np.linalg.solve(camera[:, :3], camera[:, 3])
    seen = vertices @ camera[:, :3].T + camera[:, 3]
    pixel = np.ptp(vertices, axis=0).max() / np.ptp(seen[:, :2] / seen[:, 2:] * picture.shape[1::-1], axis=0).max()
    model, parts = decode_srgb(atlas.spread(albedo)), np.stack(places[1:], 1)
    at = Places(places.mirror, *np.moveaxis(atlas.spread(parts), 2, 0))

    def taken(rows):
        """Colour (linear), weight, plainness and how steeply seen, of all texels, from the places of other vertices."""
        place, normal, light = np.split(atlas.spread(np.hstack([vertices, normals, irradiance])[rows]), 3, axis=2)
        toward = eye - place
        lengths = np.sqrt(np.einsum("hwc,hwc->hw", normal, normal) * np.einsum("hwc,hwc->hw", toward, toward))
        facing = np.einsum("hwc,hwc->hw", normal, toward) / lengths.clip(1e-9)
        seen = place @ camera[:, :3].T + camera[:, 3]
        colour = _look_up(picture, seen, "bilinear")
        slope = np.sqrt(1 - facing.clip(FLAT[0], 1) ** 2) / facing.clip(FLAT[0], 1)
        behind = seen[..., 2] - _look_up(depth, seen, "nearest")[..., 0]
        # what lies beyond the photograph's edge is black
        visible = (behind < DEPTH_TOLERANCE + pixel * slope) & (facing > FLAT[0]) & (colour.max(2) > 0)
        share = uniform_filter(visible.astype(np.float32), 2 * FEATHER + 1, mode="constant")
        weight = smooth_step(share, 0.5, 1) * visible * smooth_step(facing, *FLAT) * at.inside
        weight *= smooth_step(light.min(2), DARKEST, 4 * DARKEST) * smooth_step(colour.max(2), 1, BRIGHTEST)
        plain = (1 - smooth_step(facing, *TURNED) * (1 - at.plain)) * (1 - at.deep)
        return (decode_srgb(colour) / light.clip(DARKEST)).clip(0, 1), weight, plain, smooth_step(facing, *FACING)

    texture, weight = _blended(taken(slice(None)), taken(places.mirror), model, at)
    return Texture(atlas, to_uint8(encode_srgb(texture))), weight


def _blended(own, other, model, at):
    """Blend what a photograph shows of each texel, and of its mirrored place, into the model's albedo (H, W, 3).

    `own` and `other` are colours, weights, plainness, and from 0 to 1 how steeply seen; `at` the texels' `Places`.
    Returns (linear) colours, and the weight of the own in them.
    """
    sure = own[1] * (1 - at.forehead) > 0.5
    if sure.any():
        gain = np.median((own[0][sure] + 1e-3) / (model[sure] + 1e-3), axis=0)
        model = model * gain.clip(1 / LARGEST_GAIN, LARGEST_GAIN)
    layers = []
    for colours, weight, plain, seen in (own, other):
        ratio = np.log((colours + DARK) / (model + DARK))
        like, like_skin = _likeness(ratio, plain, at)
        light = _uneven_light(ratio, weight * seen * like_skin * (1 - at.deep))
        layers.append((ratio - light, weight * like, np.maximum(like_skin, at.deep), seen))
    skin = own[1] * own[2] * own[3] * (1 - at.forehead)
    trust = smooth_step((skin * layers[0][2]).sum() / skin.sum().clip(1e-9), *TRUSTED)
    ratios, weights, like_skin, seen = map(np.stack, zip(*layers))
    flat, weights = at.deep * weights[0] * (1 - seen[0]), weights * seen
    weights[1] *= 1 - weights[0]
    weights[0] += np.minimum(flat, 1 - weights.sum(0))
    filled = _fill(ratios, weights**SURE * like_skin)
    ratio = np.einsum("lhw,lhwc->hwc", weights, ratios) + (1 - weights.sum(0))[..., None] * filled
    return ((model + DARK) * np.exp(trust * ratio) - DARK).clip(0, 1), trust * weights[0]


def mean_texture(textures):
    """Average textures of one face, an iterable of `photo_texture`'s results, by the weights of their own pixels."""
    total = weights = 0
    for texture, weight in textures:
        weight = weight[..., None] + ELSEWHERE
        total, weights = total + weight * texture.picture, weights + weight
    return Texture(texture.atlas, np.rint(total / weights).astype(np.uint8))


def _depth(vertices, triangles, camera, size):
    """Depth (H, W, 1) in mm of what the camera sees; 0 where there is nothing."""
    depth = vertices @ camera[2, :3] + camera[2, 3]
    projection = clip_projection(camera, depth.mean())
    vertices, depth = (torch.from_numpy(values).float()[None] for values in (vertices, depth[:, None]))
    meshes = project(vertices, projection), torch.from_numpy(triangles), depth
    return rasterize(*meshes, *size, "cpu", False).attributes[0].numpy()


def _look_up(picture, seen, mode):
    """Values (..., C) of a picture (H, W, C) at homogeneous places (..., 3) in units of its sides."""
    places = torch.from_numpy(2 * seen[..., :2] / seen[..., 2:] - 1).float()
    values = torch.from_numpy(picture).float().movedim(-1, 0)[None]
    return F.grid_sample(values, places[None], mode, align_corners=False)[0].movedim(0, -1).numpy()


def _likeness(ratio, plain, at):
    """How far colours may be the face's own, and may be plain skin: two of (H, W), from 0 to 1.

    `ratio` (H, W, 3) is the logarithm of what they have of the model's, `at` are the texels' `Places`. Where `plain`
    (H, W) is 1 all must be skin, and what is not takes its surroundings with it, as edges of hair are mixed with skin,
    and the brows below it. Eyes and nostrils are judged by the mean colour around each texel.
    """
    brightness = np.einsum("hwc->hw", ratio) / 3
    hue = np.sqrt((np.einsum("hwc,hwc->hw", ratio, ratio) - 3 * brightness**2).clip(0))
    around, share = (uniform_filter(each, AROUND, mode="constant") for each in (at.deep * brightness, at.deep))
    judged = brightness + at.deep * (around / share.clip(1e-6) - brightness)
    any_part = smooth_step(judged, *BRIGHTER[::-1]) * smooth_step(-judged, *DARKER[::-1])
    skin, allowed = (
        smooth_step(brightness / wider, *PLAIN_BRIGHTER[::-1])
        * smooth_step(-brightness / wider, *PLAIN_DARKER[::-1])
        * smooth_step(hue / wider, *PLAIN_HUE[::-1])
        for wider in (1, 1 + LOOSER * (1 - at.forehead))
    )
    hanging = at.brows * (1 - at.deep) * _hanging(1 - allowed, plain)
    like = (plain * allowed + (1 - plain) * any_part) * (1 - hanging)
    beside, grown = (maximum_filter(each, GROWTH, mode="constant") for each in (hanging, 1 - like))
    soft = uniform_filter(grown, SOFTNESS, mode="constant")
    return like * (1 - np.maximum(plain, beside) * soft), skin


def _hanging(covering, plain):
    """How far what covers plain skin goes on below it, down the rows, without a gap, (H, W): caps hang over brows."""
    hanging = covering.copy()
    for row, (above, skin) in enumerate(zip(hanging, plain[1:]), 1):
        hanging[row] *= skin + (1 - skin) * above
    return hanging


def _fill(values, weights):
    """Continue the weighted mean (H, W, 3) of maps (L, H, W, 3) from the places around, by scales, to where weights are
    small (pull-push, Gortler et al., The Lumigraph, 1996)."""
    total = np.einsum("lhw,lhwc->hwc", weights, values)
    maps = torch.from_numpy(np.dstack([total, weights.sum(0)])).movedim(2, 0)[None]
    levels = [maps]
    while min(maps.shape[2:]) > 1:
        maps = 4 * F.avg_pool2d(maps, 2, ceil_mode=True)
        maps = maps / maps[:, 3:].clip(1)
        levels.append(maps)
    filled = maps[:, :3] / maps[:, 3:].clip(1e-6)
    for maps in reversed(levels[:-1]):
        filled = F.interpolate(filled, maps.shape[2:], mode="bilinear", align_corners=False)
        filled = maps[:, :3] + (1 - maps[:, 3:]) * filled
    return filled[0].movedim(0, 2).numpy()


def _uneven_light(ratio, weight):
    """The light that nine harmonics leave, as soft shadows: the smooth part of ratios (H, W, 3), weighed by skin."""
    maps = torch.from_numpy(np.dstack([ratio * weight[..., None], weight])).movedim(2, 0)[None]
    width = round(SMOOTH / POOLED * 6**0.5) | 1  # two boxes one after the other are nearly a Gaussian
    small = F.avg_pool2d(maps, POOLED)
    for _ in range(2):
        small = torch.from_numpy(uniform_filter(small.numpy(), (1, 1, width, width), mode="constant"))
    smooth = F.interpolate(small, ratio.shape[:2], mode="bilinear", align_corners=False)[0].movedim(0, 2).numpy()
    return smooth[..., :3] / (smooth[..., 3:] + DARK)
