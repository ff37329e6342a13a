"""Triangles to pixels, differentiably: one contract, a CPU backend (numba) and a GPU backend (Kaolin).

Paper 3.2.1: deferred shading. The rasteriser finds the triangle of every pixel and blends the vertex attributes with
perspective-correct barycentric coordinates; any lighting model can then work in screen space.
"""

import warnings
from dataclasses import dataclass
from functools import partial

import torch

from lib.core.errors import StudyError
from lib.rendering.kaolin import REMEDY, kaolin_is_installed, rasterize_with_kaolin
from lib.rendering.kernels.rasterize import RasterizeOnCpu, checked_triangles


@dataclass(frozen=True)
class Fragments:
    """What a camera sees through each pixel.

    Attributes
    ----------
    triangle_ids : Tensor (B, H, W), int32
        The nearest triangle, -1 where there is none. Row 0 is the top of the picture.
    attributes : Tensor (B, H, W, C), float32
        The vertex attributes at the pixel's centre, 0 where there is no triangle.
    """

    triangle_ids: torch.Tensor
    attributes: torch.Tensor

    @property
    def covered(self):
        """Where there is a triangle: bool Tensor (B, H, W)."""
        return self.triangle_ids >= 0


def rasterize(clip_vertices, triangles, attributes, height, width, backend="auto", cull_backfaces=True):
    """Draw meshes into pixel buffers.

    Pixel (row r, column c) is sampled at x = (2 c + 1 - W) / W, y = (H - 1 - 2 r) / H of x / w and y / w; the
    visible volume is -w <= x, y, z <= w, w > 0, and the smallest z / w wins. A point on an edge that two triangles
    share belongs to exactly one of them.

    Parameters
    ----------
    clip_vertices : Tensor (B, N, 4), float32
        Homogeneous (x, y, z, w): y up, w the distance along the view axis. Triangles may reach behind the camera;
        those with a vertex that is not finite and those without an area are left out.
    triangles : Tensor (T, 3), integer
        Vertex indices, counter-clockwise as seen from outside.
    attributes : Tensor (A, N, C), float32
        Any number of channels. B is a multiple of A and picture i shows attributes i % A: several views of one face
        share one set.
    height, width : int
        Size of the pictures in pixels.
    backend : {"auto", "cpu", "kaolin", "kaolin-nvdiffrast"}
        A name in `BACKENDS`, or "auto": Kaolin for CUDA tensors where it is installed, otherwise the CPU (by way of
        the main memory, with a warning). "kaolin" is Kaolin's own CUDA rasteriser, "kaolin-nvdiffrast" the one it
        borrows from nvdiffrast.
    cull_backfaces : bool
        Leave out triangles that are clockwise in the picture.

    Returns
    -------
    Fragments
        Gradients reach `attributes` and x, y, w of `clip_vertices` by way of the barycentric coordinates, continued
        beyond the triangle's border as if the surface were locally planar; none reach z and none go through the ids
        (paper 3.2.1). On the CPU the same input gives the same bytes, forward and backward, at any number of threads;
        a GPU adds gradients in no fixed order.

    Raises
    ------
    ValueError
        Shapes, types or indices do not fit.
    StudyError
        The backend is unknown or not installed, or the installed `kaolin` is the empty placeholder.
    """
    _check(clip_vertices, triangles, attributes, height, width)
    backend = _choose(backend, clip_vertices.device)
    return Fragments(*BACKENDS[backend](clip_vertices, triangles, attributes, height, width, cull_backfaces))


def _rasterize_on_cpu(clip_vertices, triangles, attributes, height, width, cull_backfaces):
    ids, image = RasterizeOnCpu.apply(
        clip_vertices.cpu().contiguous(),
        checked_triangles(triangles, clip_vertices.shape[1]),
        attributes.cpu().contiguous(),
        height,
        width,
        cull_backfaces,
    )
    return ids.to(clip_vertices.device), image.to(clip_vertices.device)


BACKENDS = {
    "cpu": _rasterize_on_cpu,
    "kaolin": partial(rasterize_with_kaolin, backend="cuda"),
    "kaolin-nvdiffrast": partial(rasterize_with_kaolin, backend="nvdiffrast"),
}
"""Callables with the parameters of `rasterize` before `backend`, and `cull_backfaces`, that return triangle ids and
attributes as `Fragments` has them."""


def _choose(backend, device):
    if backend == "auto":
        if device.type == "cuda" and kaolin_is_installed():
            return "kaolin"
        if device.type == "cuda":
            # Python shows a warning once for each place that it comes from
            warnings.warn(f"Kaolin is not installed: CUDA tensors are rendered on the CPU. {REMEDY}", stacklevel=1)
        return "cpu"
    if backend not in BACKENDS:
        raise StudyError(f"rasteriser backend {backend!r} is unknown: choose one of auto, {', '.join(BACKENDS)}")
    return backend


def _check(clip_vertices, triangles, attributes, height, width):
    if clip_vertices.ndim != 3 or clip_vertices.shape[2] != 4 or clip_vertices.shape[0] == 0:
        raise ValueError(f"clip_vertices must be (B, N, 4) with B > 0, not {tuple(clip_vertices.shape)}")
    if attributes.ndim != 3 or attributes.shape[1] != clip_vertices.shape[1] or attributes.shape[2] == 0:
        raise ValueError(f"attributes must be (A, {clip_vertices.shape[1]}, C), not {tuple(attributes.shape)}")
    if attributes.shape[0] == 0 or clip_vertices.shape[0] % attributes.shape[0]:
        raise ValueError(
            f"{clip_vertices.shape[0]} pictures cannot share {attributes.shape[0]} sets of attributes evenly"
        )
    for name, tensor in (("clip_vertices", clip_vertices), ("attributes", attributes)):
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} must be float32, not {tensor.dtype}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be integers (T, 3), not {triangles.dtype} {tuple(triangles.shape)}")
    if height < 1 or width < 1:
        raise ValueError(f"the picture must have at least one pixel, not {height} x {width}")
