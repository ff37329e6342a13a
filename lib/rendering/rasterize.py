"""Triangles to pixels, differentiably: one contract, backends for the CPU (numba), for any device (torch) and Kaolin.

Paper 3.2.1: deferred shading. The rasteriser finds the triangle of every pixel and blends the vertex attributes with
perspective-correct barycentric coordinates; any lighting model can then work in screen space.
"""

from dataclasses import dataclass
from functools import cache, partial

import torch

from lib.core.errors import StudyError
from lib.rendering.kernels.rasterize import RasterizeOnCpu, checked_triangles
from lib.rendering.visible import load_kaolin_rasterizer, nearest_in_kaolin, nearest_in_torch, rasterize_by


@dataclass(frozen=True)
class Fragments:
    """What a camera sees through each pixel; row 0 is the top of the picture.

    Ids (B, H, W), int32, of the nearest triangles, -1 where there is none, and the `attributes` (B, H, W, C), float32,
    of the vertices at the centre of each pixel, 0 where there is no triangle.
    """

    triangle_ids: torch.Tensor
    attributes: torch.Tensor

    @property
    def covered(self):
        """Where there is a triangle: bool Tensor (B, H, W)."""
        return self.triangle_ids >= 0


def rasterize(clip_vertices, triangles, attributes, height, width, backend="auto", cull_backfaces=True):
    """Draw meshes into pixel buffers.

    Pixel (row r, column c) is sampled at x = (2 c + 1 - W) / W, y = (H - 1 - 2 r) / H of x / w and y / w; the visible
    volume is -w <= x, y, z <= w, w > 0, and the smallest z / w wins. A point on an edge that two triangles share
    belongs to exactly one of them.

    Parameters
    ----------
    clip_vertices : Tensor (B, N, 4), float32
        Homogeneous (x, y, z, w): y up, w the distance along the view axis. Triangles may reach behind the camera;
        those with a vertex that is not finite and those without an area are left out.
    triangles : Tensor (T, 3), integer
        Vertex indices, counter-clockwise as seen from outside.
    attributes : Tensor (A, N, C), float32
        B is a multiple of A and picture i shows attributes i % A: several views of one face share one set.
    height, width : int
        Of the pictures in pixels.
    backend : {"auto", "cpu", "torch", "kaolin", "kaolin-nvdiffrast"}
        "auto": "cpu" for tensors there; on other devices "kaolin" where it is installed, else "torch" (printed once).
        `docs/renderer.md` compares them: all but "cpu" leave out triangles that reach behind the camera or beyond the
        near or the far plane.
    cull_backfaces : bool
        Leave out triangles that are clockwise in the picture.

    Returns
    -------
    Fragments
        Gradients reach `attributes` and x, y, w of `clip_vertices` by way of the barycentric coordinates, continued
        beyond the triangle's border as if the surface were locally planar; none reach z and none go through the ids
        (paper 3.2.1). On the CPU equal input gives equal bytes, gradients too, at any number of threads.

    Raises
    ------
    ValueError, StudyError
        Shapes, types or indices do not fit; the backend is unknown or not installed.
    """
    _check(clip_vertices, triangles, attributes, height, width)
    backend = _choose(backend, clip_vertices.device)
    return Fragments(*BACKENDS[backend](clip_vertices, triangles, attributes, height, width, cull_backfaces))


def _rasterize_on_cpu(clip_vertices, triangles, attributes, height, width, cull_backfaces):
    triangles = checked_triangles(triangles.cpu(), clip_vertices.shape[1])
    tensors = clip_vertices.cpu().contiguous(), triangles, attributes.cpu().contiguous()
    ids, image = RasterizeOnCpu.apply(*tensors, height, width, cull_backfaces)
    return ids.to(clip_vertices.device), image.to(clip_vertices.device)


BACKENDS = {
    "cpu": _rasterize_on_cpu,
    "torch": partial(rasterize_by, nearest_in_torch),
    "kaolin": partial(rasterize_by, nearest_in_kaolin),
    "kaolin-nvdiffrast": partial(rasterize_by, partial(nearest_in_kaolin, backend="nvdiffrast")),
}
"""Callables with the parameters of `rasterize` before `backend`, and `cull_backfaces`, that return triangle ids and
attributes as `Fragments` has them."""


def _choose(backend, device):
    if backend == "auto":
        return "cpu" if device.type == "cpu" else _best_on_devices()
    if backend not in BACKENDS:
        raise StudyError(f"rasteriser backend {backend!r} is unknown: choose one of auto, {', '.join(BACKENDS)}")
    return backend


@cache
def _best_on_devices():
    try:
        load_kaolin_rasterizer()
        backend = "kaolin"
    except StudyError:
        backend = "torch"
    print(f"the rasteriser on the GPU is {backend}")
    return backend


def _check(clip_vertices, triangles, attributes, height, width):
    if clip_vertices.ndim != 3 or clip_vertices.shape[2] != 4 or clip_vertices.shape[0] == 0:
        raise ValueError(f"clip_vertices must be (B, N, 4) with B > 0, not {tuple(clip_vertices.shape)}")
    if attributes.ndim != 3 or attributes.shape[1] != clip_vertices.shape[1] or attributes.shape[2] == 0:
        raise ValueError(f"attributes must be (A, {clip_vertices.shape[1]}, C), not {tuple(attributes.shape)}")
    if len(attributes) == 0 or len(clip_vertices) % len(attributes):
        raise ValueError(f"{len(clip_vertices)} pictures cannot share {len(attributes)} sets of attributes evenly")
    for name, tensor in (("clip_vertices", clip_vertices), ("attributes", attributes)):
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} must be float32, not {tensor.dtype}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be integers (T, 3), not {triangles.dtype} {tuple(triangles.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"the picture must have at least one pixel, not {height} x {width}")
