"""Meshes are read from files of any kind, with their colours or with seams joined."""

import io
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from lib.core.errors import StudyError
from lib.evaluation.surfaces import make_surface
from lib.face_model.gltf import pack_glb
from lib.face_model.mesh_reading import GREY, read_mesh

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


@pytest.mark.parametrize("line", ["mtllib", "mtllib ", "usemtl", "v 0 0 0 1", "v 0 0 0 red 0 0", "vt", "é"])
def test_lines_that_are_cut_off_are_passed_over_or_told(tmp_path, line):
    path = tmp_path / "a.obj"
    path.write_text(f"v 0 0 0\nv 1 0 0\nv 0 1 0\n{line}\nf 1 2 3\n")
    try:
        assert len(read_mesh(path, with_colours=True).triangles) == 1
    except StudyError as error:
        assert str(path) in str(error)


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


PLY = """ply
format ascii 1.0
{comment}element vertex 3
property float x
property float y
property float z
property {kind} red
property {kind} green
property {kind} blue
element face 1
property list uchar int vertex_indices
end_header
{first} 0 0 {colour}
1 0 0 {colour}
0 1 0 {colour}
3 0 1 {last}
"""
OBJ = "{head}v {first} 0 0{colour}\nv 1 0 0{colour}\nv 0 1 0{colour}\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 {last}/3\n"


def read_ply(folder, kind="uchar", colour="255 128 0", first="0", last=2, comment=""):
    (folder / "a.ply").write_text(PLY.format(kind=kind, colour=colour, first=first, last=last, comment=comment))
    return read_mesh(folder / "a.ply", with_colours=True)


def read_obj(folder, colour="", first="0", last=3, head=""):
    (folder / "a.obj").write_text(OBJ.format(colour=colour, first=first, last=last, head=head))
    return read_mesh(folder / "a.obj", with_colours=True)


def test_numbers_that_cannot_be_of_a_mesh_are_told(tmp_path):
    for read, last in ((read_ply, 2), (read_obj, 3)):
        for values in (dict(first="nan"), dict(first="inf"), dict(last=last + 5)):
            with pytest.raises(StudyError, match=r"a\.(ply|obj)"):
                read(tmp_path, **values)


def test_colours_out_of_range_are_told(tmp_path):
    expected = [1, 128 / 255, 0]
    for mesh in (read_ply(tmp_path), read_ply(tmp_path, "float", "1 0.5019 0"), read_obj(tmp_path, " 1 0.5019 0")):
        assert np.abs(mesh.albedo - expected).max() < 0.01
    for read in (lambda: read_ply(tmp_path, "float"), lambda: read_obj(tmp_path, " 255 128 0")):
        with pytest.raises(StudyError, match="colours run to 255, expected numbers from 0 to 1"):
            read()


def test_a_texture_that_is_named_is_used_or_told(tmp_path):
    Image.new("RGB", (8, 8), (200, 120, 100)).save(tmp_path / "a.png")
    head = "mtllib a.mtl\nusemtl m\n"

    def read(line):
        (tmp_path / "a.mtl").write_text(f"newmtl m\nKd 0.2 0.4 0.8\n{line}\n")
        return read_obj(tmp_path, head=head).albedo[0]

    assert np.abs(read("map_Kd a.png") * 255 - [200, 120, 100]).max() < 2
    assert np.abs(read("") - [0.2, 0.4, 0.8]).max() < 0.01  # a colour alone
    for line in ("map_Kd b.png", "map_Kd C:\\me\\a.png", "map_Kd -s 1 1 1 a.png", "map_Kd A.PNG"):
        with pytest.raises(StudyError, match=r"a\.obj names .*is not there"):
            read(line)
    with pytest.raises(StudyError, match=r"a\.obj names 'none\.mtl'"):
        read_obj(tmp_path, head="mtllib none.mtl\nusemtl m\n")


SQUARE = "v 0 0 0\nv 2 0 0\nv 0 3 0\nv 2 3 0\n"


@pytest.mark.parametrize(
    "text",
    [
        SQUARE + "f 1 2 4 3\n",
        (SQUARE + "f 1 2 4 3\n").replace("\n", "\r\n"),
        (SQUARE + "f 1 2 4 3\n").replace("\n", "\r"),
        (SQUARE + "f 1 2 4 3\n").replace(" ", "\t"),
        "\ufeff" + SQUARE.replace("v", "  v").replace("\n", " # a vertex\n") + "f 1 2 4 \\\n 3\n",
        SQUARE.replace("v 2 3 0", "f -3 -2 -1\nv 2 3 0") + "f -3 -1 -2\n",
        SQUARE.replace("2", "2.0e+00").replace("\n", " 1.0\n") + "l 1 2\nf 1 2 3\nf 2//1 4//1 3//1\n",
    ],
)
@pytest.mark.parametrize("with_colours", [False, True])
def test_obj_files_of_any_hand_give_the_same_square(tmp_path, text, with_colours):
    (tmp_path / "a.OBJ").write_bytes(text.encode())
    mesh = read_mesh(tmp_path / "a.OBJ", with_colours)
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    corners = mesh.vertices[mesh.triangles]
    assert np.isclose(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum(), 12)


@pytest.mark.parametrize(
    "text",
    [
        SQUARE + "f 0 1 2\n",
        SQUARE + "f 1 2 -9\n",
        SQUARE + "f 1 2 3\nv 0\n",
        SQUARE.replace(" 0\n", "\n") + "f 1 2 3\n",
        SQUARE.replace("2", "2,5") + "f 1 2 3\n",
        SQUARE.replace("0 3 0", "0 3 0 1 0 0") + "f 1 2 3\n",
        SQUARE.replace(" 0\n", " 0 1 -1 0\n") + "f 1 2 3\n",
        SQUARE.replace(" 0\n", " 0 1 nan 0\n") + "f 1 2 3\n",
        "mtllib a.mtl\n" + SQUARE + "usemtl other\nf 1 2 3\n",
        "mtllib a.mtl\n" + SQUARE + "f 1 2 3\n",
        "mtllib a.mtl\n" + SQUARE + "usemtl red\nf 1 2 3\n",
        "mtllib a.mtl\n" + SQUARE + "vt nan 0\nusemtl red\nf 1/1 2/1 3/1\n",
    ],
)
def test_what_an_obj_file_cannot_mean_is_told(tmp_path, text):
    (tmp_path / "a.mtl").write_text("newmtl red\nmap_Kd red.png\n")
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(StudyError, match=r"a\.obj"):
        read_mesh(tmp_path / "a.obj", with_colours=True)


def test_each_material_of_an_obj_file_colours_its_own_vertices_in_the_files_order(tmp_path):
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "a.mtl").write_text("newmtl red\nmap_Kd red.png\n")
    (tmp_path / "b.mtl").write_text("newmtl blue\nKd 0 0 1\n")
    other = SQUARE.replace(" 0\n", " 5\n")
    faces = "usemtl blue\nf 5 6 7\nf 6 8 7\nusemtl red\nf 1/1 2/1 3/1\nf 2/1 4/1 3/1\n"
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\nmtllib b.mtl\n{SQUARE}{other}vt 0 0\n{faces}")
    mesh = read_mesh(tmp_path / "a.obj", with_colours=True)
    np.testing.assert_array_equal(mesh.vertices, [*VERTICES, *np.add(VERTICES, (0, 0, 5))])
    np.testing.assert_allclose(mesh.albedo, 4 * [(200 / 255, 0, 0)] + 4 * [(0, 0, 1)])


def test_the_meshes_of_one_glb_keep_their_places_and_colours(tmp_path):
    def part(z, **visual):
        mesh = trimesh.Trimesh(np.add(VERTICES, (0, 0, z)), FACES, process=False)
        mesh.visual = trimesh.visual.TextureVisuals(np.full((4, 2), 0.5), **visual)
        return mesh

    image = Image.new("RGB", (8, 8), (200, 200, 0))
    pbr = trimesh.visual.material.PBRMaterial
    parts = [part(0, image=image), part(1, material=pbr(baseColorTexture=image, baseColorFactor=[255, 0, 0, 255]))]
    parts += [part(2, material=pbr(baseColorFactor=[0, 0, 255, 255])), part(3)]
    parts[3].visual = trimesh.visual.ColorVisuals(parts[3], vertex_colors=[[0, 255, 0, 255]] * 4)
    scene = trimesh.Scene(parts[:3])
    scene.add_geometry(parts[3], transform=trimesh.transformations.translation_matrix([0, 0, 100]))
    scene.export(tmp_path / "a.glb")
    mesh = read_mesh(tmp_path / "a.glb", with_colours=True)
    colours = {z: mesh.albedo[mesh.vertices[:, 2] == z] * 255 for z in (0, 1, 2, 103)}
    for found, expected in zip(colours.values(), ([200, 200, 0], [200, 0, 0], [0, 0, 255], [0, 255, 0])):
        assert len(found) == 4 and np.abs(found - expected).max() < 2


def test_what_is_not_read_of_a_glb_is_told(tmp_path):
    attributes = dict(POSITION=np.array(VERTICES, np.float32), TEXCOORD_0=np.full((4, 2), 0.5, np.float32))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    whole = pack_glb(attributes, np.array(FACES), "a test", stream.getvalue())
    coloured = [
        pack_glb(dict(POSITION=attributes["POSITION"], COLOR_0=np.full((4, 4), 9, kind)), np.array(FACES), "a test")
        for kind in (np.uint8, np.uint32)  # trimesh reads 16 bits as 32 and takes the lowest eight
    ]
    (tmp_path / "a.glb").write_bytes(coloured[0])
    assert len(read_mesh(tmp_path / "a.glb", with_colours=True).vertices) == 4
    for content in (whole.replace(b"\x89PNG", b"none"), coloured[1]):
        (tmp_path / "a.glb").write_bytes(content)
        with pytest.raises(StudyError, match="a.glb.*(texture is damaged|COLOR_0 has numbers of)"):
            read_mesh(tmp_path / "a.glb", with_colours=True)


@pytest.mark.parametrize("names", ["red green blue", "diffuse_red diffuse_green diffuse_blue", "r g b"])
@pytest.mark.parametrize(
    ("kind", "colour"), [("uchar", "255 128 0"), ("ushort", "65535 32896 0"), ("float", "1 .502 0")]
)
def test_ply_colours_have_several_names_and_ranges(tmp_path, names, kind, colour):
    text = PLY.format(kind=kind, colour=colour, first=0, last=2, comment="")
    for old, new in zip(("red", "green", "blue"), names.split()):
        text = text.replace(f" {old}\n", f" {new}\n")
    (tmp_path / "a.ply").write_text(text)
    assert np.abs(read_mesh(tmp_path / "a.ply", with_colours=True).albedo - (1, 128 / 255, 0)).max() < 0.001
    for wrong in ("-1 0 0", "nan 0 0") if kind == "float" else ():
        with pytest.raises(StudyError, match="its colours run to"):
            read_ply(tmp_path, kind, wrong)


def test_a_ply_texture_is_used_or_told_and_vertices_keep_their_order(tmp_path):
    text = PLY.split("property {kind} red")[0].format(comment="comment TextureFile a.png\n")
    text += "property float s\nproperty float t\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_text(text + "0 0 0 0 0\n1 0 0 0.5 0\n0 1 0 0 0.5\n3 0 1 2\n")
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a.png")
    mesh = read_mesh(tmp_path / "a.ply", with_colours=True)
    np.testing.assert_array_equal(mesh.vertices, [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    assert np.abs(mesh.albedo * 255 - (200, 0, 0)).max() < 1
    (tmp_path / "a.png").write_text("damaged")
    with pytest.raises(StudyError, match=r"a\.ply.*texture 'a.png' is damaged"):
        read_mesh(tmp_path / "a.ply", with_colours=True)
