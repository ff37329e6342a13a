"""Sources of photographs by name: `photos.source` of `params.yaml`."""

from pathlib import Path

from lib.core.errors import StudyError
from lib.photos.data_sets import DATA_SETS
from lib.photos.files import read_folder
from lib.photos.lfw import fetch_lfw
from lib.photos.simulated.camera import read_simulated

SOURCES = ("simulated", "folder", "lfw", *DATA_SETS)


def source_folder(source, path):
    """Return where a source lies: `path`, but for simulated photographs."""
    return Path("data/photos/simulated" if source == "simulated" else path)


def list_photographs(source, path):
    """List what a source holds.

    Parameters
    ----------
    source : str
        "folder" (see `lib.photos.files.read_folder`), "simulated", "lfw" (see `lib.photos.lfw.fetch_lfw`), or one of
        `lib.photos.data_sets.DATA_SETS`.
    path : path-like
        The folder; for "lfw" the place that the data set is, or will be, downloaded to.

    Returns
    -------
    list of lib.photos.files.Photograph

    Raises
    ------
    StudyError
        When the source is unknown, or its folder is missing or holds no image file.
    """
    if source not in SOURCES:
        raise StudyError(f"There is no source of photographs {source!r}: choose one of {', '.join(SOURCES)}.")
    if source in DATA_SETS:
        return DATA_SETS[source].list(path)
    if source == "simulated":
        return read_simulated(path)
    return read_folder(fetch_lfw(path) if source == "lfw" else path)
