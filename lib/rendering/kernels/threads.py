"""Numba kernels on as many threads as torch uses.

The kernels release the interpreter lock, so that plain Python threads run them in parallel. Numba's own threading is
not used: its default layers must not be entered from two threads at once, and a second OpenMP beside torch's spins
for work on the cores that the other one needs.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch

_pool = {"threads": 0, "executor": None}


def workers():
    """Return how many threads share the work: torch's setting."""
    return torch.get_num_threads()


def for_each(kernel, items):
    """Call ``kernel(i)`` for i = 0 ... items - 1, each once, on `workers` threads.

    A kernel releases the interpreter lock and touches memory that belongs to `i` alone: the result then does not depend
    on which thread takes which item.
    """
    threads = min(workers(), items)
    if threads <= 1:
        for i in range(items):
            kernel(i)
        return
    tickets = count()

    def work():
        while (i := next(tickets)) < items:
            kernel(i)

    others = [_executor(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()


def _executor(threads):
    if _pool["threads"] < threads:
        _pool.update(threads=threads, executor=ThreadPoolExecutor(threads, thread_name_prefix="kernel"))
    return _pool["executor"]


def _forget_threads():
    _pool.update(threads=0, executor=None)


os.register_at_fork(after_in_child=_forget_threads)
