"""The local page: by HTTP as any program asks, and in a browser."""

import base64
import io
import threading
import urllib.error
import urllib.request

import browser
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from skimage import data
from small_world import write_face_model

from lib.core import paths
from lib.core.params import load_params
from lib.fitting import demo
from lib.fitting.reconstructor import Reconstructor
from lib.recognition.network import prepare_network
from lib.training.regressor import Regressor


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    networks = load_params(ROOT / "presets/default.yaml").networks
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    prepare_network(networks.training, paths.NETWORKS, paths.RAW / "networks")
    write_face_model(folder / "full.h5", shape=199, texture=199, expression=64)
    Regressor(256).save(folder / "full.safetensors")
    server = demo.DemoServer(Reconstructor.load(networks, folder / "full.safetensors", folder / "full.h5"), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{demo.LOOPBACK}:{server.server_port}/"
    server.shutdown()
    server.server_close()
    patch.undo()


@pytest.fixture(scope="module")
def photograph():
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()[:250, 100:350]).save(stream, "JPEG")
    return stream.getvalue()


def ask(address, content=None, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, content, headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_photograph_gives_a_face_to_turn(address, photograph):
    assert ask(address) == (200, (ROOT / "templates/demo.html").read_text().rstrip("\n"))
    code, page = ask(address + "face", photograph)
    assert code == 200 and "face-viewer" in page and page.count("data:image/png") == 2


def test_what_gives_no_face_is_said(address, photograph, monkeypatch):
    stream = io.BytesIO()
    Image.fromarray(np.full((100, 100, 3), 90, np.uint8)).save(stream, "PNG")
    assert ask(address + "face", stream.getvalue()) == (422, "no face found")
    code, text = ask(address + "face", b"no photograph")
    assert code == 422 and "not an image" in text
    assert ask(address + "other", b"x")[0] == 400 and ask(address + "other")[0] == 404
    monkeypatch.setattr(demo, "LARGEST_UPLOAD", 10)
    assert ask(address + "face", b"x" * 11)[0] == 413


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium")
def test_a_browser_shows_the_face_of_a_dropped_photograph(address, photograph, tmp_path):
    drop = f"""(() => {{
      const bytes = Uint8Array.from(atob("{base64.b64encode(photograph).decode()}"), c => c.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], "eileen.jpg"));
      document.dispatchEvent(new DragEvent("drop", {{ dataTransfer: carried, cancelable: true }}));
      return new Promise(done => {{
        const look = () => {{
          const inside = frame.contentDocument && frame.contentDocument.querySelector(".face-viewer");
          inside || !/Working|stays|eileen/.test(status.textContent) ? setTimeout(() => done(
            [status.textContent, inside ? inside.querySelectorAll("button").length : 0]), 500) : setTimeout(look, 50);
        }};
        look();
      }});
    }})()"""
    with browser.browser(tmp_path) as page:
        page.open(address, 800)
        said, faces = page.evaluate(drop)
        assert said == "eileen.jpg" and faces == 1
