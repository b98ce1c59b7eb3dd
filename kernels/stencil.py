"""Stencils: each cell of a grid from those around it, by weights or by a function of the user's, which is compiled in.

    laplace = Weights([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    apply(out, x, laplace)                                   # all but the outermost layer

    def diffuse(u, k, dt):                                   # cells relative to the one that is computed
        return u[0, 0] + dt * k[0, 0] * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4 * u[0, 0])
    apply(out, (u, k, 0.1), Point(diffuse, width=1))

`apply` is called from Python and from compiled code; stencils are arguments or global variables there. Arrays have
two or three axes, and ghost layers as `halo` of a grid of ranks fills them. A box is a part of one, as
``((first, last), (first, last))`` along each axis; while ghost layers travel, the cells that need none are computed:

    apply(out, x, laplace, interior(x, 2))
    ... the ghost layers arrive ...
    for box in frame(x, 1, 2):
        apply(out, x, laplace, box)
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from . import words as w
from ._cells import (
    LINE,
    PointType,
    StencilType,
    WeightsType,
    address_of_cell,
    compute_line,
    fits,
    parts_of,
    width_of,
)
from ._jit import jit, jit_inlined
from ._memory import copy, copy_past, drain
from ._weights import weigh_row

ROWS = 2  # computed at a time: what is between them is brought to the first cache once for all
_REUSED = 1 << 19  # bytes of the rows that a block of rows has around it, which stay in the second cache


class Weights:
    """The sum of a cell's neighbours by weights.

    Parameters
    ----------
    weights : array of 2 or 3 axes, each of odd length     That of the cell itself is in the middle. Real numbers.

    Raises
    ------
    TypeError, ValueError     If they are no real numbers, or of another shape.

    Notes
    -----
    Weights are frozen into compiled code, and those that are zero cost nothing: for other weights it is compiled again.
    """

    def __init__(self, weights: Any) -> None:
        given = np.asarray(weights)
        if given.dtype.kind not in "biuf":
            raise TypeError(f"Weights: weights must be real numbers; got dtype {given.dtype}.")
        if given.ndim not in (2, 3) or any(n % 2 == 0 for n in given.shape):
            raise ValueError(f"Weights: weights must have 2 or 3 axes of odd lengths; got shape {given.shape}.")
        middle = np.array(given.shape) // 2
        taps = [(tuple((place - middle).tolist()), float(given[tuple(place)])) for place in np.argwhere(given)]
        self._numba_type_ = WeightsType(tuple(taps), given.ndim)
        self.width = self._numba_type_.width


class Point:
    """A function of a cell's neighbours.

    Parameters
    ----------
    function : callable
        Gets what is passed to `apply` as `x`: arrays as neighbourhoods, of which ``u[0, 0]`` is the cell and
        ``u[-1, 0]`` the one before it along the first axis; numbers as they are. Whatever `numba.njit` compiles. A
        compiled function is compiled again, into the loop.
    width : int     How far neighbours are away at most; those beyond are an error when it is compiled.

    Notes
    -----
    Of `apply` in Python it is compiled once in every process. In a function under `dc.jit` it is cached with that.
    """

    def __init__(self, function: Any, width: int) -> None:
        self.py_func = getattr(function, "py_func", function)
        if not callable(self.py_func) or not isinstance(width, int | np.integer) or width < 0:
            raise TypeError(
                f"Point: function must be callable, and width a whole number from 0 on; got {function!r} and {width!r}."
            )
        self.width = int(width)
        compiled = numba.njit(error_model="numpy", forceinline=True)(self.py_func)
        self._numba_type_ = PointType(compiled, self.width)


@jit
def interior(x, width):
    """The box of all cells that have so many layers around them."""
    if x.ndim == 2:
        return (width, x.shape[0] - width), (width, x.shape[1] - width)
    return (width, x.shape[0] - width), (width, x.shape[1] - width), (width, x.shape[2] - width)


@jit_inlined
def _cuts(extent, outer, inner):
    """Where an axis is cut: two layers, and what is between them, or all is one layer."""
    end = extent - outer
    low = min(inner, end)
    return low, max(low, extent - inner), end


@jit
def frame(x, outer, inner):
    """The boxes, apart from each other, of the cells in ``interior(x, outer)`` that ``interior(x, inner)`` has not."""
    a0, b0, c0 = _cuts(x.shape[0], outer, inner)
    a1, b1, c1 = _cuts(x.shape[1], outer, inner)
    if x.ndim == 2:
        whole = (outer, c1)
        return ((outer, a0), whole), ((b0, c0), whole), ((a0, b0), (outer, a1)), ((a0, b0), (b1, c1))
    a2, b2, c2 = _cuts(x.shape[2], outer, inner)
    second, third = (outer, c1), (outer, c2)
    return (
        ((outer, a0), second, third),
        ((b0, c0), second, third),
        ((a0, b0), (outer, a1), third),
        ((a0, b0), (b1, c1), third),
        ((a0, b0), (a1, b1), (outer, a2)),
        ((a0, b0), (a1, b1), (b2, c2)),
    )


@jit
def apply(out, x, stencil, box=None):
    """Compute the cells of a box of `out`; the others are left alone.

    Parameters
    ----------
    out : array     Not one of those in `x`.
    x : array of the shape of `out`; or, for a `Point`, a tuple of arrays and numbers, the function's arguments
        Rows, along the last axis, lie together. With weights it has the dtype of `out`: float32, float64 or complex.
    stencil : Weights or Point
    box : tuple of pairs, optional     Else all cells that have `stencil.width` layers around them.

    Raises
    ------
    ValueError
        If shapes differ, rows do not lie together, `out` is one of the arrays of `x`, or neighbours of a cell in the
        box are not in the arrays.
    numba.TypingError     If dtypes or numbers of axes do not fit, or a function does not compile.

    Notes
    -----
    By bytes, x is read once and `out` written once, past the caches from 16 MiB on: grids are cut along their second
    axis so that the rows around a row fit the second cache (G. Rivera and C.-W. Tseng, "Tiling optimizations for 3D
    scientific computations", SC (2000), section 3). A sum by weights is added in an order that depends on the weights
    alone, so it has the same bits on every processor and in every box; of m weights it is off by at most
    ``(m + 1) eps sum(|w x|)``.
    """
    _apply(out, x, stencil, box)


def _apply(out, x, stencil, box):
    """Compute a box, or the interior if it is None."""


@overload(_apply, jit_options={"forceinline": True})
def _apply_to(out, x, stencil, box):
    # Here, before the rest is compiled: of a mistake deep in there numba tries many variants, for half a minute.
    _check_types(out, x, stencil, box)
    if isinstance(box, types.NoneType):
        return lambda out, x, stencil, box: _compute_box(out, x, stencil, interior(out, width_of(stencil)))
    return lambda out, x, stencil, box: _compute_box(out, x, stencil, box)


def _check_types(out: types.Type, x: types.Type, stencil: types.Type, box: types.Type) -> None:
    """What can be told of the arguments of `apply` before it is compiled.

    Raises
    ------
    TypingError     If they do not fit.
    """
    if not isinstance(stencil, StencilType):
        raise TypingError(f"apply: stencil must be Weights or a Point; got {stencil}.")
    if not (isinstance(out, types.Array) and out.ndim in (2, 3) and out.mutable):
        raise TypingError(f"apply: out must be an array of 2 or 3 axes that can be written; got {out}.")
    if isinstance(stencil, WeightsType) and not (
        isinstance(x, types.Array) and x.dtype == out.dtype and x.ndim == out.ndim == stencil.dimensions
    ):
        raise TypingError(
            f"apply: x must be one array of the dtype of out, {out.dtype}, and both with {stencil.dimensions} axes as "
            f"the weights; got {x} and {out}."
        )
    if isinstance(stencil, WeightsType) and not isinstance(out.dtype, types.Float | types.Complex):
        raise TypingError(f"apply: weights are for floating-point numbers; got an array of {out.dtype}.")
    if any(isinstance(one, types.Array) and one.ndim != out.ndim for one in parts_of(x)):
        raise TypingError(f"apply: the arrays of x must have the {out.ndim} axes of out; got {x}.")
    ends = [[getattr(end, "signed", False) for end in parts_of(pair)] for pair in parts_of(box)]
    if not isinstance(box, types.NoneType) and ends != [[True, True]] * out.ndim:
        raise TypingError(f"apply: box must be a tuple of {out.ndim} pairs of signed integers; got {box}.")


@jit_inlined
def _compute_box(out, x, stencil, box):
    if out.size == 0:  # its strides may be anything
        return
    if not fits(out, x):
        raise ValueError(
            "apply: out and the arrays of x must have one shape, rows that lie together, and places of their own."
        )
    nbytes, is_empty, is_inside = out.itemsize, False, True
    for axis in range(out.ndim):
        first, last = box[axis]
        nbytes *= last - first
        is_empty |= first >= last
        is_inside &= width_of(stencil) <= first and last <= out.shape[axis] - width_of(stencil)
    if is_empty:
        return
    if not is_inside:
        raise ValueError("apply: box must have as many layers around it, in the arrays, as the stencil is wide.")
    past = nbytes >= w.STREAMED  # the caches
    if out.ndim == 2:
        _compute_rows(out, x, stencil, box[0], (), box[-1], past)
    else:
        around = (ROWS + 2 * width_of(stencil)) * (box[-1][1] - box[-1][0]) * out.itemsize
        step = max(_REUSED // around, 8)
        for start in range(box[1][0], box[1][1], step):
            _compute_rows(out, x, stencil, box[0], (start, min(start + step, box[1][1])), box[-1], past)
    if past:
        drain()


@jit_inlined
def _compute_rows(out, x, stencil, planes, rows, columns, past):
    """ROWS rows at a time along the first axis, as far as there are so many."""
    for first in range(planes[0], planes[1], ROWS):
        last = min(first + ROWS, planes[1])
        if out.ndim == 2:
            _compute_pieces(out, x, stencil, first, last, (), columns, past)
        else:
            for j in range(rows[0], rows[1]):
                _compute_pieces(out, x, stencil, first, last, (j,), columns, past)


@register_jitable
def _compute_pieces(out, x, stencil, first, last, place, columns, past):
    """Rows in pieces, each of which begins where a line of memory does, but the first."""
    length = LINE // out.itemsize
    pieces = max((columns[1] - columns[0]) // length, 1)
    for piece in range(pieces):
        for i in range(first, last):
            row = (i, *place)
            start = _cut(out, row, columns, piece, length) if piece else columns[0]
            end = _cut(out, row, columns, piece + 1, length) if piece + 1 < pieces else columns[1]
            _compute(out, x, stencil, row, start, end - start, past)


@register_jitable
def _cut(out, row, columns, piece, length):
    """Where a piece of a row begins."""
    place = columns[0] + piece * length
    return place + -address_of_cell(out, row, place) % 64 // out.itemsize


def _compute(out, x, stencil, row, start, count, past):
    """Compute a piece of a row."""


@overload(_compute)
def _compute_by(out, x, stencil, row, start, count, past):
    if isinstance(stencil, WeightsType):
        return lambda out, x, stencil, row, start, count, past: weigh_row(out, x, stencil, row, start, count, past)

    def compute(out, x, stencil, row, start, count, past):
        target, nbytes = address_of_cell(out, row, start), count * out.itemsize
        line = compute_line(out, x, stencil, row, start, count)
        if past:
            copy_past(target, line, nbytes)
        else:
            copy(target, line, nbytes)

    return compute
