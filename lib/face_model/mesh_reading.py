"""Faces and scans from mesh files of any format that trimesh knows."""

import json
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import uv_to_color

from lib.core.errors import StudyError
from lib.core.files import printable
from lib.core.pictures import decode_srgb, encode_srgb

GREY = 0.6  # sRGB of what has no colours
GLTF = (".glb", ".gltf")
BYTE, FLOAT = 5121, 5126  # of glTF's types of numbers
TRIMESH_DEFAULT = 102  # grey that trimesh writes beside a texture, by which glTF would have it multiplied
PLY_COLOURS = [[f"{prefix}{name}" for name in ("red", "green", "blue")] for prefix in ("", "diffuse_")] + [[*"rgb"]]


@dataclass(frozen=True)
class Mesh:
    """A face or scan: vertices (N, 3), triangles (T, 3).

    What is read of a file has its unit, and as `albedo` (N, 3), sRGB in [0, 1], the colours of vertices, of the texture
    there, or `GREY`; None: not asked for.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    albedo: np.ndarray | None = None


def read_mesh(path, with_colours=False, in_order=False):
    """Read a mesh file of any format that trimesh knows: `Mesh`.

    Vertices that differ in texture or normals alone become one: a seam of a texture, or of flat shading, is no border.
    If `in_order`, they stay as they are in the file, but triangles use the first of those at one place. So they do
    `with_colours`: of vertices (which glTF keeps in linear light), or of the texture there. StudyError: the file is
    missing, damaged or no mesh, lacks triangles or vertices, holds numbers that are not finite or colours out of range,
    or names a texture that cannot be used.
    """
    path = Path(path)
    try:
        is_obj = path.suffix.lower() == ".obj"
        parts = [_read_obj(path, with_colours)] if is_obj else _read_parts(path, with_colours)
        vertices, triangles, albedo = _joined(parts)
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
        _beside(path, name)
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
                raise ValueError(f"{name} has numbers of a type that is not read: save it as PLY or another format")
    materials = [getattr(getattr(part, "visual", None), "material", None) for part in scene.geometry.values()]
    if "baseColorTexture" in str(tree.get("materials")) and not any(map(_picture, materials)):
        raise ValueError("its texture is damaged, or of a kind that is not read")


def _read_obj(path, with_colours):
    """Vertices (N, 3), triangles (T, 3) and sRGB colours (N, 3; None: not asked for) of a Wavefront OBJ file."""
    # not by trimesh, which mixes vertices up where there are seams, or several materials
    rows, coordinates, triangles, libraries = [], [], [], []
    painted = defaultdict(dict)  # by material the texture coordinates of its vertices
    corners = painted[""]
    for line in _obj_lines(path):
        kind, rest = (*line.split(None, 1), "", "")[:2]
        if kind == "v":
            rows.append(rest.partition("#")[0].split())
        elif kind == "vt":
            coordinates.append(rest.split()[:2])
        elif kind == "f":
            polygon = [corner.split("/") for corner in rest.partition("#")[0].split()]
            first, *others = vertices = [_index(corner[0], len(rows)) for corner in polygon]
            triangles += [(first, *pair) for pair in zip(others, others[1:])]
            places = [_index(c[1], len(coordinates)) if c[1:] and c[1] else None for c in polygon]
            corners.update(zip(vertices, places))
        elif kind == "usemtl":
            corners = painted[rest.strip()]
        elif kind == "mtllib":
            libraries.append(rest.strip())
    if any(len(row) < 3 for row in rows):
        raise ValueError("a vertex has less than three numbers")
    vertices = np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)
    triangles = np.array(triangles, np.int64).reshape(-1, 3)
    colours = _colours_of_obj(path, rows, painted, coordinates, libraries) if with_colours else None
    return vertices, triangles, colours


def _beside(path, name, line=None):
    """The place of a file that a line of another one names; StudyError where it is not there."""
    if not (path.parent / name).is_file():
        raise StudyError(
            f"{path} names {printable(line or name)!r}, which is not there: put that file beside it, under a name "
            "without folders or options, or take the line that names it away"
        )
    return path.parent / name


def _obj_lines(path):
    return path.read_text("utf-8-sig", "surrogateescape").replace("\\\n", " ").split("\n")


def _index(text, count):
    """A number from 0; in the file they count from 1, or backwards from the last one before."""
    number = int(text)
    if number == 0 or number < -count:
        raise ValueError(f"there is no vertex {text}")
    return number - 1 if number > 0 else count + number


def _colours_of_obj(path, rows, painted, coordinates, libraries):
    """Colours of textures, or else of the vertices themselves, or else of materials."""
    own = [row[3:6] for row in rows if len(row) > 5]
    if own and len(own) < len(rows):
        raise ValueError(f"{len(own)} of {len(rows)} vertices have colours")
    albedo = np.array(own, np.float64) if own else np.full((len(rows), 3), GREY)
    materials = _materials(path, libraries) if painted.keys() != {""} or not own else {}
    for name, corners in painted.items():
        known = materials.get(name, {})
        vertices = list(corners)
        if "map_kd" in known:
            albedo[vertices] = _of_texture(path, known["map_kd"], coordinates, corners.values())
        elif corners and not own and name not in materials and (name or any("map_kd" in m for m in materials.values())):
            raise ValueError(
                f"its triangles have the material {printable(name)!r} (usemtl), which mtllib names no file of"
            )
        elif "kd" in known and not own:
            albedo[vertices] = np.array(known["kd"].split(), np.float64)
    return albedo


def _materials(path, libraries):
    """What each material names: `map_kd`, a picture, and `kd`, its colour."""
    materials = {}
    for library in libraries:
        for name in [library] if (path.parent / library).is_file() else library.split():
            material = {}
            for line in _obj_lines(_beside(path, name, library)):
                kind, rest = (*line.split(None, 1), "", "")[:2]
                if kind == "newmtl":
                    material = materials.setdefault(rest.strip(), {})
                else:
                    material[kind.lower()] = rest.strip()
    return materials


def _of_texture(path, name, coordinates, places):
    picture = _beside(path, name)
    if None in places:
        raise ValueError(f"triangles of the texture {printable(name)!r} have no texture coordinates")
    places = np.array([coordinates[place] for place in places], np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise ValueError("its texture coordinates are not finite numbers")
    with Image.open(picture) as image:
        return uv_to_color(places, image)[:, :3] / 255
