"""What is known of the people on the photographs: their groups, for every measure by group (section 5), and true faces.

Groups are simulated or self-reported, never guessed from pictures. True faces lie in one HDF5 file, written by the
photos stage and read face by face: `persons` (P,); either `vertices` (P, N, 3) in mm and `triangles` (T, 3) of one
topology, or groups `faces/<number>` with `vertices` and `triangles` of each scan.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from lib.core.errors import StudyError
from lib.core.files import write_hdf5
from lib.face_model.mesh_reading import read_mesh
from lib.photos.files import PEOPLE_FILES, person_of

AGE_BANDS = {"under 30": 0, "30 to 44": 30, "45 to 59": 45, "60 and over": 60}  # the years that each begins with
ATTRIBUTES = ("age", "gender", "ethnicity")
SAME_AS = {"ancestry": "ethnicity"}  # the simulated people have an ancestry


def read_people(folder):
    """Read what `people.json` or `people.csv` in a folder tells of the people on its photographs: attributes of each.

    The first maps a person (a folder, or a flat folder's file) to some of `ATTRIBUTES`, the second has these columns
    beside `person`. Age is in years; the others are words. StudyError where the file says something else.
    """
    found = [path for path in (Path(folder) / name for name in PEOPLE_FILES) if path.is_file()]
    if len(found) > 1:
        raise StudyError(f"{found[0]} and {found[1].name} stand side by side: keep one of them")
    people = {}
    for path in found:
        for person, attributes in _read_csv(path) if path.suffix == ".csv" else _read_json(path).items():
            if person_of(person) in people:
                raise StudyError(f"{path} tells twice of {person}: keep one of them")
            people[person_of(person)] = _checked(attributes, person, path)
    return people


def groups_of(people, persons, smallest):
    """Divide photographs by age band, gender and ethnicity of the `persons` (N,) on them, as `read_people` knows them.

    Return which photographs, (N,) bool, by attribute and group, without groups of fewer than `smallest` people and
    attributes with fewer than two groups.
    """
    result = {}
    for attribute in ATTRIBUTES:
        labels = pd.Series([people.get(person, {}).get(attribute) for person in persons])
        if attribute == "age":
            labels = pd.cut(labels.astype(float), [*AGE_BANDS.values(), np.inf], right=False, labels=[*AGE_BANDS])
        groups = {name: (labels == name).to_numpy() for name in labels.astype("category").cat.categories}
        groups = {name: which for name, which in groups.items() if len(set(persons[which])) >= smallest}
        if len(groups) > 1:
            result[attribute] = groups
    return result


def _read_csv(path):
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not a table: {error}") from None
    if "person" not in table or not set(ATTRIBUTES) & set(table.columns):
        raise StudyError(
            f"{path} has the columns {', '.join(table.columns)}; it needs `person` and some of {', '.join(ATTRIBUTES)}"
        )
    return [(row.pop("person"), row) for row in table.to_dict("records")]


def _read_json(path):
    try:
        people = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not JSON: {error}") from None
    if not isinstance(people, dict) or not all(isinstance(one, dict) for one in people.values()):
        raise StudyError(f"{path} must map each person to {{{', '.join(ATTRIBUTES)}}}")
    return people


def _checked(attributes, person, path):
    named = {SAME_AS.get(name, name): value for name, value in attributes.items()}
    known = {name: named[name] for name in ATTRIBUTES if str(named.get(name) or "").strip() not in ("", "NA")}
    if "age" in known:
        try:
            known["age"] = float(known["age"])
        except (TypeError, ValueError):
            raise StudyError(f"{path}: the age of {person} is {known['age']!r}, expected years") from None
        if not 0 <= known["age"] <= 130:
            raise StudyError(f"{path}: the age of {person} is {known['age']:g}, expected years from 0 to 130")
    return {name: value if name == "age" else str(value).strip().lower() for name, value in known.items()}


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
    content = dict(vertices=np.asarray(vertices, np.float32), triangles=np.asarray(triangles, np.int32))
    content["persons"] = list(persons)
    write_hdf5(path, lambda file: file.update(content))


def save_scans(path, scans):
    """Write scans, mesh files in mm by person, +y up, +z out of the face, as true faces; StudyError: one is no mesh."""
    content = {"persons": list(scans)}
    for number, scan in enumerate(scans.values()):
        mesh = read_mesh(scan)
        content[f"faces/{number}/vertices"] = mesh.vertices.astype(np.float32)
        content[f"faces/{number}/triangles"] = mesh.triangles.astype(np.int32)
    write_hdf5(path, lambda file: file.update(content))


def load_truth(path, people):
    """Open the true faces of at most this many `people`; None where there is no such file."""
    path = Path(path)
    if not path.is_file():
        return None
    with h5py.File(path) as file:
        return GroundTruth(path, tuple(name.decode() for name in file["persons"][:people]), "faces" in file)
