"""Several float32 at once, for numba kernels that say themselves what is worked on together; for kernels only.

Numba leaves it to the compiler to turn loops into vector instructions. It finds few of them where a sum has to stay in
a register or where places of a mesh are scattered. A vector has as many lanes as its type says; processors with
shorter ones take two or four. `+`, `-`, `*` and `/` work lane by lane, also with one float32 for all. In an exact
kernel they are not fused, and what a lane holds does not depend on how many there are.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

NUMBER, INDEX = ir.FloatType(), ir.IntType(32)
_FEATURES = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES

WIDE = "+avx512f" in _FEATURES.split(",")
"""Whether the processor has 32 registers of 16 float32; without AVX-512 they are fewer or shorter."""


class VectorType(types.Type):
    """Numba's type of a vector with so many lanes."""

    def __init__(self, lanes):
        super().__init__(name=f"Float32x{lanes}")
        self.lanes = lanes


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How numba hands a vector to the compiler."""

    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(NUMBER, kind.lanes))


def _lower_operators():
    for sign, instruction in (
        (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
    ):  # fmt: skip

        @infer_global(sign)
        class Sign(AbstractTemplate):
            def generic(self, arguments, keywords):
                kinds = {kind for kind in arguments if isinstance(kind, VectorType)}
                if len(kinds) == 1 and kinds.issuperset(set(arguments) - {types.float32}):
                    return signature(kinds.pop(), *arguments)
                return None

        def lower(context, builder, signature, arguments, instruction=instruction):
            lanes = signature.return_type.lanes
            vectors = (
                value if isinstance(kind, VectorType) else fill_lanes(builder, value, lanes)
                for kind, value in zip(signature.args, arguments, strict=True)
            )
            return getattr(builder, instruction)(*vectors)

        for kinds in ((VectorType, VectorType), (VectorType, types.Float), (types.Float, VectorType)):
            lower_builtin(sign, *kinds)(lower)


_lower_operators()


def _place(context, builder, kind, array, index, value_type):
    """Pointer to the vector or number that begins at a number of a contiguous array of any shape."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), value_type.as_pointer())


def _place_of(context, builder, signature, arguments, lanes):
    """The same for a vector of an array and an index that are the first arguments of a function."""
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return _place(context, builder, signature.args[0], arguments[0], index, ir.VectorType(NUMBER, lanes))


def places_from(context, builder, kinds, arguments, count, value_type):
    """The same for several that begin at first, first + step, ... of an array: three arguments of a function."""
    first, step = (context.cast(builder, arguments[i], kinds[i], types.intp) for i in (1, 2))
    for number in range(count):
        index = builder.add(first, builder.mul(step, ir.Constant(step.type, number)))
        yield _place(context, builder, kinds[0], arguments[0], index, value_type)


@intrinsic
def load(typing_context, array, index, lanes):
    """The vector array[index : index + len(lanes)]; `lanes` is a tuple, whose length is a part of its type."""

    def generate(context, builder, signature, arguments):
        return builder.load(_place_of(context, builder, signature, arguments, lanes.count), align=4)

    return VectorType(lanes.count)(array, index, lanes), generate


@intrinsic
def store(typing_context, array, index, vector):
    """Make a vector a part of the array, from an index on."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _place_of(context, builder, signature, arguments, vector.lanes), align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


@intrinsic
def filled(typing_context, number, lanes):
    """A vector with the same float32 in all lanes."""

    def generate(context, builder, signature, arguments):
        return fill_lanes(builder, arguments[0], lanes.count)

    return VectorType(lanes.count)(types.float32, lanes), generate


@intrinsic
def vector_of(typing_context, numbers):
    """A vector of the float32 of a tuple."""
    kind = VectorType(len(numbers))

    def generate(context, builder, signature, arguments):
        vector = ir.Constant(ir.VectorType(NUMBER, kind.lanes), ir.Undefined)
        for place, number in enumerate(cgutils.unpack_tuple(builder, arguments[0])):
            vector = builder.insert_element(vector, number, ir.Constant(INDEX, place))
        return vector

    return kind(numbers), generate


def fill_lanes(builder, number, lanes):
    """Instructions for `filled`."""
    kind, every = ir.VectorType(NUMBER, lanes), ir.Constant(ir.VectorType(INDEX, lanes), None)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(INDEX, 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), every)


def call_on_lanes(builder, name, lanes, *arguments):
    """Call the compiler's own function `name` on vectors of so many lanes."""
    kind = ir.VectorType(NUMBER, lanes)
    function = ir.FunctionType(kind, [kind] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{lanes}f32"), arguments)


@intrinsic
def multiply_add(typing_context, factor, vector, total):
    """total + factor * vector, fused where the processor can; the factor is a vector or one float32 for all lanes."""
    factor = factor if isinstance(factor, VectorType) else types.float32

    def generate(context, builder, signature, arguments):
        first = arguments[0] if isinstance(factor, VectorType) else fill_lanes(builder, arguments[0], vector.lanes)
        return call_on_lanes(builder, "fmuladd", vector.lanes, first, *arguments[1:])

    return vector(factor, vector, total), generate


@intrinsic
def add_up(typing_context, vector):
    """The sum of a vector's numbers, in an order that is the compiler's choice but always the same."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(NUMBER, [NUMBER, ir.VectorType(NUMBER, vector.lanes)])
        name = f"llvm.vector.reduce.fadd.v{vector.lanes}f32"
        function = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(function, [ir.Constant(NUMBER, 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(vector), generate


@intrinsic
def lane(typing_context, vector, number):
    """What one lane holds."""

    def generate(context, builder, signature, arguments):
        return builder.extract_element(*arguments)

    return types.float32(vector, number), generate


def _called(name):
    def call(context, builder, signature, arguments):
        return call_on_lanes(builder, name, signature.return_type.lanes, *arguments)

    return call


@intrinsic
def square_root(typing_context, vector):
    """Square roots, lane by lane."""
    return vector(vector), _called("sqrt")


@intrinsic
def rounded_up(typing_context, vector):
    """The least whole numbers that are not below, lane by lane."""
    return vector(vector), _called("ceil")


def _chosen(sign):
    def choose(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(sign, *arguments), *arguments)

    return choose


@intrinsic
def larger(typing_context, one, other):
    """The larger of two vectors, lane by lane; the other where one of both is not a number."""
    return one(one, other), _chosen(">")


@intrinsic
def smaller(typing_context, one, other):
    """The smaller of two vectors, lane by lane; the other where one of both is not a number."""
    return one(one, other), _chosen("<")


@intrinsic
def turn(typing_context, source, first, step, target, start, stride, lanes):
    """Transpose a square: n vectors of n lanes, n a power of two, `step` apart from `first` on, to n others."""
    count = lanes.count

    def generate(context, builder, signature, arguments):
        sources, targets = (
            places_from(context, builder, signature.args[i:], arguments[i:], count, ir.VectorType(NUMBER, count))
            for i in (0, 3)
        )
        rows = [builder.load(place, align=4) for place in sources]
        for row, place in zip(_transposed(builder, rows), targets, strict=True):
            builder.store(row, place, align=4)
        return context.get_dummy_value()

    return types.void(source, first, step, target, start, stride, lanes), generate


def _transposed(builder, rows):
    """Exchange halves, quarters and so on of pairs of rows."""
    count, step = len(rows), 1
    while step < count:
        for i in (i for i in range(count) if not i & step):
            low = [k if not k & step else count + k - step for k in range(count)]
            high = [k + step if not k & step else count + k for k in range(count)]
            rows[i], rows[i + step] = (
                builder.shuffle_vector(rows[i], rows[i + step], ir.Constant(ir.VectorType(INDEX, count), mask))
                for mask in (low, high)
            )
        step *= 2
    return rows
