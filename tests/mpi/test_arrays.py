"""Arrays made in shared memory."""

import numpy as np
import pytest
from arrays import assert_same
from parallel import together

import dcomp as dc


@pytest.mark.parametrize("shape", [(), 0, 7, (3, 0), (100, 200), [4, 5, 600]])
@pytest.mark.parametrize("dtype", [float, "i1", ">f4", bool, "c16", [("a", "i4"), ("b", "f8")], "M8[s]"])
def test_layout(shape, dtype):
    for made, expected in [
        (dc.empty(shape, dtype), np.empty(shape, dtype)),
        (dc.zeros(shape, dtype), np.zeros(shape, dtype)),
        (dc.empty_like(np.empty(shape, dtype)), np.empty(shape, dtype)),
    ]:
        assert type(made) is np.ndarray
        assert (made.shape, made.dtype, made.flags.c_contiguous, made.flags.writeable) == (
            expected.shape, expected.dtype, True, True
        )  # fmt: skip
    assert_same(dc.zeros(shape, dtype), np.zeros(shape, dtype))


def test_the_same_contents_as_any_array(world):
    with together():
        for n in (10, 2000, 300_000):
            x, out = dc.empty(n), dc.zeros(n)
            x[:] = np.arange(n) + world.rank
            for _ in range(3):
                assert world.allreduce(x, out=out) is out
                assert_same(out, world.size * np.arange(n) + world.size * (world.size - 1) / 2)
                assert_same(world.bcast(x if world.rank == 0 else None), np.arange(float(n)))
                assert_same(world.allgather(x)[-1], np.float64(n - 1 + world.size - 1))


def test_zeros_in_memory_that_was_used(world):
    for _ in range(4):
        used = dc.empty(50_000)
        used[:] = 1
        del used
        assert not dc.zeros(50_000).any()


def test_lies_where_the_others_can_read(world):
    if world._channel.meeting is None:
        pytest.skip("no memory is shared")
    segment = world._channel.meeting.segment
    for array in (dc.empty(5000), dc.zeros(5000), dc.empty_like(np.ones(5000))):
        assert 0 <= array.__array_interface__["data"][0] - segment.base < segment.nbytes


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        (-1, float, ValueError), ((2, -3), float, ValueError), (2.5, float, TypeError), ("a", float, TypeError),
        (3, object, TypeError), (3, "U5", TypeError), (3, "no such", TypeError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["empty", "zeros"])
def test_bad_layout(name, shape, dtype, kind):
    with pytest.raises(kind, match=f"{name}: "):
        getattr(dc, name)(shape, dtype)


@pytest.mark.parametrize("x", [[["a"]], [None], [[1], [1, 2]]])
def test_like_nothing_that_can_be_communicated(x):
    with pytest.raises((TypeError, ValueError), match="empty_like: "):
        dc.empty_like(x)
