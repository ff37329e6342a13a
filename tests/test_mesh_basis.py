"""Face models of folders of meshes in ICT-FaceKit's layout, on a miniature: a bent sheet with 68 landmarks."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lib.core.errors import StudyError
from lib.face_model.file import FaceModelFile, LinearModel, write_face_model
from lib.face_model.model import IBUG_LANDMARKS, FaceModel
from lib.open_model import mesh_basis
from lib.open_model.mesh_basis import dress_mesh_basis, read_mesh_basis
from lib.rendering.vertices import unit_normals

TURN = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
PLACE = np.array([3.0, -40.0, 7.0])


def sheet(columns, rows):
    """A bent sheet of 120 x 180 mm: vertices (N, 3) and quads (Q, 4)."""
    across, up = np.meshgrid(np.linspace(-60, 60, columns), np.linspace(-110, 70, rows))
    vertices = np.stack([across, up, 100 - (across**2 + up**2) / 120], 2).reshape(-1, 3)
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return vertices, np.stack([first, first + 1, first + columns + 1, first + columns], 1)


SKIN, SKIN_QUADS = sheet(16, 16)
LANDMARKS = np.random.default_rng(5).permutation(256)[:68]
"""Vertices of `SKIN`; each second column and row of the finer `SHEET` is one of it."""

SHEET, QUADS = sheet(31, 31)
SAME = (2 * (np.arange(256) // 16) * 31 + 2 * (np.arange(256) % 16)).astype(int)
MODES = {
    "identity000": np.outer(SHEET[:, 0], [0.1, 0, 0]),
    "identity001": np.outer(SHEET[:, 1] ** 2 / 1000, [0, 0, 0.5]),
    "jawOpen": np.outer(SHEET[:, 1] < -60, [0, -20.0, 0]),
}


@pytest.fixture(scope="module")
def open_model():
    random = np.random.default_rng(1)
    points = [{"id": name, "coordinates": [*SKIN[vertex]]} for name, vertex in zip(IBUG_LANDMARKS, LANDMARKS)]
    nothing = LinearModel(np.zeros(768), np.zeros((768, 1)), np.ones(1), np.zeros(1))
    colour = LinearModel(random.random(768), random.normal(size=(768, 199)), np.ones(199), np.zeros(1))
    cells = np.concatenate([SKIN_QUADS[:, [0, 1, 2]], SKIN_QUADS[:, [0, 2, 3]]]).T
    shape = LinearModel(SKIN.ravel(), nothing.basis, nothing.variance, nothing.noise_variance)
    return FaceModelFile(shape, colour, nothing, cells, SKIN.T, json.dumps(points))


def write_obj(path, vertices, quads=QUADS):
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices] + ["vt 0 0"]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in quad) for quad in quads]
    path.write_text("# made in a test\n" + "\n".join(lines) + "\n")


def abroad(vertices):
    """Millimetres of the model's frame in a folder's own: centimetres, turned and elsewhere."""
    return 0.1 * (vertices @ TURN.T) + PLACE


@pytest.fixture
def folder(tmp_path):
    write_obj(tmp_path / "generic_neutral_mesh.obj", abroad(SHEET))
    for name, move in MODES.items():
        write_obj(tmp_path / f"{name}.obj", abroad(SHEET + move))
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": SAME[LANDMARKS].tolist()}))
    return tmp_path


@pytest.fixture
def model(folder, open_model):
    write_face_model(folder / "model.h5", dress_mesh_basis(read_mesh_basis(folder), open_model))
    return FaceModel.load(folder / "model.h5")


def test_the_mean_comes_in_millimetres_and_in_the_models_frame(model):
    mean = model.vertices(torch.zeros(1, 199))[0].numpy()
    np.testing.assert_allclose(mean, SHEET, atol=1e-3)
    assert model.triangles.shape == (2 * len(QUADS), 3)
    assert (unit_normals(mean, model.triangles.numpy())[:, 2] > 0).all()
    assert model.landmark_vertices(IBUG_LANDMARKS) == SAME[LANDMARKS].tolist()
    assert model.alignment_vertices["right_eye"] == tuple(SAME[LANDMARKS[[39, 36]]])
    assert model.landmarks["center.nose.tip"] == SAME[LANDMARKS[30]] and model.texture_layout is None


def test_components_have_the_covariance_of_the_modes(model):
    identities = np.stack([MODES["identity000"].ravel(), MODES["identity001"].ravel()])
    found = model.modes("shape").numpy().reshape(199, -1)
    np.testing.assert_allclose(found.T @ found, identities.T @ identities, atol=1e-2)
    variances = (found**2).sum(1)
    assert variances[0] > variances[1] > 1 and not variances[2:].any()
    expressions = model.modes("expression").numpy()
    np.testing.assert_allclose(expressions[0], mesh_basis.EXPRESSION_SPREAD * MODES["jawOpen"], atol=1e-3)
    assert len(expressions) == 100 and not expressions[1:].any()


def test_the_skin_is_that_of_the_nearest_vertices(model, open_model):
    colours = open_model.color
    albedo = model.albedo(torch.zeros(1, 199))[0].numpy()
    np.testing.assert_allclose(albedo[SAME], colours.mean.reshape(-1, 3), atol=1e-6)
    modes = colours.basis.reshape(256, 3, 199)
    np.testing.assert_allclose(model.modes("texture").numpy()[:, SAME], modes.transpose(2, 0, 1), rtol=1e-5)
    near = np.linalg.norm(SHEET[:, None] - SKIN, axis=2)
    chosen = (albedo[:, None] == albedo[SAME]).all(2).argmax(1)
    assert (near[np.arange(961), chosen] < near.min(1) + 1).all()


def test_parts_of_ict_facekit_that_are_transparent_or_behind_are_left_out(folder, open_model, monkeypatch):
    upper = np.flatnonzero(SHEET[:, 1] > 60)
    kept = np.setdiff1d(np.arange(len(SHEET)), upper)
    landmarks = np.where(np.isin(SAME[LANDMARKS], upper), SAME[LANDMARKS] - 31 * 4, SAME[LANDMARKS])
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": landmarks.tolist()}))
    monkeypatch.setattr(mesh_basis, "ICT_VERTICES", len(SHEET))
    monkeypatch.setattr(mesh_basis, "ICT_LEFT_OUT", upper)
    basis = read_mesh_basis(folder)
    np.testing.assert_allclose(basis.mean, abroad(SHEET)[kept], atol=1e-6)
    assert basis.triangles.max() == len(kept) - 1 and len(basis.triangles) == 2 * 30 * (len(kept) // 31 - 1)
    np.testing.assert_allclose(basis.mean[basis.landmarks], abroad(SHEET)[landmarks], atol=1e-6)


def test_a_basis_needs_no_expressions(folder, open_model):
    (folder / "jawOpen.obj").unlink()
    dressed = dress_mesh_basis(read_mesh_basis(folder), open_model)
    assert not dressed.expression.variance.any() and dressed.expression.basis.shape == (3 * len(SHEET), 100)


def landmarks(vertices):
    return lambda folder: (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": vertices}))


def mesh(name, vertices, quads=QUADS):
    return lambda folder: write_obj(folder / name, vertices, quads)


def other_text(name, text):
    return lambda folder: (folder / name).write_text(text)


RIGHT = SAME[LANDMARKS].tolist()
SHUFFLED = np.random.default_rng(3).permutation(len(SHEET))
DAMAGES = {
    "no neutral": (lambda folder: (folder / "generic_neutral_mesh.obj").unlink(), "generic_neutral_mesh.obj missing"),
    "no indices": (lambda folder: (folder / "vertex_indices.json").unlink(), "vertex_indices.json missing"),
    "no JSON": (other_text("vertex_indices.json", "{"), "vertex_indices.json: expected idx_to_landmark_verts"),
    "JSON of another kind": (other_text("vertex_indices.json", "[1]"), "expected idx_to_landmark_verts"),
    "too few landmarks": (landmarks(RIGHT[:67]), "expected idx_to_landmark_verts"),
    "one landmark twice": (landmarks([RIGHT[1], *RIGHT[1:]]), "each once"),
    "unknown vertex": (landmarks([len(SHEET), *RIGHT[1:]]), "0 to 960"),
    "landmarks in words": (landmarks(["chin", *RIGHT[1:]]), "expected idx_to_landmark_verts"),
    "other order": (landmarks(RIGHT[::-1]), "are no face's"),
    "other size": (mesh("generic_neutral_mesh.obj", 2.5 * abroad(SHEET)), "identity000.obj: its vertices lie far"),
    "no mode": (lambda folder: [path.unlink() for path in folder.glob("identity*")], "no identity*.obj"),
    "fewer vertices": (mesh("identity001.obj", abroad(SHEET)[:-1], QUADS[:-1]), "identity001.obj: 960 vertices, but"),
    "other vertices": (mesh("identity001.obj", abroad(SHEET)[SHUFFLED]), "identity001.obj: its vertices lie far"),
    "not finite": (mesh("jawOpen.obj", np.full((961, 3), np.nan)), "jawOpen.obj: 961 of its vertices are not finite"),
    "empty": (other_text("jawOpen.obj", ""), "jawOpen.obj holds no triangles"),
    "no numbers": (other_text("jawOpen.obj", "v a b c\n"), "jawOpen.obj cannot be read as a mesh: "),
    "too few numbers": (other_text("jawOpen.obj", "v 1 2\n"), "jawOpen.obj cannot be read as a mesh: "),
    "no polygons": (mesh("generic_neutral_mesh.obj", abroad(SHEET), []), "generic_neutral_mesh.obj holds no triangles"),
    "unknown corner": (mesh("generic_neutral_mesh.obj", abroad(SHEET), [[0, 1, 961]]), "of vertices up to 961"),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=DAMAGES)
def test_mistakes_are_told_with_the_file_and_what_to_do(damage, message, folder, open_model):
    damage(folder)
    with pytest.raises(StudyError) as refused:
        dress_mesh_basis(read_mesh_basis(folder), open_model)
    assert str(folder) in str(refused.value) and message in str(refused.value)


def test_a_face_of_no_plausible_size_is_refused(folder, open_model):
    basis = read_mesh_basis(folder)
    for wrong in (2.0, 0.4):
        with pytest.raises(StudyError, match="in units of .* mm, cm or m"):
            dress_mesh_basis(basis._replace(mean=wrong * basis.mean), open_model)
    for unit in (1e-3, 10.0):
        wide = dress_mesh_basis(basis._replace(mean=unit * basis.mean), open_model)
        np.testing.assert_allclose(wide.shape.mean.reshape(-1, 3), SHEET, atol=1e-3)
