"""sum, dot and norm: exact ones bit for bit what one process gets of the whole array, at any number of ranks."""

import math
from fractions import Fraction

import compiled_sums
import numpy as np
import pytest
from arrays import laid_out
from parallel import all_raise, together

import dcomp as dc

pytestmark = pytest.mark.whole  # its results must not depend on the number of ranks

CUTS = ["even", "uneven", "one"]


def numbers(seed, n, dtype="f8"):
    """Numbers whose sum depends on its order; complex ones have two such parts."""
    rng = np.random.default_rng(seed)
    scale = 3 if np.dtype(dtype) == np.float16 else 12
    parts = [rng.normal(size=n) * 10.0 ** rng.integers(-scale, scale // 4, n) for _ in range(2)]
    x = parts[0] + (1j * parts[1] if np.dtype(dtype).kind == "c" else 0)
    x[n // 2 : n // 2 + n // 4] = -x[: n // 4]
    return x.astype(dtype)


def block(comm, whole, cut):
    """This rank's part: as array_split cuts, with an empty block on some ranks, or all on the last rank."""
    if cut == "even":
        return whole[comm.block(len(whole))]
    if cut == "one":
        return whole if comm.rank == comm.size - 1 else whole[:0]
    ends = [len(whole) * (rank + rank % 2) ** 2 // (comm.size + 1) ** 2 for rank in range(comm.size)]
    return whole[ends[comm.rank] : (ends + [len(whole)])[comm.rank + 1]]


def parts(x):
    return [x.real, x.imag] if x.dtype.kind == "c" else [x]


def exact_sum(terms, dtype):
    """Fractions summed and rounded once to a real dtype; a double that is exact is rounded once by NumPy."""
    total = sum(terms, Fraction(0))
    rounded = float(total)
    if dtype != np.float64 and rounded != total:  # it may lie halfway: pushed off to the right side
        rounded = rounded if abs(rounded) > abs(total) else math.nextafter(rounded, math.copysign(math.inf, rounded))
        beside = math.nextafter(rounded, 0.0)
        rounded = rounded if np.dtype(dtype).type(rounded) == np.dtype(dtype).type(beside) else (rounded + beside) / 2
        low, high = sorted((np.dtype(dtype).type(rounded), np.dtype(dtype).type(beside)))
        if low != high:
            return low if total < (Fraction(float(low)) + Fraction(float(high))) / 2 else high
    return np.dtype(dtype).type(rounded)


def products(x, y, sign=1):
    return [sign * Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y)]


def expected_sum(whole):
    real = [exact_sum([Fraction(float(a)) for a in part], part.dtype) for part in parts(whole)]
    return whole.dtype.type(complex(*real) if len(real) == 2 else real[0])


def expected_dot(x, y):
    a, b = parts(x), parts(y)
    if len(a) == 1:
        return exact_sum(products(a[0], b[0]), x.dtype)
    real = products(a[0], b[0]) + products(a[1], b[1], -1)
    return x.dtype.type(
        complex(*(exact_sum(p, a[0].dtype) for p in (real, products(a[0], b[1]) + products(a[1], b[0]))))
    )


def same(result, expected):
    assert isinstance(result, np.generic)
    assert result.dtype == expected.dtype
    assert result.tobytes() == expected.tobytes(), (result, expected)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16", "c8", ">f8"])
def test_exact_at_any_number_of_ranks(world, dtype, cut):
    whole, other = numbers(1, 700, dtype), numbers(2, 700, dtype)
    x, y = block(world, whole, cut), block(world, other, cut)
    native = whole.astype(whole.dtype.newbyteorder("="))
    with together():
        same(dc.sum(x, reproducible=True), expected_sum(native))
        same(dc.dot(x, y, reproducible=True), expected_dot(native, other.astype(native.dtype)))
        norm = dc.norm(x, reproducible=True)
        same(norm, dc.norm(np.roll(whole, 5), reproducible=True, comm=dc.COMM_SELF))
        np.testing.assert_allclose(norm, np.linalg.norm(native.astype("c16")), rtol=4 * np.finfo(norm.dtype).eps)


@pytest.mark.parametrize("n", [1, 3, 5000])
def test_order_does_not_matter(comm, n):
    whole = numbers(3, n)
    expected = dc.sum(whole, reproducible=True, comm=dc.COMM_SELF)
    with together():
        for seed in range(3):
            x = np.random.default_rng(seed).permutation(whole)
            same(dc.sum(block(comm, x, CUTS[seed]), reproducible=True, comm=comm), expected)
        same(expected, np.float64(math.fsum(whole)))


@pytest.mark.parametrize("layout", ["Fortran", "strided", "reversed", "read-only"])
def test_layouts(world, layout):
    whole, other = (numbers(seed, 12 * world.size * 7).reshape(-1, 7) for seed in (4, 5))
    x, y = laid_out(whole[world.block(len(whole))], layout), other[world.block(len(other))]
    with together():
        same(dc.sum(x, reproducible=True), expected_sum(whole.ravel()))
        same(dc.dot(x, y, reproducible=True), expected_dot(whole.ravel(), other.ravel()))
        np.testing.assert_allclose(dc.dot(x, y), expected_dot(whole.ravel(), other.ravel()), atol=1e-9)


def test_plain(comm):
    for dtype in ("f8", "f4", "f2", "c16", "c8", "g", "i4", "u1", "?"):
        whole = (
            np.arange(50).astype(dtype) if np.dtype(dtype).kind in "iu" else numbers(6, 50, "c16").real.astype(dtype)
        )
        x = block(comm, whole, "uneven")
        with together():
            total, square, norm = (
                function(x, comm=comm) for function in (dc.sum, lambda x, comm: dc.dot(x, x, comm=comm), dc.norm)
            )
            wide = whole.astype(np.result_type(whole, np.float32)) if whole.dtype.kind in "fc" else whole
            assert total.dtype == whole.sum().dtype
            tolerance = 1e-2 if dtype == "f2" else 1e-4 if whole.dtype.kind in "fc" else 0
            np.testing.assert_allclose(total, wide.sum(), rtol=tolerance, atol=tolerance)
            assert square.dtype == (np.int64 if dtype == "?" else whole.dtype)
            np.testing.assert_allclose(
                square, np.dot(whole.astype(square.dtype), whole.astype(square.dtype)), rtol=tolerance
            )
            np.testing.assert_allclose(norm, np.linalg.norm(whole.astype("c16")), rtol=1e-2 if dtype == "f2" else 1e-5)


def test_norms_of_half_precision_are_rounded_once(world):
    """Though their squares are beyond the greatest number, and float16 has 11 bits."""
    with together():
        for x in (300.0, 1.3):
            total = np.float16(np.hypot.reduce([np.float16(x)] * world.size, dtype=float))
            assert abs(dc.norm(np.array([x], "f2")) - total) <= np.spacing(total)


def test_integers_are_exact_either_way(world):
    x = np.full(world.rank + 1, 2**62)
    with together():
        n = world.size * (world.size + 1) // 2
        expected = (n * 2**62 + 2**63) % 2**64 - 2**63
        for reproducible in (True, False):
            same(dc.sum(x, reproducible=reproducible), np.int64(expected))
            same(dc.dot(x, np.ones_like(x), reproducible=reproducible), np.int64(expected))


def test_special_values(world):
    p, me = world.size, world.rank
    top = np.finfo("f8").max
    with together():
        assert np.signbit(dc.sum(np.array([-0.0]), reproducible=True))
        assert np.signbit(dc.sum(np.full(me % 2, -0.0), reproducible=True)) == (p > 1)
        assert not np.signbit(dc.sum(np.array([]), reproducible=True))
        assert dc.sum(np.array([math.inf if me == 0 else -top]), reproducible=True) == math.inf
        assert np.isnan(
            dc.sum(np.array([math.inf, -math.inf][me == 0 : (me == 0) + 1] * 2 + [1.0]), reproducible=True)
        ) == (p > 1)
        assert np.isnan(dc.sum(np.array([math.nan if me == p - 1 else 1.0]), reproducible=True))
        assert dc.sum(np.array([top, top, -top, -top] if me else [top]), reproducible=True) == top
        assert dc.norm(np.array([top] if me == 0 else []), reproducible=True) == top
        assert dc.norm(np.array([3 * 2.0**660, 2.0**662] if me == p - 1 else []), reproducible=True) == 5 * 2.0**660


def test_compiled(world):
    whole, other = numbers(7, 600), numbers(8, 600)
    x, y = block(world, whole, "uneven"), block(world, other, "uneven")
    with together():
        for _ in range(3):  # the later ones are known from before
            dot, norm = compiled_sums.exact(world, x, y)
            assert dot == expected_dot(whole, other)
            assert norm == dc.norm(x, reproducible=True)
        np.testing.assert_allclose(compiled_sums.plain_norm(x), norm)


def compile_for(world, dtype):
    """Have the sum compiled on all ranks alike, which may take longer than others wait."""
    with together():
        assert compiled_sums.exact_sum(np.ones(1, dtype)) == world.size


def test_compiled_on_some_ranks(world):
    for dtype in ("f8", "c8"):
        compile_for(world, dtype)
        whole = numbers(9, 500, dtype)
        x = block(world, whole, "uneven")
        with together():
            for shift in range(3):
                total = (compiled_sums.exact_sum if (world.rank + shift) % 2 else exact_sum_of)(x)
                assert total == expected_sum(whole)


def exact_sum_of(x):
    return dc.sum(x, reproducible=True)


def test_compiled_integers(world):
    x = np.arange(5, dtype="i4") + world.rank
    with together():
        assert compiled_sums.of_integers(x) == (dc.sum(x), dc.dot(x, x))


def test_what_cannot_be_compiled(world):
    with all_raise(TypeError, r"^sum: reproducible must be written out, True or False, in compiled code; got bool"):
        compiled_sums.with_a_variable(np.ones(3), True)
    with all_raise(
        TypeError, r"^sum: x must be an array of numbers \(but float16\) or bool in compiled code; got float64"
    ):
        compiled_sums.exact_sum(2.0)


@pytest.mark.usefixtures("needs_checks")
def test_mismatches(world):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    for dtype in ("f8", "c8"):
        compile_for(world, dtype)
    last, x = world.rank == world.size - 1, np.ones(3)
    mismatch = dc.CollectiveMismatchError
    with all_raise(mismatch, r"^sum: dtype of x must be the same on every rank; got float64 on ranks? 0"):
        dc.sum(x.astype("f4") if last else x, reproducible=True)
    with all_raise(mismatch, "^sum: reproducible must be the same on every rank; got False on ranks? 0"):
        dc.sum(x, reproducible=last)
    with all_raise(mismatch, "the ranks must call the same collective in the same order; got norm on ranks? 0"):
        dc.sum(x) if last else dc.norm(x)
    with all_raise(mismatch, "got dot on ranks? 0.* and allreduce on rank"):
        dc.allreduce(x) if last else dc.dot(x, x)
    with all_raise(mismatch, r"^sum: dtype of x must be the same on every rank; got float64 on ranks? 0"):
        compiled_sums.exact_sum(x.astype("c8") if last else x)
    with together():
        assert dc.sum(x) == 3 * world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: dc.sum("abc"), TypeError, "sum: x must be numeric; got strings"),
        (lambda x: dc.sum(x.astype("g"), reproducible=True), TypeError, "sum: x must be of float16, float32"),
        (lambda x: dc.norm(x.astype("M8[s]")), TypeError, r"norm: x must be of numbers or bool; got datetime64\[s\]"),
        (lambda x: dc.sum(x, reproducible=1), TypeError, "sum: reproducible must be True or False; got 1"),
        (lambda x: dc.dot(x, x[1:]), dc.ShapeMismatchError, r"dot: y must have the shape of x, \(3,\); got \(2,\)"),
        (lambda x: dc.dot(x, x + 1j), TypeError, "dot: y must be of the kind of x, .* got float64 and complex128"),
        (lambda x: dc.dot(x.astype("u8"), x.astype("i8")), TypeError, "dot: x and y must have a dtype of integers"),
    ],
    ids=range(7),
)
def test_bad_arguments_on_one_rank(world, call, error, told):
    x, culprit = np.ones(3), world.size // 2
    right = {"sum": dc.sum, "norm": dc.norm, "dot": lambda x: dc.dot(x, x)}[told[:4].strip(":")]
    with all_raise(error if world.rank == culprit else dc.CollectiveMismatchError, told):
        call(x) if world.rank == culprit else right(x)
    with together():
        assert dc.sum(x) == 3 * world.size
