"""Faces to turn and people to choose: self-contained HTML that shows a static image where scripts do not run."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader

from lib.core.pictures import picture_url, to_uint8

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parents[1] / "templates"), autoescape=True)
LARGEST_MESH = 65536  # vertices that 16-bit indices, all that plain WebGL promises, can name
PICKER_CELL = 112  # CSS pixels of a picture of the person picker


def face_viewer(names, vertices, colours, triangles, picture, height=360, photographs=None):
    """Make the view of some faces of one topology: HTML, the same for the same faces, for a notebook or a page's body.

    B `names` are on the buttons that choose among the faces: `vertices` (B, N, 3) in mm, +x to the subject's left, +y
    up, +z out of the face; `colours` (B, N, 3), sRGB in [0, 1]; `triangles` (T, 3), counter-clockwise as seen from
    outside. `picture` (H, W, 3) is seen where the view cannot run, `photographs` (uint8, one per face) beside it;
    the view is `height` CSS pixels high. ValueError: more than `LARGEST_MESH` vertices.
    """
    vertices, colours = np.asarray(vertices, np.float32), np.asarray(colours, np.float32)
    triangles = np.asarray(triangles)
    if vertices.shape[1] > LARGEST_MESH:
        raise ValueError(f"{vertices.shape[1]} vertices; the view takes at most {LARGEST_MESH}: use the light model")
    low, extent = vertices.min((0, 1)), np.ptp(vertices, axis=(0, 1)).max()
    scaled = np.rint((vertices - low) / extent * 65535).astype("<u2")
    data = {
        "low": low.round(4).tolist(),
        "extent": round(float(extent), 4),
        "triangles": _base64(triangles.astype("<u2")),
        "vertices": [_base64(face) for face in scaled],
        "colours": [_base64(face) for face in to_uint8(colours)],
    }
    if photographs is not None:
        data["photographs"] = [picture_url(photograph) for photograph in photographs]
    text = json.dumps(data, separators=(",", ":"))
    identity = "face-viewer-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    shown = dict(names=names, height=height, picture=picture_url(picture), photographs=photographs is not None)
    return TEMPLATES.get_template("face_viewer.html").render(shown, identity=identity, data=text)


def _base64(values):
    return base64.b64encode(values.tobytes()).decode()


def person_picker(sheets, row_titles):
    """Make HTML to choose among people, each with a uint8 array (C, H, W, 3) for each of the `row_titles`."""
    # all pictures of one person as one file
    sheets = {name: np.concatenate([np.concatenate([*row], axis=1) for row in rows]) for name, rows in sheets.items()}
    pictures = [picture_url(sheet, "WEBP", quality=88) for sheet in sheets.values()]
    identity = "person-picker-" + hashlib.sha256("".join(pictures).encode()).hexdigest()[:12]
    shown = dict(people=list(sheets), row_titles=row_titles, pictures=pictures)
    sizes = dict(cell=PICKER_CELL, height=PICKER_CELL * len(row_titles))
    return TEMPLATES.get_template("person_picker.html").render(shown, identity=identity, **sizes)
