"""Give memory that is free back to the system, so that a process which works for days stays as small as it began."""

import ctypes
import sys


def return_free_memory():
    """Return what malloc keeps to itself; does nothing where the C library is not the GNU one.

    Buffers of ever-changing size, as a face detector has, leave holes in malloc's heap that it seldom gives back: a
    process that searches photographs grows by some 250 MB over the first 500 of them, although nothing is kept.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
