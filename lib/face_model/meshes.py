"""Faces as mesh files, with colours and textures. What reads meshes, `mesh_reading.py`, takes a second to import."""

import functools

import numpy as np
import orjson
import torch

from lib.core.errors import StudyError
from lib.core.files import HEAD_BYTES, MADE_HERE, printable, write_atomically
from lib.core.pictures import decode_srgb, to_uint8
from lib.face_model.gltf import pack_glb
from lib.rendering.vertices import vertex_normals

FORMATS = ("glb", "ply", "obj")
MM_TO_M = 0.001


def save_mesh(path, vertices, albedo, triangles, texture=None):
    """Write one face: vertices (N, 3) in mm, in the model frame, albedo (N, 3), sRGB in [0, 1], and triangles (T, 3).

    The ending of the path chooses the format, of `FORMATS` (else StudyError). ``.glb``: in metres and linear sRGB, by
    glTF 2.0 (+y up, +z forward: the model frame), with the `Texture`, or with the colours of the vertices where there
    is none. ``.ply`` (binary) and ``.obj``: in millimetres, colours in sRGB; with a texture ``.obj`` gets its material
    and picture too: `files_of`.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise StudyError(f"{path}: there is no mesh format {kind!r}; choose one of {', '.join(FORMATS)}")
    _, material, picture = files_of(path.with_suffix(".obj"))
    if kind == "ply":
        contents = {path: _ply(vertices, albedo, triangles)}
    elif kind == "glb":
        contents = {path: face_glb(vertices, albedo, triangles, texture)}
    elif texture is None:
        contents = {path: _obj(vertices, albedo, triangles)}
    else:
        place = printable(picture.relative_to(path.parent))
        text = f"# {MADE_HERE}\nnewmtl skin\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {place}\n"
        head = f"mtllib {printable(material.name)}\nusemtl skin\n"
        contents = {picture: texture.png, material: text.encode()}
        contents[path] = _obj(vertices, albedo, triangles, texture.atlas, head)
    for place, content in contents.items():
        assert MADE_HERE.encode() in content[:HEAD_BYTES]
        write_atomically(place, lambda part, content=content: part.write_bytes(content))


def files_of(path):
    """The files that `save_mesh` may write: for ``.obj`` its material and ``textures/NAME.png`` too."""
    others = [path.with_suffix(".mtl"), path.parent / "textures" / f"{path.stem}.png"]
    return [path, *(others if path.suffix == ".obj" else [])]


def face_glb(vertices, albedo, triangles, texture=None, generator=MADE_HERE, modes=None, extras=None):
    """Pack one face as binary glTF: `save_mesh`, and with `modes` morph targets: bytes.

    `modes` has for each name of a morph target displacements (N, 3) in mm at its weight 1; the rest as `pack_glb`.
    """
    modes, taken = modes or {}, texture.atlas.vertices if texture else slice(None)
    shapes = np.stack([vertices, *(vertices + moved for moved in modes.values())]).astype(np.float32)
    normals = vertex_normals(torch.from_numpy(shapes), torch.from_numpy(triangles)).numpy()
    arrays = dict(POSITION=vertices[taken] * MM_TO_M, NORMAL=normals[0, taken])
    targets = {
        name: dict(POSITION=moved[taken] * MM_TO_M, NORMAL=(normal - normals[0])[taken])
        for (name, moved), normal in zip(modes.items(), normals[1:], strict=True)
    }
    if texture is None:
        arrays["COLOR_0"] = to_uint8(np.hstack([decode_srgb(albedo), np.ones((len(albedo), 1))]))
        return pack_glb(arrays, triangles, generator, None, targets, extras)
    arrays["TEXCOORD_0"] = texture.atlas.coordinates * [1, -1] + [0, 1]
    return pack_glb(arrays, texture.atlas.triangles, generator, texture.png, targets, extras)


def _ply(vertices, albedo, triangles):
    colours = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue", "alpha"))
    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment {MADE_HERE}\nelement vertex {len(vertices)}\n"
        f"property float x\nproperty float y\nproperty float z\n{colours}element face {len(triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    points = np.full(len(vertices), 255, [("place", "<f4", 3), ("colour", "u1", 3), ("alpha", "u1")])
    points["place"], points["colour"] = vertices, to_uint8(albedo)
    faces = np.full(len(triangles), 3, [("count", "u1"), ("corners", "<i4", 3)])
    faces["corners"] = triangles
    return head.encode() + points.tobytes() + faces.tobytes()


def _obj(vertices, albedo, triangles, atlas=None, head=""):
    """Write vertex colours behind the position, as most programs read them; trimesh takes fifty times as long."""
    places = b"" if atlas is None else _obj_lines("vt", atlas.coordinates)
    corners = triangles.tobytes(), b"" if atlas is None else atlas.triangles.tobytes()
    lines = _obj_lines("v", np.hstack([vertices, albedo]))
    return b"".join([f"# {MADE_HERE}\n{head}".encode(), lines, places, _obj_faces(*corners)])


def _obj_lines(kind, rows):
    # [[x,y,...],[...]] with JSON's fast printer of numbers, then other brackets
    text = _json(rows.astype(np.float64).round(4))[2:-2]
    return f"{kind} ".encode() + text.replace(b"],[", f"\n{kind} ".encode()).replace(b",", b" ") + b"\n"


def _json(numbers):
    return orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)


@functools.lru_cache(maxsize=1)
def _obj_faces(triangles, textured):
    """All faces of one model have the same triangles."""
    corners = [np.frombuffer(content, np.int64).reshape(-1, 3) + 1 for content in (triangles, textured) if content]
    text = _json(np.stack(corners, 2))[3:-3]  # [[[a,a],[b,b],[c,c]],...]
    return b"f " + text.replace(b"]],[[", b"\nf ").replace(b"],[", b" ").replace(b",", b"/") + b"\n"
