"""Ask the C library to keep the memory that networks use over and over, and to give back what is no longer used."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 2**30


def _c_library():
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def keep_large_buffers():
    """Let freed buffers of up to 1 GiB be used again; does nothing where the C library is not the GNU one.

    It would give each buffer of more than 32 MiB back to the system as soon as it is freed, and the next one of that
    size would begin with a page fault for every 4 KiB: half of the time of FaceRes on 25 pictures, a tenth of the
    training network's way forward and back over 48. The price is that a process stays as large as it once was, until
    `return_free_memory`.
    """
    library = _c_library()
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def return_free_memory():
    """Return what malloc keeps to itself; does nothing where the C library is not the GNU one.

    Buffers of ever-changing size, as a face detector has, leave holes in malloc's heap that it seldom gives back: a
    process that searches photographs grows by some 250 MB over the first 500 of them, although nothing is kept.
    """
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
