"""Pose, light and landmarks: on faces whose pose and light are known, and on a photograph."""

import json
import math
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
import trimesh
from conftest import ROOT
from PIL import Image
from skimage import data

from derivations.calibrate_regressor import CALIBRATION, VARIANCE
from derivations.publish_regressor import publish
from lib import reconstruct
from lib.core.errors import StudyError
from lib.core.files import made_here
from lib.core.params import load_params
from lib.core.pictures import decode_srgb, encode_srgb, to_pictures
from lib.core.tensors import read_json
from lib.face_model.model import IBUG_LANDMARKS, FaceModel
from lib.fitting import video
from lib.fitting.colours import Parts, fit_colours
from lib.fitting.face_mesh import CROP, load_face_mesh
from lib.fitting.light import fit_light, harmonics, irradiance
from lib.fitting.photograph import PhotographFitter
from lib.fitting.pose import (
    BROWS,
    EDGES,
    LIDS,
    LIPS,
    MOUTH_CORNERS,
    PARTING,
    POINTS_FILE,
    PUPILS,
    UNDER_NOSE,
    LandmarkModel,
    _project,
    _turning,
)
from lib.fitting.published import PUBLISHED, check_face_model, facts_file, is_meant_for
from lib.open_model.build import build_open_face_model
from lib.photos.align import POINT_COLUMNS, iterate_face_crops
from lib.photos.files import Photograph
from lib.recognition.network import prepare_network
from lib.rendering.camera import alignment_points, clip_projection, crop_projection, picture_points
from lib.rendering.crop import Crop, landmarks_in_crop
from lib.rendering.renderer import frontal_scene, render_meshes
from lib.training.regressor import Regressor

EXPRESSIONS = 64
TURNED = (0.4, -0.15, 0.1)
"""Yaw, pitch and roll in radians."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder as the study leaves it, with the open model of few vertices and an untrained regressor."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(ROOT / "presets/default.yaml", folder / "params.yaml")
    names = load_params(folder / "params.yaml").networks
    for name in (names.training, names.second):
        prepare_network(name, folder / "data/networks", folder / "data/raw/networks")
    samples = dict(shape_samples=90, texture_samples=30, expression_samples=80)
    build_open_face_model(folder / "data/face_model/full.h5", "light", seed=3, **samples)
    return folder


@pytest.fixture(autouse=True)
def there(study, monkeypatch):
    monkeypatch.chdir(study)


@pytest.fixture(scope="module")
def model(study):
    return FaceModel.load(study / "data/face_model/full.h5", 80, 20, EXPRESSIONS)


@pytest.fixture(scope="module")
def points(model):
    return LandmarkModel(model)


def landmarks_of(points, vertices, projection):
    """Where the network should find the landmarks (468, 2) of a face (1, N, 3)."""
    places = vertices[:, points.vertices].clone()
    places[:, [*EDGES], 1] += torch.from_numpy(np.load(POINTS_FILE)["heights"])
    return picture_points(places, projection)[0].double().numpy()


def posed(model, shape, expression, angles=TURNED, distance=700.0):
    """The vertices, and the projection of the model into the landmark network's crop."""
    vertices = model.vertices(shape, expression)
    corners = alignment_points(vertices, model.alignment_vertices)
    scene = torch.tensor([angles]), torch.tensor([distance])
    return vertices, crop_projection(*scene, corners, CROP, torch.tensor([[0.03, -0.02, 0.05, angles[2]]]))[0]


def test_the_landmark_network_finds_eyes_where_the_detector_does(tmp_path):
    Image.fromarray(data.astronaut()[:250, 100:350]).save(tmp_path / "eileen.png")
    photograph = Photograph(str(tmp_path), "eileen.png", "eileen")
    ((records, pictures),) = iterate_face_crops([photograph], dict(mesh=CROP), 1, 0)
    found = load_face_mesh()(torch.from_numpy(pictures["mesh"]).movedim(3, 1) / 255)[0]
    eyes = torch.stack([found[[33, 133]].mean(0), found[[362, 263]].mean(0)])
    apart = (eyes[1] - eyes[0]).norm()
    assert records[0]["reason"] == "" and found.shape == (468, 2)
    detected = torch.tensor([records[0][name] for name in POINT_COLUMNS]).view(1, 4, 2)
    detected = landmarks_in_crop(detected, CROP)[0, :2]
    assert ((eyes - detected).norm(dim=1) < 0.06 * apart).all()
    assert found[152, 1] > found[[61, 291], 1].max() > found[1, 1] > eyes[:, 1].max()  # chin, mouth, nose


def test_other_files_of_the_landmark_network_are_refused(tmp_path):
    for name in ("facemesh.json", "facemesh.bin"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(StudyError, match="facemesh.json is damaged"):
        load_face_mesh(tmp_path)


def test_slopes_are_those_of_finite_differences():
    random = np.random.default_rng(0)
    places, step = random.normal(size=(6, 3)) * 50, 1e-6
    state = np.array([0.4, 0.5, math.log(0.002), math.log(800.0)])

    def seen(points, state):
        return _project(points, state[:2], np.exp(state[2]), np.exp(state[3]))[0]

    slopes = _project(places, state[:2], np.exp(state[2]), np.exp(state[3]))[1]
    for axis in range(3):
        moved = (seen(places + step * np.eye(3)[axis], state) - seen(places, state)) / step
        np.testing.assert_allclose(slopes[:, :, axis], moved, rtol=1e-3, atol=1e-8)
        turned = np.cross(np.eye(3)[axis], places)
        np.testing.assert_allclose(_turning(places)[:, :, axis], turned)
    for number in range(4):
        moved = (seen(places, state + step * np.eye(4)[number]) - seen(places, state)) / step
        np.testing.assert_allclose(slopes[:, :, 3 + number], moved, rtol=1e-3, atol=1e-6)


def test_exact_landmarks_give_the_pose_and_the_camera(model, points):
    generator = torch.Generator().manual_seed(1)
    shape, expression = torch.randn(1, 80, generator=generator), 0.5 * torch.randn(1, EXPRESSIONS, generator=generator)
    vertices, projection = posed(model, shape, expression)
    landmarks = landmarks_of(points, vertices, projection)
    found = points.fit(landmarks, shape[0].double().numpy(), variance=0)
    # the roll of the scene is turned back by the crop, in which the framing turns the face again
    assert np.degrees(np.abs(found.angles - TURNED)).max() < 1.5
    assert found.residual < 0.01 and (found.shape == shape[0].numpy()).all()
    homogeneous = np.hstack([points.mean, np.ones((468, 1))]) @ found.camera().T
    drawn = picture_points(torch.from_numpy(points.mean).float()[None], clip_projection(found.camera(), found.distance))
    np.testing.assert_allclose(drawn[0], homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-5)


def test_landmarks_correct_the_shape_and_outliers_hardly_do(model, points):
    generator, nothing, errors = torch.Generator().manual_seed(2), np.zeros(80), []
    for _ in range(24):  # heads of unusual size are far off: landmarks do not tell it
        shape = torch.randn(1, 80, generator=generator)
        landmarks = landmarks_of(points, *posed(model, shape, None, (0.1, 0.0, 0.0)))
        spoilt = landmarks.copy()
        spoilt[:40] += 0.5
        fitted = (points.fit(each, nothing, 1.0).shape for each in (landmarks, spoilt))
        off = [np.tensordot(each - shape[0].numpy(), points.shape_modes, 1) for each in (nothing, *fitted)]
        errors.append(np.linalg.norm(off, axis=2).mean(1))
    assert (np.mean(errors, 0)[1:] < 0.75 * np.mean(errors, 0)[0]).all()


def test_another_face_model_is_not_fitted(model):
    far = FaceModel.load("data/face_model/full.h5", 80, 20, EXPRESSIONS)
    far._shape.mean += 20
    with pytest.raises(StudyError, match="its mean face is not the open model's"):
        LandmarkModel(far)


def test_landmarks_of_closed_lips_lie_together_and_those_of_the_face_hold_no_ears_or_neck(model, points):
    mean, inside = model.vertices(torch.zeros(1, model.shape_dimension))[0].numpy(), points.inside
    upper, lower = (mean[points.vertices[numbers]] for numbers in PARTING)
    assert np.abs(upper - lower)[:, 1].max() < 2  # mm
    assert inside.shape == (model.vertex_count,) and inside[model.landmarks["center.nose.tip"]] == 1
    chin = mean[model.landmarks["ibug.09"], 1]
    assert not inside[(mean[:, 1] < chin - 10) | (np.abs(mean[:, 0]) > 0.95 * np.abs(mean[:, 0]).max())].any()
    assert 0.2 < (inside > 0.5).mean() < 0.9


def test_landmarks_of_the_lids_follow_eyes_that_close(model, points):
    upper, lower = [160, 158, 385, 387], [144, 153, 380, 373]
    vertices = [model.landmark_vertices([IBUG_LANDMARKS[LIDS[each] - 1] for each in lid]) for lid in (upper, lower)]
    generator, shape, openings = torch.Generator().manual_seed(4), np.zeros(80), []
    for _ in range(12):
        expression = torch.randn(1, EXPRESSIONS, generator=generator)
        face, projection = posed(model, torch.zeros(1, 80), expression)
        landmarks = landmarks_of(points, face, projection)
        pose = points.fit(landmarks, shape, variance=0)
        fitted = model.vertices(torch.zeros(1, 80), torch.from_numpy(pose.expression).float()[None])
        openings.append([(each[0, vertices[0]] - each[0, vertices[1]])[:, 1].mean().item() for each in (face, fitted)])
    true, found = np.array(openings).T
    assert np.abs(true - found).max() < 1 < 0.5 * np.ptp(true)  # mm


def test_lips_that_hardly_part_are_closed(model, points):
    face, projection = posed(model, torch.zeros(1, 80), None, (0.0, 0.0, 0.0))
    landmarks, shape, partings = landmarks_of(points, face, projection), np.zeros(80), []
    for parting in (0.0, 0.008, 0.06):
        parted = landmarks.copy()
        for rows, side in zip(PARTING, (-0.5, 0.5)):
            parted[rows, 1] += side * parting
        expression = torch.from_numpy(points.fit(parted, shape, variance=0).expression).float()[None]
        upper, lower = (model.vertices(torch.zeros(1, 80), expression)[0, points.vertices[rows]] for rows in PARTING)
        partings.append((upper - lower)[:, 1].mean().item())
    assert abs(partings[1] - partings[0]) < 0.3 and partings[2] > partings[0] + 3  # mm


def test_closed_lips_meet_in_faces_of_any_shape(model, points):
    """Some faces' lips are thicker than the mean's where they meet, which must not show their teeth."""
    generator, (upper, lower) = torch.Generator().manual_seed(6), (points.vertices[rows] for rows in PARTING)
    for _ in range(8):
        shape = torch.randn(1, 80, generator=generator)
        landmarks = landmarks_of(points, *posed(model, shape, None, (0.1, 0.0, 0.0)))
        for rows, side in zip(PARTING, (-0.5, 0.5)):
            landmarks[rows, 1] += side * 0.004
        expression = points.fit(landmarks, shape[0].double().numpy(), variance=0).expression
        faces = (model.vertices(shape, values) for values in (torch.from_numpy(expression).float()[None], None))
        fitted, relaxed = ((face[0, upper] - face[0, lower])[:, 1] for face in faces)
        assert (fitted - relaxed).abs().max() < 0.5  # mm


def test_a_face_at_rest_has_the_lids_brows_and_closed_lips_of_the_photograph(model, points):
    """What a regressor gets wrong there is no expression."""
    upper, lower, nothing = [160, 158, 385, 387], [144, 153, 380, 373], np.zeros(80)
    others = np.setdiff1d(np.flatnonzero(np.isfinite(points.spread)), [*LIDS, *BROWS, *LIPS])
    generator, errors, moved = torch.Generator().manual_seed(5), [], []

    def sizes(shape):
        """mm: opening of the eyes, height of the brows above them, height and width of the lips."""
        x, y, _ = np.tensordot(shape, points.shape_modes, 1).T
        opening, brow = y[upper].mean() - y[lower].mean(), y[[*BROWS]].mean() - y[[*LIDS]].mean()
        return np.array([opening, brow, y[0] - y[17], x[MOUTH_CORNERS[1]] - x[MOUTH_CORNERS[0]]])

    for _ in range(200):
        shape = torch.randn(1, 80, generator=generator)
        landmarks = landmarks_of(points, *posed(model, shape, None, (0.1, 0.0, 0.0)))
        fitted, rested = points.fit(landmarks, nothing).shape, points.rest(landmarks, nothing)
        errors.append([np.abs(sizes(each - shape[0].numpy())) for each in (fitted, rested)])
        moved.append(np.abs(np.tensordot(rested - fitted, points.shape_modes, 1))[others].mean())
    before, after = np.mean(errors, 0)
    assert (after < [0.85, 0.9, 0.85, 0.95] * before).all(), (before, after)
    assert np.mean(moved) < 0.5  # mm


def test_a_smile_is_no_part_of_the_face_at_rest(model, points):
    corners = points.vertices[[*MOUTH_CORNERS]]
    wide = points.expression_modes[:, MOUTH_CORNERS[1], 0] - points.expression_modes[:, MOUTH_CORNERS[0], 0]
    smile = torch.from_numpy(12 * wide / (wide @ wide)).float()[None]  # 12 mm
    widths = []
    for expression in (None, smile):
        landmarks = landmarks_of(points, *posed(model, torch.zeros(1, 80), expression, (0.0, 0.0, 0.0)))
        face = model.vertices(torch.from_numpy(points.rest(landmarks, np.zeros(80))).float()[None])[0, corners]
        widths.append((face[1] - face[0]).norm().item())
    assert abs(widths[1] - widths[0]) < 2


def mean_height(model):
    return model.vertices(torch.zeros(1, model.shape_dimension))[0, :, 1].numpy()


def test_hair_does_not_colour_the_head(model, points):
    fitter = object.__new__(PhotographFitter)
    fitter.face_model, fitter.points = model, points
    mean = model.albedo(torch.zeros(1, 20))[0].numpy()
    hair = np.where(points.inside[:, None] < 0.5, 0.1, encode_srgb(0.8 * decode_srgb(mean))).astype(np.float32)
    even, outside = fitter.even(hair), points.under_hair == 1
    np.testing.assert_allclose(even[outside], encode_srgb(0.8 * decode_srgb(mean))[outside], atol=1e-3)
    np.testing.assert_array_equal(even[points.under_hair == 0], hair[points.under_hair == 0])
    chin = mean_height(model)[model.landmarks["ibug.09"]]
    assert outside.any() and not points.under_hair[(points.inside == 1) | (mean_height(model) < chin)].any()


def test_light_is_found_beneath_hair():
    random = np.random.default_rng(4)
    normals = random.normal(size=(4000, 3)) * [1, 1, 0.3] + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    albedo = random.uniform(0.4, 0.7, (4000, 3))
    light = np.array([[0.7], [0.2], [-0.1], [0.25], [0.02], [0.03], [0.0], [-0.02], [0.01]]) * [1.0, 0.9, 0.8]
    pixels = encode_srgb(decode_srgb(albedo) * irradiance(normals, light))
    pixels[:800] = 0.05
    found = irradiance(normals, fit_light(albedo, normals, pixels))
    assert np.abs(found / irradiance(normals, light) - 1)[800:].mean() < 0.05
    assert (irradiance(normals, -light) >= 0).all() and harmonics(normals).shape == (4000, 9)


@pytest.fixture(scope="module")
def photograph(model, tmp_path_factory):
    """A rendered photograph of a face with an expression: its path, its vertices, their places in pixels."""
    generator = torch.Generator().manual_seed(6)
    shape, texture = torch.zeros(1, 80), torch.randn(1, 20, generator=generator)
    vertices = model.vertices(shape, 0.4 * torch.randn(1, EXPRESSIONS, generator=generator))
    scene, crop = frontal_scene(1), Crop(300, ((0.37, 0.4), (0.61, 0.42), (0.39, 0.64), (0.57, 0.66)))
    scene.angles[:] = torch.tensor([TURNED])
    corners = alignment_points(vertices, model.alignment_vertices)
    projection = crop_projection(scene.angles, scene.distance, corners, crop)[0]
    drawn = model.triangles, model.alignment_vertices, scene, crop
    path = tmp_path_factory.mktemp("photograph") / "rendered.png"
    Image.fromarray(to_pictures(render_meshes(vertices, model.albedo(texture), *drawn))[0]).save(path)
    return path, vertices[0].numpy(), 300 * picture_points(vertices, projection)[0].numpy(), model.albedo(texture)[0]


@pytest.fixture
def regressor(study, monkeypatch):
    """Gives the mean face, whatever it reads; the model of few samples has few components."""
    load = FaceModel.load
    monkeypatch.setattr(FaceModel, "load", lambda path, expression_dimension: load(path, 80, 20, expression_dimension))
    regressor = Regressor(256, 80, 20)
    torch.nn.init.zeros_(regressor.layers[-1].weight)
    torch.nn.init.zeros_(regressor.layers[-1].bias)
    (study / "data/regressors").mkdir(exist_ok=True)
    regressor.save(study / "data/regressors/zero.safetensors")
    return "data/regressors/zero.safetensors"


def test_a_photograph_gives_pose_landmarks_and_overlay(model, photograph, regressor, tmp_path, monkeypatch):
    path, vertices, places, _ = photograph
    assert reconstruct.main([str(path), "--out", str(tmp_path), "--regressor", regressor]) == 0
    fit = json.loads((tmp_path / "rendered.json").read_text())["photographs"][0]["fit"]
    rows = model.landmark_vertices(IBUG_LANDMARKS)
    found, eyes = np.array(fit["landmarks"]["pixels"]), np.linalg.norm(places[rows[36]] - places[rows[45]])
    assert fit["landmarks"]["vertices"] == rows and fit["residual"] < 0.1
    assert np.linalg.norm(found - places[rows], axis=1)[17:].mean() < 0.06 * eyes
    angles = [fit["pose_degrees"][name] for name in ("yaw", "pitch", "roll")]
    # the roll is the photograph's, whose left eye lies lower by 0.02 in 0.24
    assert np.abs(angles - np.degrees([*TURNED[:2], -math.atan(0.02 / 0.24)])).max() < 6
    camera, mm = np.array(fit["camera"]), np.array(fit["landmarks"]["mm"])
    seen = np.hstack([mm, np.ones((68, 1))]) @ camera.T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], found, atol=0.02)
    assert (seen[:, 2] > 200).all()  # in front of the camera
    card = np.asarray(Image.open(tmp_path / "rendered.png")).astype(float)
    assert card.shape == (320, 5 * 320, 3)
    overlay, portrait = card[:, 320:640], card[:, :320]
    drawn = np.abs(overlay - portrait).max(2) > 0
    assert drawn.mean() > 0.15 and np.abs(overlay - portrait)[drawn].mean() < 12
    turned = trimesh.load_mesh(tmp_path / "posed/rendered.glb", process=False).vertices
    nose = model.landmarks["center.nose.tip"]
    assert (
        turned[nose, 2] * 1000 > 30 and turned[nose, 0] > 0.25 * turned[nose, 2]
    )  # towards the camera, turned to the right


def test_pixels_correct_the_texture_but_not_the_mean_colour(model, photograph, regressor, tmp_path):
    albedos = []
    for name, more in (("with", []), ("without", ["--no-fit"])):
        arguments = [str(photograph[0]), "--regressor", regressor, "--out", str(tmp_path / name)]
        assert reconstruct.main([*arguments, *more]) == 0
        texture = json.loads((tmp_path / name / "rendered.json").read_text())["texture"]
        albedos.append(model.albedo(torch.tensor([texture]))[0])
    assert (albedos[0] - albedos[1]).mean(0).abs().max() < 0.03
    middle = torch.from_numpy(LandmarkModel(model).inside > 0.9)
    off = [(each - photograph[3])[middle] for each in albedos]
    corrected, regressed = ((each - each.mean(0)).square().mean() for each in off)
    assert corrected < 0.75 * regressed


NO_PART = Parts(*np.zeros((5, 6000), bool))


def test_hidden_pixels_do_not_colour_the_face():
    random = np.random.default_rng(1)
    normals = random.normal(size=(6000, 3)) * [0.5, 0.5, 0] + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    surface, modes = random.uniform(0.4, 0.7, (6000, 3)), 0.03 * random.normal(size=(8, 6000, 3))
    true, light = random.normal(size=8), np.array([[0.8], [0.2], [-0.1], [0.2], *[[0.0]] * 5]) * np.ones(3)
    pixels = encode_srgb(decode_srgb(surface + np.tensordot(true, modes, 1)) * irradiance(normals, light))
    pixels[:900] = 0.05
    change, found = fit_colours(modes, surface, normals, pixels, NO_PART)
    assert np.abs(change - true).max() < 0.1
    assert np.abs(irradiance(normals, found) / irradiance(normals, light) - 1).mean() < 0.03


def test_pixels_of_a_photograph_that_nothing_explains_count_less():
    """Hard shadows and caps are no texture."""
    random = np.random.default_rng(4)
    normals, surface = np.array([[0, 0, 1.0]]).repeat(6000, 0), random.uniform(0.5, 0.6, (6000, 3))
    modes, true = 0.003 * random.normal(size=(8, 6000, 3)), random.normal(size=8)
    light = np.array([[0.8], *[[0.0]] * 8]) * np.ones(3)
    shown = surface + np.tensordot(true, modes, 1)
    shares = []
    for error in (0.0, 0.15):
        spoilt = (shown + error * random.normal(size=(6000, 1))).clip(0.05, 0.95)
        pixels = encode_srgb(decode_srgb(spoilt) * irradiance(normals, light))
        shares.append(fit_colours(modes, surface, normals, pixels, NO_PART)[0] @ true / (true @ true))
    assert 0.6 < shares[0] < 0.85 and shares[1] < 0.75 * shares[0]


def test_hue_and_brightness_of_a_photograph_are_shared_by_skin_and_light():
    """The camera's white balance is trusted in half, its exposure in a smaller part."""
    random, up = np.random.default_rng(3), np.array([[0.8], [0.2], [-0.1], [0.2], *[[0.0]] * 5])
    normals = random.normal(size=(6000, 3)) * [0.5, 0.5, 0] + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    surface = np.array([0.7, 0.55, 0.5]) + 0.02 * random.normal(size=(6000, 3))
    modes = np.concatenate([0.03 * random.normal(size=(8, 6000, 3)), 0.05 * np.eye(3)[:, None].repeat(6000, 1)])
    for hue, bright in (((1.1, 1.0, 1 / 1.1), 1.0), ((1.0, 1.0, 1.0), 0.6)):
        shining = irradiance(normals, bright * up * hue)
        pixels = encode_srgb((decode_srgb(surface) * shining).clip(0, 1))
        change, light = fit_colours(modes, surface, normals, pixels, NO_PART)
        found = decode_srgb((surface + np.tensordot(change, modes, 1)).mean(0)) / decode_srgb(surface.mean(0))
        share = 0.4 * np.log(np.exp(np.log(shining.mean(0)).mean()) / 0.9)
        np.testing.assert_allclose(np.log(found), 0.5 * np.log(hue) + share, atol=0.02)
        drawn = encode_srgb(decode_srgb(surface + np.tensordot(change, modes, 1)) * irradiance(normals, light))
        assert np.abs(drawn - pixels).mean() < 0.01


def test_lips_take_the_colour_of_the_photograph():
    """Where all of them are far from what they were thought to be, they are right and the face model is wrong."""
    random = np.random.default_rng(2)
    normals, surface = np.array([[0, 0, 1.0]]).repeat(6000, 0), random.uniform(0.4, 0.7, (6000, 3))
    lips = np.arange(6000) < 200
    modes = np.stack([lips[:, None] * np.array([0.04, -0.02, 0.03]), 0.03 * random.normal(size=(6000, 3))])
    true, light = np.array([-4.0, 1.0]), np.array([[0.8], *[[0.0]] * 8]) * np.ones(3)
    shown = surface + np.tensordot(true, modes, 1)
    pixels = encode_srgb(decode_srgb(shown.clip(0, 1)) * irradiance(normals, light))
    hidden = pixels.copy()
    hidden[:40] = 0.9  # teeth
    for each in (pixels, hidden):
        change, _ = fit_colours(modes, surface, normals, each, NO_PART._replace(lips=lips))
        assert np.abs(change - true).max() < 0.4
    forgotten, _ = fit_colours(modes, surface, normals, pixels, NO_PART)
    assert abs(forgotten[0] - true[0]) > 1


def test_irises_take_the_colour_of_the_photograph_without_what_they_mirror():
    random = np.random.default_rng(6)
    normals = random.normal(size=(6000, 3)) * [0.5, 0.5, 0] + [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    surface, irises = random.uniform(0.45, 0.55, (6000, 3)), np.arange(6000) < 60
    modes = np.stack([irises[:, None] * np.array([-0.06, -0.04, -0.02]), 0.03 * random.normal(size=(6000, 3))])
    true, light = np.array([4.0, 1.0]), np.array([[0.9], *[[0.0]] * 8]) * np.ones(3)
    shown = surface + np.tensordot(true, modes, 1)
    pixels = encode_srgb(decode_srgb(shown.clip(0, 1)) * irradiance(normals, light))
    pixels[:20] = 0.85  # a window
    found, _ = fit_colours(modes, surface, normals, pixels, NO_PART._replace(irises=irises))
    forgotten, _ = fit_colours(modes, surface, normals, pixels, NO_PART)
    assert abs(found[0] - true[0]) < 0.8 and abs(found[1] - true[1]) < 0.2
    assert abs(forgotten[0] - true[0]) > 1.5


@pytest.mark.parametrize("covered", [True, False])
def test_what_covers_the_forehead_colours_neither_it_nor_the_brows(covered):
    """A dark forehead beside other skin is a cap or hair, under which brows are dark too; brows alone are seen."""
    random, places = np.random.default_rng(8), np.arange(6000) // 100  # a fifth is forehead, a sixtieth brows
    normals, surface = np.array([[0, 0, 1.0]]).repeat(6000, 0), random.uniform(0.55, 0.6, (6000, 3))
    forehead, brows = places < 12, places == 12
    parts = NO_PART._replace(plain=~brows, forehead=forehead, brows=brows)
    modes = np.stack([np.where(part[:, None], 0.05, 0.0) * np.ones(3) for part in (forehead, brows, places >= 0)])
    light = np.array([[0.8], *[[0.0]] * 8]) * np.ones(3)
    darkness = np.select([brows, covered & forehead], [0.12, 0.3], 0.0)
    shown = surface - darkness[:, None] + 0.04 * random.normal(size=(6000, 1))
    pixels = encode_srgb(decode_srgb(shown) * irradiance(normals, light))
    change, _ = fit_colours(modes, surface, normals, pixels, parts)
    assert abs(change[0]) < 0.5
    assert abs(change[1]) < 1 if covered else change[1] < -1.5


def test_hair_over_most_of_the_forehead_takes_part_in_neither_skin_nor_light():
    """Also where it is nearly as bright as skin and covers more of it than is seen; hidden brows stay brows."""
    random, places = np.random.default_rng(9), np.arange(6000)
    normals = random.normal(size=(6000, 3)) * [0.4, 0.4, 0] + [0, 0, 1]
    forehead, brows = places < 3500, (places >= 3500) & (places < 3700)
    normals[forehead, 1] += 0.5
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    surface = np.where(brows[:, None], 0.3, [0.75, 0.6, 0.5]) + 0.02 * random.normal(size=(6000, 3))
    modes = np.concatenate(
        [0.05 * np.eye(3)[:, None].repeat(6000, 1), np.where(brows[:, None], 0.05, 0.0)[None] * [1, 1, 1]]
    )
    light = np.array([[0.8], [0.1], [0.1], [0.2], *[[0.0]] * 5]) * np.ones(3)
    parts = NO_PART._replace(plain=~brows, forehead=forehead, brows=brows)
    found = []
    for covered in (False, True):
        shown = np.where((covered & (forehead | brows))[:, None], surface - [0.05, 0.1, 0.3], surface)
        pixels = encode_srgb(decode_srgb(shown.clip(0.02, 1)) * irradiance(normals, light))
        found.append(fit_colours(modes, surface, normals, pixels, parts))
    (bare, lit), (under_hair, light_there) = found
    assert np.abs(under_hair[:3] - bare[:3]).max() < 0.3 and abs(under_hair[3] - bare[3]) < 0.6
    np.testing.assert_allclose(irradiance(normals, light_there).mean(0), irradiance(normals, lit).mean(0), rtol=0.03)


def test_eyes_and_nostrils_are_known_on_the_face(model):
    points = LandmarkModel(model)
    deep, mean = points.deep, model.vertices(torch.zeros(1, model.shape_dimension))[0].numpy()
    tip = mean[model.landmarks["center.nose.tip"]]
    assert np.all(deep[[*model.landmark_vertices(PUPILS), points.vertices[UNDER_NOSE]]] == 1)
    assert np.all(deep[points.vertices[[*LIDS]]] == 1)
    beside = np.hypot(np.abs(mean[:, 0]) - 40, mean[:, 1] - tip[1]) < 15  # cheeks
    above = mean[:, 1] > tip[1] + 60
    assert not deep[beside | above].any() and 0.01 < (deep > 0).mean() < 0.3


def test_without_the_fit_the_face_is_the_regressors_alone(photograph, regressor, tmp_path):
    arguments = [str(photograph[0]), "--regressor", regressor, "--formats", "ply"]
    shapes = []
    for name, more in (("with", []), ("without", ["--no-fit"]), ("both", ["--same-person"])):
        assert reconstruct.main([*arguments, "--out", str(tmp_path / name), *more]) == 0
        (written,) = (tmp_path / name).glob("*.json")
        content = json.loads(written.read_text())
        assert ("fit" in content["photographs"][0]) == (name != "without")
        shapes.append(content["shape"])
    assert not any(shapes[1]) and any(shapes[0])
    np.testing.assert_allclose(shapes[0], shapes[2], atol=1e-5)


def test_the_photographs_pixels_make_the_texture(photograph, regressor, tmp_path):
    textures = []
    for name, more in (("model", ["--model-texture"]), ("photo", [])):
        arguments = [str(photograph[0]), "--regressor", regressor, "--formats", "obj", "--out", str(tmp_path / name)]
        assert reconstruct.main([*arguments, *more]) == 0
        textures.append(np.asarray(Image.open(tmp_path / name / "textures/rendered.png")).astype(float))
    assert textures[0].shape == textures[1].shape and 0.5 < np.abs(textures[1] - textures[0]).mean() < 40


def test_several_photographs_of_a_person_make_one_texture(photograph, regressor, tmp_path):
    """Twice the same photograph gives its texture; in another photograph the same face is lit from the side."""
    shade, textures = np.linspace(0.45, 1, 300)[:, None], []
    (tmp_path / "others").mkdir()
    for name, picture in (("again", 1.0), ("shaded", shade)):
        pixels = np.asarray(Image.open(photograph[0])) * picture
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"others/{name}.png")
    for number, others in enumerate(([], ["again"], ["shaded"])):
        files, folder = [photograph[0], *(tmp_path / f"others/{name}.png" for name in others)], tmp_path / str(number)
        arguments = ["--same-person", "--regressor", regressor, "--formats", "obj", "--out", str(folder)]
        assert reconstruct.main([*map(str, files), *arguments]) == 0
        textures.append(np.asarray(Image.open(folder / "textures/person.png")).astype(float))
    alone, *others = textures
    twice, mixed = (np.abs(each - alone).mean() for each in others)
    assert twice < 0.2 < 3 < mixed < 15


YAWS = 0.45 * np.sin(np.linspace(0, 2 * np.pi, 20))


@pytest.fixture(scope="module")
def clip(model, tmp_path_factory):
    """Two seconds of a face that turns and moves, with one frame, the eighth, that does not show it."""
    scene, crop = frontal_scene(len(YAWS)), Crop(240, ((0.38, 0.4), (0.6, 0.4), (0.41, 0.63), (0.57, 0.63)))
    scene.angles[:, 0] = torch.from_numpy(YAWS)
    scene.framing[:, 0] = torch.linspace(-0.08, 0.08, len(YAWS))
    mesh = model.vertices(torch.zeros(1, 80)), model.albedo(torch.zeros(1, 20)), model.triangles
    pictures = to_pictures(render_meshes(*mesh, model.alignment_vertices, scene, crop))
    pictures[7] = 128
    path = tmp_path_factory.mktemp("clip") / "turning.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 240
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video_is_followed_and_its_results_are_known(clip, regressor, tmp_path, capsys):
    arguments = [str(clip), "--out", str(tmp_path), "--regressor", regressor]
    for _ in range(2):
        assert video.main(arguments) == 0
    content = json.loads((tmp_path / "turning.json").read_text())
    there = np.array([frame["face"] for frame in content["frames"]])
    assert len(there) == len(YAWS) and not there[7] and there.sum() == len(YAWS) - 1
    found = np.array([frame["pose_degrees"]["yaw"] for frame in content["frames"] if frame["face"]])
    assert np.abs(found - np.degrees(YAWS[there])).max() < 5
    assert content["frames"][-1]["seconds"] == pytest.approx(1.9)
    with av.open(str(tmp_path / "turning.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    with av.open(str(clip)) as container:
        given = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    change = [np.abs(one - other).mean() for one, other in zip(frames, given, strict=True)]
    assert max(change) < 12 and change[7] < 1.5  # the face is drawn where it was
    assert all(made_here(tmp_path / f"turning.{kind}") for kind in ("glb", "mp4", "json"))
    made = trimesh.load_mesh(tmp_path / "turning.glb", process=False).visual.material.baseColorTexture
    face_model = FaceModel.load("data/face_model/full.h5", expression_dimension=1)
    model = face_model.atlas.bake(face_model.albedo(torch.zeros(1, 20))[0].numpy()).picture
    assert 0.5 < np.abs(np.asarray(made.convert("RGB")).astype(float) - model).mean() < 40  # the frames' own pixels
    (tmp_path / "turning.mp4").write_text("the user's own")
    assert video.main(arguments) == 1 and "would be replaced" in capsys.readouterr().err


def test_what_is_no_video_is_said(regressor, photograph, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "lost.mp4"):
        assert video.main([str(tmp_path / name), "--out", str(tmp_path / "out"), "--regressor", regressor]) == 1
        assert "is no video that can be read" in capsys.readouterr().err


def test_poses_stay_the_same_seen_through_another_crop(points):
    """The camera of a pose that is moved to the picture is the old one behind the similarity."""
    random = np.random.default_rng(0)
    landmarks = random.uniform(0.3, 0.7, (468, 2))
    pose, matrix = points.fit(landmarks, np.zeros(80), 0), np.array([[90.0, -30, 12], [30, 90, 7], [0, 0, 1]])
    np.testing.assert_allclose(video.in_picture(pose, matrix).camera(), matrix @ pose.camera(), atol=1e-6)
    (same,) = video.smooth([pose], 2.0)
    np.testing.assert_allclose(same.camera(), pose.camera(), atol=1e-6)


def test_a_published_regressor_is_refused_by_another_face_model(model, tmp_path):
    networks, path = load_params("params.yaml").networks, tmp_path / "published.safetensors"
    publish(Regressor(256, 80, 20), model, networks, path, photographs="none")
    check_face_model(path, model)
    for part, order in (("_shape", [0, 2, 1]), ("_texture", [0, 1, 3, 2])):
        other = FaceModel.load("data/face_model/full.h5", 80, 20, EXPRESSIONS)
        basis = getattr(other, part).basis
        basis[:, : len(order)] = basis[:, order]
        with pytest.raises(StudyError, match="was trained for another face model than"):
            check_face_model(path, other)
    check_face_model(tmp_path / "trained here.safetensors", other)
    assert is_meant_for(path, networks) and not is_meant_for(path, replace(networks, second="facenet"))


@pytest.mark.skipif(not (ROOT / "data/face_model/full.h5").is_file(), reason="the study has not built the face model")
def test_the_regressor_that_the_repository_brings_belongs_to_the_face_model_that_the_study_builds():
    if load_params(ROOT / "params.yaml").face_model != load_params(ROOT / "presets/default.yaml").face_model:
        pytest.skip("the face model has parameters of its own")
    check_face_model(ROOT / PUBLISHED, FaceModel.load(ROOT / "data/face_model/full.h5"))


def test_landmarks_of_many_people_tell_what_a_regressor_gets_wrong_in_all(model, points):
    """The mean correction is what all read shapes lack; single faces have errors of their own beside it."""
    generator, random = torch.Generator().manual_seed(5), np.random.default_rng(5)
    wrong, moved = np.zeros(80), []
    wrong[:4] = 1.0, -0.8, 0.6, -0.5
    for _ in range(120):
        shape, angles = torch.randn(1, 80, generator=generator), tuple(random.uniform(-0.2, 0.2, 3).tolist())
        landmarks = landmarks_of(
            points, *posed(model, shape, 0.3 * torch.randn(1, EXPRESSIONS, generator=generator), angles)
        )
        read = 0.5 * shape[0].double().numpy() - wrong
        moved.append(points.fit(landmarks, read, VARIANCE).shape - read)
    places = points.mean - points.mean.mean(0)
    similarities = [np.cross(axis, places) for axis in np.eye(3)]
    similarities += [places, *(np.broadcast_to(axis, places.shape) for axis in np.eye(3))]
    basis, _ = np.linalg.qr(np.reshape(similarities, (7, -1)).T)

    def change(coefficients):
        """Of the landmarks' places, without turns and size, which pictures do not tell."""
        displaced = np.tensordot(coefficients, points.shape_modes, 1).ravel()
        return displaced - basis @ (basis.T @ displaced)

    found, wanted = change(np.mean(moved, 0)), change(wrong)
    assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.8
    assert 0.5 < np.linalg.norm(found) / np.linalg.norm(wanted) < 1.2


def test_a_calibration_moves_shapes_alone():
    regressor, features, shift = Regressor(16, 5, 4), torch.randn(7, 16), torch.randn(5)
    before = regressor(features)
    regressor.map_shapes(torch.eye(5), shift)
    after = regressor(features)
    torch.testing.assert_close(after.shape, before.shape + shift, rtol=1e-4, atol=1e-5)
    assert torch.equal(after.texture, before.texture)


def test_the_regressor_that_the_repository_brings_is_calibrated():
    facts = read_json(facts_file(ROOT / PUBLISHED))[CALIBRATION]
    size = Regressor.load(ROOT / PUBLISHED).shape_dimension
    assert len(facts["shift"]) == size
    assert np.linalg.norm(facts["shift"]) > 1
