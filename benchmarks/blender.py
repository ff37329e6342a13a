"""What Blender sees in mesh files; exit code 1 where one has no texture that it would draw (docs/faces.md).

    BLENDER_PYTHON benchmarks/blender.py FILE.glb FILE.obj ...

It runs in an environment that has the package bpy, which is Blender, and nothing of the study. For each file: vertices
and triangles as Blender has them, size in Blender's units, range of the texture coordinates, the picture behind the
material's base colour, and the shape keys (glTF's morph targets).
"""

import sys

import bpy


def look_at(path):
    """Import one file into an empty scene: facts of its only mesh, dict."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    importer = bpy.ops.import_scene.gltf if path.endswith(".glb") else bpy.ops.wm.obj_import
    importer(filepath=path)
    (face,) = (each for each in bpy.data.objects if each.type == "MESH")
    mesh, (material,) = face.data, face.data.materials
    places = [tuple(each.uv) for layer in mesh.uv_layers for each in layer.data]
    (shader,) = (node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    nodes = [link.from_node for link in shader.inputs["Base Color"].links]
    pictures = [node.image for node in nodes if node.type == "TEX_IMAGE"]
    return dict(
        vertices=len(mesh.vertices),
        triangles=len(mesh.polygons),
        size=[round(side, 3) for side in face.dimensions],
        uv=[[round(bound(axis), 3) for bound in (min, max)] for axis in zip(*places)],
        # a picture that cannot be read has no pixels
        texture=[list(picture.size) for picture in pictures if len(picture.pixels)],
        shape_keys=[key.name for key in mesh.shape_keys.key_blocks] if mesh.shape_keys else [],
    )


seen = {path: look_at(path) for path in sys.argv[1:]}
for path, facts in seen.items():
    print(path, *(f"{name}: {value}" for name, value in facts.items()), sep="\n  ")
sys.exit(not all(facts["texture"] and facts["uv"] for facts in seen.values()))
