"""Transposition of matrices out of place, in tiles that are turned in registers."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from . import words as w
from ._jit import jit, jit_inlined
from ._memory import drain

_SHORT = ir.IntType(32)
_LINE = 64  # bytes
_LANES = 16  # of a tile at most
_BAND = 512  # columns, which are as many lines of `out`: a part of a cache


@intrinsic
def _lanes(typingctx, x):
    """Rows and columns of a tile."""

    def generate(context, builder, signature, values):
        return ir.Constant(ir.IntType(64), _lanes_of(context, x))

    return types.int64(x), generate


def _lanes_of(context, array):
    return min(_LANES, _LINE // context.get_abi_sizeof(context.get_data_type(array.dtype)))


@intrinsic
def _turn_tile(typingctx, out, x, i, j, streams):
    """``out[j:j + lanes, i:i + lanes]``, past the caches if it `streams`, where its lines are whole."""
    if out.dtype != x.dtype:
        raise TypingError(f"transpose_into: out must have the dtype of x, {x.dtype}; got {out.dtype}.")

    def generate(context, builder, signature, values):
        lanes = _lanes_of(context, x)
        size = context.get_abi_sizeof(context.get_data_type(x.dtype))
        vector = ir.VectorType(ir.IntType(8 * size), lanes)
        to, of = (context.make_array(kind)(context, builder, value) for kind, value in zip(signature.args, values[:2]))
        _, _, i, j, streams = values

        def place(array, row, column, k):
            stride = cgutils.unpack_tuple(builder, array.strides)[0]
            base = builder.ptrtoint(array.data, row.type)
            offset = builder.add(
                builder.mul(builder.add(row, row.type(k)), stride), builder.mul(column, row.type(size))
            )
            return builder.inttoptr(builder.add(base, offset), vector.as_pointer())

        rows = _turned(builder, [builder.load(place(of, i, j, k), align=1) for k in range(lanes)])
        with builder.if_else(streams) as (past, through):
            with past:
                for k, row in enumerate(rows):
                    stored = builder.store(row, place(to, j, i, k), align=lanes * size)
                    stored.set_metadata("nontemporal", builder.module.add_metadata([_SHORT(1)]))
            with through:
                for k, row in enumerate(rows):
                    builder.store(row, place(to, j, i, k), align=1)
        return context.get_dummy_value()

    return types.void(out, x, types.int64, types.int64, types.boolean), generate


def _turned(builder, rows):
    """The columns of a square of vectors: blocks are exchanged across the diagonal, of half the size each time."""
    lanes, distance = len(rows), len(rows) // 2
    while distance:
        pick = [
            [i if not i & distance else lanes + i - distance for i in range(lanes)],
            [i + distance if not i & distance else lanes + i for i in range(lanes)],
        ]
        masks = [ir.Constant(ir.VectorType(_SHORT, lanes), one) for one in pick]
        for k in range(lanes):
            if not k & distance:
                pair = rows[k], rows[k + distance]
                rows[k], rows[k + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        distance //= 2
    return rows


@jit
def transpose_into(out, x):
    """``out[j, i] = x[i, j]``, and with three axes ``out[b, j, i] = x[b, i, j]``.

    Of one dtype of numbers; the rows of both lie together, and they are apart. Cost: each number is read and written
    once. ValueError if shapes do not fit.
    """
    if out.shape != (*x.shape[:-2], x.shape[-1], x.shape[-2]):
        raise ValueError("transpose_into: out must have the shape of x transposed.")
    if x.size == 0:
        return
    if not (_has_rows(out) and _has_rows(x)) or out.ctypes.data == x.ctypes.data:
        raise ValueError("transpose_into: the rows of out and x must lie together, and out must not be x.")
    if x.ndim == 2:
        _transpose(out, x)
    else:
        for b in range(x.shape[0]):
            _transpose(out[b], x[b])


@jit_inlined
def _has_rows(x):
    return x.shape[-1] < 2 or x.strides[-1] == x.itemsize


@jit_inlined
def _transpose(out, x):
    """In bands of columns, tile by tile; the last tiles overlap others, which does no harm."""
    (n, m), lanes = x.shape, _lanes(x)
    if n < lanes or m < lanes:
        for i in range(n):
            for j in range(m):
                out[j, i] = x[i, j]
        return
    head = -out.ctypes.data % _LINE // x.itemsize % lanes  # columns before the first tile that is aligned
    begins = out.ctypes.data % x.itemsize == 0  # else no tile is aligned
    streams = begins and out.nbytes >= w.STREAMED and out.strides[0] % _LINE == 0 and lanes * x.itemsize == _LINE
    for first in range(0, m, _BAND):
        i = 0
        while True:
            past = streams and i % lanes == head
            for j in range(first, min(first + _BAND, m), lanes):
                _turn_tile(out, x, i, min(j, m - lanes), past)
            if i == n - lanes:
                break
            i = min(head if i < head else i + lanes, n - lanes)
    if streams:
        drain()
