"""Binary glTF 2.0 (``.glb``): one mesh with colours or a texture, and with morph targets."""

import json
import struct

import numpy as np

COMPONENTS = {"float32": 5126, "uint32": 5125, "uint8": 5121}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
FOR_VERTICES, FOR_TRIANGLES = 34962, 34963
LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071
SKIN = {"metallicFactor": 0, "roughnessFactor": 0.7}
"""glTF's material for the face: a mesh without one is drawn as bare metal, and in Blender without its colours."""


def pack_glb(attributes, triangles, generator, png=None, targets=None, extras=None):
    """Pack one mesh: bytes.

    `attributes` are arrays (W, C) by glTF's names: POSITION (metres), NORMAL, TEXCOORD_0 (v downwards), COLOR_0 (uint8
    (W, 4), linear); `png` is the picture that TEXCOORD_0 belongs to. `targets` has for each name of a morph target the
    differences of POSITION and NORMAL at its weight 1. `generator`, what made the file, stands within its first bytes;
    `extras` is more for programs that read it (in three.js `userData`, in Blender custom properties).
    """
    views, accessors, content = [], [], bytearray()

    def view(values, **more):
        content.extend(bytes(-len(content) % 4))
        views.append(dict(buffer=0, byteOffset=len(content), byteLength=len(values), **more))
        content.extend(values)
        return len(views) - 1

    def accessor(values, target=FOR_VERTICES, **more):
        values = np.ascontiguousarray(values, None if values.dtype.name in COMPONENTS else np.float32)
        kind = dict(componentType=COMPONENTS[values.dtype.name], type=KINDS[values.shape[1]], count=len(values))
        accessors.append(dict(bufferView=view(values.tobytes(), target=target), **kind, **more))
        return len(accessors) - 1

    def attribute(name, values):
        bounds = values.astype(np.float32) if name == "POSITION" else None
        more = {} if bounds is None else dict(min=bounds.min(0).tolist(), max=bounds.max(0).tolist())
        return accessor(values, **more, **(dict(normalized=True) if name == "COLOR_0" else {}))

    def all_of(arrays):
        return {name: attribute(name, values) for name, values in arrays.items()}

    primitive = dict(attributes=all_of(attributes), material=0)
    primitive["indices"] = accessor(triangles.astype(np.uint32).reshape(-1, 1), FOR_TRIANGLES)
    mesh, material = dict(name="face", primitives=[primitive]), dict(name="skin", pbrMetallicRoughness=dict(SKIN))
    if targets:
        primitive["targets"] = [all_of(arrays) for arrays in targets.values()]
        # where programs look for the names of morph targets
        extras = dict(targetNames=list(targets)) | (extras or {})
    tree = dict(asset=dict(version="2.0", generator=generator), scene=0, scenes=[dict(nodes=[0])])
    tree |= dict(nodes=[dict(name="face", mesh=0)], meshes=[mesh], materials=[material])
    if extras:
        mesh["extras"] = extras
    if png is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = dict(index=0)
        tree["images"] = [dict(bufferView=view(png), mimeType="image/png")]
        tree["samplers"] = [dict(magFilter=LINEAR, minFilter=MIPMAPS, wrapS=CLAMP, wrapT=CLAMP)]
        tree["textures"] = [dict(source=0, sampler=0)]
    content.extend(bytes(-len(content) % 4))
    tree |= dict(accessors=accessors, bufferViews=views, buffers=[dict(byteLength=len(content))])
    head = json.dumps(tree, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    size = 12 + 8 + len(head) + 8 + len(content)
    chunks = struct.pack("<I4s", len(head), b"JSON"), head, struct.pack("<I4s", len(content), b"BIN\0"), content
    return b"".join([struct.pack("<4sII", b"glTF", 2, size), *chunks])
