"""How the numba kernels are compiled: their flags, and a cache on disk that notices every edit.

Numba's own cache knows the file that a kernel stands in, but not those whose functions are compiled into it: it would
go on with old code after an edit there. This one goes by the content of all modules that the kernel's module takes
anything from. Since nothing else counts, it lies in the user's cache folder (or `NUMBA_CACHE_DIR`): clones, and the
copies in which `dvc queue` runs experiments, find compiled what any of them has compiled.
"""

import os
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from platformdirs import user_cache_path

from lib.core.files import digest_of_sources

f32, f64, i32, i64, u32, u64 = np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64

EXACT_MATH = {"nsz", "arcp"}
"""Flags under which edge functions stay exact negatives of each other."""
FAST_MATH = EXACT_MATH | {"contract", "reassoc"}
"""Fusing and reordering operations, harmless where nothing hangs on the last bit."""


class _Files(IndexDataCacheFile):
    def _data_name(self, number):
        # by number, two processes that compile at once could give two signatures the same file
        return f"{Path(self._index_name).stem}.{uuid4().hex}.nbc"


class _Cache(FunctionCache):
    def __init__(self, function):
        super().__init__(function)
        digest = digest_of_sources(function.__module__)
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("unsupervised-3dmm-regression"), digest[:16])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            folder = self._cache_path  # beside the source, where numba has found that it can write
        self._cache_file = _Files(str(folder), self._impl.filename_base, digest)


def _compiled(function, fastmath):
    dispatcher = njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    # what `njit(cache=True)` does, with the other cache
    dispatcher._cache = _Cache(function)
    return dispatcher


kernel = partial(_compiled, fastmath=FAST_MATH)
"""Decorator: compile for one thread, on first use, without the interpreter's lock."""
exact_kernel = partial(_compiled, fastmath=EXACT_MATH)
"""The same, for kernels that decide coverage."""
# Inlined, not called: a called kernel exists twice, by itself and within its caller, optimised differently. Which one
# runs depends on whether this process has compiled them or read them from the cache, and so would the last bits.
inlined = njit(inline="always", fastmath=FAST_MATH)
"""Decorator: a part of kernels."""
exact_inlined = njit(inline="always", fastmath=EXACT_MATH)
"""The same, for kernels that decide coverage."""
