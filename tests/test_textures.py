"""A face's colours as a texture: where texels lie, what other programs read, and what a photograph adds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from glb_page import draw_glb
from small_world import EXPRESSION, SHAPE, TEXTURE, write_face_model

from lib.core.pictures import decode_srgb, to_pictures
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.meshes import files_of, save_mesh
from lib.face_model.model import FaceModel
from lib.face_model.photo_texture import Places, mean_texture, photo_texture
from lib.face_model.texture import SIDE
from lib.open_model.__main__ import TARGETS, main
from lib.rendering.camera import alignment_points, crop_projection
from lib.rendering.crop import Crop
from lib.rendering.renderer import frontal_scene, render_meshes
from lib.rendering.vertices import mirror_vertices, vertex_normals


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
    assert "lost.h5: there is no such face model" in capsys.readouterr().err


PHOTOGRAPH = Crop(300, ((0.38, 0.40), (0.62, 0.40), (0.40, 0.62), (0.60, 0.62)))


def photographed(model, albedo, yaw):
    """A curved face with a nose, its photograph, the camera of it (3, 4), and the light on the vertices (N, 3)."""
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].T
    nose = 25 * torch.exp(-(x.square() + (y + 27).square()) / 300)
    vertices = torch.stack([x, y, (85**2 - x.square()).sqrt() + 25 + nose], 1)[None]
    scene = replace(frontal_scene(1), angles=torch.tensor([[yaw, 0.1, 0.0]]))
    colours = torch.from_numpy(albedo).float()[None]
    places = model.alignment_vertices
    photograph = to_pictures(render_meshes(vertices, colours, model.triangles, places, scene, PHOTOGRAPH)[0])
    points = alignment_points(vertices, places)
    projection, rotation, centre = crop_projection(scene.angles, scene.distance, points, PHOTOGRAPH, scene.framing)
    across, up, _, depth = projection[0].double().numpy() * [[0.5], [0.5], [1], [1]]
    half = depth / 2
    lamps = (scene.light_positions @ rotation + centre[:, None])[0, :, None] - vertices
    facing = (torch.nn.functional.normalize(lamps, dim=2) * vertex_normals(vertices, model.triangles)).sum(2)
    light = scene.ambient + (facing.clamp(min=0)[..., None] * scene.light_colours[0, :, None]).sum(0)
    return vertices[0].numpy(), photograph, np.stack([across + half, half - up, depth]), light.numpy()


def symmetric_paint(model):
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    return np.stack([0.6 + 0.1 * np.cos(x / 7), 0.5 + 0.1 * np.cos(x / 7) * np.sin(y / 8), np.full_like(x, 0.4)], 1)


def places_of(mirror, plain=0.0):
    nowhere = np.zeros(len(mirror))
    return Places(mirror, np.ones(len(mirror)), np.full(len(mirror), plain), nowhere, nowhere, nowhere)


@pytest.mark.parametrize("yaw", [0.0, 0.9, -0.9])
def test_a_photograph_gives_its_albedo_without_its_light_and_the_hidden_half_by_its_mirror_image(model, yaw):
    albedo, start = symmetric_paint(model), np.full((model.vertex_count, 3), 0.5)
    vertices, photograph, camera, light = photographed(model, albedo, yaw)
    mirror = mirror_vertices(model.vertices(torch.zeros(1, SHAPE))[0].numpy())
    truth, where = model.atlas.spread(albedo), model.atlas.spread(vertices)
    # the rim and the sides are seen too flat: they keep the model's albedo
    inner = (np.abs(where[..., 0]) < 50) & (np.abs(where[..., 1] + 27) < 70)
    errors = {}
    for name, rows in (("mirrored", mirror), ("alone", np.arange(len(mirror)))):
        scene = vertices, camera, photograph, light, start, places_of(rows)
        made = photo_texture(model.atlas, *scene)[0].picture / 255
        error = np.abs(made - truth).mean(2)
        errors[name] = [error[inner & (side * where[..., 0] > 25)].mean() for side in (1, -1)]
    assert max(errors["mirrored"]) < 0.25 * np.abs(0.5 - truth)[inner].mean()
    assert yaw == 0 or max(errors["alone"]) > 2 * max(errors["mirrored"])


def test_what_only_one_half_shows_is_kept_there_and_what_nothing_shows_is_the_models(model):
    albedo = np.full((model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo[np.hypot(x - 35, y + 54) < 12] = 0.3  # on the left cheek
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    mirror = mirror_vertices(np.stack([x, y, 0 * x], 1))
    start, places = albedo * 0 + 0.5, places_of(mirror)
    made = photo_texture(model.atlas, vertices, camera, photograph, light, start, places)[0].picture / 255
    where = model.atlas.spread(vertices)
    dark, light_side = (np.hypot(where[..., 0] - side * 35, where[..., 1] + 54) < 6 for side in (1, -1))
    assert made[dark].mean() < 0.36 and made[light_side].mean() > 0.5
    turned = vertices * [-1, 1, -1]  # its back to the camera
    for shape, seen in ((turned, places), (vertices, places._replace(inside=0 * places.inside))):
        made, own = photo_texture(model.atlas, shape, camera, photograph, light, albedo, seen)
        assert not own.any()
        assert np.array_equal(made.picture, model.atlas.bake(albedo).picture)


def test_of_several_photographs_each_counts_where_its_own_pixels_are(model):
    """A cheek that one of two photographs hides is the other's, and a stain in one of them fades."""
    albedo = np.full((model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo[np.hypot(x - 35, y + 54) < 12] = 0.3  # on the left cheek
    stained = np.where(np.hypot(x, y + 75)[:, None] < 10, 0.4, albedo)  # on the chin
    places, start, made = places_of(mirror_vertices(np.stack([x, y, 0 * x], 1))), 0 * albedo + 0.6, []
    for yaw, painted in ((0.9, albedo), (-0.9, stained)):
        vertices, photograph, camera, light = photographed(model, painted, yaw)
        made.append(photo_texture(model.atlas, vertices, camera, photograph, light, start, places))
    where, mean = model.atlas.spread(vertices), mean_texture(made)
    spots = (
        np.hypot(where[..., 0] - side, where[..., 1] + below) < 5 for side, below in ((35, 54), (-35, 54), (0, 75))
    )
    pictures = made[0][0].picture, made[1][0].picture, mean.picture
    left, right, chin = ([picture[spot].mean() / 255 for picture in pictures] for spot in spots)
    assert left[0] > 0.55 and right[1] < 0.35  # the mirror images of what they see
    assert left[2] < 0.35 and right[2] > 0.55
    assert chin[1] + 0.02 < chin[2] < chin[0]
    assert np.array_equal(mean_texture(reversed(made)).picture, mean.picture)
    assert np.array_equal(mean_texture(made[:1]).picture, pictures[0])


@pytest.mark.parametrize("grey", [20, 235])
def test_what_cannot_be_of_the_face_is_left_out(model, grey):
    """Hair and a hat, a background that the fit misses, highlights."""
    albedo = np.full((model.vertex_count, 3), 0.6)
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    photograph[:110] = grey
    mirror = mirror_vertices(model.vertices(torch.zeros(1, SHAPE))[0].numpy())
    start = albedo * 0 + 0.5
    made = photo_texture(model.atlas, vertices, camera, photograph, light, start, places_of(mirror))[0].picture / 255
    # the model's albedo takes its place, in the tone of the rest of the photograph, but for a line of mixed pixels
    assert (np.abs(made - 0.6) > 0.1).mean() < 0.02 and (np.abs(made - 0.6) > 0.15).mean() < 0.01


def test_plain_skin_has_neither_hair_nor_glasses_and_other_parts_may_be_as_dark(model):
    """The forehead least, where hair hangs."""
    albedo = np.full((model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    strand = np.abs(x) < 8
    albedo[strand] = 0.32
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    mirror, where = mirror_vertices(np.stack([x, y, 0 * x], 1)), model.atlas.spread(vertices)
    seen = (np.abs(where[..., 0]) < 4) & (np.abs(where[..., 1]) < 60)
    darkness = {}
    for plain, forehead in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
        places = places_of(mirror, plain)._replace(forehead=forehead * (np.abs(x) < 20))
        made = photo_texture(model.atlas, vertices, camera, photograph, light, albedo * 0 + 0.5, places)[0]
        darkness[plain, forehead] = (made.picture / 255)[seen].mean()
    assert darkness[0.0, 0.0] < 0.4 < 0.45 < darkness[1.0, 0.0] < darkness[1.0, 1.0] and darkness[1.0, 1.0] > 0.5


@pytest.mark.parametrize("colour", [20, (235, 90, 60)])
def test_a_photograph_on_which_little_skin_looks_like_skin_gives_the_models_texture(model, colour):
    """A cap and its shadow, a red hood."""
    albedo = np.full((model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo[np.hypot(x, y + 75) < 12] = 0.5
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    where, places = model.atlas.spread(vertices), places_of(mirror_vertices(np.stack([x, y, 0 * x], 1)), plain=1.0)
    mark, contrasts = np.hypot(where[..., 0], where[..., 1] + 75), []
    seen = np.hstack([vertices, np.ones((len(vertices), 1))]) @ camera.T
    above = (seen[:, 1] / seen[:, 2] * len(photograph) < 172).astype(float)
    for rows, forehead in ((100, 0 * above), (170, 0 * above), (170, above)):
        spoilt = photograph.copy()
        spoilt[:rows] = colour
        scene = vertices, camera, spoilt, light, np.full_like(albedo, 0.6), places._replace(forehead=forehead)
        made = photo_texture(model.atlas, *scene)[0].picture / 255
        contrasts.append(made[(mark > 20) & (mark < 25)].mean() - made[mark < 6].mean())
    assert contrasts[0] > 0.05 and abs(contrasts[1]) < 0.01
    assert contrasts[2] > 0.05, "what hides the forehead alone leaves the rest of the photograph"


def test_a_dark_face_beyond_the_photographs_edge_is_the_models(model):
    albedo = np.full((model.vertex_count, 3), 0.25)
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    photograph[190:] = 0
    mirror = mirror_vertices(model.vertices(torch.zeros(1, SHAPE))[0].numpy())
    made = photo_texture(model.atlas, vertices, camera, photograph, light, albedo, places_of(mirror))[0].picture / 255
    assert np.abs(made - 0.25).max(2).mean() < 0.02 and (made.mean(2) < 0.15).mean() < 0.01


def test_the_colour_at_the_edge_of_what_is_seen_continues_beyond_it(model):
    """Else a band in another tone would end where the landmarks do, on the forehead."""
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo = np.full((model.vertex_count, 3), 0.6)
    albedo[y > 15] = 0.4
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    where, places = model.atlas.spread(vertices), places_of(mirror_vertices(np.stack([x, y, 0 * x], 1)))
    places = places._replace(inside=(y < 35).astype(float))
    made = photo_texture(model.atlas, vertices, camera, photograph, light, albedo * 0 + 0.6, places)[0].picture / 255
    middle, y = np.abs(where[..., 0]) < 25, where[..., 1]
    cheeks, forehead, beyond = (
        made[middle & (y > low) & (y < high)].mean() for low, high in ((-25, 5), (20, 33), (37, 45))
    )
    assert cheeks - forehead > 0.04
    assert abs(beyond - forehead) < 0.25 * (cheeks - forehead)


def test_beside_what_cannot_be_of_the_face_parts_are_kept_and_skin_is_not(model):
    """Lids beside eyes are the photograph's; mixed pixels beside a lock of hair are the model's."""
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo = np.full((model.vertex_count, 3), 0.6)
    albedo[np.hypot(x - 30, y) < 5] = 1.0
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    mirror, where = mirror_vertices(np.stack([x, y, 0 * x], 1)), model.atlas.spread(vertices)
    far, own = np.hypot(where[..., 0] - 30, where[..., 1]), {}
    for plain in (0.0, 1.0):
        places = places_of(mirror, plain)._replace(forehead=np.ones(len(mirror)))
        own[plain] = photo_texture(model.atlas, vertices, camera, photograph, light, albedo * 0 + 0.6, places)[1]
    beside, there = (far > 5) & (far < 7), far < 1
    assert max(own[plain][there].mean() for plain in own) < 0.05
    assert own[1.0][beside].mean() < 0.6 < 0.7 < own[0.0][beside].mean()


def test_what_hangs_over_brows_is_left_out_and_brows_below_skin_are_the_photographs(model):
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo = np.full((model.vertex_count, 3), 0.6)
    albedo[(x < -12) & (y > 14)] = 0.25  # a fringe, which reaches into the band of the brows
    albedo[(x > 12) & (y > 14) & (y < 22)] = 0.25  # a brow
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    mirror, where = mirror_vertices(np.stack([x, y, 0 * x], 1)), model.atlas.spread(vertices)
    brows = (y > 5) & (y < 30)
    places = places_of(mirror)._replace(plain=(y > 30).astype(float), brows=brows.astype(float))
    own = photo_texture(model.atlas, vertices, camera, photograph, light, albedo * 0 + 0.6, places)[1]
    across, up = where[..., 0], where[..., 1]
    fringe, brow, lower = (
        own[(sign * across > 16) & (sign * across < 30) & (up > low) & (up < high)].mean()
        for sign, low, high in ((-1, 17, 28), (1, 16, 20), (-1, -5, 3))
    )
    assert fringe < 0.05 and min(brow, lower) > 0.8


@pytest.mark.parametrize(("around", "shown"), [(0.6, True), (0.03, False)])
def test_eyes_and_nostrils_are_as_dark_as_the_photograph_shows_unless_all_of_them_is(model, around, shown):
    """Pupils and nostrils are the photograph's, sunglasses are not."""
    albedo, start = np.full((2, model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    far = np.hypot(x - 30, y)
    albedo[far < 12], albedo[far < 4] = around, 0.03
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    mirror, where = mirror_vertices(np.stack([x, y, 0 * x], 1)), model.atlas.spread(vertices)
    there, found = np.hypot(where[..., 0] - 30, where[..., 1]) < 2, {}
    for plain, deep in ((1.0, 0.0), (0.0, 0.0), (1.0, 1.0)):
        places = places_of(mirror, plain)._replace(deep=deep * (far < 12))
        made = photo_texture(model.atlas, vertices, camera, photograph, light, start, places)[0].picture / 255
        found[plain, deep] = made[there].mean()
    assert min(found[1.0, 0.0], found[0.0, 0.0]) > 0.4
    assert found[1.0, 1.0] < 0.3 if shown else found[1.0, 1.0] > 0.4


def test_soft_shadows_that_the_light_does_not_explain_go_and_small_things_stay(model):
    albedo = np.full((model.vertex_count, 3), 0.6)
    x, y, _ = model.vertices(torch.zeros(1, SHAPE))[0].numpy().T
    albedo[np.hypot(x - 30, y + 20) < 9] = 0.4  # a mole
    vertices, photograph, camera, light = photographed(model, albedo, 0.0)
    side = np.linspace(-0.25, 0.25, photograph.shape[1])[:, None]
    shadowed = (photograph * np.exp(side)).clip(0, 255).astype(np.uint8)
    where, start = model.atlas.spread(vertices), albedo * 0 + 0.6
    skin = (np.abs(where[..., 0]) > 15) & (np.abs(where[..., 0]) < 45) & (np.abs(where[..., 1] + 50) < 15)
    mole = np.hypot(where[..., 0] - 30, where[..., 1] + 20) < 2
    places = places_of(mirror_vertices(np.stack([x, y, 0 * x], 1)))
    even, uneven = (
        photo_texture(model.atlas, vertices, camera, each, light, start, places)[0].picture / 255
        for each in (photograph, shadowed)
    )
    difference = uneven[skin & (where[..., 0] > 0)].mean() - uneven[skin & (where[..., 0] < 0)].mean()
    assert abs(difference) < 0.03 < 0.08 < np.ptp(np.exp(side[[96, 204]])) * 0.6
    assert max(even[mole].mean(), uneven[mole].mean()) < model.atlas.spread(albedo)[mole].mean() + 0.04 < 0.5


def test_vertices_have_the_colours_of_their_texels(model, face):
    texture = model.atlas.bake(face[1])
    assert np.abs(texture.on_vertices(0 * face[1]) - face[1]).max() < 3 / 255
