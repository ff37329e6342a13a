"""A face's colours as a texture: where texels lie, what other programs read, and what a photograph adds."""

import json

import numpy as np
import pytest
import torch
import trimesh
from glb_page import draw_glb
from small_world import EXPRESSION, SHAPE, TEXTURE, write_face_model

from lib.core.pictures import decode_srgb
from lib.face_model.meshes import files_of, read_mesh, save_mesh
from lib.face_model.model import FaceModel
from lib.face_model.texture import SIDE
from lib.open_model.__main__ import TARGETS, main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = write_face_model(tmp_path_factory.mktemp("model") / "model.h5", rows=21, layout=True)
    return FaceModel.load(path, SHAPE, TEXTURE, EXPRESSION)


@pytest.fixture(scope="module")
def face(model):
    """Vertices, smoothly coloured albedo, triangles."""
    vertices = model.vertices(torch.zeros(1, SHAPE))[0].numpy()
    albedo = 0.5 + 0.4 * np.sin(vertices @ [[0.05, 0.02, 0.01], [-0.02, 0.06, 0.02], [0.03, -0.04, 0.03]])
    return vertices, albedo, model.triangles.numpy()


def test_the_textured_mesh_is_the_models_with_its_seams_opened(model, face):
    atlas, (coordinates, corners) = model.atlas, model.texture_layout
    assert np.array_equal(atlas.vertices[: model.vertex_count], np.arange(model.vertex_count))
    assert len(atlas.vertices) == len(np.unique(corners)) == model.vertex_count + 21
    assert np.array_equal(atlas.vertices[atlas.triangles], face[2])
    assert np.array_equal(atlas.coordinates[atlas.triangles], coordinates[corners])


def test_texels_have_the_value_of_their_place_on_the_mesh_and_gaps_that_of_the_nearest(model, face):
    places = model.atlas.spread(face[0])
    u, v = (np.arange(SIDE) + 0.5) / SIDE, 1 - (np.arange(SIDE) + 0.5) / SIDE
    left, right = (u > 0.06) & (u < 0.24), (u > 0.76) & (u < 0.94)
    up = (v > 0.06) & (v < 0.94)
    for columns, shift in ((left, 0.25), (right, 0.75)):
        inside = places[up][:, columns]
        assert np.abs(inside[..., 0] - (u[columns] - shift) * 350).max() < 0.01
        assert np.abs(inside[..., 1] - (v[up][:, None] - 0.5) * 200 + 27).max() < 0.01
    middle = places[SIDE // 2]
    assert np.allclose(middle[0], middle[left][0], atol=9) and np.allclose(middle[-1], middle[right][-1], atol=9)


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_other_programs_read_the_texture(model, face, tmp_path, kind):
    path = tmp_path / f"a face.{kind}"
    save_mesh(path, *face, model.atlas.bake(face[1]))
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == set(files_of(path))
    mesh = trimesh.load_mesh(path, process=False)
    assert len(mesh.vertices) == len(model.atlas.vertices) and mesh.visual.kind == "texture"
    material = mesh.visual.material.to_pbr() if kind == "obj" else mesh.visual.material
    assert material.baseColorTexture.size == (SIDE, SIDE)
    read = read_mesh(path, with_colours=True)
    count, scale = model.vertex_count, 1000 if kind == "glb" else 1
    assert np.abs(read.vertices[:count] * scale - face[0]).max() < 1e-3 and np.array_equal(read.triangles, face[2])
    assert np.abs(read.albedo[:count] - face[1]).max() < 3 / 255


def test_a_glb_without_a_texture_has_linear_colours_and_normals(face, tmp_path):
    save_mesh(tmp_path / "a.glb", *face)
    (mesh,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    colours = mesh.visual.vertex_attributes["color"][:, :3] / 255
    assert np.abs(colours - decode_srgb(face[1])).max() < 0.6 / 255
    computed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).vertex_normals
    assert (mesh.vertex_normals * computed).sum(1).min() > 0.99


def test_a_browser_draws_the_texture(model, face, tmp_path):
    save_mesh(tmp_path / "a.glb", *face, model.atlas.bake(face[1]))
    drawn = draw_glb(tmp_path / "a.glb", tmp_path)
    # the sheet's vertices lie on a regular grid, which fills the picture
    rows = np.linspace(len(drawn) - 1, 0, 21).round().astype(int)[2:-2]
    columns = np.linspace(0, len(drawn) - 1, 21).round().astype(int)[2:-2]
    expected = face[1].reshape(21, 21, 3)[2:-2, 2:-2]
    assert np.abs(drawn[rows][:, columns, :3] / 255 - expected).max() < 0.06


def test_the_exported_model_has_expressions_landmarks_and_texture(tmp_path, capsys):
    path = write_face_model(tmp_path / "some.h5", expression=TARGETS, layout=True)
    assert main(["export", "--out", str(tmp_path / "out"), "--model", str(path)]) == 0
    assert (tmp_path / "out/some.h5").read_bytes() == path.read_bytes()
    model, content = FaceModel.load(path, 1, 1, TARGETS), (tmp_path / "out/some.glb").read_bytes()
    size = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + size])

    def read(index):
        accessor = tree["accessors"][index]
        start = 28 + size + tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(content, "<f4", 3 * accessor["count"], start).reshape(-1, 3)

    (mesh,) = tree["meshes"]
    (primitive,) = mesh["primitives"]
    base, targets = primitive["attributes"], primitive["targets"]
    assert mesh["extras"]["targetNames"] == [f"expression.{number:02d}" for number in range(1, TARGETS + 1)]
    assert mesh["extras"]["landmarks"] == model.landmarks and len(tree["images"]) == 1
    rows = model.atlas.vertices
    for number, target in enumerate(targets):
        expression = torch.eye(TARGETS)[number : number + 1]
        moved = model.vertices(torch.zeros(1, 1), expression)[0].numpy()
        assert np.allclose(read(base["POSITION"]) + read(target["POSITION"]), moved[rows] / 1000, atol=1e-6)
        normals = trimesh.Trimesh(moved, model.triangles.numpy(), process=False).vertex_normals
        assert ((read(base["NORMAL"]) + read(target["NORMAL"])) * normals[rows]).sum(1).min() > 0.99
    assert trimesh.load_mesh(tmp_path / "out/some.glb", process=False).visual.kind == "texture"
    assert main(["export", "--out", str(tmp_path), "--model", "lost.h5"]) == 1
    assert "lost.h5 is missing" in capsys.readouterr().err
