"""The photograph's own pixels as a texture: projected, without its light, mirrored where hidden, blended in."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from lib.core.pictures import decode_srgb, encode_srgb, to_uint8
from lib.face_model.texture import SIDE, Texture
from lib.rendering.camera import clip_projection, project
from lib.rendering.rasterize import rasterize
from lib.rendering.vertices import unit_normals

GRAZING, FACING = 0.25, 0.65
"""Cosines between the surface's normal and the direction to the camera: not used, and used in full."""
FEATHER = 16  # texels over which what is seen fades in from where something hides it
DEPTH_TOLERANCE = 0.5  # mm that a place may lie behind what the camera sees there, in addition to the slope of a pixel
DARKEST = 0.05  # irradiance below which a pixel does not tell the albedo; used in full from four times of it
BRIGHTEST = 0.96  # sRGB from which a pixel is taken for a highlight or cut off: used less and less towards 1
LARGEST_GAIN = 2.0
BRIGHTER, DARKER = (0.3, 0.7), (1.4, 2.1)
"""How much (natural logarithm) a colour may differ from the model's: background and highlights are brighter, hair is
darker. Used in full up to the first number, not from the second."""


def mirror_vertices(points):
    """For each vertex (N, 3) of a symmetric face the one nearest to its mirror image: (N,)."""
    return cKDTree(points).query(points * [-1, 1, 1])[1]


def photo_texture(atlas, vertices, camera, photograph, irradiance, albedo, mirror, inside):
    """Make the texture of a face from its photograph.

    Each texel has the colour of the photograph where it lies, in linear light divided by the irradiance. Where it is
    hidden, seen too flat, too dark or cut off, it fades into that of the mirrored place, and from there into the
    model's albedo, whose colour is first scaled to the photograph's. Returns a `Texture`.

    Parameters
    ----------
    atlas : Atlas
    vertices, irradiance, albedo : ndarray (N, 3)
        As photographed, with pose and expression, mm; the linear light that falls on them: a pixel is irradiance times
        albedo; the model's albedo, sRGB in [0, 1].
    camera : ndarray (3, 4)
        From the vertices (homogeneous) to the photograph (homogeneous, the third number positive): pixels, x to the
        right and y downwards from the photograph's upper left corner, so that the first pixel's centre is (0.5, 0.5).
    photograph : ndarray (H, W, 3)
        uint8, sRGB.
    mirror, inside : ndarray (N,)
        As `mirror_vertices`, of the mean face; how far a vertex belongs to the face, not to hair or neck: from 0 to 1.
    """
    triangles = atlas.vertices[atlas.triangles]
    camera = camera / np.linalg.norm(camera[2, :3])  # the third number is then the depth in mm
    picture, camera = _part_with_the_face(photograph, vertices, camera)
    depth = _depth(vertices, triangles, camera, picture.shape[:2])
    normals = unit_normals(vertices, triangles)
    eye = -np.linalg.solve(camera[:, :3], camera[:, 3])
    pixel = np.ptp(vertices, axis=0).max() / max(picture.shape)
    model, inside = decode_srgb(atlas.spread(albedo)), atlas.spread(inside[:, None])[..., 0]

    def taken(rows):
        """Colour (linear) and weight of all texels, from the places of other vertices."""
        place, normal, light = np.split(atlas.spread(np.hstack([vertices, normals, irradiance])[rows]), 3, axis=2)
        toward = eye - place
        facing = (normal * toward).sum(2) / np.linalg.norm(normal, axis=2).clip(1e-9) / np.linalg.norm(toward, axis=2)
        seen = place @ camera[:, :3].T + camera[:, 3]
        colour = _look_up(picture, seen, "bilinear")
        slope = np.sqrt(1 - facing.clip(GRAZING, 1) ** 2) / facing.clip(GRAZING, 1)
        behind = seen[..., 2] - _look_up(depth, seen, "nearest")[..., 0]
        visible = (behind < DEPTH_TOLERANCE + pixel * slope) & (facing > GRAZING)
        weight = _ramp(distance_transform_edt(visible), 0, FEATHER) * _ramp(facing, GRAZING, FACING)
        weight *= _ramp(light.min(2), DARKEST, 4 * DARKEST) * _ramp(colour.max(2), 1, BRIGHTEST) * inside
        return (decode_srgb(colour) / light.clip(DARKEST)).clip(0, 1), weight[..., None]

    own, own_weight = taken(slice(None))
    other, other_weight = taken(mirror)
    sure = own_weight[..., 0] > 0.5
    if sure.any():
        gain = np.median((own[sure] + 1e-3) / (model[sure] + 1e-3), axis=0)
        model = model * gain.clip(1 / LARGEST_GAIN, LARGEST_GAIN)
    own_weight, other_weight = own_weight * _likeness(own, model), other_weight * _likeness(other, model)
    own, other, model = (encode_srgb(colours) for colours in (own, other, model))
    filled = other_weight * other + (1 - other_weight) * model
    return Texture(atlas, to_uint8(own_weight * own + (1 - own_weight) * filled))


def _part_with_the_face(photograph, vertices, camera):
    """Cut the face out, at most SIDE pixels a side, as floats in [0, 1]; and the camera into this part."""
    seen = vertices @ camera[:, :3].T + camera[:, 3]
    points, size = seen[:, :2] / seen[:, 2:], np.array(photograph.shape[1::-1])
    low = np.floor(points.min(axis=0)).clip(0, size - 1)
    high = np.ceil(points.max(axis=0)).clip(low + 1, size)
    scale = min(1, SIDE / (high - low).max())
    new = np.ceil((high - low) * scale).astype(int)
    part = Image.fromarray(photograph).resize(tuple(new.tolist()), Image.Resampling.BOX, box=(*low, *high))
    x, y = new / (high - low)
    return np.asarray(part) / 255, np.array([[x, 0, -x * low[0]], [0, y, -y * low[1]], [0, 0, 1]]) @ camera


def _depth(vertices, triangles, camera, size):
    """Depth (H, W, 1) in mm of what the camera sees; 0 where there is nothing."""
    depth = vertices @ camera[2, :3] + camera[2, 3]
    projection = clip_projection(np.diag([1 / size[1], 1 / size[0], 1]) @ camera, depth.mean())
    vertices, depth = (torch.from_numpy(values).float()[None] for values in (vertices, depth[:, None]))
    meshes = project(vertices, projection), torch.from_numpy(triangles), depth
    return rasterize(*meshes, *size, "cpu", False).attributes[0].numpy()


def _look_up(picture, seen, mode):
    """Values (..., C) of a picture (H, W, C) at homogeneous pixels (..., 3)."""
    places = torch.from_numpy(2 * seen[..., :2] / seen[..., 2:] / np.array(picture.shape[1::-1]) - 1).float()
    values = torch.from_numpy(picture).float().movedim(-1, 0)[None]
    return F.grid_sample(values, places[None], mode, align_corners=False)[0].movedim(0, -1).numpy()


def _likeness(colours, model):
    """How far colours (..., 3), linear, may be the face's own: (..., 1), from 0 to 1."""
    ratio = np.log((colours.mean(2, keepdims=True) + 0.02) / (model.mean(2, keepdims=True) + 0.02))
    return _ramp(ratio, *BRIGHTER[::-1]) * _ramp(-ratio, *DARKER[::-1])


def _ramp(values, start, end):
    """Smoothly from 0 at `start` to 1 at `end`."""
    share = ((values - start) / (end - start)).clip(0, 1)
    return share * share * (3 - 2 * share)
