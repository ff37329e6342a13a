"""The morphable model: Eq. 1 by hand, exact round trips, and files that must be refused."""

import json

import h5py
import numpy as np
import pytest
import torch

from lib.core.errors import StudyError
from lib.face_model.model import Coefficients, FaceModel
from lib.rendering.crop import POINT_NAMES

VERTICES, SHAPE, TEXTURE, EXPRESSION = 300, 7, 6, 5
PARTS = ("mean", "pcaBasis", "pcaVariance", "noiseVariance")
DIMENSIONS = {"shape_dimension": SHAPE, "texture_dimension": TEXTURE, "expression_dimension": EXPRESSION}
LANDMARKS = {
    "right.eye.corner_inner": 3,
    "right.eye.corner_outer": 17,
    "left.eye.corner_inner": 40,
    "left.eye.corner_outer": 99,
    "right.lips.corner": 150,
    "left.lips.corner": 299,
    "center.nose.tip": 0,
}


@pytest.fixture
def arrays():
    """A random model in the BFM 2017 layout, as another program would write it: dataset name to value."""
    random = np.random.default_rng(0)
    points = random.uniform(-90, 90, (VERTICES, 3)).astype("f4")
    values = {
        "shape/representer/cells": random.integers(0, VERTICES, (3, 500)).astype("i4"),
        "shape/representer/points": points.T.copy(),
        "metadata/landmarks/json": json.dumps(
            [{"id": name, "coordinates": points[v].tolist()} for name, v in LANDMARKS.items()]
        ),
    }
    means = {"shape": points.ravel(), "color": random.uniform(0.2, 0.8, 3 * VERTICES).astype("f4")}
    means["expression"] = random.normal(0, 1, 3 * VERTICES).astype("f4")
    for name, size, scale in (("shape", SHAPE, 40), ("color", TEXTURE, 1), ("expression", EXPRESSION, 9)):
        basis = np.linalg.qr(random.normal(size=(3 * VERTICES, size)))[0]
        values[f"{name}/model/mean"] = means[name]
        values[f"{name}/model/pcaBasis"] = np.ascontiguousarray(basis, "f4")
        values[f"{name}/model/pcaVariance"] = np.sort(random.uniform(0.1, scale, size))[::-1].astype("f4")
        values[f"{name}/model/noiseVariance"] = np.array([0.25], "f4")
    return values


def write(path, arrays):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return path


def test_decoding_is_equation_1(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    random = np.random.default_rng(1)
    shape, texture, expression = (random.normal(size=(4, k)) for k in (SHAPE, TEXTURE, EXPRESSION))

    def linear(name, coefficients):
        mean, basis, variance = (
            arrays[f"{name}/model/{part}"].astype("f8") for part in ("mean", "pcaBasis", "pcaVariance")
        )
        flat = np.array([mean + basis @ np.diag(np.sqrt(variance)) @ row for row in coefficients])
        return flat.reshape(-1, VERTICES, 3)

    neutral = model.vertices(torch.tensor(shape, dtype=torch.float32))
    smiling = model.vertices(*(torch.tensor(values, dtype=torch.float32) for values in (shape, expression)))
    albedo = model.albedo(torch.tensor(20 * texture, dtype=torch.float32))
    np.testing.assert_allclose(neutral, linear("shape", shape), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(smiling, linear("shape", shape) + linear("expression", expression), rtol=1e-5, atol=1e-4)
    unclamped = linear("color", 20 * texture)
    assert (unclamped < 0).any() and (unclamped > 1).any()
    np.testing.assert_allclose(albedo, unclamped.clip(0, 1), atol=1e-5)
    for name, modes in (("shape", model.modes("shape")), ("color", model.modes("texture"))):
        steps = linear(name, np.eye(len(modes))) - linear(name, np.zeros((1, len(modes))))
        np.testing.assert_allclose(modes, steps, rtol=1e-5, atol=1e-5)
    assert (model.shape_dimension, model.texture_dimension, model.expression_dimension) == (SHAPE, TEXTURE, EXPRESSION)
    assert model.triangles.dtype == torch.int64
    np.testing.assert_array_equal(model.triangles, arrays["shape/representer/cells"].T)


def test_a_file_of_another_program_at_the_size_of_bfm_face12(tmp_path):
    """`model2017-1_face12_nomouth.h5` has 28,588 vertices and 199, 199 and 100 components."""
    random, count = np.random.default_rng(6), 28_588
    mean = {"shape": random.uniform(-90, 90, 3 * count), "color": random.uniform(0.3, 0.7, 3 * count)}
    mean["expression"] = random.normal(0, 1, 3 * count)
    arrays, sizes = {}, {"shape": 199, "color": 199, "expression": 100}
    for (name, size), scale in zip(sizes.items(), (900.0, 0.5, 400.0), strict=True):
        basis = random.standard_normal((3 * count, size), np.float32) / np.float32(np.sqrt(3 * count))
        assert basis.flags.c_contiguous
        arrays[f"{name}/model/mean"], arrays[f"{name}/model/pcaBasis"] = mean[name].astype("f4"), basis
        arrays[f"{name}/model/pcaVariance"] = np.sort(random.uniform(0.1, scale, size))[::-1].astype("f8")
        arrays[f"{name}/model/noiseVariance"] = np.zeros(1)
    arrays["shape/representer/cells"] = np.stack([np.arange(count - 2) + corner for corner in range(3)]).astype("u4")
    arrays["shape/representer/points"] = arrays["shape/model/mean"].reshape(-1, 3).T
    places = arrays["shape/representer/points"][:, list(LANDMARKS.values())].T
    arrays["metadata/landmarks/json"] = json.dumps(
        [{"id": name, "coordinates": place.tolist()} for name, place in zip(LANDMARKS, places, strict=True)]
    )
    model = FaceModel.load(write(tmp_path / "face12.h5", arrays))
    assert model.vertex_count == count
    assert model.landmarks == LANDMARKS
    weights = {name: random.normal(size=size) for name, size in sizes.items()}

    def linear(name):
        flat, basis, variance = (arrays[f"{name}/model/{part}"] for part in ("mean", "pcaBasis", "pcaVariance"))
        return flat + basis @ (np.sqrt(variance) * weights[name])

    decode = {name: torch.tensor(values, dtype=torch.float32)[None] for name, values in weights.items()}
    for decoded, expected in (
        (model.vertices(decode["shape"], decode["expression"]), linear("shape") + linear("expression")),
        (model.albedo(decode["color"]), linear("color")),
    ):
        wanted = expected.reshape(1, -1, 3)
        error = np.linalg.norm(decoded.numpy() - wanted, axis=2) / np.linalg.norm(wanted, axis=2)
        assert error.max() < 1e-5


def test_landmarks_are_the_nearest_vertices(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    assert model.landmarks == LANDMARKS
    assert tuple(model.alignment_vertices) == POINT_NAMES
    assert model.alignment_vertices["right_eye"] == (3, 17)
    assert model.alignment_vertices["left_mouth"] == (299,)


def test_fewer_components_are_the_leading_ones(arrays, tmp_path):
    path = write(tmp_path / "model.h5", arrays)
    whole, part = FaceModel.load(path, **DIMENSIONS), FaceModel.load(path, 3, 2, 1)
    coefficients = torch.zeros(1, SHAPE)
    coefficients[0, :3] = torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(part.vertices(coefficients[:, :3]), whole.vertices(coefficients))
    assert part.texture_dimension == 2


def test_round_trip_is_exact(arrays, tmp_path):
    FaceModel.load(write(tmp_path / "first.h5", arrays), **DIMENSIONS).save(tmp_path / "second.h5")
    with h5py.File(tmp_path / "second.h5") as file:
        for name, value in arrays.items():
            stored = file[name][()]
            if isinstance(value, str):
                assert stored.decode() == value
            else:
                assert stored.dtype == value.dtype, name
                np.testing.assert_array_equal(stored, value, err_msg=name)


def test_compressed_models_are_read_and_a_model_outlives_its_file(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    (tmp_path / "model.h5").unlink()
    with h5py.File(tmp_path / "model.h5", "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value, compression="gzip" if np.ndim(value) == 2 else None)
    compressed = FaceModel.load(tmp_path / "model.h5", **DIMENSIONS)
    assert all(torch.equal(*pair) for pair in zip(model.buffers(), compressed.buffers(), strict=True))


def test_string_types_of_other_writers_are_read(arrays, tmp_path):
    text = arrays["metadata/landmarks/json"]
    for index, stored in enumerate((np.bytes_(text.encode()), np.array([text], h5py.string_dtype()))):
        arrays["metadata/landmarks/json"] = stored
        assert FaceModel.load(write(tmp_path / f"{index}.h5", arrays), **DIMENSIONS).landmarks == LANDMARKS


def test_gradients_agree_with_finite_differences(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS).double()
    random = torch.Generator().manual_seed(2)
    shape, expression, texture = (
        torch.randn(2, size, generator=random, dtype=torch.float64, requires_grad=True)
        for size in (SHAPE, EXPRESSION, TEXTURE)
    )
    # one weighted sum of all outputs: a full Jacobian of 1800 rows would say no more and take minutes
    weights = torch.randn(2, VERTICES, 3, generator=random, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s, e: (weights * model.vertices(s, e)).sum(), (shape, expression))
    assert torch.autograd.gradcheck(lambda t: (weights * model.albedo(t)).sum(), (0.01 * texture,))


def test_no_gradient_passes_a_colour_that_is_cut_off(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    texture = torch.full((1, TEXTURE), 30.0, requires_grad=True)
    albedo = model.albedo(texture)
    cut_off = ((albedo == 0) | (albedo == 1)).float()
    assert 0 < cut_off.mean() < 1
    assert not torch.autograd.grad((albedo * cut_off).sum(), texture)[0].any()


def test_nothing_of_the_model_is_trained_or_checkpointed(arrays, tmp_path):
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    assert not list(model.parameters())
    assert not model.state_dict()


def test_coefficients_are_joined_and_split():
    coefficients = Coefficients(torch.ones(2, 3), torch.zeros(2, 4))
    again = Coefficients.split(coefficients.cat(), 3)
    assert coefficients.cat().shape == (2, 7)
    torch.testing.assert_close(again.shape, coefficients.shape)
    torch.testing.assert_close(again.texture, coefficients.texture)


def _with(name, change):
    def mend(arrays):
        arrays[name] = change(arrays[name])

    return mend


def _scaled(factor):
    def mend(arrays):
        for name in ("shape/model/mean", "shape/representer/points"):
            arrays[name] = arrays[name] * np.float32(factor)

    return mend


def _not_finite(values):
    values = values.copy()
    values.flat[5] = np.nan
    return values


DATASETS = [
    *(f"{name}/model/{part}" for name in ("shape", "color", "expression") for part in PARTS),
    *("shape/representer/cells", "shape/representer/points"),
]

REFUSED = {
    **{
        f"text as {name}": (_with(name, lambda values: "odd"), f"{name} has type .* expected numbers")
        for name in DATASETS
    },
    **{f"nothing as {name}": (_with(name, lambda values: h5py.Empty("f4")), name) for name in DATASETS},
    "Latin-1 landmarks": (
        _with("metadata/landmarks/json", lambda text: np.bytes_(text.replace("center", "centr\xe9").encode("latin-1"))),
        "HDF5 cannot read .*codec",
    ),
    "no landmarks": (_with("metadata/landmarks/json", lambda text: h5py.Empty("S1")), "HDF5 cannot read"),
    "landmarks of no entry": (
        _with("metadata/landmarks/json", lambda text: np.zeros(0, "S9")),
        "HDF5 cannot read",
    ),
    "no triangles": (
        _with("shape/representer/cells", lambda cells: cells[:, :0]),
        r"cells is \(3, 0\), expected \(3, T\)",
    ),
    "missing dataset": (lambda arrays: arrays.pop("color/model/pcaVariance"), "color/model/pcaVariance is missing"),
    "too few components": (
        lambda arrays: arrays.update(
            {f"shape/model/{part}": arrays[f"shape/model/{part}"][..., :4] for part in ("pcaBasis", "pcaVariance")}
        ),
        "4 components, expected at least 7",
    ),
    "transposed basis": (_with("shape/model/pcaBasis", np.transpose), "transposed"),
    "mean as a table": (_with("shape/model/mean", lambda mean: mean.reshape(-1, 3)), r"expected \(3N,\)"),
    "variances of another number": (_with("color/model/pcaVariance", lambda v: v[:-1]), "pcaVariance is"),
    "negative variance": (_with("color/model/pcaVariance", np.negative), "eigenvalues of 0 or more"),
    "NaN in a basis": (_with("expression/model/pcaBasis", _not_finite), "expression/model/pcaBasis holds NaN"),
    "NaN in a mean": (_with("shape/model/mean", _not_finite), "shape/model/mean holds NaN"),
    "metres": (_scaled(1e-3), "metres.*[Ee]xpected millimetres"),
    "centimetres": (_scaled(1e-1), "centimetres"),
    "micrometres": (_scaled(1e3), "micrometres"),
    "colours in 0..255": (_with("color/model/mean", lambda mean: mean * 255), r"sRGB in \[0, 1\]"),
    "transposed cells": (_with("shape/representer/cells", np.transpose), "transposed"),
    "1-based cells": (
        _with("shape/representer/cells", lambda cells: np.where(cells == 0, VERTICES, cells)),
        r"counted from 1\? subtract 1\), expected 0 to 299",
    ),
    "cells beyond the mesh": (_with("shape/representer/cells", lambda cells: cells + 10), "expected 0 to 299"),
    "cells of floats": (_with("shape/representer/cells", lambda cells: cells.astype("f4")), "expected integers"),
    "points of another number": (_with("shape/representer/points", lambda points: points[:, 1:]), "points is"),
    "landmarks are no JSON": (_with("metadata/landmarks/json", lambda text: text[:-5]), "JSON list"),
    "landmarks elsewhere": (
        _with(
            "metadata/landmarks/json",
            lambda text: json.dumps([{"id": "center.nose.tip", "coordinates": [0, 0, 9000.0]}]),
        ),
        "center.nose.tip lies",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_files_are_refused(name, arrays, tmp_path):
    spoil, message = REFUSED[name]
    spoil(arrays)
    path = write(tmp_path / "model.h5", arrays)
    with pytest.raises(StudyError, match=message) as caught:
        FaceModel.load(path, **DIMENSIONS)
    assert str(path) in str(caught.value)


def test_missing_truncated_and_foreign_files_are_refused(arrays, tmp_path):
    with pytest.raises(StudyError, match="no such face model"):
        FaceModel.load(tmp_path / "nothing.h5")
    path = write(tmp_path / "model.h5", arrays)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(StudyError, match="truncated"):
        FaceModel.load(path, **DIMENSIONS)
    path.write_text("not HDF5")
    with pytest.raises(StudyError, match="HDF5"):
        FaceModel.load(path, **DIMENSIONS)


def test_missing_eye_corners_are_named(arrays, tmp_path):
    arrays["metadata/landmarks/json"] = "[]"
    model = FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
    with pytest.raises(StudyError, match="right.eye.corner_inner"):
        _ = model.alignment_vertices


def _with_a_texture(arrays):
    random = np.random.default_rng(3)
    arrays["shape/representer/texture/points"] = random.random((2, 400)).astype("f4")
    arrays["shape/representer/texture/cells"] = random.integers(0, 400, (3, 500)).astype("i4")


def test_a_texture_layout_is_kept_where_there_is_one(arrays, tmp_path):
    assert FaceModel.load(write(tmp_path / "without.h5", arrays), **DIMENSIONS).texture_layout is None
    _with_a_texture(arrays)
    FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS).save(tmp_path / "copy.h5")
    coordinates, triangles = FaceModel.load(tmp_path / "copy.h5", **DIMENSIONS).texture_layout
    np.testing.assert_array_equal(coordinates, arrays["shape/representer/texture/points"].T)
    np.testing.assert_array_equal(triangles, arrays["shape/representer/texture/cells"].T)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("points", lambda points: points * 2, r"values in \[0, 1\]"),
        ("points", np.transpose, r"expected \(2, U\)"),
        ("points", lambda points: h5py.Empty("f4"), "expected numbers"),
        ("cells", lambda cells: cells + 1, "400 coordinates"),
        ("cells", lambda cells: cells.astype("f4"), "400 coordinates"),
        ("cells", lambda cells: cells[:, 1:], "as the triangles"),
    ],
)
def test_a_wrong_texture_layout_is_refused(name, spoil, message, arrays, tmp_path):
    _with_a_texture(arrays)
    arrays[f"shape/representer/texture/{name}"] = spoil(arrays[f"shape/representer/texture/{name}"])
    with pytest.raises(StudyError, match=message):
        FaceModel.load(write(tmp_path / "model.h5", arrays), **DIMENSIONS)
