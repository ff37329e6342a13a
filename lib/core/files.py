"""Files that are either whole or not there."""

import hashlib
import sys
from pathlib import Path

import h5py


def write_atomically(path, write):
    """Write a file so that an interruption never leaves half of it.

    Parameters
    ----------
    path : path-like
        The file; an old one stays until the new one is complete. Its folder is made where it is missing.
    write : Callable
        Gets the path of a temporary file beside it and writes that.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_hdf5(path, fill):
    """Write an HDF5 file as `write_atomically` does: `fill` gets the open `h5py.File`."""

    def write(temporary):
        with h5py.File(temporary, "w") as file:
            fill(file)

    write_atomically(path, write)


def digest_of_sources(name):
    """SHA-256 of a module and of all modules of this package that it takes functions or classes from, at any depth."""
    package, waiting, sources = name.partition(".")[0], {name}, {}
    while waiting:
        name = waiting.pop()
        module = sys.modules[name]
        sources[name] = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()
        homes = {getattr(value, "__module__", None) or "" for value in vars(module).values()}
        waiting |= {home for home in homes if home.partition(".")[0] == package} - set(sources)
    return hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()
