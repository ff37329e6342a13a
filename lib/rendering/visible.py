"""Rasteriser for any device: who is seen by plain torch or by Kaolin, what is seen by the CPU backend's formula.

Torch scatters minima; NVIDIA Kaolin has a CUDA kernel (`kaolin.render.mesh.rasterize`). Both leave out whole triangles
that reach behind the camera or beyond the near or the far plane, which the CPU backend cuts.
"""

import importlib
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from lib.core.errors import StudyError
from lib.rendering.kernels.rasterize import checked_triangles

NEAREST_W = 1e-6
DEPTH_STEPS = 2.0**29
PICTURES_AT_ONCE = 16
"""Bounds the memory, and the 32-bit indices of Kaolin: 677 pictures of 105,594 triangles would be too many."""
NVDIFFRAST_STEP = 8  # nvdiffrast draws heights and widths that are multiples of this


def rasterize_by(find, clip_vertices, triangles, attributes, height, width, cull_backfaces):
    """Draw as `lib.rendering.rasterize.rasterize`, with visibility by `find`, a function like `nearest_in_torch`."""
    triangles = checked_triangles(triangles.to(clip_vertices.device), clip_vertices.shape[1]).long()
    parts = clip_vertices.detach().split(PICTURES_AT_ONCE)
    ids = torch.cat([find(part, triangles, height, width, cull_backfaces) for part in parts])
    which = torch.arange(len(ids), device=ids.device) % len(attributes)
    return ids.int(), in_parts(partial(blend, triangles, attributes), clip_vertices, which, ids)


def in_parts(draw, *tensors):
    """Apply `draw` to some pictures or faces at a time, and again when gradients are due: none of its steps is kept."""
    parts = zip(*(tensor.split(PICTURES_AT_ONCE) for tensor in tensors))
    return torch.cat([checkpoint(draw, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def visible_corners(clip_vertices, triangles, height, width, cull_backfaces):
    """Find corners (B, T, 3, 3), x / w, y / w, z / w, and which triangles (B, T) face us and hold a pixel centre."""
    w = clip_vertices[..., 3:]
    usable = (w > NEAREST_W) & (clip_vertices[..., 2:3].abs() <= w) & clip_vertices.isfinite().all(2, keepdim=True)
    places = torch.where(usable, clip_vertices[..., :3] * w.reciprocal(), torch.nan)
    corners = places.index_select(1, triangles.flatten()).unflatten(1, (-1, 3))
    x, y = _in_pixels(corners, height, width)
    area = _area(x, y)
    (left, right), (top, bottom) = _box(x, width), _box(y, height)
    # false as well where a corner is not a number
    faces = area > 0 if cull_backfaces else area.abs() > 0
    return corners, faces & (left < right) & (top < bottom)


def _in_pixels(corners, height, width):
    """Columns and rows (..., 3) of corners, rounded as the CPU backend does; centres are at whole numbers."""
    x, y, _ = corners.unbind(-1)
    return (x + 1) * (0.5 * width) - 0.5, (1 - y) * (0.5 * height) - 0.5


def _area(x, y):
    """Twice the area of triangles (..., 3), positive where they are counter-clockwise; y points down."""
    (ax, bx, cx), (ay, by, cy) = x.unbind(-1), y.unbind(-1)
    return (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)


def _box(values, size):
    """First pixel within a triangle along one axis, and the first beyond it."""
    return (bound.clamp(0, size).ceil() for bound in values.aminmax(dim=-1))


@torch.no_grad()
def nearest_in_torch(clip_vertices, triangles, height, width, cull_backfaces):
    """Find the nearest triangle of each pixel: ids (B, H, W), int64, -1 where there is none."""
    corners, visible = visible_corners(clip_vertices, triangles, height, width, cull_backfaces)
    picture, triangle = visible.nonzero(as_tuple=True)
    corners = corners[picture, triangle]
    x, y = _in_pixels(corners, height, width)
    back = (_area(x, y) < 0)[:, None]
    x, y, z = (torch.where(back, values[:, [0, 2, 1]], values) for values in (x, y, corners[..., 2]))
    (left, right), (top, bottom) = ((bound.long() for bound in _box(*axis)) for axis in ((x, width), (y, height)))
    wide, scale = right - left, _area(x, y).reciprocal()
    count = wide * (bottom - top)
    # a centre that lies on an edge belongs to the triangle that has it to the right or below
    along_x, along_y = y.roll(1, 1) - y.roll(-1, 1), x.roll(-1, 1) - x.roll(1, 1)
    owns = (along_x > 0) | (along_x == 0) & (along_y > 0)
    # each pixel of each visible triangle's box is an item; the smallest key wins
    item = torch.repeat_interleave(count)
    place = torch.arange(len(item), device=item.device) - (count.cumsum(0) - count)[item]
    column, row = left[item] + place % wide[item], top[item] + place // wide[item]
    x, y = x[item] - column[:, None], y[item] - row[:, None]
    edges = x.roll(1, 1) * y.roll(-1, 1) - x.roll(-1, 1) * y.roll(1, 1)
    covered = ((edges > 0) | (edges == 0) & owns[item]).all(1)
    depth = (edges * ((z + 1) * DEPTH_STEPS)[item]).sum(1) * scale[item]
    empty = torch.iinfo(torch.int64).max
    key = torch.where(covered, depth.long() << 32 | triangle[item], empty)
    keys = key.new_full((len(clip_vertices) * height * width,), empty)
    keys.scatter_reduce_(0, (picture[item] * height + row) * width + column, key, "amin")
    return torch.where(keys == empty, -1, keys & 0xFFFFFFFF).view(-1, height, width)


def load_kaolin_rasterizer():
    """Import Kaolin, which takes seconds, and return `kaolin.render.mesh.rasterize`."""
    try:
        return importlib.import_module("kaolin.render.mesh").rasterize
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"the rasteriser backend 'kaolin' needs NVIDIA Kaolin, which is not installed, is the empty placeholder of "
            f"the package index, or was built for another torch ({error}). Install the one for torch 2.8.0 and CUDA "
            "12.8: pip uninstall kaolin; pip install kaolin==0.18.0 -f "
            "https://nvidia-kaolin.s3.us-east-2.amazonaws.com/torch-2.8.0_cu128.html — or choose the backend 'torch'."
        ) from error


@torch.no_grad()
def nearest_in_kaolin(clip_vertices, triangles, height, width, cull_backfaces, backend="cuda"):
    """Find the nearest triangle of each pixel with Kaolin's `backend`.

    It has our pixel centres. Its kernel walks every triangle of a picture for each block of pixels, so that it is given
    only those that can be seen. The largest z wins: it gets -z / w. Its attributes are not used: it interpolates
    affinely in the image, and it would copy those of every triangle.
    """
    rasterizer = load_kaolin_rasterizer()
    corners, visible = visible_corners(clip_vertices, triangles, height, width, cull_backfaces)
    if not visible.any():  # Kaolin would look up the last of none
        return clip_vertices.new_full((len(clip_vertices), height, width), -1, dtype=torch.long)
    places, depths = corners.nan_to_num().split([2, 1], 3)
    step = 1 if backend == "cuda" else NVDIFFRAST_STEP
    tall, broad = (-(-size // step) * step for size in (height, width))
    # the picture becomes the upper left part of a larger one
    share = places.new_tensor([width / broad, height / tall])
    places = places * share + (share - 1) * share.new_tensor([1.0, -1.0])
    nothing = places.new_zeros(1).expand(*depths.shape[:3], 1)
    _, ids = rasterizer(
        tall, broad, -depths[..., 0].contiguous(), places.contiguous(), nothing, valid_faces=visible, backend=backend
    )
    return ids[:, :height, :width]


def blend(triangles, attributes, clip_vertices, which, ids):
    """Blend the attributes, for picture i the set `which[i]`, where `ids` (B, H, W) show a triangle: (B, H, W, C)."""
    (_, height, width), (_, vertices, channels) = ids.shape, attributes.shape
    picture, row, column = (ids >= 0).nonzero(as_tuple=True)
    corner = triangles[ids[picture, row, column]]
    clip = _rows(clip_vertices, picture[:, None] * vertices + corner)
    # in the frame of a pixel its ray is the axis: small numbers, which cancel well
    x = clip[..., 0] - ((column + 0.5) * (2 / width) - 1)[:, None] * clip[..., 3]
    y = clip[..., 1] - (1 - (row + 0.5) * (2 / height))[:, None] * clip[..., 3]
    edges = x.roll(-1, 1) * y.roll(1, 1) - x.roll(1, 1) * y.roll(-1, 1)
    shares = edges / edges.sum(1, keepdim=True)
    seen = (shares[..., None] * _rows(attributes, which[picture, None] * vertices + corner)).sum(1)
    return seen.new_zeros(*ids.shape, channels).index_put((picture, row, column), seen)


def _rows(values, numbers):
    """Rows of (B, N, C) that are numbered throughout: their gradient is added up without sorting."""
    return values.flatten(0, 1).index_select(0, numbers.flatten()).unflatten(0, numbers.shape)
