"""One training run on several processes: how work is divided and results are combined."""

import os
import subprocess
import sys
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache

import torch
from llvmlite.binding import get_host_cpu_features
from torch import distributed

from lib.core.errors import StudyError


def best_device():
    """Return this process's own CUDA device where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return torch.device("cpu")


@lru_cache(maxsize=4)
def on_best_device(module):
    """Return a copy of a module on `best_device()`, the same at every call; the module itself where that is the CPU."""
    device = best_device()
    return module if device.type == "cpu" else deepcopy(module).to(device)


def best_precision(wanted):
    """Return "bfloat16" or "float32": what is wanted, or for "auto" bfloat16 where the processor computes in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # torch tells of AVX-512 alone; without its bfloat16 part autocast makes everything slower
    return "bfloat16" if get_host_cpu_features().get("avx512bf16") else "float32"


def refuse_shared_gpus(processes):
    """Raise StudyError where these processes of one machine would have to share GPUs, which NCCL cannot."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else processes
    if processes > gpus:
        raise StudyError(
            f"{processes} processes need a GPU each, and there are {gpus}: lower `processes`, or hide all "
            "GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
        )


@contextmanager
def joined():
    """Join the processes that torchrun started, for the time of the block."""
    refuse_shared_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    if torch.cuda.is_available():
        torch.cuda.set_device(best_device())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank():
    """Return this process's number, 0 for one alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size():
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_part(count):
    """Return the slice of `count` items, a multiple of `world_size`, that this process works on."""
    size = count // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def mean_over_processes(tensor):
    """Average a tensor over the processes; on one alone it is returned as it is."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / world_size()


def average_gradients(parameters):
    """Give all processes the mean of their gradients: that of the mean of their losses."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    mean = mean_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


def launch(module, processes, *arguments):
    """Run ``python -m module arguments`` on several processes of this machine by torchrun; StudyError: one failed."""
    # torchrun would give each process one thread however many cores there are
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run([*command, "-m", module, *arguments], env={"OMP_NUM_THREADS": threads} | os.environ)
    if done.returncode:
        raise StudyError(f"{' '.join([module, *arguments])} failed on {processes} processes: see the lines above")
