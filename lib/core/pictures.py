"""Images as tensors, as bytes and as data URLs; the sRGB transfer function; soft thresholds."""

import base64
import io

import numpy as np
import torch
from PIL import Image


def decode_srgb(values):
    """sRGB in [0, 1] (cut off beyond) to linear light (IEC 61966-2-1), for tensors and arrays."""
    values, where = values.clip(0, 1), _where(values)
    return where(values <= 0.04045, values / 12.92, ((values.clip(min=0.04045) + 0.055) / 1.055) ** 2.4)


def encode_srgb(values):
    """Linear light to sRGB in [0, 1], cut off beyond (IEC 61966-2-1). The slope at black is 12.92, not infinite."""
    values, where = values.clip(0, 1), _where(values)
    curved = 1.055 * values.clip(min=0.0031308) ** (1 / 2.4) - 0.055
    # rounding may lead beyond white
    return where(values <= 0.0031308, values * 12.92, curved).clip(max=1)


def _where(values):
    return torch.where if isinstance(values, torch.Tensor) else np.where


def smooth_step(values, start, end):
    """Rise smoothly from 0 at `start` to 1 at `end` (which may be the smaller one), for numbers and arrays."""
    share = np.clip((values - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def to_tensor(pictures):
    """Pictures of uint8 (..., H, W, 3), an array or a tensor, as float32 (..., 3, H, W) in [0, 1]."""
    return torch.as_tensor(pictures).movedim(-1, -3).float() / 255


def to_uint8(values):
    """Round values in [0, 1] (cut off beyond), an array or a tensor of any shape, to uint8 in [0, 255]."""
    values = values.clip(0, 1) * 255 + 0.5
    return values.to(torch.uint8) if isinstance(values, torch.Tensor) else values.astype(np.uint8)


def to_pictures(images):
    """Renders (..., 3, H, W) in [0, 1] as an array of uint8 (..., H, W, 3): the inverse of `to_tensor`."""
    return to_uint8(images).movedim(-3, -1).cpu().numpy()


def data_url(content, mime_type):
    """Write a file's bytes as a `data:` URL."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def picture_url(picture, kind="PNG", **options):
    """Write a picture (H, W, 3), uint8 or float in [0, 1], as the `data:` URL of a file of Pillow's format `kind`."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8:
        picture = to_uint8(picture)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, optimize=True, **options)
    return data_url(stream.getvalue(), f"image/{kind.lower()}")
