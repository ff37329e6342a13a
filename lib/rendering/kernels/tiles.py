"""Tiles of several float32 vectors that stay in registers, for the kernels of matrix products.

How large a tile may be goes by `lib.rendering.kernels.vectors.WIDE`. Its vectors are a tuple, which the compiler takes
apart.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lib.rendering.kernels.vectors import INDEX, VectorType, call_on_lanes, fill_lanes, places_from


@intrinsic
def zeros(typing_context, columns, rows, lanes):
    """A tuple of len(columns) * len(rows) vectors of zeros."""
    kind = types.UniTuple(VectorType(lanes.count), columns.count * rows.count)

    def generate(context, builder, signature, arguments):
        return context.make_tuple(builder, kind, [ir.Constant(context.get_value_type(kind.dtype), None)] * kind.count)

    return kind(columns, rows, lanes), generate


@intrinsic
def load_each(typing_context, array, first, step, count, lanes):
    """A tuple of what begins at first, first + step, ...: vectors, or float32 where `lanes` is empty."""
    kind = types.UniTuple(VectorType(lanes.count) if lanes.count else types.float32, count.count)

    def generate(context, builder, signature, arguments):
        value_type = context.get_value_type(kind.dtype)
        places = places_from(context, builder, signature.args, arguments, kind.count, value_type)
        return context.make_tuple(builder, kind, [builder.load(place, align=4) for place in places])

    return kind(array, first, step, count, lanes), generate


@intrinsic
def add_products(typing_context, columns, rows, sums):
    """Add to sum i * len(rows) + j the product of column i, a vector or a float32, and row j, a vector."""

    def generate(context, builder, signature, arguments):
        columns, rows, sums = (cgutils.unpack_tuple(builder, argument) for argument in arguments)
        lanes, number = signature.return_type.dtype.lanes, signature.args[0].dtype == types.float32
        columns = [fill_lanes(builder, column, lanes) for column in columns] if number else columns
        factors = ((column, row) for column in columns for row in rows)
        totals = (call_on_lanes(builder, "fmuladd", lanes, *of, total) for of, total in zip(factors, sums, strict=True))
        return context.make_tuple(builder, signature.return_type, list(totals))

    return sums(columns, rows, sums), generate


@intrinsic
def add_up_each(typing_context, vectors):
    """What `add_up` gives for each of a tuple of vectors, of up to two for each lane, as one vector.

    Together they take fewer steps: every one of them works on all lanes to the end.
    """
    kind = VectorType(vectors.count)

    def generate(context, builder, signature, arguments):
        return _sums(builder, cgutils.unpack_tuple(builder, arguments[0]))

    return kind(vectors), generate


def _sums(builder, vectors):
    """Add upper halves of the vectors to lower ones, then quarters, and so on; what is left of two becomes one vector.

    `owners` tells of each lane to which of the first vectors it belongs.
    """
    count, lanes = len(vectors), vectors[0].type.count
    undefined, length = ir.Constant(vectors[0].type, ir.Undefined), lanes
    owners = [[i] * lanes for i in range(count)]
    while length > 1:
        if len(vectors) % 2:
            vectors, owners = [*vectors, undefined], [*owners, [None] * lanes]
        parts = [first + k for first in range(0, lanes, length) for k in (0, lanes)]
        length //= 2
        low = [part + k for part in parts for k in range(length)]
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        lower, upper = (
            [builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(INDEX, lanes), mask)) for pair in pairs]
            for mask in (low, [k + length for k in low])
        )
        vectors = [builder.fadd(*halves) for halves in zip(lower, upper, strict=True)]
        owners = [[(one + other)[k] for k in low] for one, other in zip(owners[::2], owners[1::2], strict=True)]
    last, places = [*vectors, undefined][:2], sum(owners, [])
    order = ir.Constant(ir.VectorType(INDEX, count), [places.index(i) for i in range(count)])
    return builder.shuffle_vector(*last, order)


@intrinsic
def no_earlier(typing_context):
    """Keep the compiler from loading what comes after before this: it would run out of registers for the sums."""

    def generate(context, builder, signature, arguments):
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), generate
