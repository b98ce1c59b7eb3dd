"""Products of sparse matrices, in compressed rows (CSR), with vectors and blocks of vectors.

``indices[indptr[i]:indptr[i + 1]]`` are the columns of the entries in row i, in any order, and ``data`` has their
values; entries at one place add up. `indptr` and `indices` are int32 or int64, `data` and vectors float32, float64 or
complex128, all of one dtype. Every index must be within bounds, for nothing is checked here.

The order in which a row's products are added depends on their number alone, so results are the same on every
processor; a sum of n products is off by at most ``n eps sum(|a x|)``. Cost: 2 operations per entry and column. By
bytes, `indices` and `data` are read once, and the vectors as often as they go through the cache.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ._jit import jit, jit_inlined
from ._lanes import pairwise
from ._memory import prefetch

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_AHEAD = 256  # entries; what the processor fetches by itself comes too late for rows of a few entries
_ROW = 8  # entries of a row at once


@jit_inlined
def _at(i):
    """An index that is not looked at for being negative, which takes as long as to use it."""
    return np.uint64(i)


@intrinsic
def _prefetch(typingctx, array, index):
    """Have an element of a contiguous array in the cache soon; it need not exist."""

    def generate(context, builder, signature, values):
        base = context.make_array(signature.args[0])(context, builder, values[0]).data
        prefetch(builder, builder.gep(base, [values[1]]))
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


@jit_inlined
def _fetch_ahead(indices, data, k):
    """Fetch what comes soon."""
    _prefetch(indices, k + _at(_AHEAD))
    _prefetch(data, k + _at(_AHEAD))


@intrinsic
def _sum_row(typingctx, indices, data, x, start, end, total):
    """The sum of the products of the entries from `start` to `end`, of `total` entries in all rows.

    Entries are taken by `_ROW`, each to the lane of its place. Lanes after the last one multiply entries of the next
    rows, or at the end of all rows the last one again, and leave the product out: so a short row has no loop.
    """
    real = getattr(data.dtype, "underlying_float", data.dtype)
    parts = 2 if isinstance(data.dtype, types.Complex) else 1

    def generate(context, builder, signature, values):
        columns, entries, factors = (
            context.make_array(kind)(context, builder, value).data for kind, value in zip(signature.args[:3], values)
        )
        start, end, total = values[3:]
        number, index = context.get_value_type(real), context.get_value_type(indices.dtype)
        vector, places = ir.VectorType(number, _ROW), ir.VectorType(_INT, _ROW)
        entries, factors = (builder.bitcast(one, number.as_pointer()) for one in (entries, factors))
        lanes, zero = ir.Constant(places, list(range(_ROW))), ir.Constant(vector, [0.0] * _ROW)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(parts)]

        def taken(base, at, every=1, part=0):
            """The numbers at some places of every so many."""
            if every > 1:
                at = builder.add(builder.mul(at, _vector_of(_INT(every))), _vector_of(_INT(part)))
            return _gather(builder, base, at, context.get_abi_sizeof(base.type.pointee))

        def add_products(chosen, numbers, left):
            """The products of entries in these columns, of which so many count."""
            if index != _INT:
                chosen = builder.sext(chosen, places)
            others = [taken(factors, chosen, parts, part) for part in range(parts)]
            products = [builder.fmul(numbers[0], others[0])]
            if parts == 2:
                products = [
                    builder.fsub(products[0], builder.fmul(numbers[1], others[1])),
                    builder.fadd(builder.fmul(numbers[0], others[1]), builder.fmul(numbers[1], others[0])),
                ]
            counts = builder.icmp_unsigned("<", lanes, _repeat(builder, left, places))
            for one, product in zip(sums, products):
                builder.store(builder.fadd(builder.load(one), builder.select(counts, product, zero)), one)

        def loaded(base, k, element, count):
            kind = ir.VectorType(element, count).as_pointer()
            return builder.load(builder.bitcast(builder.gep(base, [k]), kind), align=4)

        with cgutils.for_range_slice(builder, start, end, _INT(_ROW), _INT, inc=True) as (k, _):
            left, soon = builder.sub(end, k), builder.add(k, _INT(_AHEAD))
            prefetch(builder, builder.gep(columns, [soon]))
            prefetch(builder, builder.gep(entries, [builder.mul(soon, _INT(parts))]))
            is_inside = builder.icmp_unsigned("<=", builder.add(k, _INT(_ROW)), total)
            with builder.if_else(is_inside, likely=True) as (inside, at_end):
                with inside:
                    both = loaded(entries, builder.mul(k, _INT(parts)), number, parts * _ROW)
                    numbers = [_every(builder, both, parts, part) for part in range(parts)]
                    add_products(loaded(columns, k, index, _ROW), numbers, left)
                with at_end:
                    last = _repeat(builder, builder.sub(end, _INT(1)), places)
                    at = builder.add(_repeat(builder, k, places), lanes)
                    at = builder.select(builder.icmp_unsigned("<", at, last), at, last)
                    numbers = [taken(entries, at, parts, part) for part in range(parts)]
                    add_products(taken(columns, at), numbers, left)
        found = [pairwise(builder, [builder.load(one)], builder.fadd, 1)[0] for one in sums]
        if parts == 1:
            return found[0]
        result = context.make_complex(builder, data.dtype)
        result.real, result.imag = found
        return result._getvalue()

    return data.dtype(indices, data, x, *[types.uint64] * 3), generate


def _vector_of(constant):
    return ir.Constant(ir.VectorType(constant.type, _ROW), [constant.constant] * _ROW)


def _every(builder, numbers, step, first):
    """Of a vector every so many numbers."""
    chosen = list(range(first, numbers.type.count, step))
    return builder.shuffle_vector(numbers, numbers, ir.Constant(ir.VectorType(_SHORT, len(chosen)), chosen))


def _gather(builder, base, places, size):
    """The vector of the numbers at these places, which LLVM loads one by one where the processor has no word for it."""
    vector = ir.VectorType(base.type.pointee, places.type.count)
    start = _repeat(builder, builder.ptrtoint(base, _INT), places.type)
    pointers = builder.inttoptr(
        builder.add(start, builder.mul(places, _vector_of(_INT(size)))),
        ir.VectorType(ir.IntType(8).as_pointer(), vector.count),
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(1), vector.count), [1] * vector.count)
    kind = ir.FunctionType(vector, [pointers.type, _SHORT, mask.type, vector])
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    name = f"llvm.masked.gather.v{vector.count}{letter}{8 * size}.v{vector.count}p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [pointers, _SHORT(4), mask, ir.Constant(vector, ir.Undefined)])


@jit
def csr_matvec_into(y, indptr, indices, data, x):
    """``y = A x``; A of shape (n, m), y of shape (n,), x of shape (m,)."""
    start, total = _at(indptr[0]), _at(indptr[_at(y.size)])
    for i in range(y.size):
        end = _at(indptr[_at(i) + _at(1)])
        y[_at(i)] = _sum_row(indices, data, x, start, end, total)
        start = end


def _columns(width):
    """A function for so many columns at a time, whose sums are in one vector; numba would take one after the other."""

    @intrinsic
    def multiply(typingctx, y, indices, data, x, row, first, start, end):
        """``y[row, first:first + width]``, of the entries from `start` to `end`."""
        if not all(one.layout == "C" for one in (y, indices, data, x)) or not y.dtype == data.dtype == x.dtype:
            raise TypingError(
                f"csr_matmat_into: arrays must be in C order, y, data and x of one dtype; got {y, data, x}."
            )

        def generate(context, builder, signature, values):
            into, columns, entries, factors = (
                context.make_array(kind)(context, builder, value) for kind, value in zip(signature.args[:4], values[:4])
            )
            row, first, start, end = values[4:]
            element = signature.args[2].dtype
            real = context.get_value_type(getattr(element, "underlying_float", element))
            per = 2 if isinstance(element, types.Complex) else 1  # real numbers
            vector = ir.VectorType(real, width * per)
            length = cgutils.unpack_tuple(builder, factors.shape)[1]

            def place(array, at):
                index = builder.mul(builder.add(builder.mul(at, length), first), _INT(per))
                numbers = builder.bitcast(array.data, real.as_pointer())
                return builder.bitcast(builder.gep(numbers, [index]), vector.as_pointer())

            sums = cgutils.alloca_once(builder, vector)
            builder.store(ir.Constant(vector, [0.0] * vector.count), sums)
            with cgutils.for_range_slice(builder, start, end, _INT(1), _INT, inc=True) as (k, _):
                column = context.cast(
                    builder, builder.load(builder.gep(columns.data, [k])), signature.args[1].dtype, types.int64
                )
                numbers = builder.load(place(factors, column), align=4)
                parts = builder.bitcast(entries.data, real.as_pointer())
                value = builder.load(builder.gep(parts, [builder.mul(k, _INT(per))]))
                product = builder.fmul(_repeat(builder, value, vector), numbers)
                if per == 2:
                    index = builder.add(builder.mul(k, _INT(2)), _INT(1))
                    turned = _turn(builder, numbers)
                    value = builder.load(builder.gep(parts, [index]))
                    product = builder.fadd(product, builder.fmul(_repeat(builder, value, vector), turned))
                builder.store(builder.fadd(builder.load(sums), product), sums)
            builder.store(builder.load(sums), place(into, row), align=4)
            return context.get_dummy_value()

        return types.void(y, indices, data, x, *[types.uint64] * 4), generate

    return multiply


def _repeat(builder, number, vector):
    """A vector of equal numbers."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _SHORT(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_SHORT, vector.count), None))


def _turn(builder, numbers):
    """Complex numbers times i, as pairs of real ones."""
    count = numbers.type.count
    places = [place ^ 1 for place in range(count)]
    swapped = builder.shuffle_vector(numbers, numbers, ir.Constant(ir.VectorType(_SHORT, count), places))
    return builder.fmul(swapped, ir.Constant(numbers.type, [-1.0, 1.0] * (count // 2)))


_eight, _four, _two, _one = _columns(8), _columns(4), _columns(2), _columns(1)


@jit
def csr_matmat_into(y, indptr, indices, data, x):
    """``Y = A X``; A of shape (n, m), Y of shape (n, c), X of shape (m, c), both in C order."""
    columns = _at(x.shape[1])
    start = _at(indptr[0])
    for i in range(y.shape[0]):
        row, first = _at(i), _at(0)
        end = _at(indptr[row + _at(1)])
        _fetch_ahead(indices, data, start)
        while first + _at(8) <= columns:  # the entries stay in the cache from one step to the next
            _eight(y, indices, data, x, row, first, start, end)
            first += _at(8)
        if first + _at(4) <= columns:
            _four(y, indices, data, x, row, first, start, end)
            first += _at(4)
        if first + _at(2) <= columns:
            _two(y, indices, data, x, row, first, start, end)
            first += _at(2)
        if first < columns:
            _one(y, indices, data, x, row, first, start, end)
        start = end


@jit
def csr_matvec_transposed_into(y, indptr, indices, data, x):
    """``y = A^T x``; A of shape (n, m), y of shape (m,), x of shape (n,). Each entry also reads and writes y."""
    y[:] = data.dtype.type(0)
    start = _at(indptr[0])
    for i in range(x.size):
        end = _at(indptr[_at(i) + _at(1)])
        _fetch_ahead(indices, data, start)
        value = x[_at(i)]
        for k in range(start, end):
            y[_at(indices[k])] += data[k] * value
        start = end


@jit
def csr_matmat_transposed_into(y, indptr, indices, data, x):
    """``Y = A^T X``; A of shape (n, m), Y of shape (m, c), X of shape (n, c), both in C order."""
    y[:] = data.dtype.type(0)
    columns = x.shape[1]
    start = _at(indptr[0])
    for i in range(x.shape[0]):
        end = _at(indptr[_at(i) + _at(1)])
        _fetch_ahead(indices, data, start)
        for k in range(start, end):
            value, row = data[k], _at(indices[k])
            for j in range(_at(columns)):
                y[row, j] += value * x[_at(i), j]
        start = end


@jit
def add_at(y, places, x):
    """``y[places] += x``, one after the other; y of shape (n, ...), x of shape (len(places), ...), in C order.

    Cost: 1 operation per element of x, which is read once; y is read and written at those places.
    """
    into, elements = y.reshape(y.shape[0], -1), x.reshape(x.shape[0], -1)
    for i in range(places.size):
        place = _at(places[i])
        for j in range(_at(elements.shape[1])):
            into[place, j] += elements[_at(i), j]


@jit
def diagonal_into(d, indptr, indices, data, first):
    """The entries of row i in column ``first + i``, added up; d of shape (n,). Reads the indices once."""
    for i in range(d.size):
        total = data.dtype.type(0)
        for k in range(_at(indptr[_at(i)]), _at(indptr[_at(i) + _at(1)])):
            if indices[k] == first + i:
                total += data[k]
        d[i] = total
