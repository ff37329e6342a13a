"""Sixteen float32 at once, for numba kernels whose sums must stay in registers; for kernels only.

Numba leaves it to the compiler to turn loops into vector instructions, which keeps no more than one sum a loop in a
register. With a vector type a kernel says itself what it keeps. Processors with shorter vectors take two or four.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 16
_number, _index = ir.FloatType(), ir.IntType(32)
_vector = ir.VectorType(_number, LANES)


class VectorType(types.Type):
    """Numba's type of a vector."""

    def __init__(self):
        super().__init__(name=f"Float32x{LANES}")


vector_type = VectorType()


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How numba hands a vector to the compiler."""

    def __init__(self, manager, kind):
        super().__init__(manager, kind, _vector)


def place_of(context, builder, signature, arguments):
    """Pointer to the vector that begins at an index (argument 1) of a contiguous one-dimensional array (argument 0)."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), _vector.as_pointer())


@intrinsic
def zeros(typing_context):
    """A vector of zeros."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_vector, None)

    return vector_type(), generate


@intrinsic
def load(typing_context, array, index):
    """The vector array[index : index + 16]."""

    def generate(context, builder, signature, arguments):
        return builder.load(place_of(context, builder, signature, arguments), align=4)

    return vector_type(array, index), generate


@intrinsic
def store(typing_context, array, index, vector):
    """Make a vector array[index : index + 16]."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], place_of(context, builder, signature, arguments), align=4)
        return context.get_dummy_value()

    return types.void(array, index, vector), generate


@intrinsic
def multiply_add(typing_context, factor, vector, total):
    """total + factor * vector; the factor is a vector or one float32 for all."""

    def generate(context, builder, signature, arguments):
        factor, vector, total = arguments
        if not isinstance(signature.args[0], VectorType):
            undefined, none = ir.Constant(_vector, ir.Undefined), ir.Constant(ir.VectorType(_index, LANES), None)
            first = builder.insert_element(undefined, factor, ir.Constant(_index, 0))
            factor = builder.shuffle_vector(first, undefined, none)
        function = ir.FunctionType(_vector, [_vector] * 3)
        function = cgutils.get_or_insert_function(builder.module, function, f"llvm.fmuladd.v{LANES}f32")
        return builder.call(function, [factor, vector, total])

    return vector_type(factor, vector, total), generate


@intrinsic
def add_up(typing_context, vector):
    """The sum of a vector's sixteen numbers, in an order that is the compiler's choice but always the same."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(_number, [_number, _vector])
        function = cgutils.get_or_insert_function(builder.module, function, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(function, [ir.Constant(_number, 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(vector), generate
