"""Faces and scans from mesh files of any format that trimesh knows."""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from trimesh.visual.color import uv_to_color

from lib.core.errors import StudyError
from lib.core.pictures import decode_srgb, encode_srgb
from lib.face_model.obj import GREY, missing, read_obj

GLTF = (".glb", ".gltf")
BYTE, FLOAT = 5121, 5126  # of glTF's types of numbers
TRIMESH_DEFAULT = 102  # grey that trimesh writes beside a texture, by which glTF would have it multiplied
PLY_COLOURS = [[f"{prefix}{name}" for name in ("red", "green", "blue")] for prefix in ("", "diffuse_")] + [[*"rgb"]]


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
    path = Path(path)
    try:
        read = _read_parts if path.suffix.lower() != ".obj" else lambda *of: [read_obj(*of)]
        vertices, triangles, albedo = _joined(read(path, with_colours))
    except StudyError:
        raise
    except Exception as error:  # readers of damaged files raise nearly anything
        raise StudyError(f"{path} cannot be read as a mesh: {error}") from None
    if not len(triangles):
        raise StudyError(f"{path} holds no triangles")
    if not np.isfinite(vertices).all():
        raise StudyError(f"{path}: {(~np.isfinite(vertices)).any(1).sum()} of its vertices are not finite numbers")
    if with_colours and not (albedo.min() >= 0 and albedo.max() <= 1):
        largest = albedo.flat[np.abs(albedo - 0.5).argmax()]
        raise StudyError(f"{path}: its colours run to {largest:g}, expected numbers from 0 to 1")
    _, first, which = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    triangles = first[which.ravel()][triangles]
    if in_order or with_colours:
        return Mesh(vertices, triangles, albedo)
    used, triangles = np.unique(triangles, return_inverse=True)
    return Mesh(vertices[used], triangles.reshape(-1, 3))


def _joined(parts):
    """One mesh of several: vertices, triangles and colours."""
    vertices, triangles, colours = zip((np.empty((0, 3)), np.empty((0, 3), np.int64), None), *parts)
    counts = np.array([len(part) for part in vertices])
    for part, count in zip(triangles, counts):
        if len(part) and not 0 <= part.min() <= part.max() < count:
            raise ValueError(f"triangles of vertices up to {part.max()}, but it has {count}")
    triangles = [part + start for part, start in zip(triangles, counts.cumsum() - counts)]
    albedo = None if colours[-1] is None else np.concatenate(colours[1:])
    return np.concatenate(vertices), np.concatenate(triangles), albedo


def _read_parts(path, with_colours):
    """Yield vertices, triangles and colours of the meshes in a file that trimesh reads, each where its scene has it."""
    suffix = path.suffix.lower()
    options = dict(fix_texture=False) if suffix == ".ply" else {}  # else vertices change their order
    scene = trimesh.load_scene(path, process=False, skip_materials=not with_colours, **options)
    if with_colours and suffix in GLTF:
        _check_gltf(path, scene)
    for node in scene.graph.nodes_geometry:
        place, name = scene.graph[node]
        part = scene.geometry[name]
        if isinstance(part, trimesh.Trimesh):
            triangles = np.array(part.faces, np.int64)[:, :: 1 if np.linalg.det(place) > 0 else -1]
            vertices = trimesh.transform_points(part.vertices, place)
            yield vertices, triangles, _colours(part, path) if with_colours else None


def _colours(part, path):
    """sRGB of a part's vertices: what glTF multiplies, or else that of a texture, or else their own."""
    visual, suffix = part.visual, path.suffix.lower()
    material = getattr(visual, "material", None)
    picture = _picture(material) if material and visual.uv is not None else None
    painted = None if picture is None else uv_to_color(visual.uv, picture)[:, :3] / 255
    own = _colours_of_ply(part) if suffix == ".ply" else getattr(visual, "vertex_attributes", {}).get("color")
    if own is None and visual.kind in ("vertex", "face"):
        own = visual.vertex_colors
    own = own if own is None or own.dtype.kind == "f" else own / 255
    if suffix == ".ply" and painted is None and own is None:
        _check_texture(path)
    if suffix in GLTF:
        factor = getattr(material, "baseColorFactor", None)
        if painted is not None and factor is not None and (factor[:3] == TRIMESH_DEFAULT).all():
            factor = None
        linear = [None if painted is None else decode_srgb(painted), own, None if factor is None else factor / 255]
        linear = [values[..., :3] for values in linear if values is not None]
        painted = encode_srgb(math.prod(linear, start=np.ones(part.vertices.shape))) if linear else None
    found = own if painted is None else painted
    return np.full(part.vertices.shape, GREY) if found is None else found[:, :3]


def _picture(material):
    """A material's picture; trimesh makes one of 2 x 2 pixels where a file has texture coordinates alone."""
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return image if image and (image.format or image.size != (2, 2)) else None


def _colours_of_ply(part):
    """Colours of the vertices in [0, 1], unless they are out of range, under any of their usual names; or None."""
    columns = part.metadata["_ply_raw"]["vertex"]["data"]
    for names in PLY_COLOURS:
        if set(names) <= set(columns if isinstance(columns, dict) else columns.dtype.names):
            colours = np.column_stack([columns[name] for name in names])
            wide = colours.dtype.itemsize == 2 and colours.max() > 255
            return colours if colours.dtype.kind == "f" else colours / (65535 if wide else 255)
    return None


def _check_texture(path):
    """Raise an error where a PLY file names a texture: it was not used."""
    head = re.match(rb".*?end_header", path.read_bytes()[:100_000], re.DOTALL)
    texture = re.search(rb"comment TextureFile (.+?)\s*\n", head[0] if head else b"")
    if texture:
        name = os.fsdecode(texture[1])
        if not (path.parent / name).is_file():
            raise missing(path, name)
        raise ValueError(f"its texture {name!r} is damaged, or it has no texture coordinates")


def _check_gltf(path, scene):
    """Raise ValueError for what trimesh leaves out, or takes for something else: pictures, numbers as fractions."""
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + size] if content[:4] == b"glTF" else content)
    for primitive in (primitive for mesh in tree.get("meshes", []) for primitive in mesh["primitives"]):
        for name, kinds in (("COLOR_0", (BYTE, FLOAT)), ("TEXCOORD_0", (FLOAT,))):
            number = primitive["attributes"].get(name)
            if number is not None and tree["accessors"][number]["componentType"] not in kinds:
                raise ValueError(
                    f"{name} has numbers of a type that is not read: save it in another format, such as PLY"
                )
    materials = [getattr(getattr(part, "visual", None), "material", None) for part in scene.geometry.values()]
    if "baseColorTexture" in str(tree.get("materials")) and not any(map(_picture, materials)):
        raise ValueError("its texture is damaged, or of a kind that is not read")
