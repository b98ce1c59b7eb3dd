"""Updates of vectors, fused with the dot products that follow them, as the method of conjugate gradients needs them.

Vectors are contiguous, of float32, float64 or complex128, all of one dtype and length; a dot product is the real part
of ``conj(x) y``. What is added in which order depends on the length alone: the same bits on every processor. A dot
product of n numbers is off by at most ``(n / 32 + 8) eps sum(|x y|)``.
"""

import numpy as np

from ._arguments import have_one_length
from ._jit import jit, jit_inlined
from ._lanes import STEP, whole_dot

_BLOCK = 1024  # elements, which stay in the cache between an update and the dot product


@jit_inlined
def _check(vectors):
    if not have_one_length(vectors):
        raise ValueError("vectors: all arrays must have one length.")


@jit_inlined
def _dot(x, y):
    per_step = STEP * x.real.itemsize // x.itemsize  # elements, of one number or two
    whole = x.size - x.size % per_step
    total = whole_dot(x, y, whole // per_step * STEP)
    for i in range(whole, x.size):
        total += (np.conj(x[i]) * y[i]).real
    return total


@jit
def dot(x, y):
    """The dot product. Cost: 2 operations, and 2 numbers read, per element."""
    _check((x, y))
    return _dot(x, y)


@jit
def axpy_into(y, a, x):
    """``y += a x``. Cost: 2 operations, 2 numbers read and 1 written, per element."""
    _check((y, x))
    for i in range(y.size):
        y[i] += a * x[i]


@jit
def axpy_dot(y, a, x):
    """``y += a x``, and the dot product of y with itself.

    Cost: 4 operations, 2 numbers read and 1 written, per element.
    """
    _check((y, x))
    total = x.real.dtype.type(0)
    for start in range(0, y.size, _BLOCK):
        into, other = y[start : start + _BLOCK], x[start : start + _BLOCK]
        for i in range(into.size):
            into[i] += a * other[i]
        total += _dot(into, into)
    return total


@jit
def scale_dot(y, d, x):
    """``y = d x`` element by element, and the dot product of x and y; d is real.

    Cost: 3 operations, 2 numbers read and 1 written, per element.
    """
    _check((y, x))
    if d.size != y.size:
        raise ValueError("scale_dot: d must have the length of y.")
    total = x.real.dtype.type(0)
    for start in range(0, y.size, _BLOCK):
        into, factors, other = y[start : start + _BLOCK], d[start : start + _BLOCK], x[start : start + _BLOCK]
        for i in range(into.size):
            into[i] = factors[i] * other[i]
        total += _dot(other, into)
    return total


@jit
def xpby_into(p, x, b):
    """``p = x + b p``. Cost: 2 operations, 2 numbers read and 1 written, per element."""
    _check((p, x))
    for i in range(p.size):
        p[i] = x[i] + b * p[i]


@jit
def advance(x, p, a, z, b):
    """``x += a p``, then ``p = z + b p``. Cost: 4 operations, 3 numbers read and 2 written, per element."""
    _check((x, p, z))
    for i in range(x.size):
        direction = p[i]
        x[i] += a * direction
        p[i] = z[i] + b * direction
