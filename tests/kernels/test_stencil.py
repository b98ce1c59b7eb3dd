"""Stencils against sums of shifted arrays by NumPy."""

import numba
import numpy as np
import pytest

from dcomp.kernels import stencil
from dcomp.kernels.stencil import Point, Weights, apply, frame, interior
from dcomp.kernels.words import STREAMED

STAR = np.array([[0, 0, 2, 0, 0], [0, 0, 0.5, 0, 0], [1, -3, 0.1, 1, 0.7], [0, 0, 0.5, 0, 0], [0, 0, 2, 0, 0]])
ANY = np.random.default_rng(1).normal(size=(3, 5))
DISTANCE = np.abs(np.indices((3, 3, 3)) - 1).sum(0)
BOX = np.array([-8 / 3, 0.1, 1 / 6, 1 / 12])[DISTANCE]
FACES = np.array([-6.0, 1, 0, 0])[DISTANCE]


def numbers(shape, dtype):
    rng = np.random.default_rng(2)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def shifted_sum(x, weights, width):
    """The cells that have so many layers around them, in more precision."""
    wide = x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)
    total = np.zeros([n - 2 * width for n in x.shape], wide.dtype)
    for place in np.ndindex(weights.shape):
        steps = [i - n // 2 for i, n in zip(place, weights.shape)]
        total += weights[place] * wide[tuple(slice(width + s, n - width + s) for s, n in zip(steps, x.shape))]
    return total


def core(x, width):
    return x[tuple(slice(width, n - width) for n in x.shape)]


@pytest.mark.parametrize(
    ("weights", "dtype"),
    [
        (STAR, np.float32),
        (ANY, np.float64),
        (BOX, np.float64),
        (FACES, np.float32),
        (BOX, np.complex128),
    ],
)
def test_weights(weights, dtype):
    kind = Weights(weights)
    width = kind.width
    lengths = [(5, 5), (6, 9), (12, 40), (9, 1100)] if weights.ndim == 2 else [(3, 3, 3), (5, 6, 7), (4, 12, 600)]
    for shape in lengths:
        x = numbers(shape, dtype)
        out = np.full(shape, 77, dtype)
        apply(out, x, kind)
        error = (
            (np.count_nonzero(weights) + 1)
            * np.finfo(dtype).eps
            * float(shifted_sum(np.abs(x), np.abs(weights), width).max())
        )
        assert np.abs(core(out, width) - shifted_sum(x, weights, width)).max() <= 2 * error
        core(out, width)[...] = 77
        assert (out == 77).all(), "the layers around are left alone"


@pytest.mark.parametrize("shape", [(9, 10), (4, 11), (3, 3), (5, 8, 9), (3, 4, 12)])
@pytest.mark.parametrize("inner", [2, 3])
def test_interior_and_frame_are_the_whole(shape, inner):
    """Each cell once, and the same bits as in one call."""
    x, kind = numbers(shape, np.float64), Weights(ANY if len(shape) == 2 else BOX)
    outer = kind.width if kind.width < inner else 1
    times = np.zeros(shape, int)
    for box in (interior(x, inner), *frame(x, outer, inner)):
        times[tuple(slice(first, max(first, last)) for first, last in box)] += 1
    assert (core(times, outer) == 1).all()
    assert times.sum() == core(times, outer).size
    if min(shape) > 2 * kind.width and outer == kind.width:
        whole, parts = np.zeros(shape), np.zeros(shape)
        apply(whole, x, kind)
        for box in (interior(x, inner), *frame(x, outer, inner)):
            apply(parts, x, kind, box)
        np.testing.assert_array_equal(parts, whole)


def diffuse(u, k, dt):
    return u[0, 0] + dt * k[0, 0] * (u[-1, 0] + u[1, 0] + u[0, -1] + u[0, 1] - 4 * u[0, 0])


def test_function():
    u, k = numbers((20, 31), np.float64), numbers((20, 31), np.float32)
    out = np.full(u.shape, 77.0)
    point = Point(diffuse, width=1)
    apply(out, (u, k, 0.1), point)
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    expected = core(u, 1) + 0.1 * core(k.astype(float), 1) * shifted_sum(u, laplace, 1)
    np.testing.assert_allclose(core(out, 1), expected.astype(float), atol=1e-13)
    core(out, 1)[...] = 77
    assert (out == 77).all()

    @numba.njit
    def twice(out, u, k):
        apply(out, (u, k, 0.1), point, ((1, 5), (1, 30)))
        apply(out, (u, k, 0.1), point, ((5, 19), (1, 30)))

    twice(out, u, k)
    np.testing.assert_allclose(core(out, 1), expected.astype(float), atol=1e-13)


def test_function_of_three_axes_and_another_dtype():
    x = np.random.default_rng(3).integers(0, 9, (5, 6, 40))
    out = np.zeros(x.shape, np.float32)
    apply(out, x, Point(lambda u: 0.5 * max(u[-1, 0, 0], u[0, 2, -2]), 2))
    expected = 0.5 * np.maximum(x[1:-3, 2:-2, 2:-2], x[2:-2, 4:, :-4])
    np.testing.assert_array_equal(core(out, 2), expected)


def test_arrays_that_are_parts():
    """Of others: rows lie together, but are apart."""
    x, out = numbers((12, 40), np.float64), np.zeros((12, 50))
    apply(out[::2, 3:33], x[::2, 5:35], Weights(ANY))
    np.testing.assert_allclose(core(out[::2, 3:33], 2), shifted_sum(x[::2, 5:35], ANY, 2).astype(float), atol=1e-13)


def test_what_does_not_fit_the_caches():
    """Written past them, where rows begin anywhere in a line of them, and as without."""
    x = numbers((1500, 1451), np.float64)
    out = np.zeros(x.shape)
    apply(out, x, Point(lambda u: u[0, 0] + u[-1, 1], 1))
    np.testing.assert_array_equal(core(out, 1), x[1:-1, 1:-1] + x[:-2, 2:])
    for weights, shape, dtype in (
        (ANY, (1500, 1451), np.float64),
        (STAR, (1501, 3003), np.float32),
        (FACES, (130, 131, 133), np.float64),
        (BOX, (130, 131, 133), np.complex128),
    ):
        x, small = numbers(shape, dtype), Weights(weights)
        out = np.full(shape, 77, dtype)
        assert out.nbytes >= STREAMED
        apply(out, x, small)
        expected = np.full(shape, 77, dtype)
        for first in range(0, shape[0] - 2 * small.width, 10):  # of what fits
            part = slice(first, first + 10 + 2 * small.width)
            apply(expected[part], x[part], small)
        np.testing.assert_array_equal(out, expected)


def test_misuse():
    x, kind = np.zeros((6, 8)), Weights(ANY)
    with pytest.raises(ValueError, match="box must have as many layers"):
        apply(np.zeros((6, 8)), x, kind, ((1, 4), (2, 6)))
    with pytest.raises(ValueError, match="one shape"):
        apply(np.zeros((6, 9)), x, kind)
    with pytest.raises(ValueError, match="places of their own"):
        apply(x, x, kind)
    with pytest.raises(TypeError, match="real numbers"):
        Weights([[1, 1j, 1]])
    with pytest.raises(TypeError, match="whole number"):
        Point(diffuse, 1.5)
    with pytest.raises(ValueError, match="odd lengths"):
        Weights(np.ones((2, 3)))
    with pytest.raises(TypeError, match="function must be callable"):
        Point(3, 1)
    first = Point(lambda u, k: u[0, 0] * k[0], 1)
    for told, out, given, stencil_, box in (
        ("dtype of out", np.zeros((6, 8), np.float32), x, kind, None),
        ("both with 2 axes", np.zeros((6, 8, 3)), x, kind, None),
        ("floating-point", np.zeros((6, 8), int), np.zeros((6, 8), int), kind, None),
        ("can be written", np.broadcast_to(np.zeros(8), (6, 8)), x, kind, None),
        ("the 2 axes of out", np.zeros((6, 8)), (x, x[0]), first, None),
        ("2 pairs of signed", np.zeros((6, 8)), x, kind, ((2.0, 3.0), (2.0, 3.0))),
    ):
        with pytest.raises(numba.TypingError, match=told):
            apply(out, given, stencil_, box)
    with pytest.raises(numba.TypingError, match="from -1 to 1"):
        apply(np.zeros((6, 8)), x, Point(lambda u: u[0, 2], 1))
    with pytest.raises(numba.TypingError, match="must be Weights or a Point"):
        apply(np.zeros((6, 8)), x, 3)
    apply(np.zeros((3, 8)), np.zeros((3, 8)), kind)  # no cell has neighbours enough
    assert stencil.interior(x, 4) == ((4, 2), (4, 4))
