"""Runs that are processes of their own: two of them train as one does, and a killed one goes on bit for bit."""

import json
import os
import signal
import time
from multiprocessing import get_context

import pytest
import torch
import training_worker
from conftest import ROOT
from safetensors import safe_open
from torch import distributed
from training_worker import STAGE1, STAGE2

from lib.core.errors import StudyError
from lib.core.processes import average_gradients, joined, launch, mean_over_processes, own_part, rank, world_size
from lib.core.tensors import load_tensors

PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
# processes are forked from one that has done nothing but import what they need
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["training_worker"])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


def start(folder):
    process = PROCESSES.Process(target=training_worker.main, args=(folder, 1))
    process.start()
    return process


def finish(process):
    process.join(600)
    assert process.exitcode == 0


def result(folder, number=0):
    return load_tensors(folder / f"result-{number}.safetensors")[0]


def progress_of(folder):
    """Steps done, of both stages together."""
    steps = 0
    for run in (folder / "stage1", folder / "stage2"):
        if run.is_file():
            # torch would open the file a second time, when the run may just have put a new one in its place
            with safe_open(run, framework="np") as file:
                steps += json.loads(file.metadata()["study"])["step"]
    return steps


def test_one_process_alone_needs_no_others():
    assert (rank(), world_size(), own_part(6)) == (0, 1, slice(0, 6))
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad.clone()
    average_gradients(layer.parameters())
    assert torch.equal(layer.weight.grad, before)
    assert mean_over_processes(before) is before


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Results of an undisturbed run on one process."""
    folder = tmp_path_factory.mktemp("single")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATHS)
        finish(start(folder))
    return result(folder)


def test_two_processes_do_what_one_does(tmp_path, single):
    launch("training_worker", 2, str(tmp_path), "2")
    first, second = result(tmp_path, 0), result(tmp_path, 1)
    for name in first:
        assert torch.equal(first[name], second[name]), f"the processes differ in {name}"
        # one step: rounding alone; after thirty, what Adam has made of it
        tolerance = 1e-3 if name.startswith("stage2") else 1e-5
        expected = single[name]
        assert torch.allclose(first[name], expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()), name


def test_a_failed_process_is_told():
    with pytest.raises(StudyError, match="no_such_module failed on 2 processes"):
        launch("no_such_module", 2)


@pytest.mark.parametrize("gpus, backend", [(0, "gloo"), (2, "nccl")])
def test_each_process_needs_a_gpu_of_its_own_where_there_are_any(monkeypatch, gpus, backend):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    chosen = []
    monkeypatch.setattr(distributed, "init_process_group", chosen.append)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with joined():
        assert chosen == [backend]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    if gpus:
        with pytest.raises(StudyError, match="3 processes need a GPU each, and there are 2"), joined():
            pass
    assert chosen == [backend]


def test_a_run_killed_three_times_ends_with_the_same_bytes(tmp_path, single):
    killed_at = []
    for steps in (3, 23, 30):  # in stage 1 once, in stage 2 twice
        process = start(tmp_path)
        while process.is_alive() and progress_of(tmp_path) < steps:
            time.sleep(0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"
        killed_at.append(progress_of(tmp_path))
    assert killed_at[0] < STAGE1.epochs < killed_at[1] < killed_at[2] < STAGE1.epochs + STAGE2.steps
    finish(start(tmp_path))
    again = result(tmp_path)
    assert again.keys() == single.keys()
    assert all(torch.equal(again[name], expected) for name, expected in single.items())
