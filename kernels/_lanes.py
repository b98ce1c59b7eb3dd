"""Folds in lanes: each number goes to the lane of its place, and in the end lanes are combined pairwise.

In one variable a fold takes as long as its operations one after the other. A compiler that may add in any order
vectorises a sum, but in another order on each processor; here it is the same on all.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_LANES = 8  # of a vector of sums
_VECTORS = 4  # folded in turn, since each operation waits for the last on the same one
STEP = _LANES * _VECTORS
EXTREME_STEP = 256  # bytes of the vectors of extremes, which are of any number of lanes: the result is the same


def _fold(context, builder, vector, count, initial, update):
    """Vectors after ``count / vector.count`` updates of four vectors in turn: ``update(vector so far, place)``."""
    folded = [cgutils.alloca_once(builder, vector) for _ in range(_VECTORS)]
    for place, one in enumerate(folded):
        builder.store(initial(_INT(place * vector.count)), one)
    step = _INT(_VECTORS * vector.count)
    with cgutils.for_range_slice(builder, _INT(0), count, step, _INT, inc=True) as (start, _):
        for place, one in enumerate(folded):
            index = builder.add(start, _INT(place * vector.count))
            builder.store(update(builder.load(one), index), one)
    return [builder.load(one) for one in folded]


def _loader(context, builder, kind, value, vector):
    """A function that loads the vector at a place of a contiguous array."""
    numbers = builder.bitcast(context.make_array(kind)(context, builder, value).data, vector.element.as_pointer())

    def load(index):
        return builder.load(builder.bitcast(builder.gep(numbers, [index]), vector.as_pointer()), align=1)

    return load


def pairwise(builder, vectors, combine, lanes):
    """The combination of vectors, and of their lanes, neighbours first, until so many lanes are left."""
    while len(vectors) > 1:
        vectors = [combine(a, b) for a, b in zip(vectors[::2], vectors[1::2])]
    (numbers,) = vectors
    while numbers.type.count > lanes:
        count, half = numbers.type.count, numbers.type.count // 2
        places = [place for place in range(count) if place // lanes % 2 == 0]
        parts = [
            builder.shuffle_vector(numbers, numbers, ir.Constant(ir.VectorType(_SHORT, half), one))
            for one in (places, [place + lanes for place in places])
        ]
        numbers = combine(*parts)
    return [builder.extract_element(numbers, _SHORT(lane)) for lane in range(lanes)]


@intrinsic
def whole_dot(typingctx, x, y, count):
    """The sum of ``x[i] y[i]`` over the first `count` real numbers, a multiple of STEP, of two contiguous arrays.

    A complex number is two real ones, so it is the real part of ``conj(x[i]) y[i]`` that is summed.
    """
    real = getattr(x.dtype, "underlying_float", x.dtype)
    if not isinstance(real, types.Float):
        raise TypingError(f"dot products are of floating-point numbers; got {x}.")

    def generate(context, builder, signature, values):
        vector = ir.VectorType(context.get_value_type(real), _LANES)
        of_x, of_y = (
            _loader(context, builder, kind, value, vector) for kind, value in zip(signature.args[:2], values[:2])
        )
        zero = ir.Constant(vector, [0.0] * _LANES)

        def update(total, index):
            return builder.fadd(total, builder.fmul(of_x(index), of_y(index)))

        return pairwise(builder, _fold(context, builder, vector, values[2], lambda _: zero, update), builder.fadd, 1)[0]

    return real(x, y, types.int64), generate


@intrinsic
def whole_sum(typingctx, x, count):
    """The sum of the first `count` numbers of a contiguous array, a multiple of STEP.

    Of bool and integers it is an int64, or a uint64, else of the dtype of x. The parts of complex numbers are summed
    apart.
    """
    number = x.dtype
    real = getattr(number, "underlying_float", number)
    parts = 1 if real is number else 2
    is_float = isinstance(real, types.Float)
    is_signed = getattr(number, "signed", True) and not isinstance(number, types.Boolean)
    total = number if is_float else types.int64 if getattr(number, "signed", True) else types.uint64

    def generate(context, builder, signature, values):
        stored = ir.VectorType(context.get_data_type(real), _LANES)
        load = _loader(context, builder, signature.args[0], values[0], stored)
        vector = stored if is_float else ir.VectorType(_INT, _LANES)
        add = builder.fadd if is_float else builder.add

        def update(sums, index):
            numbers = load(index)
            if stored != vector:
                numbers = (builder.sext if is_signed else builder.zext)(numbers, vector)
            return add(sums, numbers)

        zero = ir.Constant(vector, [vector.element(0)] * _LANES)
        numbers = builder.mul(values[1], _INT(parts))
        sums = pairwise(builder, _fold(context, builder, vector, numbers, lambda _: zero, update), add, parts)
        if parts == 1:
            return sums[0]
        result = context.make_complex(builder, number)
        result.real, result.imag = sums
        return result._getvalue()

    return total(x, types.int64), generate


def _extreme(symbol):
    """A function for the least or the greatest number."""

    @intrinsic
    def extreme(typingctx, x, count):
        """The number, and whether there is a NaN, of the first `count` of a contiguous array, which is not zero.

        EXTREME_STEP bytes are a step of them. Where there is a NaN, the number is of no use.
        """
        number = x.dtype
        is_float, is_signed = isinstance(number, types.Float), getattr(number, "signed", False)

        def generate(context, builder, signature, values):
            stored = context.get_data_type(number)
            vector = ir.VectorType(stored, EXTREME_STEP // _VECTORS // context.get_abi_sizeof(stored))
            load = _loader(context, builder, signature.args[0], values[0], vector)
            bits = ir.VectorType(ir.IntType(1), vector.count)
            unordered = cgutils.alloca_once_value(builder, ir.Constant(bits, [0] * vector.count))

            def combine(a, b):
                """The first, where they are equal."""
                compare = builder.fcmp_ordered if is_float else builder.icmp_signed if is_signed else None
                return builder.select((compare or builder.icmp_unsigned)(symbol, b, a), b, a)

            def update(least, index):
                numbers = load(index)
                if is_float:
                    is_nan = builder.fcmp_unordered("uno", numbers, numbers)
                    builder.store(builder.or_(builder.load(unordered), is_nan), unordered)
                return combine(least, numbers)

            vectors = _fold(context, builder, vector, values[1], load, update)
            (found,) = pairwise(builder, vectors, combine, 1)
            flags = builder.bitcast(builder.load(unordered), ir.IntType(vector.count))
            has_nan = builder.icmp_unsigned("!=", flags, flags.type(0))
            found = context.data_model_manager[number].from_data(builder, found)
            return context.make_tuple(builder, signature.return_type, [found, has_nan])

        return types.Tuple([number, types.boolean])(x, types.int64), generate

    return extreme


whole_min, whole_max = _extreme("<"), _extreme(">")
