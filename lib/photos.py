"""Where photographs come from: folders of people, flat folders, and Labeled Faces in the Wild.

A source gives a list of every file that was found, also of those that cannot be used: these carry the
problem, so that nothing is dropped silently. Reading pixels is `lib.pictures`' matter.
"""

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sklearn.datasets import fetch_lfw_people

from lib.errors import StudyError
from lib.network_files import check_sha256

SOURCES = ("simulated", "folder", "lfw")
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
    + (".ppm", ".pgm", ".pnm", ".jp2", ".avif")
)

LFW_ARCHIVE = "lfw-funneled.tgz"
LFW_URL = "https://ndownloader.figshare.com/files/5976015"
LFW_SHA256 = "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"
LFW_PHOTOGRAPHS = 13_233


@dataclass(frozen=True)
class Photograph:
    """A file of a source.

    Attributes
    ----------
    path : Path
        Where it is.
    name : str
        Its path relative to the source's folder, with forward slashes; unique in the source.
    person : str
        Who is on it; in a flat folder the file's own name, since nothing is known.
    problem : str
        Why it cannot be used; empty for a photograph that is worth opening.
    """

    path: Path
    name: str
    person: str
    problem: str = ""


def list_photographs(source, path):
    """List what a source holds.

    Parameters
    ----------
    source : str
        "folder" or "simulated" (see `read_folder`), or "lfw" (see `fetch_lfw`).
    path : path-like
        The folder; for "lfw" the place that the data set is, or will be, downloaded to.

    Returns
    -------
    list of Photograph

    Raises
    ------
    StudyError
        When the source is unknown, or its folder is missing or holds no image file.
    """
    if source not in SOURCES:
        raise StudyError(f"There is no source of photographs {source!r}: choose one of {', '.join(SOURCES)}.")
    return read_folder(fetch_lfw(path) if source == "lfw" else path)


def read_folder(folder):
    """List a folder of photographs.

    Parameters
    ----------
    folder : path-like
        Either one sub-folder a person (``folder/person/photograph.jpg``) or a flat folder of photographs of
        unknown people, who each count as a person of their own. Links are followed.

    Returns
    -------
    list of Photograph
        Sorted by name. Other files, hidden ones, and folders inside a person's folder are listed with their
        problem.

    Raises
    ------
    StudyError
        When the folder is missing, unreadable or without a single image file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise StudyError(f"The folder of photographs {folder} is missing (found {found} there): check photos.path.")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise StudyError(f"The folder of photographs {folder} cannot be read: {error.strerror}.") from error
    people = [entry for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
    photographs = [
        _inspect(entry, folder, _text(entry.name), "lies beside the people's folders" if people else "")
        for entry in entries
        if entry not in people
    ]
    for person in people:
        photographs += _read_person(person, folder)
    photographs.sort(key=lambda photograph: photograph.name)
    if all(photograph.problem for photograph in photographs):
        reasons = "".join(f"\n  {photograph.name}: {photograph.problem}" for photograph in photographs[:5])
        raise StudyError(
            f"The folder {folder} holds no photograph that can be used ({len(photographs)} other files). "
            f"Put one sub-folder a person there, or photographs themselves (.jpg, .png, ...).{reasons}"
        )
    return photographs


def _read_person(person, folder):
    name = _text(person.name)
    if person.is_symlink() and folder.resolve().is_relative_to(person.resolve()):
        return [Photograph(person, name, name, "a link back to a folder that holds it")]
    try:
        entries = sorted(person.iterdir())
    except OSError as error:
        return [Photograph(person, name, name, f"the folder cannot be read: {error.strerror}")]
    return [_inspect(entry, folder, name) for entry in entries]


def _inspect(path, folder, person, problem=""):
    """Look at a file without opening it."""
    name = _text(str(PurePosixPath(path.relative_to(folder))))
    if path.name.startswith("."):
        problem = "a hidden file"
    elif _is_folder(path):
        problem = "a folder inside a person's folder: its files are not read"
    elif path.suffix.lower() not in IMAGE_SUFFIXES:
        problem = f"not an image file ({path.suffix or 'no suffix'})"
    elif not problem:
        problem = _access_problem(path)
    return Photograph(path, name, person, problem)


def _access_problem(path):
    try:
        path.stat()
    except OSError as error:  # a broken link, a loop of links
        return f"cannot be found: {error.strerror}"
    return "" if os.access(path, os.R_OK) else "may not be read: no permission"


def _is_folder(path):
    try:
        return path.is_dir()
    except OSError:  # a loop of links
        return False


def _text(name):
    """Make a file name printable and storable: bytes that are no text become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def fetch_lfw(data_home):
    """Find or download Labeled Faces in the Wild, funneled (233 MB), with scikit-learn's fetcher.

    Parameters
    ----------
    data_home : path-like
        scikit-learn's data home, for example ``data/raw/lfw``.

    Returns
    -------
    Path
        The folder that has one sub-folder a person.

    Raises
    ------
    StudyError
        When it is neither there nor can be downloaded (with the place where to put it by hand), or is
        incomplete.
    """
    home = Path(data_home) / "lfw_home"
    folder, archive = home / "lfw_funneled", home / LFW_ARCHIVE
    if archive.is_file():  # put there by hand; scikit-learn would neither check it nor do without its other files
        check_sha256(archive, LFW_SHA256)
        with tarfile.open(archive) as files:
            files.extractall(home, filter="data")
        archive.unlink()
    if not folder.is_dir():
        try:
            # its return value, pixels, is not needed: ask for the one person with 500 photographs, tiny
            fetch_lfw_people(data_home=str(data_home), min_faces_per_person=500, resize=0.1)
        except OSError as error:
            raise StudyError(
                f"Labeled Faces in the Wild cannot be downloaded ({error}). Fetch {LFW_URL} elsewhere, "
                f"name it {LFW_ARCHIVE} and put it into {home}."
            ) from error
    found = sum(1 for _ in folder.glob("*/*.jpg"))
    if found != LFW_PHOTOGRAPHS:
        raise StudyError(
            f"{folder} holds {found} photographs instead of {LFW_PHOTOGRAPHS} (an interrupted extraction?): "
            "delete that folder and run again."
        )
    for listing in folder.glob("*.txt"):  # the data set's own lists of pairs, no photographs
        listing.unlink()
    return folder
