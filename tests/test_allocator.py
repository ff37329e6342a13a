"""Memory that is free goes back to the system."""

import platform
import sys

import numpy as np
import psutil
import pytest

from lib.allocator import return_free_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_free_memory_is_returned():
    blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]
    last = blocks.pop()  # above it in the heap: what is below cannot be given back by shrinking the heap
    blocks.clear()
    before = psutil.Process().memory_info().rss
    return_free_memory()
    assert before - psutil.Process().memory_info().rss > 100e6
    assert last.all()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    return_free_memory()
