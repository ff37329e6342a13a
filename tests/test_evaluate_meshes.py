"""Meshes of any method against scans: constructed errors are measured, files are matched, mistakes are named."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import trimesh
from meshes import head, sphere
from scipy.spatial.transform import Rotation

from lib.core.errors import StudyError
from lib.core.files import made_here
from lib.evaluation.mesh_errors import PROTOCOLS, Face, measure, now_sphere, regions_of
from lib.evaluation.mesh_files import MeshFile, find_pairs
from lib.evaluation.meshes import SOME_FAILED, main
from lib.evaluation.surfaces import crop_to_sphere, make_surface, reconstruction_error, surface_distances
from lib.face_model.meshes import save_mesh
from lib.face_model.model import NOW_LANDMARKS

PLAIN, MICC, NOW = (PROTOCOLS[name] for name in ("plain", "micc", "now"))
TURN = Rotation.from_euler("YXZ", (9, -7, 5), degrees=True).as_matrix()
PLACES = np.array([[-45, 30], [-16, 30], [16, 30], [45, 30], [0, -22], [-24, -45], [24, -45]])
"""x and y of NoW's seven points on the egg."""


def egg(subdivisions=5):
    """A head of 210 mm: vertices (N, 3), triangles, and the vertices of the seven points."""
    vertices, _, triangles, _ = head(subdivisions)
    vertices = vertices[0].double().numpy()
    front = np.where(vertices[:, 2] > 0, 0, 1e6)
    seven = [int((np.linalg.norm(vertices[:, :2] - place, axis=1) + front).argmin()) for place in PLACES]
    return vertices, triangles.numpy(), seven


def face(vertices, triangles, seven=()):
    return Face(make_surface(vertices, triangles), dict(zip(NOW_LANDMARKS, vertices[list(seven)])))


def grid(step=2.0, side=60):
    """A flat square in the x-y plane."""
    numbers = np.arange(side**2).reshape(side, side)
    corners = [numbers[:-1, :-1], numbers[:-1, 1:], numbers[1:, 1:], numbers[1:, :-1]]
    a, b, c, d = (corner.ravel() for corner in corners)
    y, x = np.divmod(numbers.ravel(), side) * np.array(step)
    return np.stack([x, y, np.zeros(len(x))], 1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


@pytest.mark.parametrize(("distance", "expected"), [("point-to-plane", 0.7), ("point-to-point", np.hypot(0.5, 0.7))])
def test_each_distance_between_vertices_of_a_moved_square_is_the_known_one(distance, expected):
    vertices, triangles = grid()
    errors = measure(
        face(vertices + [0.5, 0, 0.7], triangles), face(vertices, triangles), replace(PLAIN, distance=distance), False
    )
    assert errors.mean == pytest.approx(expected, rel=0.01)
    counted = errors.distances[~np.isnan(errors.distances)]
    assert len(counted) == 58**2 and np.allclose(counted, expected, rtol=0.01)


def test_scan_to_mesh_measures_all_of_the_scan_to_triangles():
    vertices, triangles = grid()
    errors = measure(face(vertices + [0.5, 0, 40], triangles), face(vertices, triangles), PLAIN, False)
    assert len(errors.distances) == 60**2
    assert np.allclose(errors.distances, np.where(vertices[:, 0] == 0, np.hypot(0.5, 40), 40))


def test_a_larger_sphere_is_off_by_the_difference_of_the_radii():
    points, triangles = (values.numpy() for values in sphere(4))
    errors = measure(face(100.0 * points, triangles), face(102.5 * points, triangles), PLAIN, False)
    assert errors.mean == pytest.approx(2.5, rel=0.01) and errors.scale == 1


def test_distances_to_a_surface_are_exact_for_triangles_of_all_sizes():
    random = np.random.default_rng(0)
    corners = random.normal(size=(60, 1, 3)) * 5 + random.normal(size=(60, 3, 3)) * random.uniform(0.01, 20, (60, 1, 1))
    surface = make_surface(corners.reshape(-1, 3), np.arange(180).reshape(-1, 3))
    points = random.normal(size=(300, 3)) * 20
    closest = [trimesh.triangles.closest_point(corners, np.repeat(point[None], 60, 0)) for point in points]
    expected = [np.linalg.norm(near - point, axis=1).min() for near, point in zip(closest, points)]
    np.testing.assert_allclose(surface_distances(points, surface), expected, rtol=1e-9)


@pytest.mark.parametrize("landmarks", [False, True])
@pytest.mark.parametrize("name", ["micc", "now"])
def test_place_turn_and_scale_are_no_error(name, landmarks):
    vertices, triangles, seven = egg()
    moved = 1.08 * vertices @ (TURN.T if landmarks else np.eye(3)) + [30, -400, 12]
    seven_or_none = seven if landmarks or name == "now" else ()
    errors = measure(face(moved, triangles, seven_or_none), face(vertices, triangles, seven), PROTOCOLS[name], True)
    assert errors.mean < 0.01
    assert errors.scale == pytest.approx(1 / 1.08, rel=1e-3)


def test_micc_is_what_the_study_measures():
    vertices, triangles, _ = egg()
    other = vertices * [1.03, 0.98, 1.02]
    tip, other_tip = (values[values[:, 2].argmax()] for values in (vertices, other))
    truth = crop_to_sphere(make_surface(vertices, triangles), tip)
    expected = reconstruction_error(make_surface(other + tip - other_tip, triangles), truth)
    errors = measure(face(other, triangles), face(vertices, triangles), MICC, True)
    assert expected > 0.3 and errors.mean == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["micc", "now"])
def test_a_swollen_face_is_off_by_what_it_is_swollen(name):
    vertices, triangles, seven = egg(6)
    swollen = vertices + 1.5 * make_surface(vertices, triangles).normals
    prediction = Face(make_surface(swollen, triangles), dict(zip(NOW_LANDMARKS, vertices[seven])))
    protocol = replace(PROTOCOLS[name], align="landmarks", scalings=("none",))
    errors = measure(prediction, face(vertices, triangles, seven), protocol, False)
    assert errors.mean == pytest.approx(1.5, rel=0.01)
    assert np.median(errors.distances[~np.isnan(errors.distances)]) == pytest.approx(1.5, rel=0.01)


def test_now_measures_a_sphere_above_the_point_under_the_nose():
    points = np.array(
        [[-45, 40, 0], [-15, 40, 0], [15, 40, 0], [45, 40, 0], [0, -10, 0], [-25, -35, 0], [25, -35, 0.0]]
    )
    centre, radius = now_sphere(points)
    np.testing.assert_allclose(centre, [0, 5, 0])
    assert radius == pytest.approx(0.7 * (90 + 50))
    vertices, triangles, seven = egg()
    errors = measure(face(vertices, triangles, seven), face(vertices, triangles, seven), NOW, True)
    centre, radius = now_sphere(vertices[seven])
    assert np.linalg.norm(errors.part.vertices - centre, axis=1).max() <= radius
    assert len(errors.distances) < len(vertices)


def test_regions_lie_where_their_names_say_however_the_scan_is_turned():
    points = np.array(
        [[-45, 30, 0], [-16, 30, 5], [16, 30, 5], [45, 30, 0], [0, -20, 15], [-25, -45, 8], [25, -45, 8.0]]
    )
    places = dict(nose=[0, -5, 30], forehead=[10, 55, 10], mouth=[3, -45, 12], cheeks=[40, 5, 5])
    places |= {"": [0, -75, 5]}
    found = regions_of(np.array([*places.values()]) @ TURN.T + 100, points @ TURN.T + 100)
    assert [*found] == [*places]


def test_a_wrong_nose_is_an_error_of_the_nose_alone():
    vertices, triangles, seven = egg()
    near = np.linalg.norm(vertices - [0, 0, 110], axis=1) < 30
    wrong = vertices + np.where(near & (vertices[:, 2] > 0), 3 * np.sin(0.4 * vertices[:, 0]), 0)[:, None] * [0, 0, 1]
    protocol = replace(NOW, scalings=("none",), regions=True)
    regions = measure(face(wrong, triangles, seven), face(vertices, triangles, seven), protocol, False).regions
    assert regions["nose"] > 0.3 and all(regions[name] < 0.1 for name in ("mouth", "forehead", "cheeks")), regions


def write(path, vertices, triangles, seven=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mesh(path, vertices, np.full_like(vertices, 0.5), triangles)
    if seven is not None:
        np.savetxt(path.with_suffix(".txt"), vertices[seven])


@pytest.fixture
def study(tmp_path):
    """-> folder with the scans of two people and three predictions, which are 2 % too large and 2 % too small."""
    vertices, triangles, seven = egg()
    for person, size in (("ann", 1.02), ("bob", 0.98)):
        write(tmp_path / f"scans/{person}.ply", vertices, triangles, seven)
        write(tmp_path / f"mine/{person}/1.obj", size * vertices + [5, 60, 0], triangles, seven)
    write(tmp_path / "mine/ann/2.obj", 1.02 * vertices, triangles, seven)
    return tmp_path


def run(folder, *options, out="out"):
    return main([str(folder / "mine"), "--truth", str(folder / "scans"), "--out", str(folder / out), *options])


def test_the_command_writes_tables_figures_and_maps(study, capsys):
    assert run(study, "--scale", "mesh", "global", "none", "--maps", "ply", "glb") == 0
    meshes = pd.read_csv(study / "out/meshes.csv").set_index(["scaling", "mesh"])
    assert len(meshes) == 9
    assert (meshes.loc["mesh"]["mean"] < 0.01).all()
    np.testing.assert_allclose(meshes.loc["mesh"].scale, 1 / np.array([1.02, 1.02, 0.98]), rtol=1e-3)
    np.testing.assert_allclose(meshes.loc["global"].scale, (1.02 * 1.02 * 0.98) ** (-1 / 3), rtol=1e-3)
    people = pd.read_csv(study / "out/people.csv").set_index(["scaling", "person"])
    assert people.loc["none", "ann"]["mean"] == pytest.approx(meshes.loc["none"].loc[["ann/1", "ann/2"], "mean"].mean())
    summary = json.loads((study / "out/summary.json").read_text())
    assert (summary["people"], summary["meshes"], summary["failed"]) == (2, 3, {})
    assert summary["results"]["none"]["over_people"]["mean"] == pytest.approx(
        people.loc["none"]["mean"].mean(), rel=1e-4
    )
    assert summary["results"]["mesh"]["over_points"]["share_below"]["1"] == 1
    assert "scale global" in capsys.readouterr().out
    coloured = trimesh.load_mesh(study / "out/maps/ann/1.ply", process=False).visual.vertex_colors
    assert (np.abs(coloured[:, :3].astype(int) - [68, 1, 84]).max(1) < 12).mean() > 0.9  # viridis at 0 mm
    written = [path for path in (study / "out").rglob("*") if path.is_file()]
    assert len(written) == 4 + 3 * 3 and all(made_here(path) for path in written)
    before = (study / "out/meshes.csv").read_bytes()
    assert run(study, "--scale", "mesh", "global", "none", "--maps", "ply", "glb") == 0
    assert (study / "out/meshes.csv").read_bytes() == before


def test_foreign_files_stay(study, capsys):
    (study / "out").mkdir()
    (study / "out/meshes.csv").write_text("mine")
    assert run(study) == 1
    assert "meshes.csv would be replaced" in capsys.readouterr().err
    assert [path.name for path in (study / "out").iterdir()] == ["meshes.csv"]
    assert run(study, out="mine/out") == 1 and "give another --out" in capsys.readouterr().err


def test_meshes_in_metres_are_named_with_the_remedy(study, capsys):
    vertices, triangles, seven = egg()
    write(study / "mine/bob/1.obj", vertices / 1000, triangles)
    (study / "mine/bob/1.txt").unlink()
    assert run(study) == 1
    error = capsys.readouterr().err
    assert "bob/1.obj would measure 0.21 mm" in error and "give --unit m," in error
    write(study / "scans/bob.ply", vertices / 10, triangles, seven)
    assert run(study) == 1 and "give --truth-unit cm," in capsys.readouterr().err
    for person in ("ann", "bob"):
        write(study / f"scans/{person}.ply", vertices, triangles, seven)
    for name in ("ann/1", "ann/2", "bob/1"):
        write(study / f"mine/{name}.obj", vertices / 1000, triangles)
        (study / f"mine/{name}.txt").unlink(missing_ok=True)
    assert run(study, "--unit", "m", "--scale", "none", "--maps", "none") == 0
    assert not (study / "out/maps").exists()


def test_gltf_is_in_metres_as_it_says(study):
    vertices, triangles, _ = egg()
    write(study / "other/ann.glb", vertices, triangles)
    (pair,) = find_pairs(study / "other", study / "scans", PLAIN)
    np.testing.assert_allclose(pair.prediction.read().surface.vertices, vertices, atol=1e-3)


def test_a_mesh_of_any_unit_fits_where_landmarks_find_its_scale(study):
    vertices, triangles, seven = egg()
    write(study / "other/ann.obj", vertices / 50 @ TURN.T, triangles, seven)
    (pair,) = find_pairs(study / "other", study / "scans", NOW)
    errors = measure(pair.prediction.read(), pair.scan.read(), NOW, True)
    assert errors.mean < 0.01 and errors.scale == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize(
    "ending", [".landmarks.json", "list", ".txt", ".csv", ".npy", ".pp", "_picked_points.pp", "shared"]
)
def test_landmarks_are_read_from_each_kind_of_file(tmp_path, ending):
    vertices, triangles, seven = egg(4)
    write(tmp_path / "ann.ply", vertices, triangles)
    points, stem = vertices[seven], tmp_path / "ann"
    if ending in (".landmarks.json", "shared"):
        path = tmp_path / "landmarks.json" if ending == "shared" else stem.with_suffix(ending)
        named = {name: [vertex, vertex] for name, vertex in zip(NOW_LANDMARKS, seven)}
        path.write_text(json.dumps(named | {"nose_tip": [1.0, 2.0, 103.0]}))
    elif ending == "list":
        stem.with_suffix(".landmarks.json").write_text(json.dumps(points.tolist()))
    elif ending == ".npy":
        np.save(stem.with_suffix(ending), points)
    elif ending.endswith(".pp"):
        rows = "".join(f'<point x="{x}" y="{y}" z="{z}" name="{n}" active="1"/>' for n, (x, y, z) in enumerate(points))
        (tmp_path / f"ann{ending}").write_text(f"<!DOCTYPE PickedPoints>\n<PickedPoints>{rows}</PickedPoints>")
    else:
        np.savetxt(stem.with_suffix(".txt"), points, delimiter="," if ending == ".csv" else " ")
    found = MeshFile(tmp_path / "ann.ply", 10.0).read()
    np.testing.assert_allclose(found.seven, 10 * points, rtol=1e-5)
    if ending in (".landmarks.json", "shared"):
        np.testing.assert_array_equal(found.nose_tip, [10, 20, 1030])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ann.txt", "1 2 3\n4 5 6\n", "holds no landmarks"),
        ("ann.txt", "a b c\n", "holds no landmarks"),
        ("ann.pp", "<open>", "holds no landmarks"),
        ("ann.landmarks.json", '{"nose_tip": [9999999]}', "do not fit it: nose_tip"),
        ("ann.landmarks.json", '{"nose_tip": [1.5, 2.5]}', "do not fit it: nose_tip"),
        ("ann.landmarks.json", '{"nose_tip": "here"}', "do not fit it: nose_tip"),
        ("ann.txt", "0.001 0.002 0.1\n", "do not fit it: nose_tip lies off the mesh"),
    ],
)
def test_wrong_landmarks_are_named(tmp_path, name, text, said):
    vertices, triangles, _ = egg(3)
    write(tmp_path / "ann.ply", vertices, triangles)
    (tmp_path / name).write_text(text)
    with pytest.raises(StudyError, match=said):
        MeshFile(tmp_path / "ann.ply", 1.0).read()


def test_predictions_find_the_scan_of_their_name_or_folder(tmp_path, capsys):
    vertices, triangles, _ = egg(3)
    for scan in ("ann", "bob/neutral", "eve/left", "eve/right"):
        write(tmp_path / f"scans/{scan}.ply", vertices, triangles)
    for mesh in ("ann", "ann/indoor/1", "bob/1", "bob/2", "eve/left"):
        write(tmp_path / f"mine/{mesh}.obj", vertices, triangles)
    write(tmp_path / "mine/ann.ply", vertices, triangles)
    pairs = find_pairs(tmp_path / "mine", tmp_path / "scans", PLAIN)
    assert "1 of 4 scans have no prediction: eve/right" in capsys.readouterr().out
    found = {pair.name: pair.person for pair in pairs}
    expected = {
        "ann": "ann",
        "ann/indoor/1": "ann",
        "bob/1": "bob/neutral",
        "bob/2": "bob/neutral",
        "eve/left": "eve/left",
    }
    assert found == expected
    assert pairs[0].prediction.path.suffix == ".ply"
    write(tmp_path / "mine/eve/1.obj", vertices, triangles)
    with pytest.raises(StudyError, match=r"eve/1.obj is of no scan: call it NAME or NAME/ANYTHING.*ann, bob/neutral"):
        find_pairs(tmp_path / "mine", tmp_path / "scans", PLAIN)


def test_missing_files_and_landmarks_are_named_before_the_work(study, capsys):
    (study / "mine/ann/2.txt").unlink()
    assert run(study, "--protocol", "now") == 1
    assert "ann/2.obj has 0 landmarks in common with its scan" in capsys.readouterr().err
    (study / "scans/ann.txt").unlink()
    assert run(study, "--regions") == 1 and "ann.ply lacks the seven landmarks" in capsys.readouterr().err
    (study / "mine/bob/1.obj").write_text("v 1 2 3\n")
    assert run(study) == 1 and "bob/1.obj" in capsys.readouterr().err
    for path in (study / "scans").iterdir():
        path.unlink()
    assert run(study) == 1 and "scans holds no meshes" in capsys.readouterr().err
    assert not any((study / "out").iterdir())


def test_a_mesh_that_does_not_overlap_fails_alone(study, capsys):
    vertices, triangles, seven = egg()
    write(study / "mine/bob/1.obj", vertices + [0, 0, 5000], triangles, seven)
    assert run(study, "--align", "none", "--distance", "point-to-plane") == SOME_FAILED
    assert "bob/1.obj cannot be measured" in capsys.readouterr().err
    assert [*json.loads((study / "out/summary.json").read_text())["failed"]] == ["bob/1"]


@pytest.mark.parametrize("scaling", ["mesh", "global"])
@pytest.mark.parametrize("bad", [["bob/1"], ["ann/1", "ann/2", "bob/1"]])
def test_meshes_that_cannot_be_registered_are_named_at_any_scale(study, capsys, bad, scaling):
    for name in bad:
        write(study / f"mine/{name}.obj", *grid(step=60.0, side=3))  # nearly all of it is an open border
        (study / f"mine/{name}.txt").unlink()
    assert run(study, "--scale", scaling) == (1 if len(bad) == 3 else SOME_FAILED)
    assert f"{bad[0]}.obj cannot be measured" in capsys.readouterr().err
