"""Files that are complete or not there: written, downloaded, checked against their SHA-256."""

import hashlib
import os
import secrets
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import h5py
from tqdm.utils import CallbackIOWrapper

from lib.core.errors import StudyError
from lib.core.progress import progress

MADE_BY = "made by lib."
MADE_HERE = f"{MADE_BY}reconstruct"
"""Stands, or another name behind `MADE_BY`, within the first `HEAD_BYTES` of every result among people's own files."""
SKIPPED_HEADING, ERRORS_HEADING = "photograph,reason", "person,scaling,"
"""Of the lists of photographs that gave no face, and of errors in mm, which say so by that."""
HEAD_BYTES = 4096


def write_atomically(path, write):
    """Write a file so that an interruption never leaves half of it: `write` gets the path of a temporary one beside it.

    The old one stays until the new one is complete, also where several processes write it; the folder is made.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # the user's own setting, where safetensors lets the owner alone read
        write(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_hdf5(path, fill):
    """Write an HDF5 file as `write_atomically` does: `fill` gets the open `h5py.File`."""

    def write(temporary):
        with h5py.File(temporary, "w") as file:
            fill(file)

    write_atomically(path, write)


def made_here(path):
    """Tell whether a file is a result of a command of ours, which may be replaced and is no photograph."""
    try:
        if not Path(path).is_file():  # a pipe would never end
            return False
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
        return MADE_BY.encode() in head or head.startswith((SKIPPED_HEADING.encode(), ERRORS_HEADING.encode()))
    except OSError:
        return False


def refuse_to_replace(paths):
    """Raise StudyError where a result would replace a file that is none of an earlier run."""
    foreign = [path for path in paths if os.path.lexists(path) and not made_here(path)]
    if foreign:
        raise StudyError(
            f"{printable(foreign[0])} would be replaced, which is no result of an earlier run"
            f"{f' (and {len(foreign) - 1} more)' if foreign[1:] else ''}: give another --out, or move it away"
        )


def check_writable(folder):
    """Make the folder of the results now rather than after the work; StudyError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder} cannot be made ({error.strerror}): give another --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StudyError(f"{folder} cannot be written to: give another --out")


def printable(name):
    """Make a file name printable and storable: bytes that are no text become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def sha256_of(path):
    """Return the SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path, sha256):
    """Raise StudyError unless the file at `path` has this SHA-256 (hexadecimal)."""
    found = sha256_of(path)
    if found != sha256:
        raise StudyError(
            f"{path} is damaged or another version: its SHA-256 is {found}, expected {sha256}. "
            "Delete it and run again, or put the right file there."
        )


def download(url, path, sha256):
    """Download a file unless it is there, resuming ``<path>.part``; StudyError: no network, another SHA-256 (hex)."""
    path = Path(path)
    if path.is_file():  # of an earlier run, or put there by hand
        check_sha256(path, sha256)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _download_rest(url, part)
    except OSError as error:
        raise StudyError(f"{url} cannot be downloaded ({error}). Fetch it elsewhere and put it at {path}.") from error
    try:
        check_sha256(part, sha256)
    except StudyError:
        part.unlink()
        raise
    part.replace(path)


def _download_rest(url, part):
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to fetch: the digest decides
            return
        raise
    with response:
        resumed = response.status == 206
        rest = response.headers.get("Content-Length")
        total = int(rest) + (have if resumed else 0) if rest else None
        bar = progress(description=part.stem, total=total, unit="B", initial=have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file, bar:
            shutil.copyfileobj(CallbackIOWrapper(bar.update, response, "read"), file, 1 << 20)
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"it ended after {part.stat().st_size} of {total} bytes; run again to go on")


def digest_of_sources(*folders):
    """SHA-256 of all Python files below the folders, so that an edit of any function or constant gives another."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
