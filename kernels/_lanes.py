"""Sums of products in lanes: number j goes to lane ``j % 32``, and in the end lanes are added pairwise.

In one variable a sum takes as long as its additions one after the other. A compiler that may add in any order
vectorises it, but in another order on each processor; here it is the same on all.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_LANES = 8  # of a vector
_VECTORS = 4  # added to in turn
STEP = _LANES * _VECTORS


@intrinsic
def whole_dot(typingctx, x, y, count):
    """The sum of ``x[i] y[i]`` over the first `count` real numbers, a multiple of STEP, of two contiguous arrays.

    A complex number is two real ones, so it is the real part of ``conj(x[i]) y[i]`` that is summed.
    """
    real = getattr(x.dtype, "underlying_float", x.dtype)

    def generate(context, builder, signature, values):
        vector = ir.VectorType(context.get_value_type(real), _LANES)
        numbers = [
            builder.bitcast(context.make_array(kind)(context, builder, value).data, vector.element.as_pointer())
            for kind, value in zip(signature.args[:2], values[:2])
        ]
        sums = [cgutils.alloca_once(builder, vector) for _ in range(_VECTORS)]
        for one in sums:
            builder.store(ir.Constant(vector, [0.0] * _LANES), one)
        with cgutils.for_range_slice(builder, _INT(0), values[2], _INT(STEP), _INT, inc=True) as (start, _):
            for place, one in enumerate(sums):
                index = builder.add(start, _INT(place * _LANES))
                x, y = (builder.bitcast(builder.gep(base, [index]), vector.as_pointer()) for base in numbers)
                product = builder.fmul(builder.load(x, align=4), builder.load(y, align=4))
                builder.store(builder.fadd(builder.load(one), product), one)
        a, b, c, d = (builder.load(one) for one in sums)
        return _total(builder, builder.fadd(builder.fadd(a, b), builder.fadd(c, d)))

    return real(x, y, types.int64), generate


def _total(builder, numbers):
    """The sum of the lanes of a vector, neighbours first."""
    count = numbers.type.count // 2
    if count == 0:
        return builder.extract_element(numbers, _SHORT(0))
    even, odd = (
        builder.shuffle_vector(numbers, numbers, ir.Constant(ir.VectorType(_SHORT, count), list(places)))
        for places in (range(0, 2 * count, 2), range(1, 2 * count, 2))
    )
    return _total(builder, builder.fadd(even, odd))
