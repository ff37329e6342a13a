"""Photographs as files: folders of people and flat folders, with every file that was found.

Files that cannot be used are listed too, with the problem: nothing is dropped silently.
"""

import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from lib.core.errors import StudyError
from lib.core.files import made_here, printable

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
    + (".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".heic", ".heif", ".hif", ".mpo", ".tga")
)
COMPRESSED_SUFFIX = ".bz2"  # as in FERET: ``00001_930831_fa_a.ppm.bz2``
PEOPLE_FILES = ("people.csv", "people.json")
"""What is known of the people, beside their folders (`lib.photos.people.read_people`): no photograph."""
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")
"""Copies and thumbnails that macOS puts into archives and Synology's servers beside photographs."""
HIDDEN, LINK_BACK = "hidden, or the system's", "a link back to a folder that holds it"
PLACEHOLDER = ".gitkeep"  # keeps an empty folder in git: no file of anybody's
LONGEST_NAME = 200  # bytes of a result's name, of the 255 that file systems take: endings are added


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file of a source; some 200 bytes, since sources have millions. What a source does not have is empty."""

    folder: str  # the source's, or that of its videos' frames
    file: str  # the path below it, with forward slashes
    person: str  # who is on it; where nothing is known the file's own name
    problem: str = ""  # why it cannot be used
    condition: str = ""  # how it was taken (MICC: cooperative, indoor, outdoor; FERET: fa, fb, ...)
    scan: str = ""  # the true face of this person as a file below the source's folder

    @property
    def path(self):
        """Where it is, as a Path."""
        return Path(self.folder, self.file)

    @property
    def name(self):
        """`file` as text that can be printed and stored; unique in the source."""
        return printable(self.file)


def read_folder(folder):
    """List a folder by name: a sub-folder per person, or flat, where each photograph is of a person of their own."""
    photographs = sorted(iterate_folder(folder), key=lambda photograph: photograph.name)
    if all(photograph.problem for photograph in photographs):
        raise StudyError(
            f"The folder {folder} holds no photograph that can be used ({len(photographs)} other files). "
            "Put one sub-folder per person there, or photographs themselves (.jpg, .png, ...)."
            + first_problems(photographs)
        )
    return photographs


def iterate_folder(folder):
    """List a folder as `read_folder` does, one by one in no promised order; it may hold nothing."""
    folder = Path(folder)
    entries = list_folder(folder)
    folders = {entry for entry in entries if os.path.isdir(entry) and not _is_system(entry)}
    flat = len(folders) < len(entries)
    people = flat and any(not file.problem for entry in folders for file in read_person(entry, folder))
    among_people = "lies beside the people's folders" if people else ""
    for entry in entries:
        if entry in folders:
            yield from read_person(entry, folder)
        else:
            yield inspect_file(entry, folder, person_of(entry.name), among_people)


def iterate_tree(place, folder, above=()):
    """List all files below `place`, itself in a `folder`, sorted; those in folders that are passed over as one each."""
    file, real, entries = place.relative_to(folder).as_posix(), place.resolve(), []
    if file != "." and _is_system(place):
        problem = HIDDEN
    elif real in above:
        problem = LINK_BACK
    else:
        entries, problem = _entries(place)
    if problem:
        yield Photograph(str(folder), file, printable(place.name), problem)
    for entry in entries:
        if os.path.isdir(entry):
            yield from iterate_tree(entry, folder, (*above, real))
        else:
            yield inspect_file(entry, folder, printable(entry.name))


def _entries(folder):
    """The entries of a folder, sorted, or why it cannot be read."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name != PLACEHOLDER), ""
    except OSError as error:
        return [], f"the folder cannot be read: {error.strerror}"


def person_of(name):
    """A person's name by that of a folder: letters with accents are one letter each, on a Mac's disks too."""
    return unicodedata.normalize("NFC", printable(name))


def first_problems(photographs):
    """Return the first five problems, a line each."""
    return "".join(f"\n  {photograph.name}: {photograph.problem}" for photograph in photographs[:5])


def list_folder(folder):
    """Return the entries of a source's folder, sorted; StudyError when it is missing or unreadable."""
    entries, problem = _entries(folder)
    if problem:
        raise StudyError(f"The folder of photographs {folder} is missing or no folder ({problem}): check photos.path.")
    return [entry for entry in entries if entry.name not in PEOPLE_FILES]


def read_person(person, folder):
    """List the files of one person's folder, sorted, as `Photograph` of the source's folder."""
    name, back = person_of(person.name), person.is_symlink() and folder.resolve().is_relative_to(person.resolve())
    entries, problem = ([], LINK_BACK) if back else _entries(person)
    if problem:
        return [Photograph(str(folder), person.relative_to(folder).as_posix(), name, problem)]
    return [inspect_file(entry, folder, name) for entry in entries]


def inspect_file(path, folder, person, problem="", condition="", scan=""):
    """Make a `Photograph` of a file without opening it; `problem` is what is known to be wrong already."""
    compressed = path.suffix.lower() == COMPRESSED_SUFFIX
    suffix = Path(path.stem if compressed else path).suffix.lower()
    if _is_system(path):
        problem = HIDDEN
    elif os.path.isdir(path):
        problem = "a folder inside a person's folder: its files are not read"
    elif suffix not in IMAGE_SUFFIXES:
        problem = f"not an image file ({path.suffix or 'no suffix'})"
    elif not problem:
        problem = access_problem(path)
    return Photograph(str(folder), path.relative_to(folder).as_posix(), person, problem, condition, scan)


def access_problem(path):
    """Return why a file cannot be opened, empty where it can; a pipe would never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
    except OSError as error:  # a broken link, a loop of links
        return f"cannot be found: {error.strerror}"
    return "" if os.access(path, os.R_OK) else "may not be read: no permission"


def _is_system(entry):
    return entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS


def find_photographs(places):
    """List files, and those of folders and sub-folders: dicts of photographs, and of why others are not read.

    Paths by the name of their results: the file's, with folders before it or a number behind it where two are alike.
    Reasons by Path, without results of earlier runs. StudyError where there is no photograph.
    """
    photographs, others = {}, {}
    for place in map(Path, places):
        # a file that the user names is read whatever its ending
        found = [Photograph(str(place.parent), place.name, place.name, access_problem(place))]
        if os.path.isdir(place):
            found = [one for one in iterate_tree(place, place) if not made_here(one.path)]
            if all(one.problem for one in found):
                others[place] = "the folder holds no image file"
        for one in found:
            # links stay: their names are the people's, those of what they lead to need not be
            path = Path(os.path.abspath(one.path))
            if one.problem:
                others[path] = one.problem
            else:
                photographs[path] = None
    if not photographs:
        reasons = "".join(f"\n  {printable(path)}: {reason}" for path, reason in [*others.items()][-5:])
        raise StudyError(f"there is no photograph to read:{reasons}")
    return dict(zip(_names(photographs), photographs, strict=True)), others


def _names(paths):
    """Names of results that differ on any file system, in the order of the paths."""
    paths = [Path(re.sub(r"[\x00-\x1f\x7f]", "_", printable(path.relative_to(path.anchor)))) for path in paths]
    # the ending belongs to the name only where me.jpg lies beside me.png
    endings = [path.with_suffix("") for path in paths], paths
    depths = range(1, max(len(path.parts) for path in paths) + 1)
    names = (["-".join(path.parts[-depth:]) for path in ending] for ending in endings for depth in depths)
    return _numbered(max(names, key=lambda each: len({*map(_key, each)})))


def _key(name):
    """What file systems may take for the same name: in capitals, or with accents apart from their letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _numbered(names):
    taken = {}
    for name in names:
        name = shorter = name.encode()[-LONGEST_NAME:].decode(errors="ignore")
        while _key(name) in taken:
            taken[_key(shorter)] += 1
            name = f"{shorter}-{taken[_key(shorter)]}"
        taken[_key(name)] = 1
        yield os.fsdecode(name.encode())  # as a file name in any locale
