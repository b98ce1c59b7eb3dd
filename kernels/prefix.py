"""Prefix sums and extremes of contiguous arrays of one dimension: of integers, float32, float64 and, sums, complex.

`out` and x have one dtype and length; `out` may be x. What came before is the `carry`, and what is returned is the
carry of what follows, so that parts, such as those of ranks after an `exscan` of their totals, are chained. The
identities are 0, and for extremes the greatest or the least number of the dtype.

A prefix takes as long as its operations one after the other, unless vectors are scanned by themselves, in as many
operations as the logarithm of their lanes, and only the carry waits (G. Blelloch, "Prefix sums and their applications",
CMU-CS-90-190 (1990), section 1; W. Zhang, Y. Wang, K. A. Ross, "Parallel prefix sum with SIMD", ADMS (2020), section
3). The order depends on the places alone: the same bits on every processor. A sum of the first i numbers is off by at
most ``(i / 8 + 15) eps sum(|x|)``. Cost: 1 number read and 1 written per element.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ._arguments import have_one_length
from ._jit import jit, jit_inlined

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_BYTES = 64  # of a vector


def _add(builder, number):
    return builder.fadd if isinstance(number, types.Float) else builder.add


def _zero(number):
    return -0.0 if isinstance(number, types.Float) else 0  # adding it changes nothing, not even a sign


def _extreme(symbol):
    def combiner(builder, number):
        def combine(a, b):
            """The second if it is beyond the first, or the only NaN."""
            if not isinstance(number, types.Float):
                compare = builder.icmp_signed if number.signed else builder.icmp_unsigned
                return builder.select(compare(symbol, b, a), b, a)
            is_number = builder.fcmp_ordered("ord", a, a)
            return builder.select(builder.and_(builder.fcmp_unordered(symbol, b, a), is_number), b, a)

        return combine

    return combiner


def _greatest(number):
    return float("inf") if isinstance(number, types.Float) else number.maxval


def _least(number):
    return float("-inf") if isinstance(number, types.Float) else number.minval


def _scan(combiner, identity, *, is_exclusive):
    """A function for one operation, which returns the carry."""

    @intrinsic
    def scan(typingctx, out, x, carry):
        number = getattr(x.dtype, "underlying_float", x.dtype)
        if not out.mutable:
            raise TypingError(f"out must be writable; got {out}.")
        if isinstance(number, types.Boolean) or (number is not x.dtype and combiner is not _add):
            raise TypingError(f"x must be of integers, real numbers or, for sums, complex ones; got {x}.")

        def generate(context, builder, signature, values):
            element = context.get_value_type(number)
            parts = context.get_abi_sizeof(context.get_data_type(x.dtype)) // context.get_abi_sizeof(element)
            to, of = (
                builder.bitcast(context.make_array(kind)(context, builder, value).data, element.as_pointer())
                for kind, value in zip(signature.args[:2], values[:2])
            )
            combine = combiner(builder, number)
            carried = cgutils.alloca_once(builder, ir.VectorType(element, parts))
            builder.store(values[2], builder.bitcast(carried, values[2].type.as_pointer()))

            def shifted(vector, lanes):
                """Moved up by so many lanes."""
                filling = ir.Constant(vector.type, [identity(number)] * vector.type.count)
                count = vector.type.count
                return _shuffled(
                    builder, vector, filling, [i - lanes if i >= lanes else count + i for i in range(count)]
                )

            def scan_vectors(lanes, start, end):
                with cgutils.for_range_slice(builder, start, end, _INT(lanes), _INT, inc=True) as (i, _):
                    place, target = (
                        builder.bitcast(builder.gep(base, [i]), ir.VectorType(element, lanes).as_pointer())
                        for base in (of, to)
                    )
                    scanned, distance = builder.load(place, align=1), parts
                    while distance < lanes:
                        scanned = combine(shifted(scanned, distance), scanned)
                        distance *= 2
                    before = builder.load(carried)
                    last = _shuffled(builder, scanned, scanned, range(lanes - parts, lanes))
                    builder.store(combine(before, last), carried)
                    everywhere = _shuffled(builder, before, before, [i % parts for i in range(lanes)])
                    inside = shifted(scanned, parts) if is_exclusive else scanned
                    builder.store(combine(everywhere, inside), target, align=1)

            size = cgutils.unpack_tuple(builder, context.make_array(x)(context, builder, values[1]).shape)[0]
            end = builder.mul(size, _INT(parts))
            lanes = _BYTES // context.get_abi_sizeof(element)
            whole = builder.and_(end, _INT(-lanes))
            scan_vectors(lanes, _INT(0), whole)
            scan_vectors(parts, whole, end)
            return builder.load(builder.bitcast(carried, values[2].type.as_pointer()))

        return x.dtype(out, x, x.dtype), generate

    return scan


def _shuffled(builder, a, b, places):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_SHORT, len(places)), list(places)))


_inclusive_sum, _exclusive_sum = (_scan(_add, _zero, is_exclusive=one) for one in (False, True))
_inclusive_min, _exclusive_min = (_scan(_extreme("<"), _greatest, is_exclusive=one) for one in (False, True))
_inclusive_max, _exclusive_max = (_scan(_extreme(">"), _least, is_exclusive=one) for one in (False, True))


@jit_inlined
def _check(out, x):
    if not have_one_length((out, x)):
        raise ValueError("prefix: out and x must have one length.")


@jit
def inclusive_sum_into(out, x, carry):
    """``out[i] = carry + x[0] + ... + x[i]``; returns the last, the carry if there is none."""
    _check(out, x)
    return _inclusive_sum(out, x, carry)


@jit
def exclusive_sum_into(out, x, carry):
    """``out[i] = carry + x[0] + ... + x[i - 1]``; returns what would come next, the carry of what follows."""
    _check(out, x)
    return _exclusive_sum(out, x, carry)


@jit
def inclusive_min_into(out, x, carry):
    """The least of the carry and ``x[0] ... x[i]``, NaN as soon as there is one; returns the last."""
    _check(out, x)
    return _inclusive_min(out, x, carry)


@jit
def exclusive_min_into(out, x, carry):
    """The least of the carry and ``x[0] ... x[i - 1]``; returns what would come next."""
    _check(out, x)
    return _exclusive_min(out, x, carry)


@jit
def inclusive_max_into(out, x, carry):
    """The greatest of the carry and ``x[0] ... x[i]``, NaN as soon as there is one; returns the last."""
    _check(out, x)
    return _inclusive_max(out, x, carry)


@jit
def exclusive_max_into(out, x, carry):
    """The greatest of the carry and ``x[0] ... x[i - 1]``; returns what would come next."""
    _check(out, x)
    return _exclusive_max(out, x, carry)
