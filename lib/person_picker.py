"""Choose a person from a list and see their pictures: HTML without a kernel, and the first person without scripts."""

import base64
import hashlib
import html
import io
import json

import numpy as np
from PIL import Image

CELL = 112
"""CSS pixels of a picture."""
QUALITY = 88


def person_picker(sheets, row_titles):
    """Make the list and the pictures.

    Parameters
    ----------
    sheets : dict of str to list of ndarray (C, H, W, 3)
        By person one array a row, uint8: the same rows for all people, the same number C of pictures in all rows of a
        person.
    row_titles : sequence of str

    Returns
    -------
    str
        HTML for `IPython.display.HTML`, the same for the same pictures.

    Raises
    ------
    ValueError
        There is nobody, or a person's rows are not those of `row_titles`.
    """
    if not sheets or any(len(rows) != len(row_titles) for rows in sheets.values()):
        raise ValueError(f"{len(sheets)} people: give at least one, and {len(row_titles)} rows for each")
    pictures = [_picture(rows) for rows in sheets.values()]
    identity = "person-picker-" + hashlib.sha256("".join(pictures).encode()).hexdigest()[:12]
    options = "".join(f"<option>{html.escape(str(person))}</option>" for person in sheets)
    height = CELL * len(row_titles)
    place = f"height:{CELL}px;display:flex;align-items:center;justify-content:flex-end"
    labels = "".join(f'<span style="{place}">{html.escape(title)}</span>' for title in row_titles)
    return (
        f'<div id="{identity}"><label>Person <select>{options}</select></label>'
        f'<div style="display:flex;gap:10px;margin-top:8px;overflow-x:auto">'
        f'<div style="white-space:nowrap">{labels}</div>'
        f'<img src="{pictures[0]}" height="{height}" style="height:{height}px;max-width:none" '
        f'alt="Photographs of the person and their faces"></div>'
        f"<script>({_SCRIPT})(document.getElementById({json.dumps(identity)}),{json.dumps(pictures)})</script></div>"
    )


def _picture(rows):
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


_SCRIPT = """function (root, pictures) {
  const [select, image] = [root.querySelector("select"), root.querySelector("img")];
  select.onchange = () => { image.src = pictures[select.selectedIndex]; };
}"""
