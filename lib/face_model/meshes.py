"""Faces as mesh files with vertex colours, for Blender, browsers and other programs."""

import functools

import numpy as np
import orjson
import trimesh

from lib.core.errors import StudyError
from lib.core.files import write_atomically

FORMATS = ("glb", "ply", "obj")
MM_TO_M = 0.001
SKIN = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.7}}
"""glTF's material for the face: a mesh without one is drawn as bare metal, and in Blender without its colours."""


def save_mesh(path, vertices, albedo, triangles):
    """Write one face; the ending of the path chooses the format.

    Parameters
    ----------
    path : Path
        ``.glb``: in metres and linear sRGB, as glTF 2.0 wants (+y up, +z forward: the model frame). ``.ply`` (binary)
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
        mesh = _mesh(vertices * MM_TO_M, linear_from_srgb(albedo), triangles)
        content = mesh.export(file_type="glb", tree_postprocessor=_add_material)
    write_atomically(path, lambda part: part.write_bytes(content))


def linear_from_srgb(colours):
    """Undo the sRGB transfer function (IEC 61966-2-1), [0, 1] to [0, 1]."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _mesh(vertices, colours, triangles):
    # process=False: the order of the vertices is the model's, and stays it
    bytes_ = (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)
    return trimesh.Trimesh(vertices.astype(np.float32), triangles, vertex_colors=bytes_, process=False)


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
