"""Memory of the kernels: used again as soon as, and not before, nobody holds it."""

import numpy as np
import pytest
import torch
from numba import njit

import lib.rendering.kernels.memory
from lib.rendering.kernels.memory import prefetch, recycled_empty

SHAPE = (3, 700, 500)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(lib.rendering.kernels.memory, "_kept", [])


def place(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_nobody_holds_it():
    first = recycled_empty(SHAPE)
    assert first.shape == SHAPE and first.dtype == np.float32
    where = place(first)
    second = recycled_empty(SHAPE)
    assert place(second) != where
    del first
    assert place(recycled_empty((500, 2100), np.int32)) == where, "another shape and type of the same size"
    assert place(recycled_empty(SHAPE)) == where


def test_memory_is_not_used_again_while_a_tensor_a_view_or_a_gradient_holds_it():
    holders = [
        torch.from_numpy(recycled_empty(SHAPE)),
        torch.from_numpy(recycled_empty(SHAPE))[1:, :5].detach(),
        recycled_empty(SHAPE)[2].T,
    ]
    leaf = torch.zeros(1, requires_grad=True)
    product = leaf * torch.from_numpy(recycled_empty(SHAPE))
    places = [place(memory) for memory in lib.rendering.kernels.memory._kept]
    assert len(set(places)) == 4
    assert place(recycled_empty(SHAPE)) not in places
    del holders, product
    assert place(recycled_empty(SHAPE)) in places


def test_no_more_than_the_budget_is_kept(monkeypatch):
    monkeypatch.setattr(lib.rendering.kernels.memory, "KEPT_BYTES", 10_000_000)
    held = [recycled_empty(SHAPE) for _ in range(5)]
    assert len({place(array) for array in held}) == 5
    assert sum(memory.nbytes for memory in lib.rendering.kernels.memory._kept) <= 10_000_000
    recycled_empty((10, 10))
    assert len(lib.rendering.kernels.memory._kept) == 2, "small arrays are left to the system"


def test_prefetch_changes_nothing():
    @njit
    def total(values):
        result = 0.0
        for row in range(len(values)):
            prefetch(values, min(row + 2, len(values) - 1), np.uint32(1))
            result += values[row, 1]
        return result

    values = np.arange(12.0).reshape(6, 2)
    assert total(values) == values[:, 1].sum()
    assert total(values[::2]) == values[::2, 1].sum()
