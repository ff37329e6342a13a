"""Visibility by NVIDIA Kaolin's CUDA rasteriser (`kaolin.render.mesh.rasterize`), for `lib.rendering.visible`.

Kaolin has our pixel centres. Its kernel walks every triangle of a picture for each block of pixels, so that it is given
only those that can be seen. The largest z wins: it gets -z / w. Its attributes are not used: it interpolates affinely
in the image, and it would copy those of every triangle.
"""

import importlib
import importlib.util

import torch

from lib.core.errors import StudyError
from lib.rendering.visible import visible_corners

REMEDY = (
    "Install the real one, which matches torch 2.8.0 and CUDA 12.8: pip uninstall kaolin; pip install kaolin==0.18.0 "
    "-f https://nvidia-kaolin.s3.us-east-2.amazonaws.com/torch-2.8.0_cu128.html — or choose the backend 'torch'."
)
NVDIFFRAST_STEP = 8  # nvdiffrast draws heights and widths that are multiples of this


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


@torch.no_grad()
def nearest_in_kaolin(clip_vertices, triangles, height, width, cull_backfaces, backend="cuda"):
    """Find the nearest triangle of each pixel with Kaolin's `backend`, as `lib.rendering.visible.nearest_in_torch`."""
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
