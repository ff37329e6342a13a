"""Scans of people as mesh files."""

import h5py
import numpy as np

from lib.face_model.meshes import read_mesh


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
            mesh = read_mesh(scan)
            file[f"faces/{number}/vertices"] = mesh.vertices.astype(np.float32)
            file[f"faces/{number}/triangles"] = mesh.triangles.astype(np.int32)
