"""Numba kernels on as many threads as torch uses.

The kernels release the interpreter lock, so that plain Python threads run them in parallel. Numba's own threading is
not used: its default layers must not be entered from two threads at once, and a second OpenMP beside torch's spins
for work on the cores that the other one needs.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch


def for_each(kernel, items):
    """Call ``kernel(i)`` for i below `items` on torch's number of threads; a kernel touches memory of its i alone."""
    threads, tickets = min(torch.get_num_threads(), items), count()

    def work():
        while (i := next(tickets)) < items:
            kernel(i)

    if threads <= 1:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
