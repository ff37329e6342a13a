"""Scans of people as mesh files."""

import h5py
import numpy as np
import trimesh

from lib.core.errors import StudyError


def save_scans(path, scans):
    """Write the scans of some people, for `lib.evaluation.distances.load_truth`.

    Parameters
    ----------
    path : path-like
    scans : dict of str to path-like
        A mesh file of each person, in mm, upright and frontal: +y up, +z out of the face.

    Raises
    ------
    StudyError
        A file cannot be read as a mesh.
    """
    with h5py.File(path, "w") as file:
        file["persons"] = list(scans)
        for number, scan in enumerate(scans.values()):
            vertices, triangles = read_mesh(scan)
            file[f"faces/{number}/vertices"] = vertices.astype(np.float32)
            file[f"faces/{number}/triangles"] = triangles.astype(np.int32)


def read_mesh(path):
    """Read a mesh file of any format that trimesh knows: vertices (N, 3), triangles (T, 3).

    Corners that differ in their texture coordinates only become one vertex, since a seam of a texture is no border.
    """
    try:
        mesh = trimesh.load_mesh(path, process=False, skip_materials=True)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise StudyError(f"{path} cannot be read as a mesh: {error}") from None
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if not len(mesh.faces):
        raise StudyError(f"{path} holds no triangles")
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)
