"""Faces and scans from mesh files of any format that trimesh knows."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from trimesh.visual.color import to_rgba

from lib.core.errors import StudyError
from lib.core.pictures import encode_srgb

GREY = 0.6  # sRGB of a mesh without colours


@dataclass(frozen=True)
class Mesh:
    """A face or scan as its file has it: vertices (N, 3) in the file's unit, triangles (T, 3).

    `albedo` (N, 3), sRGB in [0, 1], are colours of vertices, of the texture there, or `GREY`; None: not asked for.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    albedo: np.ndarray | None = None


def read_mesh(path, with_colours=False, in_order=False):
    """Read a mesh file of any format that trimesh knows: `Mesh`.

    Parameters
    ----------
    path : path-like
    with_colours : bool
        Read vertex colours (which glTF keeps in linear light) or the texture at the vertices too, and in order.
    in_order : bool
        Vertices stay as they are in the file, but triangles use the first of those at one place; otherwise those that
        differ in texture or normals alone become one: a seam of a texture, or of flat shading, is no border.

    Raises
    ------
    StudyError
        The file is missing, damaged or no mesh, lacks triangles or vertices, holds numbers that are not finite or
        colours out of range, or names a texture that cannot be used.
    """
    in_order = in_order or with_colours
    try:
        mesh = trimesh.load_mesh(path, process=False, maintain_order=in_order, skip_materials=not with_colours)
    except Exception as error:  # readers of damaged files raise nearly anything
        raise StudyError(f"{path} cannot be read as a mesh: {error}") from None
    if not len(getattr(mesh, "faces", ())):
        raise StudyError(f"{path} holds no triangles")
    vertices, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if not np.isfinite(vertices).all():
        raise StudyError(f"{path}: {(~np.isfinite(vertices)).any(1).sum()} of its vertices are not finite numbers")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise StudyError(f"{path}: triangles of vertices up to {triangles.max()}, but it has {len(vertices)}")
    if in_order:
        _, first, which = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
        try:
            albedo = _read_albedo(mesh, Path(path)) if with_colours else None
        except StudyError:
            raise
        except Exception as error:
            raise StudyError(f"{path}: its colours cannot be read: {error}") from None
        return Mesh(vertices, first[which.ravel()][triangles], albedo)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return Mesh(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))


def _read_albedo(mesh, path):
    kind = mesh.visual.kind
    _check_colours(mesh, path)
    if kind == "texture" and getattr(mesh.visual, "uv", None) is not None and _has_image(mesh.visual.material):
        split, rows = mesh, slice(None)
        if path.suffix.lower() == ".obj":  # keeping their order, trimesh gives vertices on seams any coordinates
            split = trimesh.load_mesh(path, process=False)
            rows = cKDTree(split.vertices).query(mesh.vertices)[1]
        return np.asarray(split.visual.to_color().vertex_colors[rows, :3]) / 255
    glb = path.suffix.lower() == ".glb"
    colours = None
    if kind in ("vertex", "face"):
        colours = mesh.visual.vertex_colors
    elif glb:
        colours = _beside_a_material(path)
    if colours is None and "color" in mesh.vertex_attributes:  # texture coordinates without a texture
        colours = to_rgba(mesh.vertex_attributes["color"])
    if colours is None:
        colours = _colour_of_material(getattr(mesh.visual, "material", None), len(mesh.vertices))
    if colours is None:
        return np.full((len(mesh.vertices), 3), GREY)
    colours = np.asarray(colours)[:, :3] / 255
    return encode_srgb(colours) if glb else colours


def _beside_a_material(path):
    """Vertex colours (N, 4), uint8, of a glTF file's only mesh, or None: trimesh drops them where it has a material."""
    meshes = list(trimesh.load_scene(path, process=False, maintain_order=True).geometry.values())
    colours = getattr(meshes[0].visual, "vertex_attributes", {}).get("color") if len(meshes) == 1 else None
    return None if colours is None else to_rgba(colours)


def _colour_of_material(material, count):
    """The one colour (N, 4), uint8, of a material that names one, or None."""
    named = "kd" in (getattr(material, "kwargs", None) or {})
    colour = material.diffuse if named else getattr(material, "baseColorFactor", None)
    return None if colour is None else np.tile(to_rgba(colour), (count, 1))


def _check_colours(mesh, path):
    """Raise StudyError for colours that trimesh would cut off at 1, and for textures that it would leave out."""
    largest, missing = 0, None
    if path.suffix.lower() == ".obj":
        lines = [line.split(None, 1) for line in path.read_text(errors="replace").splitlines()]
        rows = [line[1].split() for line in lines if len(line) > 1 and line[0] == "v"]
        largest = max((float(value) for row in rows for value in row[3:6] if len(row) > 5), default=0)
        missing = next(
            (_missing(path.parent, line[1].strip()) for line in lines if line[:1] == ["mtllib"] and line[1:]), None
        )
    elif path.suffix.lower() == ".ply":
        columns = mesh.metadata.get("_ply_raw", {}).get("vertex", {}).get("data", {})
        floats = [
            columns[name]
            for name in ("red", "green", "blue")
            if isinstance(columns, dict) and name in columns and columns[name].dtype.kind == "f"
        ]
        largest = max((values.max() for values in floats), default=0)
        head = re.match(rb".*?end_header", path.read_bytes()[:100_000], re.DOTALL)
        texture = re.search(rb"comment TextureFile (.+?)\s*\n", head[0] if head else b"")
        missing = _missing(path.parent, texture[1].decode(errors="replace")) if texture else None
    if largest > 1:
        raise StudyError(f"{path}: its colours run to {largest:g}, expected numbers from 0 to 1")
    if missing and mesh.visual.kind == "texture":
        raise StudyError(
            f"{path} names {missing!r}, which is not there: put that file beside it, under a name without folders or "
            "options, or take the line that names it away"
        )


def _missing(folder, name):
    """`name` itself where there is no such file, or what a material file of that name names and is not there."""
    if not (folder / name).is_file():
        return name
    if not name.lower().endswith(".mtl"):
        return None
    lines = [line.split(None, 1) for line in (folder / name).read_text(errors="replace").splitlines()]
    maps = [line[1].strip() for line in lines if len(line) > 1 and line[0].lower() == "map_kd"]
    return next((file for file in maps if not (folder / name).parent.joinpath(file).is_file()), None)


def _has_image(material):
    images = [getattr(material, name, None) for name in ("image", "baseColorTexture")]
    # trimesh makes one of 2 x 2 pixels where a file has texture coordinates alone
    return any(image is not None and (image.format or image.size != (2, 2)) for image in images)
