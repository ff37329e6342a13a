"""Files that are either whole or not there."""

from pathlib import Path


def write_atomically(path, write):
    """Write a file so that an interruption never leaves half of it.

    Parameters
    ----------
    path : path-like
        The file; an old one stays until the new one is complete. Its folder is made where it is missing.
    write : callable
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
