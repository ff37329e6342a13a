"""Labeled Faces in the Wild, by scikit-learn's fetcher."""

import tarfile
from pathlib import Path

from sklearn.datasets import fetch_lfw_people

from lib.core.errors import StudyError
from lib.recognition.sources import check_sha256

LFW_ARCHIVE = "lfw-funneled.tgz"
LFW_URL = "https://ndownloader.figshare.com/files/5976015"
LFW_SHA256 = "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"
LFW_PHOTOGRAPHS = 13_233


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
