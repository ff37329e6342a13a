"""Wavefront OBJ, vertices in the file's order: trimesh mixes them up where there are seams, or several materials."""

from collections import defaultdict

import numpy as np
from PIL import Image
from trimesh.visual.color import uv_to_color

from lib.core.errors import StudyError
from lib.core.files import printable

GREY = 0.6  # sRGB of what has no colours


def read_obj(path, with_colours):
    """Read vertices (N, 3), triangles (T, 3) and sRGB colours (N, 3), None where they are not asked for.

    Polygons become fans of triangles. ValueError where a line is damaged, StudyError where a file is not there.
    """
    rows, coordinates, triangles, libraries = [], [], [], []
    painted = defaultdict(dict)  # by material the texture coordinates of its vertices
    corners = painted[""]
    for line in _lines(path):
        kind, rest = (*line.split(None, 1), "", "")[:2]
        if kind == "v":
            rows.append(rest.partition("#")[0].split())
        elif kind == "vt":
            coordinates.append(rest.split()[:2])
        elif kind == "f":
            polygon = [corner.split("/") for corner in rest.partition("#")[0].split()]
            first, *others = vertices = [_index(corner[0], len(rows)) for corner in polygon]
            triangles += [(first, *pair) for pair in zip(others, others[1:])]
            places = [_index(c[1], len(coordinates)) if c[1:] and c[1] else None for c in polygon]
            corners.update(zip(vertices, places))
        elif kind == "usemtl":
            corners = painted[rest.strip()]
        elif kind == "mtllib":
            libraries.append(rest.strip())
    if any(len(row) < 3 for row in rows):
        raise ValueError("a vertex has less than three numbers")
    vertices = np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)
    triangles = np.array(triangles, np.int64).reshape(-1, 3)
    colours = _colours(path, rows, painted, coordinates, libraries) if with_colours else None
    return vertices, triangles, colours


def missing(path, name):
    """The error for a file that another one names."""
    return StudyError(
        f"{path} names {printable(name)!r}, which is not there: put that file beside it, under a name without folders "
        "or options, or take the line that names it away"
    )


def _lines(path):
    return path.read_text("utf-8-sig", "surrogateescape").replace("\\\n", " ").split("\n")


def _index(text, count):
    """A number from 0; in the file they count from 1, or backwards from the last one before."""
    number = int(text)
    if number == 0 or number < -count:
        raise ValueError(f"there is no vertex {text}")
    return number - 1 if number > 0 else count + number


def _colours(path, rows, painted, coordinates, libraries):
    """Colours of textures, or else of the vertices themselves, or else of materials."""
    own = [row[3:6] for row in rows if len(row) > 5]
    if own and len(own) < len(rows):
        raise ValueError(f"{len(own)} of {len(rows)} vertices have colours")
    albedo = np.array(own, np.float64) if own else np.full((len(rows), 3), GREY)
    materials = _materials(path, libraries) if painted.keys() != {""} or not own else {}
    for name, corners in painted.items():
        known = materials.get(name, {})
        vertices = list(corners)
        if "map_kd" in known:
            albedo[vertices] = _of_texture(path, known["map_kd"], coordinates, corners.values())
        elif corners and not own and name not in materials and (name or any("map_kd" in m for m in materials.values())):
            raise ValueError(
                f"its triangles have the material {printable(name)!r} (usemtl), which mtllib names no file of"
            )
        elif "kd" in known and not own:
            albedo[vertices] = np.array(known["kd"].split(), np.float64)
    return albedo


def _materials(path, libraries):
    """What each material names: `map_kd`, a picture, and `kd`, its colour."""
    materials = {}
    for library in libraries:
        for name in [library] if (path.parent / library).is_file() else library.split():
            if not (path.parent / name).is_file():
                raise missing(path, library)
            material = {}
            for line in _lines(path.parent / name):
                kind, rest = (*line.split(None, 1), "", "")[:2]
                if kind == "newmtl":
                    material = materials.setdefault(rest.strip(), {})
                else:
                    material[kind.lower()] = rest.strip()
    return materials


def _of_texture(path, name, coordinates, places):
    if not (path.parent / name).is_file():
        raise missing(path, name)
    if None in places:
        raise ValueError(f"triangles of the texture {printable(name)!r} have no texture coordinates")
    places = np.array([coordinates[place] for place in places], np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise ValueError("its texture coordinates are not finite numbers")
    with Image.open(path.parent / name) as image:
        return uv_to_color(places, image)[:, :3] / 255
