"""What counts as an array, and what may be written into."""

import numpy as np
import pytest

from dcomp._buffers import as_array, check_out, check_out_layout, is_same_memory


@pytest.mark.parametrize(
    "x", [3, 2.5, True, 1j, np.float32(1), np.datetime64("2020-01-01"), np.zeros((), "i4")[()], np.longdouble(3)]
)
def test_scalars(x):
    array, scalar = as_array(x, "allreduce")
    assert scalar
    assert array.shape == ()
    assert array[()] == x


@pytest.mark.parametrize("x", [np.zeros(()), np.zeros(3), [1, 2], (1.5,), range(4), memoryview(b"abc"), [[]]])
def test_arrays(x):
    array, scalar = as_array(x, "allreduce")
    assert not scalar
    np.testing.assert_array_equal(array, np.asarray(x))


def test_an_array_is_taken_as_it_is():
    x = np.zeros((2, 3))[:, ::2]
    assert as_array(x, "allreduce")[0] is x


@pytest.mark.parametrize("x", [{}, None, object(), [None], np.array([1, "a"], object), {1}, lambda: 0])
def test_objects_are_refused(x):
    with pytest.raises(TypeError, match="allgather: x must be numeric; got dtype object .*Use allgather_object"):
        as_array(x, "allgather")


@pytest.mark.parametrize("dtype", [[("a", "f8"), ("b", "O")], [("a", [("b", "O")])]])
def test_records_with_objects_are_refused(dtype):
    with pytest.raises(TypeError, match="bcast_object"):
        as_array(np.zeros(2, dtype), "bcast")


@pytest.mark.parametrize("x", ["text", b"text", ["a"], np.array(["a"]), np.array([b"a"])])
def test_strings_are_refused(x):
    with pytest.raises(TypeError, match="bcast: x must be numeric; got strings"):
        as_array(x, "bcast")


@pytest.mark.parametrize("dtype", [[("a", "f8"), ("b", "U3")], [("a", "S2")], [("a", [("b", "U1")])]])
def test_records_of_fixed_size_strings(dtype):
    """Not strings themselves: a structured dtype has a fixed size whatever its fields are."""
    array, _ = as_array(np.zeros(2, dtype), "bcast")
    assert array.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        ("bcast", "Use bcast_object"), ("ibcast", "Use bcast_object"), ("bcast_init", "Use bcast_object"),
        ("isend", "Use send_object"), ("send", "Use send_object"), ("igather", "Use gather_object"),
        ("allgather_init", "Use allgather_object"), ("iallgather", "Use allgather_object"),
    ],
)  # fmt: skip
def test_the_function_for_objects_is_named(function, hint):
    with pytest.raises(TypeError, match=hint):
        as_array({}, function)


@pytest.mark.parametrize("function", ["allreduce", "scan", "ireduce", "iscan", "exchange"])
def test_no_function_for_objects(function):
    with pytest.raises(TypeError, match=r"Only the \*_object functions take Python objects"):
        as_array({}, function)


def test_ragged_lists():
    with pytest.raises(ValueError, match="gather: x must"):
        as_array([[1, 2], [3]], "gather")


def test_out_must_be_a_writable_array():
    read_only = np.zeros(3)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="scan: out must be writable"):
        check_out(read_only, None, "scan")
    for out in ([1, 2], 3.0, None, np.float64(3), memoryview(bytearray(8))):
        with pytest.raises(TypeError, match="scan: out must be a NumPy array"):
            check_out(out, None, "scan")


def test_out_may_be_x_but_not_a_part_of_it():
    x = np.zeros((4, 4))
    check_out(x, x, "scan")
    check_out(x[:], x, "scan")
    check_out(x[:, ::2], x[:, 1::2], "scan")
    check_out(np.zeros((4, 4)), x, "scan")
    for out in (x.T, x[::-1], x[1:], x.reshape(-1), x.view("i8")):
        with pytest.raises(ValueError, match="overlap"):
            check_out(out, x, "scan")


def test_layout_of_out():
    right = (2, 3), np.dtype("f8")
    check_out_layout(*right, *right, "scan")
    with pytest.raises(ValueError, match=r"scan: out must have shape \(3, 2\); got \(2, 3\)"):
        check_out_layout(*right, (3, 2), np.dtype("f8"), "scan")
    for dtype in ("f4", ">f8", "i8", [("a", "f8")]):
        with pytest.raises(TypeError, match="scan: out must have dtype .*; got float64"):
            check_out_layout(*right, (2, 3), np.dtype(dtype), "scan")


def test_same_memory():
    x = np.zeros((3, 3))
    assert is_same_memory(x, x)
    assert is_same_memory(x, x[:])
    assert not is_same_memory(x, x.T)
    assert not is_same_memory(x, x.copy())
    assert not is_same_memory(x, x.view("i8"))
    assert not is_same_memory(x[:2], x[1:])
