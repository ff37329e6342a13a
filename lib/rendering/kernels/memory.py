"""What keeps the memory from holding up the numba kernels: rows fetched in time, arrays used again."""

import sys
import threading

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

KEPT_BYTES = 1 << 29
"""Most memory (bytes) that is kept for the next call, whatever was drawn before; a step of 16 faces in 3 views takes
300 MB of it."""
_WORTH_KEEPING = 1 << 20
_kept, _lock = [], threading.Lock()


def _prefetching(name, description, closeness):
    def prefetch(typing_context, array, row, column):
        def generate(context, builder, signature, arguments):
            data = context.make_array(signature.args[0])(context, builder, arguments[0])
            strides = cgutils.unpack_tuple(builder, data.strides)
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            place = builder.bitcast(data.data, byte)
            for index, kind, stride in zip(arguments[1:], signature.args[1:], strides, strict=True):
                index = context.cast(builder, index, kind, types.intp)
                place = builder.gep(place, [builder.mul(index, stride)])
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
            )
            # to read, into which cache, data
            builder.call(function, [place, number(0), number(closeness), number(1)])
            return context.get_dummy_value()

        return types.void(array, row, column), generate

    prefetch.__name__, prefetch.__doc__ = name, description
    return intrinsic(prefetch)


prefetch = _prefetching(
    "prefetch",
    """Have the processor load the cache line of array[row, column] while the kernel goes on; for kernels only.

    A mesh is far larger than a core's cache and pixels reach into it anywhere: waiting would take half the time.
    """,
    3,
)
prefetch_far = _prefetching(
    "prefetch_far", "Do the same for what is needed later: it waits in the core's second cache, which is larger.", 2
)


def recycled_empty(shape, dtype=np.float32):
    """Return an array like `numpy.empty`, in memory of an earlier one if nobody holds that any more.

    The system hands out and takes back large arrays page by page, which costs as much as the work of a kernel. What
    is kept stays with the process: the newest `KEPT_BYTES`, of which the oldest go first. An array that is dropped
    from them while somebody holds it goes back to the system with its last holder.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _WORTH_KEEPING:
        return np.empty(shape, dtype)
    with _lock:
        for position in range(len(_kept)):
            # the list's and the argument's: no array is a view of it any more
            if _kept[position].nbytes == size and sys.getrefcount(_kept[position]) == 2:
                memory = _kept.pop(position)
                break
        else:
            memory = np.empty(size, np.uint8)
        _kept.append(memory)
        while sum(array.nbytes for array in _kept) > KEPT_BYTES:
            del _kept[0]
        return memory.view(dtype).reshape(shape)
