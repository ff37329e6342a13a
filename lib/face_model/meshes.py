"""Faces and scans as mesh files: written with vertex colours, read from any format that trimesh knows."""

import functools
from dataclasses import dataclass

import numpy as np
import orjson
import trimesh
from trimesh.visual.color import to_rgba

from lib.core.errors import StudyError
from lib.core.files import write_atomically
from lib.core.pictures import decode_srgb, encode_srgb, to_uint8

FORMATS = ("glb", "ply", "obj")
MM_TO_M = 0.001
SKIN = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.7}}
"""glTF's material for the face: a mesh without one is drawn as bare metal, and in Blender without its colours."""

GREY = 0.6
"""sRGB of a mesh without colours."""


@dataclass(frozen=True)
class Mesh:
    """A face or scan as its file has it.

    Attributes
    ----------
    vertices : ndarray (N, 3)
        In the file's unit.
    triangles : ndarray (T, 3)
    albedo : ndarray (N, 3) or None
        sRGB in [0, 1]: the colours of the vertices, or of the texture there, or `GREY`; None where they were not asked
        for.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    albedo: np.ndarray | None = None


def save_mesh(path, vertices, albedo, triangles):
    """Write one face; the ending of the path chooses the format.

    Parameters
    ----------
    path : Path
        ``.glb``: in metres and linear sRGB, by glTF 2.0 (+y up, +z forward: the model frame). ``.ply`` (binary)
        and ``.obj``: in millimetres, colours in sRGB.
    vertices : ndarray (N, 3)
        Model frame, mm.
    albedo : ndarray (N, 3)
        sRGB in [0, 1].
    triangles : ndarray (T, 3), integer

    Raises
    ------
    StudyError
        The ending is none of `FORMATS`.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise StudyError(f"{path}: there is no mesh format {kind!r}; choose one of {', '.join(FORMATS)}")
    if kind == "obj":
        content = _obj(vertices, albedo, triangles)
    elif kind == "ply":
        content = _mesh(vertices, albedo, triangles).export(file_type="ply")
    else:
        mesh = _mesh(vertices * MM_TO_M, decode_srgb(albedo), triangles)
        content = mesh.export(file_type="glb", tree_postprocessor=_add_material)
    write_atomically(path, lambda part: part.write_bytes(content))


def _mesh(vertices, colours, triangles):
    # process=False: the order of the vertices is the model's, and stays it
    return trimesh.Trimesh(vertices.astype(np.float32), triangles, vertex_colors=to_uint8(colours), process=False)


def _add_material(tree):
    tree["materials"] = [SKIN]
    tree["meshes"][0]["primitives"][0]["material"] = 0


def _obj(vertices, albedo, triangles):
    """Write vertex colours behind the position, as most programs read them; trimesh takes fifty times as long."""
    rows = np.hstack([vertices, albedo]).astype(np.float64).round(4)
    # [[x,y,...],[...]] with JSON's fast printer of numbers, then other brackets
    text = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].replace(b"],[", b"\nv ").replace(b",", b" ")
    return b"v " + text + b"\n" + _obj_faces(triangles.tobytes())


@functools.lru_cache(maxsize=1)
def _obj_faces(content):
    """All faces of one model have the same triangles."""
    corners = np.frombuffer(content, np.int64) + 1
    return ("f %d %d %d\n" * (len(corners) // 3) % tuple(corners.tolist())).encode()


def read_mesh(path, with_colours=False):
    """Read a mesh file of any format that trimesh knows.

    Parameters
    ----------
    path : path-like
    with_colours : bool
        Read vertex colours (which glTF keeps in linear light) or the texture at the vertices too. Vertices then stay
        as they are in the file; otherwise those that differ in their texture coordinates or normals alone become one,
        since a seam of a texture is no border.

    Raises
    ------
    StudyError
        The file is missing, damaged or no mesh, or has no triangles.
    """
    try:
        mesh = trimesh.load_mesh(path, process=False, maintain_order=with_colours, skip_materials=not with_colours)
    except Exception as error:  # readers of damaged files raise nearly anything
        raise StudyError(f"{path} cannot be read as a mesh: {error}") from None
    if not len(getattr(mesh, "faces", ())):
        raise StudyError(f"{path} holds no triangles")
    if not with_colours:
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    albedo = _read_albedo(mesh, str(path)) if with_colours else None
    return Mesh(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64), albedo)


def _read_albedo(mesh, path):
    kind = mesh.visual.kind
    if kind == "texture" and getattr(mesh.visual, "uv", None) is not None and _has_image(mesh.visual.material):
        return np.asarray(mesh.visual.to_color().vertex_colors[:, :3]) / 255
    glb = path.lower().endswith(".glb")
    colours = None
    if kind in ("vertex", "face"):
        colours = mesh.visual.vertex_colors
    elif glb:
        colours = _beside_a_material(path)
    if colours is None:
        return np.full((len(mesh.vertices), 3), GREY)
    colours = np.asarray(colours)[:, :3] / 255
    return encode_srgb(colours) if glb else colours


def _beside_a_material(path):
    """Vertex colours (N, 4), uint8, of a glTF file's only mesh, or None: trimesh drops them where it has a material."""
    meshes = list(trimesh.load_scene(path, process=False, maintain_order=True).geometry.values())
    colours = getattr(meshes[0].visual, "vertex_attributes", {}).get("color") if len(meshes) == 1 else None
    return None if colours is None else to_rgba(colours)


def _has_image(material):
    return any(getattr(material, name, None) is not None for name in ("image", "baseColorTexture"))
