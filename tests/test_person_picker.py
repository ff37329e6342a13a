"""The list of people: every picture is inside, and the first is shown without scripts."""

import base64
import io
import json
import re

import browser
import numpy as np
import pytest
from PIL import Image

from lib.viewer import person_picker

SHEETS = {
    name: [np.full((2, 8, 8, 3), shade + 40 * row, np.uint8) for row in range(2)]
    for name, shade in (("<a>", 20), ("b", 150))
}


def picture(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"), int)


def test_each_person_has_their_picture():
    text = person_picker(SHEETS, ["photograph", "full & more"])
    pictures = json.loads(re.search(r'getElementById\("[^"]+"\),(\[.*\])\)</script>', text)[1])
    assert [picture(address).shape for address in pictures] == [(16, 16, 3)] * 2
    assert np.abs(picture(pictures[1])[:8] - 150).max() < 6 and np.abs(picture(pictures[1])[8:] - 190).max() < 6
    assert f'src="{pictures[0]}"' in text and "full &amp; more" in text and "<option>&lt;a&gt;</option>" in text


def test_choosing_shows_another_person(tmp_path):
    if browser.PROGRAM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    (tmp_path / "page.html").write_text(person_picker(SHEETS, ["photograph", "face"]))
    with browser.browser(tmp_path) as page:
        page.open((tmp_path / "page.html").as_uri(), 800)
        before = page.evaluate("document.querySelector('img').src")
        page.evaluate("document.querySelector('select').selectedIndex = 1")
        page.evaluate("document.querySelector('select').dispatchEvent(new Event('change'))")
        assert page.evaluate("document.querySelector('img').src") != before
        assert page.problems() == []
