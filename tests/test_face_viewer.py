"""The interactive view: complete in itself, the faces inside it, and a picture where scripts do not run."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lib.viewer import face_viewer

TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
VERTICES = np.random.default_rng(0).normal(0, 60, (2, 4, 3)).astype(np.float32)
COLOURS = np.random.default_rng(1).uniform(0, 1, (2, 4, 3)).astype(np.float32)
PICTURE = np.random.default_rng(2).uniform(0, 1, (6, 9, 3))
NAMES = ("mean", "<b>&\"'")


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text of scripts and buttons."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.setdefault(self.tags[-1][0], []).append(data)

    def only(self, tag):
        (found,) = [attributes for name, attributes in self.tags if name == tag]
        return found


@pytest.fixture(scope="module")
def text():
    return face_viewer(NAMES, VERTICES, COLOURS, TRIANGLES, PICTURE, height=200)


def data_of(text):
    (script,) = Reader(text).texts["script"]
    call = re.search(r'\(document\.getElementById\("(face-viewer-[0-9a-f]+)"\),(\{.*\})\)$', script)
    return call[1], json.loads(call[2])


def decode(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_faces_are_inside(text):
    identity, data = data_of(text)
    assert dict(Reader(text).tags[0][1])["id"] == identity
    np.testing.assert_array_equal(decode(data["triangles"], "<u2").reshape(-1, 3), TRIANGLES)
    for face in range(2):
        steps = decode(data["vertices"][face], "<u2").reshape(-1, 3)
        places = np.array(data["low"]) + steps / 65535 * data["extent"]
        np.testing.assert_allclose(places, VERTICES[face], atol=0.005)
        colours = decode(data["colours"][face], "u1").reshape(-1, 3) / 255
        np.testing.assert_allclose(colours, COLOURS[face], atol=0.5 / 255 + 1e-6)


def test_without_scripts_there_is_a_picture_and_nothing_else(text):
    reader = Reader(text)
    picture = Image.open(io.BytesIO(base64.b64decode(reader.only("img")["src"].removeprefix("data:image/png;base64,"))))
    np.testing.assert_allclose(np.asarray(picture) / 255, PICTURE, atol=0.5 / 255 + 1e-6)
    assert "hidden" not in reader.only("img")
    assert "hidden" in reader.only("canvas")
    hidden = [attributes for tag, attributes in reader.tags if tag == "div" and "hidden" in attributes]
    assert len(hidden) == 1


def test_it_needs_nothing_from_elsewhere(text):
    reader = Reader(text)
    assert not re.search(r"https?:|//[a-z]|import\s*\(|fetch\s*\(", re.sub(r"// .*", "", text))
    assert all("src" not in attributes for tag, attributes in reader.tags if tag == "script")


def test_names_are_text(text):
    reader = Reader(text)
    assert tuple(reader.texts["button"][:2]) == NAMES
    assert not [tag for tag, _ in reader.tags if tag == "b"]


def test_the_same_faces_give_the_same_text_and_others_another_place(text):
    assert face_viewer(NAMES, VERTICES, COLOURS, TRIANGLES, PICTURE, height=200) == text
    other = face_viewer(NAMES, VERTICES + 1, COLOURS, TRIANGLES, PICTURE)
    assert data_of(other)[0] != data_of(text)[0]


def test_each_face_has_its_photograph():
    photographs = np.random.default_rng(3).integers(0, 255, (2, 5, 5, 3), np.uint8)
    text = face_viewer(NAMES, VERTICES, COLOURS, TRIANGLES, PICTURE, photographs=photographs)
    for address, photograph in zip(data_of(text)[1]["photographs"], photographs):
        content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), photograph)
    (first, beside) = [attributes for tag, attributes in Reader(text).tags if tag == "img"]
    assert "hidden" in beside and "hidden" not in first


def test_a_mesh_that_does_not_fit_is_refused():
    many = np.zeros((1, 65537, 3))
    with pytest.raises(ValueError, match="light model"):
        face_viewer(("mean",), many, many, TRIANGLES, PICTURE)
