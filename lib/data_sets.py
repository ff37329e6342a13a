"""Published data sets of photographs that a user must obtain: a reader for the layout of each.

Where each comes from, under which terms, and where it has to lie is told once, in ``data/raw/README.md``: a section of
it is the error when a data set is missing. Listings are streamed, folder by folder: VGGFace2 has 3.3 million files.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lib.errors import StudyError
from lib.photos import (
    Photograph,
    first_problems,
    inspect_file,
    is_folder,
    iterate_folder,
    list_folder,
    printable,
    read_person,
)

README = Path(__file__).parents[1] / "data" / "raw" / "README.md"

MICC_CONDITIONS = {"Indoor-Cooperative": "cooperative", "PTZ-Indoor": "indoor", "PTZ-Outdoor": "outdoor"}
"""The folders of the three videos of each subject, and what the paper calls them (4.2)."""
MICC_SCANS = "Model/frontal*/obj/*.obj"
VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".mpg", ".mpeg", ".mkv", ".mjpg")
FERET_IMAGES = "data/images"


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes
    ----------
    name : str
        As `photos.source` calls it; also its folder in ``data/raw``.
    read : callable
        Maps its folder (Path) to an iterator of its `lib.photos.Photograph`.
    layout : str
        What its folder has to hold, in a few words, for the error when it holds something else.
    """

    name: str
    read: Callable[[Path], Iterator[Photograph]]
    layout: str

    def list(self, folder):
        """List all files of the data set.

        Parameters
        ----------
        folder : path-like

        Returns
        -------
        list of lib.photos.Photograph

        Raises
        ------
        StudyError
            When the folder is missing or laid out differently, with what ``data/raw/README.md`` says of it.
        """
        folder = Path(folder)
        if not is_folder(folder):
            raise StudyError(f"{folder} is missing.\n\n{instructions(self.name)}")
        photographs = list(self.read(folder))
        if all(photograph.problem for photograph in photographs):
            found = first_problems(photographs)
            raise StudyError(f"{folder} does not hold {self.layout}:{found}\n\n{instructions(self.name)}")
        return photographs


def instructions(name):
    """Return the section of ``data/raw/README.md`` on a data set: how to obtain it, and where to put it."""
    text = README.read_text(encoding="utf-8")
    return re.search(rf"^#+ [^\n]*`{name}/`.*?(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)[0].strip()


def read_micc(folder):
    """MICC Florence: ``subject_01/PTZ-Indoor/*.jpg``, frames of the three videos of each of 53 people, and scans."""
    for subject in _folders(folder):
        scan = next((path.relative_to(folder).as_posix() for path in sorted(subject.glob(MICC_SCANS))), "")
        for video, condition in MICC_CONDITIONS.items():
            for path in sorted((subject / video).rglob("*")):
                if not is_folder(path):
                    problem = "a video: extract its frames" if path.suffix.lower() in VIDEO_SUFFIXES else ""
                    found = inspect_file(path, folder, printable(subject.name), problem, condition, scan)
                    yield replace(found, problem=problem or found.problem)


def read_feret(folder):
    """Colour FERET: ``dvd1/data/images/00001/00001_930831_fa_a.ppm.bz2``; the pose (fa, ql, ...) is the condition."""
    for disc in (folder, *_folders(folder)):
        for person in _folders(disc / FERET_IMAGES):
            for photograph in read_person(person, folder):
                parts = Path(photograph.file).name.split(".")[0].split("_")
                yield replace(photograph, condition=parts[2] if len(parts) > 2 else "")


def read_bam(folder):
    """BAM: artworks of unknown people, flat or in one folder a medium, which becomes the condition."""
    for photograph in iterate_folder(folder):
        medium, _, file = photograph.file.rpartition("/")
        # nobody is known: every picture shows somebody else
        yield replace(photograph, person=photograph.name, condition=printable(medium)) if file else photograph


def read_vggface2(folder):
    """VGGFace2: ``train/n000002/0001_01.jpg`` and ``test/n000001/...``, person folders of 3.3 million files."""
    for part in ("train", "test"):
        for person in _folders(folder / part):
            yield from read_person(person, folder)


def _folders(folder):
    """Sub-folders that are not hidden, sorted; none where there is no folder."""
    if not is_folder(folder):
        return []
    return [entry for entry in list_folder(folder) if is_folder(entry) and not entry.name.startswith(".")]


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("micc", read_micc, f"folders <subject>/{{{','.join(MICC_CONDITIONS)}}} of frames"),
        DataSet("mofa", iterate_folder, "photographs"),
        DataSet("feret", read_feret, f"{FERET_IMAGES} or dvd1/{FERET_IMAGES}"),
        DataSet("bam", read_bam, "pictures"),
        DataSet("vggface", iterate_folder, "one folder a person"),
        DataSet("vggface2", read_vggface2, "train/ or test/ with one folder a person"),
    )
}
