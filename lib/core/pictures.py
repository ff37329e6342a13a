"""Pictures as arrays, and as text on a page."""

import base64
import io

import numpy as np
from PIL import Image


def data_url(content, mime_type):
    """Write a file's bytes as a `data:` URL."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def picture_url(picture, kind="PNG", **options):
    """Write a picture as the `data:` URL of a file.

    Parameters
    ----------
    picture : ndarray (H, W, 3)
        uint8, or float in [0, 1].
    kind : str
        Format of Pillow, such as "PNG" or "WEBP".
    **options
        Of the format, such as `quality`.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8:
        picture = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, optimize=True, **options)
    return data_url(stream.getvalue(), f"image/{kind.lower()}")
