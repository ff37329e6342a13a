"""Textures: the colours of a face as a picture that its model's layout wraps around the mesh."""

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.core.files import MADE_HERE
from lib.core.pictures import to_uint8
from lib.rendering.rasterize import rasterize

SIDE = 1024  # texels along a side: about two between neighbouring vertices of the open model


class Atlas:
    """Where the texels of a face model, of triangles (T, 3) and a `FaceModel.texture_layout`, lie on its mesh.

    `vertices` (W,) are the model's vertex at each vertex of the textured mesh: first all that triangles use, in their
    order, then those on seams again, once for each further texture coordinate. `coordinates` (W, 2) are in [0, 1], v
    upwards; `triangles` (T, 3) are the corners of the model's triangles among `vertices`.
    """

    def __init__(self, triangles, layout):
        coordinates, corners = layout
        pairs, which = np.unique(triangles.astype(np.int64) * len(coordinates) + corners, return_inverse=True)
        vertices, rows = np.divmod(pairs, len(coordinates))
        order = np.argsort(np.append(False, vertices[1:] == vertices[:-1]), kind="stable")
        self.vertices, self.coordinates = vertices[order], coordinates[rows[order]]
        self.triangles = np.argsort(order)[which.reshape(-1, 3)]

    def spread(self, values):
        """Spread values (N, C) of the model's vertices over the texture: (SIDE, SIDE, C), v = 1 on top."""
        places = torch.from_numpy(self.coordinates).float() * 2 - 1
        clip = torch.cat([places, torch.zeros(len(places), 1), torch.ones(len(places), 1)], 1)
        attributes = torch.from_numpy(np.asarray(values, np.float32)[self.vertices])
        seen = rasterize(clip[None], torch.from_numpy(self.triangles), attributes[None], SIDE, SIDE, "cpu", False)
        return _fill(seen.attributes.movedim(-1, 1), seen.covered[:, None])[0].movedim(0, -1).numpy()

    def bake(self, albedo):
        """Turn the colours (N, 3) of the vertices, sRGB in [0, 1], into a `Texture`."""
        return Texture(self, to_uint8(self.spread(albedo)))


def _fill(values, known):
    """Fill the gaps of (1, C, H, W), 0 where not `known` (1, 1, H, W): seams and mipmaps then show none."""
    if known.all():
        return values
    # the means of what is near: a gap asks copies of half the size
    share = F.avg_pool2d(known.float(), 4, 2, 1)
    around = _fill(F.avg_pool2d(values, 4, 2, 1) / share.clamp(min=1e-9), share > 0)
    return torch.where(known, values, around.repeat_interleave(2, 2).repeat_interleave(2, 3))


@dataclass(frozen=True)
class Texture:
    """The texture of one face."""

    atlas: Atlas
    picture: np.ndarray  # (SIDE, SIDE, 3), uint8, sRGB

    def on_vertices(self, colours):
        """The texture's colours at the model's vertices, in place of `colours` (N, 3); sRGB in [0, 1]."""
        places = torch.from_numpy(self.atlas.coordinates * [2, -2] + [-1, 1]).float()
        picture = torch.from_numpy(self.picture).float().movedim(-1, 0)[None] / 255
        found, result = F.grid_sample(picture, places[None, None], align_corners=False)[0, :, 0].T, colours.copy()
        result[self.atlas.vertices[::-1]] = found.numpy()[::-1]  # of vertices on seams the first one counts
        return result

    @cached_property
    def png(self):
        """The picture as a PNG file: bytes."""
        info, file = PngInfo(), io.BytesIO()
        info.add_text("Software", MADE_HERE)
        Image.fromarray(self.picture).save(file, "PNG", pnginfo=info, compress_level=1)
        return file.getvalue()
