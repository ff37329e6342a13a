"""Memory that is used again is kept, and memory that is free goes back to the system."""

import platform
import subprocess
import sys

import numpy as np
import psutil
import pytest
from conftest import ROOT

from lib.core.allocator import keep_large_buffers, return_free_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_free_memory_is_returned():
    blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]
    last = blocks.pop()  # above it in the heap: what is below cannot be given back by shrinking the heap
    blocks.clear()
    before = psutil.Process().memory_info().rss
    return_free_memory()
    assert before - psutil.Process().memory_info().rss > 100e6
    assert last.all()


# in a process of its own, since it holds from the call on
FAULTS = """
import ctypes, resource, sys
from lib.core.allocator import keep_large_buffers

def faults_of_a_buffer(size=200 * 2**20):
    before, library = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    buffer = library.malloc(ctypes.c_size_t(size))
    ctypes.memset(buffer, 1, size)
    library.free(buffer)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = [faults_of_a_buffer() for _ in range(2)][-1]
keep_large_buffers()
print(first, [faults_of_a_buffer() for _ in range(2)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_a_large_buffer_is_used_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 20


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    keep_large_buffers()
    return_free_memory()
