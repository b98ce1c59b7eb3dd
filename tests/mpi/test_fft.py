"""Fourier transforms, and arrays cut along another axis, against NumPy on the whole array."""

import itertools

import numpy as np
import pytest
import scipy.fft
from arrays import DTYPES, assert_same, laid_out, values
from hypothesis import given
from hypothesis import strategies as st
from oracle import cut
from parallel import all_raise, together

import dcomp as dc

SHAPES = [(6, 5), (3, 4, 5), (1, 7), (9, 2, 4)]


def block(comm, whole, axis, seed=None):
    """This rank's block, cut evenly, or anywhere."""
    n = whole.shape[axis]
    counts = np.diff([comm.block(n).start, comm.block(n).stop]).tolist()
    if seed is None:
        return whole[(slice(None),) * axis + (comm.block(n),)]
    cuts = np.sort(np.random.default_rng(seed).integers(0, n + 1, comm.size - 1))
    counts = np.diff([0, *cuts, n]).tolist()
    return cut(whole, counts, axis)[comm.rank]


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    axes=st.tuples(st.integers(-3, 2), st.integers(-3, 2)),
    seed=st.one_of(st.none(), st.integers(0, 5)),
    layout=st.sampled_from(["C", "Fortran", "strided"]),
)
def test_redistribute(world, dtype, shape, axes, seed, layout):
    old, new = (axis % len(shape) for axis in axes)
    with together():
        whole = values(1, tuple(shape), dtype)
        mine = laid_out(np.array(block(world, whole, old, seed)), layout)
        assert_same(dc.redistribute(mine, old, new - len(shape)), np.ascontiguousarray(block(world, whole, new)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f8", "f4", "D", "F", "i4", "f2", "g"])
def test_whole_transforms(world, shape, dtype):
    whole = values(2, shape, "i2").astype(dtype) / 7 if dtype != "i4" else values(2, shape, "i2").astype(dtype)
    complex_dtype = {"f4": "F", "F": "F", "f2": "F", "g": "G"}.get(dtype, "D")
    for axis, out_axis in itertools.product(range(len(shape)), [None, *range(len(shape))]):
        with together():
            result = dc.fft.fftn(block(world, whole, axis, 3), axis=axis, out_axis=out_axis)
            expected = scipy.fft.fftn(whole)  # NumPy's of long doubles is one of doubles before 2.0
            out = axis if out_axis is None else out_axis
            close(result, block(world, expected, out), expected, complex_dtype)
            back = dc.fft.ifftn(result, axis=out, out_axis=axis)
            close(back, block(world, whole, axis), whole, complex_dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_real_transforms(world, shape, dtype):
    whole = values(3, shape, "i2").astype(dtype) / 7
    for axis, out_axis in itertools.product(range(len(shape)), repeat=2):
        with together():
            result = dc.fft.rfftn(block(world, whole, axis, 4), axis=axis, out_axis=out_axis)
            expected = np.fft.rfftn(whole)
            close(result, block(world, expected, out_axis), expected, "F" if dtype == "f4" else "D")
            back = dc.fft.irfftn(result, n=shape[-1], axis=out_axis, out_axis=axis)
            close(back, block(world, whole, axis), whole, dtype)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (2, 0), (1, 0), (-1, -2)])
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_some_axes(world, axes, norm):
    whole = values(4, (4, 6, 5), "i2") / 3
    for axis in range(3):
        with together():
            mine = block(world, whole, axis)
            for name in ("fftn", "ifftn", "rfftn"):
                expected = getattr(np.fft, name)(whole, axes=axes, norm=norm)
                result = getattr(dc.fft, name)(mine, axes, norm=norm, axis=axis)
                close(result, block(world, expected, axis), expected, "D")
            expected = np.fft.irfftn(whole, axes=axes, norm=norm)
            result = dc.fft.irfftn(mine, axes, norm=norm, axis=axis)
            close(result, block(world, expected, axis), expected, "d")


def close(result, expected, whole, dtype):
    assert result.dtype == np.dtype(dtype)
    assert result.shape == expected.shape
    tolerance = 40 * np.finfo(result.dtype).eps * max(np.abs(whole).max(initial=0), 1)
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("culprit", [0, -1])
@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: dc.fft.fftn(x[0]), ValueError, "fftn: x must have at least two axes"),
        (lambda x: dc.fft.fftn(x, (0, 0)), ValueError, "fftn: axes must be different ones"),
        (lambda x: dc.fft.fftn(x, ()), ValueError, "fftn: axes must be different ones"),
        (lambda x: dc.fft.fftn(x, 1), TypeError, "fftn: axes must be a sequence of integers; got 1"),
        (lambda x: dc.fft.fftn(x, axis=2), ValueError, "fftn: axis must lie"),
        (lambda x: dc.fft.fftn(x, norm="no"), ValueError, "fftn: norm must be one of"),
        (lambda x: dc.fft.rfftn(x * 1j), TypeError, "rfftn: x must be of real numbers; got complex128"),
        (lambda x: dc.fft.irfftn(x, n=0), ValueError, "irfftn: n must be an integer >= 1; got 0"),
        (lambda x: dc.fft.fftn(x.astype("M8[s]")), TypeError, "fftn: x must be of numbers; got datetime64"),
        (lambda x: dc.redistribute(x, 0, 2), ValueError, "redistribute: new_axis must lie"),
        (lambda x: dc.redistribute(x.astype(object), 0, 1), TypeError, "redistribute: x must be numeric"),
    ],
)
def test_mistakes_of_one_rank(world, call, error, told, culprit):
    x = np.ones((2, 3))
    culprit %= world.size
    if world.rank == culprit:
        with all_raise(error, told):
            call(x)
    else:
        name = told.partition(":")[0]
        with all_raise(dc.CollectiveMismatchError, f"{name}: wrong arguments on rank {culprit} of"):
            good = {"redistribute": lambda: dc.redistribute(x, 0, 1), "rfftn": lambda: dc.fft.rfftn(x)}
            good.get(name, lambda: getattr(dc.fft, name)(x))()
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("call", "other", "told"),
    [
        (lambda x: dc.fft.fftn(x), lambda x: dc.fft.fftn(x, (1,)), "fftn: axes must be the same"),
        (lambda x: dc.fft.fftn(x), lambda x: dc.fft.fftn(x, axis=1), "fftn: axis must be the same"),
        (lambda x: dc.fft.fftn(x), lambda x: dc.fft.fftn(x.astype("f4")), "fftn: dtype must be the same"),
        (lambda x: dc.fft.fftn(x), lambda x: dc.fft.fftn(x[:, :2]), "fftn: shape beyond the axis must fit together"),
        (lambda x: dc.redistribute(x, 0, 1), lambda x: dc.redistribute(x, 1, 0), "redistribute: old axis must be"),
        (lambda x: dc.redistribute(x, 0, 1), lambda x: dc.fft.fftn(x), "redistribute|fftn"),
    ],
)
def test_ranks_differ(world, call, other, told):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    x = np.ones((2, 3))
    with all_raise(dc.CollectiveMismatchError, told):
        (other if world.rank == world.size - 1 else call)(x)
    with together():
        assert world.allreduce(1) == world.size
