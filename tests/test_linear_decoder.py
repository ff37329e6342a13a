"""The products of a linear model: kernels of our own against float64 and against the other devices' way."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.face_model.linear_decoder import decode, pack_basis, unpack_basis
from lib.rendering.kernels.decode import BLOCK, PANEL, RUN, TOGETHER

UNLIMITED = (-float("inf"), float("inf"))


def problem(faces, values, components, seed=0):
    """Random coefficients, mean, basis and gradient of the values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (faces, components), (values,), (values, components), (faces, values)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_a_product_by_hand():
    basis = torch.tensor([[1.0, 0], [0, 2], [3, 4]])
    mean = torch.tensor([10.0, 20, 30])
    coefficients = torch.tensor([[1.0, -1], [0.5, 0]]).requires_grad_()
    values = decode(coefficients, mean, pack_basis(basis), (0.0, 30.0))
    # 30 + 3 - 4 = 29; 30 + 1.5 is cut off at 30
    assert torch.equal(values, torch.tensor([[11.0, 18, 29], [10.5, 20, 30]]))
    (gradient,) = torch.autograd.grad(values.sum(), coefficients)
    assert torch.equal(gradient, torch.tensor([[4.0, 6], [1, 2]])), "nothing comes back through what is cut off"


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 37),
    st.integers(1, 3 * BLOCK + 5),
    st.integers(1, 2 * TOGETHER + 3),
    st.sampled_from([UNLIMITED, (-1.0, 0.5)]),
)
def test_any_size_agrees_with_float64(faces, values, components, limits):
    coefficients, mean, basis, pull = problem(faces, values, components)
    packed = pack_basis(basis)
    assert torch.equal(unpack_basis(packed, values, components), basis)
    coefficients.requires_grad_()
    ours = decode(coefficients, mean, packed, limits)
    exact = mean.double() + coefficients.double() @ basis.double().T
    torch.testing.assert_close(ours.double(), exact.clamp(*limits), atol=1e-5, rtol=1e-5)
    within = (exact > limits[0]) & (exact < limits[1])
    # on which side of a limit a value lies may hang on the last bit
    clear = ((exact - limits[0]).abs() > 1e-4) & ((exact - limits[1]).abs() > 1e-4)
    pull = pull * clear
    (gradient,) = torch.autograd.grad(ours, coefficients, pull)
    torch.testing.assert_close(gradient.double(), (pull * within).double() @ basis.double(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("limits", [UNLIMITED, (-1.0, 0.5)])
def test_the_way_of_other_devices_agrees(limits):
    """Float64 takes the same path as CUDA tensors do."""
    coefficients, mean, basis, pull = problem(5, (PANEL + 2) * BLOCK + 7, 11)
    wide = [tensor.double() for tensor in (coefficients, mean, basis, pull)]
    coefficients.requires_grad_(), wide[0].requires_grad_()
    ours, theirs = (
        decode(coefficients, mean, pack_basis(basis), limits),
        decode(wide[0], wide[1], pack_basis(wide[2]), limits),
    )
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    ours, theirs = torch.autograd.grad(ours, coefficients, pull), torch.autograd.grad(theirs, wide[0], wide[3])
    torch.testing.assert_close(ours[0].double(), theirs[0], atol=1e-3, rtol=1e-4)


def test_the_same_bytes_at_any_number_of_threads():
    coefficients, mean, basis, pull = problem(6, 3 * RUN * PANEL * BLOCK + 1, 20)
    packed, before, results = pack_basis(basis), torch.get_num_threads(), []
    coefficients.requires_grad_()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            values = decode(coefficients, mean, packed, (-5.0, 5.0))
            results.append((values.detach(), *torch.autograd.grad(values, coefficients, pull)))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


def test_a_face_does_not_depend_on_its_batch():
    coefficients, mean, basis, _ = problem(21, BLOCK + 3, 9)
    packed = pack_basis(basis)
    together = decode(coefficients, mean, packed)
    for face in (0, 15, 16, 20):
        assert torch.equal(decode(coefficients[face : face + 1], mean, packed)[0], together[face])


def test_what_is_not_a_number_stays_so():
    coefficients, mean, basis, _ = problem(2, 10, 3)
    coefficients[1, 1] = torch.nan
    values = decode(coefficients, mean, pack_basis(basis), (0.0, 1.0))
    assert values[0].isfinite().all() and values[1].isnan().all()


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    coefficients, mean, basis, pull = problem(16, 20 * PANEL * BLOCK + 7, 199)
    results = []
    for device in ("cpu", "cuda"):
        inputs = coefficients.to(device).requires_grad_()
        values = decode(inputs, mean.to(device), pack_basis(basis.to(device)), (-10.0, 10.0))
        (gradient,) = torch.autograd.grad(values, inputs, pull.to(device))
        results.append((values.cpu(), gradient.cpu()))
    (ours, our_gradient), (theirs, their_gradient) = results
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert (our_gradient - their_gradient).norm() < 1e-3 * our_gradient.norm()


def test_other_processors_decode_the_same_bytes(tmp_path):
    """With the tiles of a processor of the other kind, wide or not, compiled for this one."""
    coefficients, mean, basis, pull = problem(19, PANEL * BLOCK + 5, 11)
    coefficients.requires_grad_()
    values = decode(coefficients, mean, pack_basis(basis), (-1.0, 5.0))
    (gradient,) = torch.autograd.grad(values, coefficients, pull)
    torch.save([tensor.detach() for tensor in (coefficients, mean, basis, pull)], tmp_path / "problem.pt")
    code = """
import lib.rendering.kernels.vectors
lib.rendering.kernels.vectors.WIDE = not lib.rendering.kernels.vectors.WIDE
import torch
from lib.face_model.linear_decoder import decode, pack_basis
coefficients, mean, basis, pull = torch.load("problem.pt", weights_only=True)
coefficients.requires_grad_()
values = decode(coefficients, mean, pack_basis(basis), (-1.0, 5.0))
torch.save([pack_basis(basis).shape, values.detach(), *torch.autograd.grad(values, coefficients, pull)], "result.pt")
"""
    places = {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | places, check=True)
    packed, others_values, others_gradient = torch.load(tmp_path / "result.pt", weights_only=True)
    assert packed != pack_basis(basis).shape, "other tiles"
    assert torch.equal(others_values, values)
    torch.testing.assert_close(others_gradient, gradient, atol=1e-3, rtol=1e-4)
