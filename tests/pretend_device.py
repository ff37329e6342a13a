"""A CUDA device for machines without one: its tensors hold CPU tensors, and refuse what a real GPU's refuse.

Such a tensor cannot meet a tensor of the CPU in one operation, nor become an array, before it is moved. What it cannot
show: Kaolin, bfloat16, the order of atomic additions, speed.
"""

import sys
import warnings
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

from lib.core.processes import on_best_device

CUDA = torch.device("cuda", 0)
MAY_MIX = {"aten::copy_", "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class OnDevice(torch.Tensor):
    """A tensor of `CUDA` that holds one of the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        kind = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device="cpu")
        result = torch.Tensor._make_wrapper_subclass(cls, held.size(), **kind)
        result.held = held.detach()
        return result

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        name = function._schema.name
        if name not in MAY_MIX and any(type(value) is not OnDevice and value.ndim for value in tensors):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")
        args, kwargs = tree_map_only(OnDevice, lambda value: value.held, (args, kwargs or {}))
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        results = function(*args, **kwargs)
        if name.endswith("_") and not name.endswith("__"):  # in place
            return tensors[0] if isinstance(results, torch.Tensor) else results
        return tree_map_only(torch.Tensor, OnDevice, results)


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(context, tensor, to_device):
        context.to_device = to_device
        return OnDevice(tensor.clone()) if to_device else tensor.held.clone()

    @staticmethod
    def backward(context, gradient):
        return (gradient.held.clone() if context.to_device else OnDevice(gradient.clone())), None


class _Pretend(TorchFunctionMode):
    """Has tensors made on the device or moved there and back."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name in ("to", "cpu", "tolist", "new_tensor") and isinstance(args[0], torch.Tensor):
            return self._of_tensor(name, *args, **kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            args = tree_map_only(OnDevice, lambda value: value.held, args)
            return OnDevice(function(*args, **(kwargs | dict(device="cpu"))))
        return function(*args, **kwargs)

    def _of_tensor(self, name, tensor, *args, **kwargs):
        here = isinstance(tensor, OnDevice)
        if name == "tolist":
            return tensor.held.tolist() if here else tensor.tolist()
        if name == "new_tensor":
            return OnDevice(tensor.held.new_tensor(*args, **kwargs)) if here else tensor.new_tensor(*args, **kwargs)
        device = "cpu" if name == "cpu" else kwargs.pop("device", None)
        rest = []
        for value in args:
            if isinstance(value, torch.Tensor):
                device, value = value.device, value.dtype
            if isinstance(value, (str, torch.device)):
                device = value
            elif isinstance(value, torch.dtype):
                rest.append(value)
        if device is not None and (torch.device(device).type == "cuda") != here:
            tensor = _Move.apply(tensor, not here)
        return tensor.to(*rest, **kwargs) if rest or kwargs else tensor


@contextmanager
def pretended(monkeypatch):
    """Have `CUDA` be the best device for the time of the block."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lib.") and hasattr(module, "best_device"):
            monkeypatch.setattr(module, "best_device", lambda: CUDA)
    # numbers that a real device draws itself are drawn here, on the CPU
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator("cpu"))
    with warnings.catch_warnings(), _Pretend():
        warnings.filterwarnings("ignore", "User provided device_type of 'cuda'")
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        on_best_device.cache_clear()
        try:
            yield CUDA
        finally:
            on_best_device.cache_clear()
            torch.__future__.set_overwrite_module_params_on_conversion(False)
