"""Damaged and odd files of any kind give what they hold or an error in words; `FUZZ=20000` tries that many of each."""

import io
import os
import struct

import h5py
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from small_world import EXPRESSION, SHAPE, TEXTURE, write_face_model
from test_photos import HEIC

from lib.core.errors import StudyError
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import FaceModel
from lib.photos.read import LONGEST_SIDE, UnreadablePictureError, read_picture

ODD_NUMBERS = [0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1]
fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ", 60)),
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged(draw, contents):
    """One of the contents, with some bytes changed, put in, taken out, or cut off at the end."""
    content = bytearray(draw(st.sampled_from(contents)))
    # most of what readers believe stands at the beginning
    place = st.one_of(st.integers(0, min(len(content), 200)), st.integers(0, len(content)))
    for _ in range(draw(st.integers(0, 5))):
        at, kind = draw(place), draw(st.sampled_from(["byte", "number", "more", "less", "end"]))
        if kind == "byte":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":
            content[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", draw(st.sampled_from(ODD_NUMBERS)))
        elif kind == "more":
            content[at:at] = draw(st.binary(max_size=8))
        elif kind == "less":
            del content[at : at + draw(st.integers(1, 40))]
        else:
            del content[at:]
    return bytes(content)


def pictures():
    """Small pictures of most formats and modes."""
    face = np.random.default_rng(0).integers(0, 256, (50, 44, 3), np.uint8)
    exif = Image.Exif()
    exif[274], exif[305] = 6, "a camera"
    colour, grey = Image.fromarray(face), Image.fromarray(face[..., 0])
    deep = Image.fromarray(face[..., 0].astype(np.uint16) * 257)
    wide, real = Image.fromarray(face[..., 0].astype(np.int32)), Image.fromarray(face[..., 0].astype(np.float32))
    kinds = [(colour, kind, {}) for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")]
    kinds += [(colour, "JPEG", dict(exif=exif)), (colour.convert("CMYK"), "JPEG", dict(progressive=True))]
    kinds += [(colour.quantize(7), "PNG", {}), (colour.convert("LA"), "PNG", {}), (deep, "PNG", {}), (real, "TIFF", {})]
    kinds += [(wide, "TIFF", {}), (colour, "TIFF", dict(compression="tiff_lzw")), (grey.convert("1"), "PNG", {})]
    contents = [HEIC]
    for image, kind, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        contents.append(file.getvalue())
    return contents


@fuzzed
@given(content=damaged(pictures()), suffix=st.sampled_from([".jpg", ".png", ".ppm.bz2"]))
def test_pictures(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    try:
        picture = read_picture(path)
    except UnreadablePictureError as error:
        assert str(error)
        return
    assert picture.pixels.dtype == np.uint8 and picture.pixels.ndim == 3 and picture.pixels.shape[2] == 3
    assert max(picture.pixels.shape) <= LONGEST_SIDE and np.isfinite(picture.scale).all() and min(picture.scale) > 0


def meshes():
    """A box in every format, with colours of both kinds, and a text of the sort that people write by hand."""
    box, textured = trimesh.creation.box(), trimesh.creation.box()
    box.visual.vertex_colors = np.random.default_rng(0).integers(0, 256, (8, 4), np.uint8)
    image = Image.fromarray(np.full((3, 3, 3), 90, np.uint8))
    textured.visual = trimesh.visual.TextureVisuals(np.full((8, 2), 0.4), image=image)
    contents = {kind: [box.export(file_type=kind), textured.export(file_type=kind)] for kind in ("ply", "glb", "stl")}
    contents["ply"].append(box.export(file_type="ply", encoding="ascii"))
    contents["off"] = [box.export(file_type="off")]
    contents["obj"] = [
        box.export(file_type="obj"),
        b"mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1",
    ]
    return {kind: [c if isinstance(c, bytes) else c.encode() for c in each] for kind, each in contents.items()}


WORDS = ["v", "vt", "vn", "f", "o", "g", "usemtl", "mtllib", "a.mtl", "#", "/", "\\", "é"]
WORDS += ["0", "1", "2", "3", "-1", "4", "0.5", "1e400", "nan", "inf", "1//1", "1/1", "1/1/1", "9999999999"]


@fuzzed
@given(data=st.data())
def test_meshes(tmp_path, data):
    contents = meshes()
    kind = data.draw(st.sampled_from(sorted(contents)))
    content = data.draw(damaged(contents[kind]))
    if kind == "obj" and data.draw(st.booleans()):
        lines = data.draw(st.lists(st.lists(st.sampled_from(WORDS), max_size=8), max_size=8))
        content += b"\n" + "\n".join(map(" ".join, lines)).encode()
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    for with_colours in (False, True):
        try:
            mesh = read_mesh(path, with_colours=with_colours)
        except StudyError as error:
            assert str(path) in str(error)
            continue
        assert np.isfinite(mesh.vertices).all() and mesh.vertices.shape[1:] == (3,)
        assert mesh.triangles.shape[1:] == (3,) and len(mesh.triangles)
        assert mesh.triangles.min() >= 0 and mesh.triangles.max() < len(mesh.vertices)
        if with_colours:
            assert mesh.albedo.shape == mesh.vertices.shape and ((mesh.albedo >= 0) & (mesh.albedo <= 1)).all()


@pytest.fixture(scope="module")
def face_model(tmp_path_factory):
    return write_face_model(tmp_path_factory.mktemp("model") / "model.h5", rows=4, layout=True)


def check_face_model(path):
    try:
        model = FaceModel.load(path, SHAPE, TEXTURE, EXPRESSION)
    except StudyError as error:
        assert str(path) in str(error)
        return
    assert all(bool(values.isfinite().all()) for values in model.state_dict().values() if values.is_floating_point())


@fuzzed
@given(data=st.data())
def test_face_model_files(tmp_path, face_model, data):
    path = tmp_path / "a.h5"
    path.write_bytes(data.draw(damaged([face_model.read_bytes()])))
    check_face_model(path)


@fuzzed
@given(data=st.data())
def test_face_model_files_with_other_contents(tmp_path, face_model, data):
    path, names = tmp_path / "a.h5", []
    path.write_bytes(face_model.read_bytes())
    kinds = st.one_of(arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.byte_string_dtypes(max_len=3))
    with h5py.File(path, "a") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = data.draw(st.sampled_from(names))
        shape = data.draw(st.one_of(st.just(file[name].shape), arrays.array_shapes(min_dims=0, min_side=0, max_side=6)))
        content = st.one_of(arrays.arrays(kinds, shape), st.text(max_size=30), st.binary(max_size=30).map(np.bytes_))
        content = data.draw(content)
        try:
            del file[name]
            file[name] = content
        except (ValueError, TypeError):  # HDF5 has no such text
            return
    check_face_model(path)
