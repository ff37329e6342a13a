"""Files that are either whole or not there."""

from pathlib import Path


def write_atomically(path, write):
    """Write a file so that an interruption never leaves half of it.

    Parameters
    ----------
    path : path-like
        The file; an old one stays until the new one is complete.
    write : callable
        Gets the path of a temporary file beside it and writes that.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    temporary.replace(path)
