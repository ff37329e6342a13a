"""Rasteriser for CUDA: `kaolin.render.mesh.rasterize` behind the contract of `lib.rendering.rasterize`.

Kaolin has our pixel centres and gradients (to positions and features, never to depth or ids). Three differences are
bridged here. It interpolates affinely in the image: it gets attributes / w and 1 / w, which *are* affine there, and
the results are divided per pixel. The largest z wins: it gets -z / w. It draws both sides of every triangle: those
that face away are marked invalid.
"""

import importlib
import importlib.util

import torch

from lib.core.errors import StudyError

REMEDY = (
    "Install the real one, which matches torch 2.8.0 and CUDA 12.8: pip uninstall kaolin; pip install kaolin==0.18.0 "
    "-f https://nvidia-kaolin.s3.us-east-2.amazonaws.com/torch-2.8.0_cu128.html — or choose the backend 'cpu'."
)
NEAREST_W = 1e-6
EPSILON = 1e-15
"""Kaolin adds this to twice a triangle's area, in half pictures squared; its own 1e-8 would bend the gradients of
triangles that are a tenth of a pixel wide."""


def kaolin_is_installed():
    """Whether anything named kaolin can be imported, be it the real one or the empty placeholder; imports nothing."""
    return importlib.util.find_spec("kaolin") is not None


def load_kaolin_rasterizer():
    """Import Kaolin, which takes seconds, and return `kaolin.render.mesh.rasterize`."""
    if not kaolin_is_installed():
        raise StudyError(f"the rasteriser backend 'kaolin' needs NVIDIA Kaolin, which is not installed. {REMEDY}")
    try:
        return importlib.import_module("kaolin.render.mesh").rasterize
    except (ImportError, AttributeError) as error:
        raise StudyError(
            f"the installed package 'kaolin' has no rasteriser ({error}): it is the empty placeholder of the package "
            f"index, or was built for another torch. {REMEDY}"
        ) from error


def rasterize_with_kaolin(
    clip_vertices, triangles, attributes, height, width, cull_backfaces=True, rasterizer=None, backend="cuda"
):
    """Draw meshes with Kaolin."""
    rasterizer = rasterizer or load_kaolin_rasterizer()
    triangles = triangles.to(clip_vertices.device, torch.long)
    attributes = attributes.repeat(len(clip_vertices) // len(attributes), 1, 1)
    usable = _usable_vertices(clip_vertices)
    # what is left out must not bring infinities into the gradients
    x, y, z, w = torch.where(usable[..., None], clip_vertices, clip_vertices.new_tensor([0, 0, 0, 1.0])).unbind(2)
    places = torch.stack([x / w, y / w], 2)[:, triangles]
    depths = (-z / w).detach()[:, triangles]
    features = (torch.cat([attributes, torch.ones_like(w)[..., None]], 2) / w[..., None])[:, triangles]
    valid = usable[:, triangles].all(2) & _drawn_sides(places.detach(), cull_backfaces)
    blended, ids = rasterizer(height, width, depths, places, features, valid_faces=valid, eps=EPSILON, backend=backend)
    covered = (ids >= 0)[..., None]
    inverse_w = torch.where(covered, blended[..., -1:], 1.0)
    return ids.int(), torch.where(covered, blended[..., :-1] / inverse_w, 0.0)


def _usable_vertices(clip_vertices):
    """Vertices (B, N) in front of the camera, between the near and the far plane, and finite."""
    z, w = clip_vertices[..., 2], clip_vertices[..., 3]
    return (w > NEAREST_W) & (z.abs() <= w) & clip_vertices.isfinite().all(2)


def _drawn_sides(places, cull_backfaces):
    """Triangles (B, T) with an area, counter-clockwise in the picture if the others are left out."""
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(-1) for corner in places.unbind(2))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    return area > 0 if cull_backfaces else area != 0
