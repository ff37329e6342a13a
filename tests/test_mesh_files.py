"""Meshes are read from files of any kind, with their colours or with seams joined."""

import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from lib.core.errors import StudyError
from lib.evaluation.surfaces import make_surface
from lib.face_model.meshes import GREY, read_mesh

VERTICES, FACES = [(0, 0, 0), (2, 0, 0), (0, 3, 0), (2, 3, 0)], [(0, 1, 2), (2, 1, 3)]


def write_ply(path, kind="binary_little_endian", faces=FACES):
    """Write a square of two triangles by hand, not by the library that reads it."""
    header = f"ply\nformat {kind} 1.0\ncomment by hand\nelement vertex {len(VERTICES)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\n" if faces else ""
    if kind == "ascii":
        lines = [*VERTICES, *((3, *face) for face in faces)]
        body = "".join(" ".join(map(str, line)) + "\n" for line in lines).encode()
    else:
        order = "<" if kind == "binary_little_endian" else ">"
        body = b"".join(struct.pack(f"{order}3f", *vertex) for vertex in VERTICES)
        body += b"".join(struct.pack(f"{order}B3i", 3, *face) for face in faces)
    path.write_bytes(f"{header}end_header\n".encode() + body)
    return path


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_ply_files_are_read(tmp_path, kind):
    mesh = read_mesh(write_ply(tmp_path / "scan.ply", kind))
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.triangles, FACES)


def test_a_seam_of_a_texture_is_no_border(tmp_path):
    box = trimesh.creation.box()
    lines = [f"v {x} {y} {z}" for x, y, z in box.vertices] + [f"vt {n / 40} 0.5" for n in range(36)]
    corners = iter(range(1, 37))
    lines += ["f " + " ".join(f"{v + 1}/{next(corners)}" for v in face) for face in box.faces]
    (tmp_path / "box.obj").write_text("\n".join(lines))
    mesh = read_mesh(tmp_path / "box.obj")
    assert len(mesh.vertices) == 8 and not make_surface(mesh.vertices, mesh.triangles).border.any()


def test_a_mesh_without_colours_is_grey_and_a_texture_gives_its_colours(tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
    trimesh.Trimesh(corners, [[0, 1, 2]], process=False).export(tmp_path / "plain.ply")
    assert np.allclose(read_mesh(tmp_path / "plain.ply", with_colours=True).albedo, GREY)
    image = Image.fromarray(np.full((8, 8, 3), (200, 100, 50), np.uint8))
    textured = trimesh.Trimesh(corners, [[0, 1, 2]], process=False)
    textured.visual = trimesh.visual.TextureVisuals(np.full((3, 2), 0.5), image=image)
    textured.export(tmp_path / "textured.glb")
    assert np.allclose(read_mesh(tmp_path / "textured.glb", with_colours=True).albedo * 255, (200, 100, 50), atol=1.5)


@pytest.mark.parametrize("with_colours", [False, True])
def test_a_file_that_is_no_mesh_is_named(tmp_path, with_colours):
    write_ply(tmp_path / "cut.ply")
    (tmp_path / "cut.ply").write_bytes((tmp_path / "cut.ply").read_bytes()[:-4])
    write_ply(tmp_path / "points.ply", faces=[])
    for name, content in (("solid.ply", "solid scan"), ("point.obj", "v 0 0 0\n"), ("nonsense.glb", "nonsense")):
        (tmp_path / name).write_text(content)
    for name in ("cut.ply", "points.ply", "solid.ply", "point.obj", "nonsense.glb", "missing.obj"):
        with pytest.raises(StudyError, match=f"{name} (cannot be read as a mesh|holds no triangles)"):
            read_mesh(tmp_path / name, with_colours)
