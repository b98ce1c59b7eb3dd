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

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_AHEAD = 256  # entries; what the processor fetches by itself comes too late for rows of a few entries
_ROW = 8  # entries in a row's step


@jit_inlined
def _at(i):
    """An index that is not looked at for being negative, which takes as long as to use it."""
    return np.uint64(i)


@intrinsic
def _prefetch(typingctx, array, index):
    """Have an element of a contiguous array in the cache soon; it need not exist."""

    def generate(context, builder, signature, values):
        kind, byte = signature.args[0], ir.IntType(8).as_pointer()
        base = context.make_array(kind)(context, builder, values[0]).data
        place = builder.bitcast(builder.gep(base, [values[1]]), byte)
        function = ir.FunctionType(ir.VoidType(), [byte, _SHORT, _SHORT, _SHORT])
        prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        builder.call(prefetch, [place, _SHORT(0), _SHORT(3), _SHORT(1)])
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


@jit_inlined
def _fetch_ahead(indices, data, k):
    """Fetch what comes soon."""
    _prefetch(indices, k + _at(_AHEAD))
    _prefetch(data, k + _at(_AHEAD))


@jit_inlined
def _product(indices, data, x, k):
    return data[k] * x[_at(indices[k])]


@jit
def csr_matvec_into(y, indptr, indices, data, x):
    """``y = A x``; A of shape (n, m), y of shape (n,), x of shape (m,)."""
    start = _at(indptr[0])
    for i in range(y.size):
        end = _at(indptr[_at(i) + _at(1)])
        _fetch_ahead(indices, data, start)
        total = data.dtype.type(0)
        k = start
        if k + _at(_ROW) <= end:
            a = b = c = d = data.dtype.type(0)  # what is added to one waits for the addition before
            while k + _at(_ROW) <= end:
                _fetch_ahead(indices, data, k + _at(_ROW))
                a += _product(indices, data, x, k)
                b += _product(indices, data, x, k + _at(1))
                c += _product(indices, data, x, k + _at(2))
                d += _product(indices, data, x, k + _at(3))
                a += _product(indices, data, x, k + _at(4))
                b += _product(indices, data, x, k + _at(5))
                c += _product(indices, data, x, k + _at(6))
                d += _product(indices, data, x, k + _at(7))
                k += _at(_ROW)
            total = (a + b) + (c + d)
        while k < end:
            total += _product(indices, data, x, k)
            k += _at(1)
        y[_at(i)] = total
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
