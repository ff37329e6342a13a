"""What simulated people wear: shells that face outwards, leave the face free, and stay a person's own."""

from dataclasses import replace

import numpy as np
import pytest

from lib.open_model.build import FaceGenerator
from lib.open_model.mesh import Part
from lib.photos.simulated.hair import CENTRE, HairStyle, hair, sample_covering, sample_hair_style, skull, skull_radii
from lib.photos.simulated.looks import BEFORE_THE_EYES, dress, glasses, sample_looks
from lib.photos.simulated.mesh import Mesh, join, loft, rolled_grid, tube


@pytest.fixture(scope="module")
def generator():
    return FaceGenerator("light")


@pytest.fixture(scope="module")
def people(generator):
    return [generator.person(np.random.default_rng(seed)) for seed in range(4)]


def outer_skin(generator):
    return (generator.maps.part == Part.SKIN) & (generator.maps.ears < 0.2)


def volume(mesh):
    """Signed volume in a closed or nearly closed mesh, mm^3: positive where triangles look outwards."""
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]].astype(float) for corner in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


def test_meshes_look_outwards():
    """Against volumes known by hand: a cylinder of radius 10 and height 20, and a tube of radius 2 and length 30."""
    cylinder = loft([10, 10, -10, -10], [1e-6, 10, 10, 1e-6], [1e-6, 10, 10, 1e-6], [0, 0, 0, 0], np.ones(3))
    assert volume(cylinder) == pytest.approx(np.pi * 100 * 20, rel=0.01)
    line = np.linspace([-15, 3, 5], [15, 3, 5], 20)
    middle = tube(line, 2.0, np.ones(3), sides=24)
    moved = Mesh(middle.vertices - [0, 3, 5], middle.triangles, middle.albedo)
    assert volume(moved) == pytest.approx(np.pi * 4 * 30, rel=0.35) and volume(moved) > 0  # its ends are open


def test_joined_meshes_keep_the_first_ones_numbers():
    one = rolled_grid(np.random.default_rng(0).normal(size=(3, 5, 3)), np.full(3, 0.2))
    both = join([one, one])
    assert len(both.vertices) == 30 and np.array_equal(both.triangles[: len(one.triangles)], one.triangles)
    assert both.triangles[len(one.triangles) :].min() == 15 and both.vertices.dtype == np.float32


def test_the_skull_follows_the_face_and_keeps_behind_it(generator, people):
    for person in people:
        vertices = person.vertices[outer_skin(generator)]
        radii, face = skull_radii(vertices)
        assert radii.min() > 60 and radii.max() < 175  # the neck included
        bare = skull(radii, face, np.full(3, 0.5))
        assert volume(bare) > 2.5e6  # a head has three to four litres
        relative = vertices - CENTRE
        distance = np.linalg.norm(relative, axis=1)
        directions = (bare.vertices - CENTRE) / np.linalg.norm(bare.vertices - CENTRE, axis=1, keepdims=True)
        nearest = (relative / distance[:, None] @ directions.T).argmax(1)
        hidden = np.linalg.norm(bare.vertices[nearest] - CENTRE, axis=1) < distance
        features = (np.abs(vertices[:, 0]) < 40) & (vertices[:, 1] > -60) & (vertices[:, 1] < 50)
        assert hidden[features].mean() > 0.99


@pytest.mark.parametrize("seed", range(8))
def test_hair_and_coverings_leave_the_face_free(generator, people, seed):
    random, person = np.random.default_rng(seed), people[seed % len(people)]
    radii, _ = skull_radii(person.vertices[outer_skin(generator)])
    gender = ("female", "male")[seed % 2]
    for style in (sample_hair_style(gender, 30, random), sample_covering(gender, random)):
        if style is None:
            continue
        mesh = hair(style, radii, np.array([0.3, 0.2, 0.1]), random)
        x, y, z = mesh.vertices.T
        lids = max(person.vertices[generator.landmarks[name], 1] for name in ("ibug.38", "ibug.45"))
        lowest = lids + 5 if getattr(style, "fringe", 0) else 22
        assert not ((np.abs(x) < 45) & (y < lowest) & (y > -90) & (z > 60)).any()
        assert y.max() > 110 and mesh.albedo.min() > 0 and mesh.albedo.max() < 1


def test_a_fringe_hides_the_forehead_and_is_longer_on_the_side_to_which_it_is_swept(generator, people):
    radii, _ = skull_radii(people[0].vertices[outer_skin(generator)])
    plain = HairStyle(62, 78, 88, 96, 15.0, 1.0)

    def lowest(style):
        x, y, z = hair(style, radii, np.full(3, 0.3), np.random.default_rng(0)).vertices.T
        return [y[(z > 60) & (left < 30) & (left > 0)].min() for left in (-x, x)]

    (right, left), straight, swept = (
        lowest(replace(plain, **each)) for each in ({}, {"fringe": 12.0}, {"fringe": 12.0, "swept": 1.0})
    )
    assert min(right, left) - max(straight) > 12
    assert swept[0] - swept[1] > straight[0] - straight[1] + 8


@pytest.mark.parametrize("dark", [False, True])
def test_glasses_sit_before_the_eyes(dark):
    eyes = np.array([[-30.0, 10.0, 84.0], [30.0, 10.0, 84.0]])
    worn = glasses(eyes, np.array([0.0, 10.0, 95.0]), 75.0, np.random.default_rng(0), dark)
    x, y, z = worn.vertices.T
    near_the_eyes = np.abs(x) < 45
    assert z[near_the_eyes].min() > 84 and z.max() < 84 + BEFORE_THE_EYES + 6
    assert np.ptp(x) == pytest.approx(150, abs=6) and abs(y.mean() - 10) < 12
    assert (np.linalg.norm((worn.vertices - eyes[0])[:, :2], axis=1) < 8).any() == dark  # clear lenses are not drawn


def test_a_person_keeps_the_looks_and_the_face_comes_first(generator, people):
    person = people[0]
    looks = [sample_looks(generator, person, np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(looks[0].bare.vertices, looks[1].bare.vertices)
    smiling = person.vertices + generator.expression(np.random.default_rng(0))
    pictures = [dress(generator, person, looks[0], smiling, 0.0, np.random.default_rng(seed)) for seed in range(6)]
    for whole in pictures:
        assert np.allclose(whole.vertices[: generator.vertex_count], smiling, atol=1e-4)
        assert np.array_equal(whole.triangles[: len(generator.triangles)], generator.triangles)
        assert whole.triangles.max() == len(whole.vertices) - 1 and np.isfinite(whole.vertices).all()
    clothes = {tuple(whole.albedo[-1]) for whole in pictures}
    assert len(clothes) == len(pictures)  # and change their clothes
