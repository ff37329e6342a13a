"""How the numba kernels are compiled, run on threads, and cached: by the content of this folder.

Numba's cache knows the file that a kernel stands in by its path and content, but not those whose functions and
constants are compiled into it. Its folder is therefore named after a digest of all files here, below the user's cache
folder or `NUMBA_CACHE_DIR`: copies of the repository, as DVC makes one per queued experiment, share what is compiled.
Where that cannot be written (no home, another user's), each process compiles for itself.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numba
import numpy as np
import torch
from numba import njit
from numba.core.caching import UserProvidedCacheLocator
from platformdirs import user_cache_path

from lib.core.files import digest_of_sources

f32, f64, i32, i64, u64 = np.float32, np.float64, np.int32, np.int64, np.uint64
CACHE = Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("unsupervised-3dmm-regression"))
numba.config.CACHE_DIR = str(CACHE / digest_of_sources(Path(__file__).parent)[:16])
numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.ByContent"


class ByContent(UserProvidedCacheLocator):
    """Numba's way to cache elsewhere: in the folder above, without a subfolder for each path of the sources."""

    def get_cache_path(self):
        return numba.config.CACHE_DIR


EXACT_MATH = {"nsz", "arcp"}  # flags under which edge functions stay exact negatives of each other
FAST_MATH = EXACT_MATH | {"contract", "reassoc"}  # fused and reordered: where nothing depends on the last bit


def _can_be_kept():
    try:
        Path(numba.config.CACHE_DIR).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=numba.config.CACHE_DIR):
            return True
    except OSError:
        return False


_compiled = partial(njit, cache=_can_be_kept(), nogil=True, error_model="numpy")
kernel = _compiled(fastmath=FAST_MATH)  # decorator: compile on first use, to run without the interpreter's lock
exact_kernel = _compiled(fastmath=EXACT_MATH)  # the same, for kernels that decide coverage
# Inlined, not called: a called kernel exists twice, by itself and within its caller, optimised differently. Which one
# runs depends on whether this process has compiled them or read them from the cache, and so would the last bits.
inlined = njit(inline="always", fastmath=FAST_MATH)  # decorator: a part of kernels
exact_inlined = njit(inline="always", fastmath=EXACT_MATH)  # the same, for kernels that decide coverage


def for_each(work, items):
    """Call ``work(i)`` for i below `items` on as many threads as torch has; it touches memory of its i alone.

    The kernels release the interpreter's lock. Numba's own threading is not used: its default layers must not be
    entered from two threads at once, and a second OpenMP beside torch's spins for work on the cores of the other.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(work, range(items)))
