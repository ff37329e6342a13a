"""Read any photograph as RGB pixels, upright and of a workable size, or say why it cannot be read."""

import bz2
import errno
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pi_heif
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from lib.core.files import made_here

pi_heif.register_heif_opener()

LONGEST_SIDE = 1280  # pixels; larger photographs are shrunk. Crops need a face of 150 to 224 px, a sixth of this.
SHORTEST_SIDE = 40  # pixels; the detector's smallest face
MOST_PIXELS = 160_000_000  # a photograph beyond this is refused before it is decoded (12,000 x 9,000 has 108 million)
GREY_WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))  # of cameras and microscopes
TRANSPARENT_COLOUR = (128, 128, 128)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
NOT_READ = "cannot be read"  # begins the reasons that lie in the machine, not in the file: another time it may be read
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)  # values of the EXIF tag that exchange width and height


class UnreadablePictureError(Exception):
    """The reason why a file gives no usable picture, in words for the report."""


@dataclass(frozen=True)
class Picture:
    """A decoded photograph, upright, at most `LONGEST_SIDE` per side."""

    pixels: np.ndarray  # (H, W, 3) uint8, RGB
    scale: tuple[float, float]  # positions in them times this (x, y) are in the photograph's own pixels


def read_picture(path):
    """Read a photograph; UnreadablePictureError where it is no image, truncated, damaged, too small or too large.

    Any format that Pillow knows, and HEIC: of an animation the first frame, also compressed by bzip2 (``.ppm.bz2``).
    """
    if made_here(path):
        raise UnreadablePictureError("a result of an earlier run, no photograph")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on sizes and metadata; limits are checked here
            # what is inside a .bz2 file is read as it is wanted, so that its size is checked before
            opened = bz2.open if Path(path).suffix.lower() == ".bz2" else open
            with opened(path, "rb") as file, Image.open(file) as image:
                return _decode(image)
    except UnreadablePictureError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadablePictureError("not an image, or of an unknown format") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePictureError(f"too large: {error}") from error
    except MemoryError as error:
        raise UnreadablePictureError(f"{NOT_READ}: not enough memory") from error
    except Exception as error:  # damaged files make Pillow's decoders raise nearly anything
        # what the system reports has a number, what a decoder says of a file has none, or that of a wrong position
        kind = "damaged" if getattr(error, "errno", None) in (None, errno.EINVAL) else NOT_READ
        raise UnreadablePictureError(f"{kind}: {error or type(error).__name__}") from error


def _decode(image):
    width, height = image.size
    if min(width, height) < SHORTEST_SIDE:
        raise UnreadablePictureError(f"too small: {width} x {height} pixels, needs {SHORTEST_SIDE} a side")
    if width * height > MOST_PIXELS:
        raise UnreadablePictureError(f"too large: {width} x {height} pixels, at most {MOST_PIXELS:,} are read")
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
    image.load()  # damaged pixels raise here, once: a second attempt would give a half-empty picture
    upright, turned = _apply_orientation(image)
    if turned:
        width, height = height, width
    rgb = _to_rgb(upright)
    if max(rgb.size) > LONGEST_SIDE:
        shrink = LONGEST_SIDE / max(rgb.size)
        size = tuple(max(SHORTEST_SIDE, round(side * shrink)) for side in rgb.size)
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if image.mode in ("RGB", "RGBA"):
        rgb = _in_srgb(rgb, image.info.get("icc_profile"))
    return Picture(np.array(rgb), (width / rgb.width, height / rgb.height))


def _apply_orientation(image):
    """Turn an image as its EXIF tag says; -> the image and whether width and height changed places."""
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS_ORIENTATIONS
        return ImageOps.exif_transpose(image), turned
    except Exception:  # damaged metadata, no reason to lose the photograph
        return image, False


def _to_rgb(image):
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_grey_to_uint8(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        background = Image.new("RGBA", coloured.size, (*TRANSPARENT_COLOUR, 255))
        return Image.alpha_composite(background, coloured).convert("RGB")
    return image.convert("RGB")


def _in_srgb(image, profile):
    """Colours of another profile, such as a phone's Display P3, in sRGB."""
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), SRGB) if profile else image
    except ImageCms.PyCMSError:  # a damaged profile, no reason to lose the photograph
        return image


def _grey_to_uint8(grey):
    """Grey of any depth, which its file does not say: white is the least usual one that nothing exceeds."""
    whites = GREY_WHITES if grey.dtype.kind in "iu" else (1, *GREY_WHITES)
    grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    grey -= min(grey.min(), 0)  # signed
    white = next((white for white in whites if grey.max() <= white), grey.max())
    return (grey * (255 / white)).astype(np.uint8)
