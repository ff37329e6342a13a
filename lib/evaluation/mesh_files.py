"""Meshes and their landmarks from folders: which prediction belongs to which scan, and in which unit it is."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from lib.core.errors import StudyError
from lib.core.progress import progress
from lib.evaluation.mesh_errors import NOW_CROP, Face
from lib.evaluation.surfaces import make_surface
from lib.face_model.mesh_reading import read_mesh
from lib.face_model.model import IBUG_LANDMARKS, NOW_LANDMARKS

ENDINGS = (".glb", ".gltf", ".off", ".stl", ".obj", ".ply")  # of several meshes with one name the last of these counts

UNITS = dict(mm=1.0, cm=10.0, m=1000.0)
LEAST_SIZE, LARGEST_SIZE = 60.0, 1000.0  # mm of the longest side of a face, or of a scan of head and shoulders
LANDMARK_ENDINGS = (".landmarks.json", ".txt", ".npy", ".pp", "_picked_points.pp")
LANDMARKS_FILE = "landmarks.json"  # of all meshes in a folder and in its folders
FARTHEST_LANDMARK = 0.1  # of the mesh's longest side, that a landmark may lie off it
LISTS = {1: ("nose_tip",), 7: NOW_LANDMARKS, 51: IBUG_LANDMARKS[17:], 68: IBUG_LANDMARKS}
"""What a list of so many points names."""

GUIDE = "docs/evaluate-meshes.md says how landmarks are given"


@dataclass(frozen=True)
class MeshFile:
    """A mesh file, and how many mm its unit measures."""

    path: Path
    unit: float

    def read(self):
        """Read the mesh and its landmarks: a `Face`; StudyError where one of them cannot be read."""
        mesh, points = read_mesh(self.path, in_order=True), self._landmarks()
        try:  # whole numbers are vertices
            for name, value in points.items():
                points[name] = mesh.vertices[value.ravel()].mean(0) if value.dtype.kind == "i" else value.reshape(3)
        except (ValueError, IndexError) as error:
            raise StudyError(f"the landmarks of {self.path} do not fit it: {name}: {error}") from None
        surface = make_surface(self.unit * mesh.vertices, mesh.triangles)
        points = {name: self.unit * np.asarray(point, np.float64) for name, point in points.items()}
        size = np.ptp(surface.vertices, axis=0).max()
        for name, point in points.items():
            if not surface.tree.query(point)[0] <= FARTHEST_LANDMARK * size:
                raise StudyError(f"the landmarks of {self.path} do not fit it: {name} lies off the mesh, at {point} mm")
        return Face(surface, points)

    def _landmarks(self):
        """Arrays by name: vertices (integers), or points (3,) in the mesh's unit."""
        files = [Path(f"{self.path.with_suffix('')}{ending}") for ending in LANDMARK_ENDINGS]
        files += [folder / LANDMARKS_FILE for folder in self.path.parents[:2]]
        return next((read_points(file) for file in files if file.is_file()), {})

    def check_size(self, face, option):
        """Raise StudyError, which tells the option for the unit, where the `Face` that was read is none in mm."""
        size = np.ptp(face.surface.vertices, axis=0).max()
        if not LEAST_SIZE <= size <= LARGEST_SIZE:
            meant = [unit for unit, mm in UNITS.items() if LEAST_SIZE <= size / self.unit * mm <= LARGEST_SIZE]
            remedy = f"{meant[0]}, in which it seems to be" if meant else "MM, the length of its unit"
            raise StudyError(f"{self.path} would measure {size:.4g} mm, which is no face: give {option} {remedy}")


def read_points(path):
    """Read a file of landmarks: arrays by name, of vertices (integers) or points; StudyError where it is none."""
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            if isinstance(content, dict):
                return {name: np.asarray(value) for name, value in content.items()}
        elif path.suffix == ".npy":
            content = np.load(path, allow_pickle=False)
        elif path.suffix == ".pp":
            content = [[float(point.get(axis)) for axis in "xyz"] for point in ElementTree.parse(path).iter("point")]
        else:
            content = np.loadtxt(path, delimiter="," if "," in path.read_text(errors="replace") else None, ndmin=2)
        points = np.asarray(content, np.float64).reshape(-1, 3)
        return dict(zip(LISTS[len(points)], points))
    except (ValueError, TypeError, KeyError, SyntaxError, OSError) as error:
        raise StudyError(
            f"{path} holds no landmarks ({type(error).__name__}: {error}): expected one point (the nose tip), NoW's "
            f"seven, or 51 or 68 in the order of 300-W; {GUIDE}"
        ) from None


@dataclass(frozen=True)
class Pair:
    """A prediction by its name, and the scan of its person."""

    name: str
    person: str
    prediction: MeshFile
    scan: MeshFile


@lru_cache(maxsize=1)
def read_scan(file):
    """Read a scan: the predictions of one person follow each other."""
    return file.read()


def find_pairs(predictions, scans, protocol, unit=None, truth_unit=None):
    """Match predictions with scans (folders or meshes) and read all once: what cannot work is said before the work.

    Returns a list of `Pair`. `unit` and `truth_unit` are lengths in mm; None: a metre for glTF, else a millimetre.
    """
    read_scan.cache_clear()  # files may be others now
    found, truths = _find_meshes(predictions), _find_meshes(scans)
    matched = _match(found, truths)
    pairs = [
        Pair(name, matched[name], _with_unit(found[name], unit), _with_unit(truths[matched[name]], truth_unit))
        for name in sorted(found, key=lambda name: (matched[name], name))
    ]
    if idle := sorted(truths.keys() - matched.values()):
        named = ", ".join(idle[:5]) + (", ..." if idle[5:] else "")
        print(f"{len(idle)} of {len(truths)} scans have no prediction: {named}")
    for pair in progress(pairs, "checking", unit="mesh"):
        face, scan = pair.prediction.read(), read_scan(pair.scan)
        pair.scan.check_size(scan, "--truth-unit")
        common = len(face.points.keys() & scan.points.keys())
        if (protocol.crop == NOW_CROP or protocol.regions) and scan.seven is None:
            raise StudyError(f"{pair.scan.path} lacks the seven landmarks of NoW, which this needs; {GUIDE}")
        if (protocol.crop == NOW_CROP or protocol.align == "landmarks") and common < 3:
            has = f"{pair.prediction.path} has {common} landmarks in common with its scan"
            raise StudyError(f"{has}, at least 3 are needed; {GUIDE}")
        if common < 3 or protocol.align == "none" or "none" in protocol.scalings:  # else any unit will do
            pair.prediction.check_size(face, "--unit")
    return pairs


def _with_unit(path, unit):
    return MeshFile(path, unit or (UNITS["m"] if path.suffix.lower() in (".glb", ".gltf") else UNITS["mm"]))


def _find_meshes(place):
    """Meshes of a folder and below it, or one: paths by their names in the folder, without the ending."""
    if place.is_file():
        return {place.stem: place}
    files = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in ENDINGS and path.name[0] != "."]
    files.sort(key=lambda path: ENDINGS.index(path.suffix.lower()))
    if not files:
        raise StudyError(f"{place} holds no meshes: expected a folder of them, or one mesh ({', '.join(ENDINGS)})")
    return {path.relative_to(place).with_suffix("").as_posix(): path for path in files}


def _match(predictions, scans):
    """The scan of each prediction: that of its name or of a folder above it, which may hold a scan of any name."""
    if len(predictions) == len(scans) == 1:
        return dict(zip(predictions, scans))
    folders = Counter(Path(name).parent for name in scans)
    people = {Path(name).parent: name for name in scans if folders[Path(name).parent] == 1 and "/" in name}
    people |= {Path(name): name for name in scans}
    places = {name: (Path(name), *Path(name).parents) for name in predictions}
    matched = {name: next((people[one] for one in above if one in people), None) for name, above in places.items()}
    if lost := [str(predictions[name]) for name, scan in matched.items() if scan is None]:
        raise StudyError(
            f"{lost[0]} is of no scan{f' (and {len(lost) - 1} more)' if lost[1:] else ''}: call it NAME or "
            f"NAME/ANYTHING, where NAME is one of the scans: {', '.join([*scans][:5])}"
        )
    return matched
