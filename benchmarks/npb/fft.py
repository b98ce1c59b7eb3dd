"""Fourier transforms of a power of two of points, eight of them at once, one in each lane of the processor's vectors.

Method: the self-sorting transform of Stockham, by factors of four (C. Van Loan, Computational Frameworks for the Fast
Fourier Transform, SIAM 1992, section 1.7), and of two where that is left over. Point k of all eight transforms lies
together: eight real parts, then eight imaginary ones. So loads and stores are of whole vectors. numba would look at
whether the arrays overlap, and give up; therefore a step is written in the compiler's own instructions.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import dcomp as dc

LANES = 8
POINT = 2 * LANES  # numbers
_VECTOR, _INT, _SHORT = ir.VectorType(ir.DoubleType(), LANES), ir.IntType(64), ir.IntType(32)


def twiddles(n: int) -> np.ndarray:
    """The factors of all steps by four, in the order of their use: three complex ones for each."""
    steps = []
    while n >= 4:
        w = np.exp(-2j * np.pi / n * np.arange(n // 4))
        steps.append(np.stack([w, w**2, w**3], axis=1).view(np.float64).ravel())
        n //= 4
    return np.concatenate(steps)


@dc.jit
def transform(a, b, n, factors):
    """Transform what is in `a`, with `b` to work in; both of ``n POINT`` numbers. Whether the result is in `b`."""
    left, done, k, is_in_b = n, 1, 0, False
    while left >= 4:
        for p in range(left // 4):
            for q in range(done):
                _by_four(a, b, q + done * p, n // 4, q + done * 4 * p, done, factors, k)
            k += 6
        left, done, a, b, is_in_b = left // 4, done * 4, b, a, not is_in_b
    if left == 2:
        for q in range(done):
            _by_two(a, b, q, done)
        is_in_b = not is_in_b
    return is_in_b


def _pointers(context, builder, signature, values):
    """Where the numbers of the arrays among the arguments begin."""
    return [
        context.make_array(kind)(context, builder, value).data
        for kind, value in zip(signature.args, values)
        if isinstance(kind, types.Array)
    ]


def _place(builder, point, part):
    """Where the real or the imaginary parts of a point are."""
    return builder.add(builder.mul(point, _INT(POINT)), part)


def _load_at(builder, base, place):
    return builder.load(builder.bitcast(builder.gep(base, [place]), _VECTOR.as_pointer()), align=8)


def _store_at(builder, base, place, value):
    builder.store(value, builder.bitcast(builder.gep(base, [place]), _VECTOR.as_pointer()), align=8)


def _load(builder, base, point):
    """The real parts and the imaginary parts of a point."""
    return [_load_at(builder, base, _place(builder, point, _INT(part))) for part in (0, LANES)]


def _store(builder, base, point, value):
    for part, numbers in zip((0, LANES), value):
        _store_at(builder, base, _place(builder, point, _INT(part)), numbers)


def _places(lanes):
    """The lanes that a shuffle takes."""
    return ir.Constant(ir.VectorType(_SHORT, LANES), list(lanes))


def _spread(builder, value):
    """The first lane in all."""
    return builder.shuffle_vector(value, ir.Constant(_VECTOR, ir.Undefined), _places([0] * LANES))


def _add(builder, x, y):
    return [builder.fadd(a, b) for a, b in zip(x, y)]


def _subtract(builder, x, y):
    return [builder.fsub(a, b) for a, b in zip(x, y)]


def _times(builder, x, y):
    """The product of complex numbers; a sum and a product may be rounded once."""
    contract = ("contract",)
    (a, b), (c, d) = x, y
    real = builder.fsub(builder.fmul(a, c, contract), builder.fmul(b, d, contract), flags=contract)
    return [real, builder.fadd(builder.fmul(a, d, contract), builder.fmul(b, c, contract), flags=contract)]


def _broadcast(builder, base, index):
    """A number of an array in all lanes."""
    number = builder.load(builder.gep(base, [index]))
    return _spread(builder, builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, _SHORT(0)))


@intrinsic
def _by_four(typingctx, source, target, first, apart, to, to_apart, factors, k):
    """Four points, `apart` from each other, become four others."""

    def generate(context, builder, signature, values):
        numbers, results, table = _pointers(context, builder, signature, values)
        first, apart, to, to_apart, k = values[2], values[3], values[4], values[5], values[7]
        a, b, c, d = (
            _load(builder, numbers, builder.add(first, builder.mul(apart, _INT(place)))) for place in range(4)
        )
        outer, inner = _add(builder, a, c), _subtract(builder, a, c)
        sums, (real, imaginary) = _add(builder, b, d), _subtract(builder, b, d)
        turned = [imaginary, real]  # -i (b - d), but for the sign of the second
        minus = [builder.fadd(inner[0], turned[0]), builder.fsub(inner[1], turned[1])]
        plus = [builder.fsub(inner[0], turned[0]), builder.fadd(inner[1], turned[1])]
        made = [_add(builder, outer, sums)]
        for place, value in enumerate((minus, _subtract(builder, outer, sums), plus)):
            w = [_broadcast(builder, table, builder.add(k, _INT(2 * place + part))) for part in (0, 1)]
            made.append(_times(builder, value, w))
        for place, value in enumerate(made):
            _store(builder, results, builder.add(to, builder.mul(to_apart, _INT(place))), value)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(source, target, integer, integer, integer, integer, factors, integer), generate


@intrinsic
def _by_two(typingctx, source, target, first, apart):
    """Two points become two others, in the same places."""

    def generate(context, builder, signature, values):
        numbers, results = _pointers(context, builder, signature, values)
        first, second = values[2], builder.add(values[2], values[3])
        a, b = _load(builder, numbers, first), _load(builder, numbers, second)
        _store(builder, results, first, _add(builder, a, b))
        _store(builder, results, second, _subtract(builder, a, b))
        return context.get_dummy_value()

    return types.void(source, target, types.int64, types.int64), generate


@intrinsic
def read_together(typingctx, target, point, re, im, numbers, place, by, k, factor):
    """A point of eight transforms, whose complex numbers lie one after the other from `place` on, times
    ``factor by[k:k+8]``; its real parts go to `re`, 0 or 8, and its imaginary ones to `im`.
    """

    def generate(context, builder, signature, values):
        into, source, table = _pointers(context, builder, signature, values)
        _, point, re, im, _, place, _, k, factor = values
        first, second = (_load_at(builder, source, builder.add(place, _INT(start))) for start in (0, LANES))
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), factor, _SHORT(0))
        factors = builder.fmul(_load_at(builder, table, k), _spread(builder, one))
        for part, where in ((0, re), (1, im)):
            parts = builder.shuffle_vector(first, second, _places(range(part, 2 * LANES, 2)))
            _store_at(builder, into, _place(builder, point, where), builder.fmul(parts, factors))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(target, integer, integer, integer, numbers, integer, by, integer, types.float64), generate


@intrinsic
def write_together(typingctx, numbers, place, source, point, re, im):
    """The way back of `read_together`, without factors."""

    def generate(context, builder, signature, values):
        into, buffer = _pointers(context, builder, signature, values)
        _, place, _, point, re, im = values
        real, imaginary = (_load_at(builder, buffer, _place(builder, point, where)) for where in (re, im))
        for half in (0, 1):
            order = [LANES // 2 * half + i // 2 + LANES * (i % 2) for i in range(LANES)]
            value = builder.shuffle_vector(real, imaginary, _places(order))
            _store_at(builder, into, builder.add(place, _INT(LANES * half)), value)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(numbers, integer, source, integer, integer, integer), generate


@intrinsic
def read_apart(typingctx, target, point, re, im, numbers, place, apart):
    """A point of eight transforms, whose complex numbers are so many numbers apart."""

    def generate(context, builder, signature, values):
        into, source = _pointers(context, builder, signature, values)
        _, point, re, im, _, place, apart = values
        for part, where in ((0, re), (1, im)):
            parts = ir.Constant(_VECTOR, ir.Undefined)
            for lane in range(LANES):
                index = builder.add(builder.add(place, builder.mul(apart, _INT(lane))), _INT(part))
                parts = builder.insert_element(parts, builder.load(builder.gep(source, [index])), _SHORT(lane))
            _store_at(builder, into, _place(builder, point, where), parts)
        return context.get_dummy_value()

    integer = types.int64
    return types.void(target, integer, integer, integer, numbers, integer, integer), generate


@intrinsic
def write_apart(typingctx, numbers, place, apart, source, point, re, im):
    """The way back of `read_apart`."""

    def generate(context, builder, signature, values):
        into, buffer = _pointers(context, builder, signature, values)
        _, place, apart, _, point, re, im = values
        for part, where in ((0, re), (1, im)):
            parts = _load_at(builder, buffer, _place(builder, point, where))
            for lane in range(LANES):
                index = builder.add(builder.add(place, builder.mul(apart, _INT(lane))), _INT(part))
                builder.store(builder.extract_element(parts, _SHORT(lane)), builder.gep(into, [index]))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(numbers, integer, integer, source, integer, integer, integer), generate
