"""The true faces of the people on the photographs, in one HDF5 file: written by the photos stage, read face by face.

`persons` (P,); either `vertices` (P, N, 3) in mm and `triangles` (T, 3) of one topology, or groups `faces/<number>`
with `vertices` and `triangles` of each scan.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lib.core.files import write_hdf5
from lib.face_model.mesh_reading import read_mesh


@dataclass(frozen=True)
class GroundTruth:
    """True faces as a file; `scanned`: each of another topology, from a scanner, which sees the outer skin only."""

    path: Path
    persons: tuple[str, ...]
    scanned: bool = False

    def read(self, person):
        """Read a face: vertices (N, 3) in mm and triangles (T, 3)."""
        number = self.persons.index(person)
        with h5py.File(self.path) as file:
            if self.scanned:
                return tuple(file[f"faces/{number}/{name}"][()] for name in ("vertices", "triangles"))
            return file["vertices"][number], file["triangles"][()]


def save_truth(path, persons, vertices, triangles):
    """Write true faces of one topology: P names, vertices (P, N, 3) in mm in the model's frame, triangles (T, 3)."""

    def fill(file):
        file["vertices"] = np.asarray(vertices, np.float32)
        file["triangles"] = np.asarray(triangles, np.int32)
        file["persons"] = list(persons)

    write_hdf5(path, fill)


def save_scans(path, scans):
    """Write scans, mesh files in mm by person, +y up, +z out of the face, as true faces; StudyError: one is no mesh."""

    def fill(file):
        file["persons"] = list(scans)
        for number, scan in enumerate(scans.values()):
            mesh = read_mesh(scan)
            file[f"faces/{number}/vertices"] = mesh.vertices.astype(np.float32)
            file[f"faces/{number}/triangles"] = mesh.triangles.astype(np.int32)

    write_hdf5(path, fill)


def load_truth(path, people):
    """Open the true faces of at most this many `people`; None where there is no such file."""
    path = Path(path)
    if not path.is_file():
        return None
    with h5py.File(path) as file:
        return GroundTruth(path, tuple(name.decode() for name in file["persons"][:people]), "faces" in file)
