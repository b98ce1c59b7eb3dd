"""Distributed matrices: products, conjugate gradients and factorizations against NumPy on the whole."""

from types import SimpleNamespace

import numpy as np
import pytest
from numba.core import event
from parallel import all_raise, together

import dcomp as dc

CSR, cg, matmul, qr, svd = dc.linalg.CSR, dc.linalg.cg, dc.linalg.matmul, dc.linalg.qr, dc.linalg.svd

EITHER = (dc.CollectiveMismatchError, TypeError, ValueError)


def numbers(rng, shape, dtype):
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind in "c" else x).astype(dtype)


def sparse(n, m, dtype, share=0.3, seed=3):
    """A dense matrix with few entries."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, m)) < share, numbers(rng, (n, m), dtype), 0).astype(dtype)


def parts(block):
    """Its compressed rows: the entries in reverse order, and each as the sum of two."""
    rows, columns = (one[::-1] for one in np.nonzero(block))
    order = np.argsort(np.repeat(rows, 2), kind="stable")
    indptr = np.concatenate([[0], np.cumsum(2 * np.bincount(rows, minlength=len(block)))])
    return indptr, np.repeat(columns, 2)[order], np.repeat(block[rows, columns] / 2, 2)[order].astype(block.dtype)


def uneven(comm, n):
    """This rank's rows of n, none on some ranks."""
    cuts = [min(n, 3 * (rank // 2) ** 2) for rank in range(comm.size)] + [n]
    return slice(cuts[comm.rank], cuts[comm.rank + 1])


def close(x, expected, dtype=np.float64, factor=1.0):
    assert x.dtype == expected.dtype
    np.testing.assert_allclose(x, expected, rtol=0, atol=factor * 2000 * np.finfo(dtype).eps)


# Sparse matrices


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_products(comm, dtype):
    rng = np.random.default_rng(4)
    for n, m in [(0, 0), (1, 1), (3, 3), (23, 23), (5, 17), (17, 5)]:
        whole = sparse(n, m, dtype)
        rows = comm.block(n)
        with together():
            matrix = CSR(*parts(whole[rows]), (n, m), comm=comm)
            assert matrix.shape == (n, m)
            assert matrix.T.shape == (m, n)
        for width in [(), (3,)]:
            x, y = numbers(rng, (m, *width), dtype), numbers(rng, (n, *width), dtype)
            for _ in range(3):  # the ranks know the exchange by then
                with together():
                    close(matrix @ x[comm.block(m)], (whole @ x)[rows], dtype)
                    close(matrix.T @ y[rows], (whole.T @ y)[comm.block(m)], dtype)


def test_uneven_blocks(comm):
    whole, rows = sparse(29, 29, np.float64), uneven(comm, 29)
    x = np.random.default_rng(5).normal(size=29)
    with together():
        matrix = CSR(*parts(whole[rows]), (29, 29), comm=comm)
        assert matrix.row_counts == matrix.column_counts == tuple(comm.allgather(rows.stop - rows.start).tolist())
        close(matrix @ x[rows], (whole @ x)[rows])
        close(matrix.T.T @ x[rows], (whole @ x)[rows])
        close(matrix.T @ x[rows], (whole.T @ x)[rows])
        close(matrix.diagonal(), np.diagonal(whole)[rows])


def test_two_matrices_and_other_widths_take_turns(world):
    """Each has exchanges of its own."""
    rows = world.block(20)
    first, second = sparse(20, 20, np.float64, 0.2, 1), sparse(20, 20, np.float64, 0.6, 2)
    a, b = (CSR(*parts(whole[rows]), (20, 20)) for whole in (first, second))
    rng = np.random.default_rng(6)
    for width in [(), (2,), (), (1,), (2,), (0,)]:
        x = rng.normal(size=(20, *width))
        with together():
            close(a @ x[rows], (first @ x)[rows])
            close(b @ x[rows], (second @ x)[rows])


def test_large_exchange(world):
    """Every rank needs all of x."""
    n = 40_000
    rows = world.block(n)
    count = rows.stop - rows.start
    columns = (np.arange(rows.start, rows.stop)[:, None] + np.arange(3) * (n // 3)) % n
    matrix = CSR(3 * np.arange(count + 1), columns.ravel(), np.ones(3 * count), (n, n))
    x = np.random.default_rng(7).normal(size=n)
    for _ in range(3):
        with together():
            close(matrix @ x[rows], x[columns].sum(axis=1), factor=5)
            close(matrix.T @ x[rows], (x + np.roll(x, n // 3) + np.roll(x, 2 * (n // 3)))[rows], factor=5)


def test_x_of_another_dtype_or_layout(world):
    whole, rows = sparse(9, 9, np.complex128), world.block(9)
    x = np.arange(36).reshape(9, 4)
    with together():
        matrix = CSR(*parts(whole[rows]), (9, 9))
        for one in (x[:, ::2], x.astype(np.float32), np.asfortranarray(x), x.astype(">f8")):
            close(matrix @ one[rows], (whole @ one)[rows])
        close(matrix @ x[rows][:, 0].tolist(), (whole @ x[:, 0])[rows])
        with pytest.raises(TypeError):
            x[rows] @ matrix


def test_nothing_is_compiled_for_arrays_in_other_memory(world):
    """Read-only, as those of files and of other libraries are, or not aligned: numba would begin anew for each."""
    n = 9000 * world.size
    rows = world.block(n)
    count = rows.stop - rows.start
    odd = np.zeros(8 * count + 1, "u1")[1:].view(float)
    odd[:] = np.arange(count)[::-1] + 1
    fixed = odd.copy()
    fixed.flags.writeable = False

    def use(x, kept):
        dc.sort(x), dc.sort(x, stable=True), dc.argsort(x), dc.unique(x), dc.median(x), dc.histogram(x)
        matrix = CSR(np.arange(count + 1), np.arange(rows.start, rows.stop), kept, (n, n))
        matrix @ x, matrix.T @ x, cg(matrix, x, maxiter=2)
        cg(lambda y: np.broadcast_to(y, y.shape), x)

    with together():
        use(fixed.copy(), fixed.copy())
        with event.install_recorder("numba:compile") as compiled:
            use(fixed, fixed)
            use(odd, fixed)
        assert not compiled.buffer


def test_from_scipy(world):
    whole, rows = sparse(11, 6, np.float64), world.block(11)
    indptr, indices, data = parts(whole[rows])
    block = SimpleNamespace(indptr=indptr, indices=indices, data=data, shape=whole[rows].shape)
    block.tocsr = lambda: block
    x = np.arange(6.0)
    with together():
        close(CSR.from_scipy(block) @ x[world.block(6)], (whole @ x)[rows])


@pytest.mark.usefixtures("needs_checks")
def test_misuse_of_matrices(world):
    good = ([0, 1], [0], [1.0], (world.size, 3))
    wrong = {
        "indptr must begin with 0": ([1, 1], [0], [1.0]),
        "indptr must begin with 0 and not decrease": ([0, 2, 1], [0], [1.0]),
        "indices and data must have as many": ([0, 1], [0, 1], [1.0]),
        "indices must be at least 0 and below 3; got 3": ([0, 1], [3], [1.0]),
        "indices must be of integers": ([0, 1], [0.5], [1.0]),
        "data must be of float32, float64 or complex128": ([0, 1], [0], [1]),
        "data must have one dimension": ([0, 1], [0], [[1.0]]),
    }
    for match, one in wrong.items():
        with all_raise(EITHER, match):
            CSR(*(one if world.rank == world.size - 1 else good[:3]), good[3])
    with all_raise(dc.ShapeMismatchError, "shape must tell the rows of all ranks"):
        CSR(*good[:3], (world.size + 1, 3))
    with all_raise(EITHER, "shape must be two integers"):
        CSR(*good[:3], 3)
    with all_raise(EITHER, "shape must be of integers below"):
        CSR(*good[:3], (world.size, 2**63 if world.rank == world.size - 1 else 3))
    sparse_block = SimpleNamespace(indptr=[0], indices=[], data=[], shape=(0, 3))
    sparse_block.tocsr = lambda: sparse_block
    for block in ([[1.0]], SimpleNamespace(tocsr=lambda: np.eye(3))):
        with all_raise(EITHER, "block must be a sparse array"):
            CSR.from_scipy(block if world.rank == world.size - 1 else sparse_block)
    if world.size > 1:
        with all_raise(dc.CollectiveMismatchError, "dtype"):
            CSR([0, 1], [0], np.ones(1, np.float32 if world.rank else np.float64), good[3])
        with all_raise(dc.ShapeMismatchError, "shape"):
            CSR(*good[:3], (world.size, 3 + world.rank))
    matrix = CSR(*good)
    if world.size != 3:
        with together(), pytest.raises(ValueError, match="must be square; got shape"):
            matrix.diagonal()


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("before", [0, 3], ids=["at first", "when known"])
def test_misuse_of_products(world, before):
    whole, rows = sparse(12, 12, np.float64), world.block(12)
    matrix = CSR(*parts(whole[rows]), (12, 12), comm=world)
    x = np.arange(12.0)
    good, last = x[rows], world.rank == world.size - 1

    def works():
        with together():
            close(matrix @ good, (whole @ x)[rows])
            close(matrix.T @ good, (whole.T @ x)[rows])

    for _ in range(before):
        works()
    with all_raise(EITHER, "A @ x: x must have shape"):
        matrix @ (np.zeros(99) if last else good)
    works()
    with all_raise(EITHER, "x must be of the dtype of the matrix, float64"):
        matrix @ (good * 1j if last else good)
    works()
    with all_raise(EITHER, r"A.T @ x: x must be numeric"):
        matrix.T @ (np.array([None] * len(good)) if last else good)
    works()
    if world.size > 1:
        with all_raise(dc.CollectiveMismatchError, "fit together|same collective|shape"):
            matrix @ (np.stack([good, good], 1) if last else good)
        works()
        with all_raise(dc.CollectiveMismatchError, "A.T @ x"):
            (matrix.T if last else matrix) @ good
        works()
        with all_raise(dc.CollectiveMismatchError, "allreduce"):
            world.allreduce(1) if last else matrix @ good
        works()


# Conjugate gradients


def poisson(n, dtype=np.float64):
    """The five-point matrix on a square of n x n points."""
    one = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    return (np.kron(one, np.eye(n)) + np.kron(np.eye(n), one)).astype(dtype)


PRECONDITIONERS = {"none": None, "jacobi": "jacobi", "function": lambda r: r / 4}


@pytest.mark.parametrize("m", PRECONDITIONERS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_cg(comm, dtype, m):
    rng = np.random.default_rng(8)
    whole = poisson(6, dtype)
    if np.dtype(dtype).kind == "c":
        turn = np.exp(1j * np.arange(36))
        whole = turn[:, None] * whole * turn.conj()
    b, rows = numbers(rng, 36, dtype), uneven(comm, 36)
    with together():
        matrix = CSR(*parts(whole[rows]), (36, 36), comm=comm)
        found = cg(matrix, b[rows], tol=1e-12, M=PRECONDITIONERS[m], comm=comm)
        assert found.converged
        assert found.reason == "converged"
        assert found.residual <= 1e-12
        assert 5 < found.iterations <= 36
        close(found.x, np.linalg.solve(whole, b)[rows])
        begun = cg(matrix, b[rows], x0=found.x, tol=1e-10, M=PRECONDITIONERS[m])
        assert (begun.iterations, begun.converged) == (0, True)
        again = cg(lambda x: matrix @ x, b[rows], tol=1e-12, M=PRECONDITIONERS["function"], comm=comm)
        close(again.x, found.x, factor=10)


def test_cg_of_float32_ends_where_rounding_ends(world):
    whole, rows = poisson(5, np.float32), world.block(25)
    b = np.random.default_rng(9).normal(size=25).astype(np.float32)
    with together():
        matrix = CSR(*parts(whole[rows]), (25, 25))
        found = cg(matrix, b[rows], tol=1e-5)
        assert found.converged
        close(found.x, np.linalg.solve(whole, b)[rows].astype(np.float32), np.float32)
        assert cg(matrix, b[rows], tol=1e-12)[3:] == (False, "stagnation")


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 1e307])
def test_cg_of_any_magnitude(world, size):
    whole, rows = poisson(3), world.block(9)
    b = np.arange(1.0, 10.0) * (size / 10)
    with together():
        found = cg(CSR(*parts(whole[rows]), (9, 9)), b[rows], tol=1e-10)
        assert found.converged
        np.testing.assert_allclose(found.x, np.linalg.solve(whole, b)[rows], rtol=1e-8, atol=1e-320)


def test_cg_ends(world):
    """Whatever the matrix is, there is a result that tells."""
    n = 30
    rows = world.block(n)
    whole = np.random.default_rng(10).normal(size=n)
    b = whole[rows]
    chain = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    singular = chain.copy()
    singular[0, 0] = singular[-1, -1] = 1  # constant vectors give zero
    indefinite = chain - 0.5 * np.eye(n)

    def solve(matrix, **more):
        return cg(CSR(*parts(matrix[rows]), (n, n)), b, **more)

    with together():
        zero = cg(CSR(*parts(chain[rows]), (n, n)), 0 * b, x0=b)
        assert zero[1:] == (0, 0.0, True, "converged")
        assert not zero.x.any()
        few = solve(chain, maxiter=3)
        assert (few.iterations, few.converged, few.reason) == (3, False, "iteration limit")
        np.testing.assert_allclose(
            few.residual**2 * world.allreduce(b @ b),
            world.allreduce(np.sum((b - (chain @ world.allgather(few.x))[rows]) ** 2)),
        )
        assert solve(chain, maxiter=0)[1:] == (0, 1.0, False, "iteration limit")
        for bad in (singular, indefinite, -chain, np.zeros((n, n)), np.diag(np.arange(n) * 1.0)):
            for m in (None, lambda r: r.copy()):
                found = solve(bad, M=m)
                assert (found.converged, found.reason) == (False, "not positive definite")
                assert np.isfinite(found.x).all()
        assert solve(-chain, M="jacobi").reason == "not positive definite"
        assert solve(chain, M=lambda r: -r).reason == "not positive definite"
        mean = world.allreduce(b.sum()) / n
        assert cg(CSR(*parts(singular[rows]), (n, n)), b - mean).converged  # this one has solutions
        assert solve(np.diag(np.full(n, np.nan)))[3:] == (False, "not finite")
        assert cg(lambda x: x, np.where(rows.start, b, np.inf))[3:] == (False, "not finite")
        assert solve(chain, M=lambda r: r * np.nan).reason == "not finite"
        beyond = cg(CSR(*parts(1e-5 * chain[rows]), (n, n)), b * 1e307)  # whose solution is
        assert beyond[3:] == (False, "not finite")
        assert cg(lambda x: x, b).iterations == 1


def test_cg_is_the_same_each_time(world):
    whole, rows = poisson(7), world.block(49)
    b = np.random.default_rng(11).normal(size=49)[rows]
    matrix = CSR(*parts(whole[rows]), (49, 49))
    first, second = (cg(matrix, b, M="jacobi") for _ in range(2))
    with together():
        assert first[1:] == second[1:]
        assert first.x.tobytes() == second.x.tobytes()
        told = world.allgather(np.array([first.iterations, first.residual]).reshape(1, 2))
        assert (told == told[0]).all()


@pytest.mark.usefixtures("needs_checks")
def test_misuse_of_cg(world):
    rows = world.block(9)
    matrix = CSR(*parts(poisson(3)[rows]), (9, 9))
    good, last = np.ones(rows.stop - rows.start), world.rank == world.size - 1
    wrong = {
        "b must have one dimension": {"b": np.ones((2, 2))},
        "b must have shape": {"b": np.ones(77)},
        "b must be of float64": {"b": good * 1j},
        "x0 must have the shape of b": {"x0": np.ones(77)},
        "A must be a CSR or a function": {"A": np.eye(9)},
        "tol must be": {"tol": -1.0},
        "maxiter must be": {"maxiter": 1.5},
        "M must be a function": {"M": "ilu"},
        r'M must be a function, or "jacobi" of a CSR; got array': {"M": np.eye(9)},
        "A must be square": {"comm": dc.COMM_SELF if world.size > 1 else world.dup()},
    }
    for match, one in wrong.items():
        if "comm" in one:
            with together(), pytest.raises(ValueError, match=match):
                cg(matrix, good, comm=one["comm"])
            continue
        with all_raise(EITHER, match):
            cg(**({"A": matrix, "b": good} | (one if last else {})))
    if world.size > 1:
        for name, value in {"tol": 0.1, "maxiter": 7, "M": "jacobi", "x0": good}.items():
            with all_raise(dc.CollectiveMismatchError, name):
                cg(matrix, good, **({name: value} if last else {}))
    with all_raise(EITHER, "A must return an array like its argument"):
        cg(lambda x: x[:0] if last else x, np.ones(3))
    with together():
        assert cg(matrix, good).converged


# Dense matrices


def test_matmul(comm):
    rng = np.random.default_rng(12)
    for left, right in [(np.float64, np.float64), (np.float32, np.complex64), (np.int64, np.int64), (bool, np.float64)]:
        for n, k, c in [(7, 11, 5), (1, 1, 1), (0, 3, 2), (4, 0, 3), (5, 2, 0), (2000, 3, 4)]:
            a, b = (rng.integers(-9, 9, shape) for shape in ((n, k), (k, c)))
            a, b = a.astype(left), b.astype(right)
            with together():
                x = matmul(a[comm.block(n)], b[uneven(comm, k)], comm=comm)
                assert x.dtype == (a @ b).dtype
                np.testing.assert_array_equal(x, (a @ b)[comm.block(n)])  # exact: they are small integers


def test_matmul_in_pieces(world, monkeypatch):
    monkeypatch.setattr("dcomp._dense._PIECE", 100)
    a, b = np.arange(60).reshape(5, 12), np.arange(48).reshape(12, 4)
    with together():
        x = matmul(np.asfortranarray(a)[world.block(5)], b[world.block(12)])
        np.testing.assert_array_equal(x, (a @ b)[world.block(5)])


SHAPES = [(40, 6), (6, 6), (3, 5), (1, 1), (9, 1), (0, 3), (7, 0), (700, 8)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_qr(comm, dtype, monkeypatch):
    monkeypatch.setattr("dcomp._dense._CACHED", 2000)  # so that some have many blocks
    rng = np.random.default_rng(13)
    for n, k in SHAPES:
        a, rows = numbers(rng, (n, k), dtype), uneven(comm, n)
        with together():
            q, r = qr(a[rows], comm=comm)
            whole_q, whole_r = np.linalg.qr(a)
            diagonal = np.diagonal(whole_r)
            signs = diagonal / np.abs(diagonal)
            close(q, (whole_q * signs)[rows].astype(dtype), dtype)
            close(r, (signs.conj()[:, None] * whole_r).astype(dtype), dtype)
            assert np.array_equal(r, np.triu(r))
            assert (np.diagonal(r).imag == 0).all()
            assert (np.diagonal(r).real >= 0).all()
            assert all(np.array_equal(one, r) for one in comm.allgather(r[None]))


def test_qr_of_what_has_not_full_rank(world):
    a = np.outer(np.arange(12.0), [1, 2, 0, -1])
    rows = world.block(12)
    with together():
        for one in (a, 0 * a):
            q, r = qr(one[rows])
            close(q @ r, one[rows])
            whole = world.allgather(q)
            close(whole.T @ whole, np.eye(4))
            assert (np.diagonal(r) >= 0).all()
        assert np.isnan(qr(np.full((len(a[rows]), 2), np.nan))[1]).any()
        q, r = qr(np.arange(24).reshape(12, 2)[rows])  # integers
        close(q @ r, np.arange(24.0).reshape(12, 2)[rows])


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_svd(comm, dtype):
    rng = np.random.default_rng(14)
    for n, k in SHAPES:
        a, rows = numbers(rng, (n, k), dtype), uneven(comm, n)
        with together():
            u, s, vh = svd(a[rows], comm=comm)
            close(s, np.linalg.svd(a, compute_uv=False))
            close((u * s) @ vh, a[rows])
            whole = comm.allgather(u)
            close(whole.conj().T @ whole, np.eye(min(n, k), dtype=dtype))
            close(vh @ vh.conj().T, np.eye(min(n, k), dtype=dtype))


@pytest.mark.usefixtures("needs_checks")
def test_misuse_of_dense_matrices(world):
    last = world.rank == world.size - 1
    good = np.ones((4, 3))
    for function, call in {
        "qr": qr,
        "svd": svd,
        "matmul": lambda a: matmul(a, np.ones((3 * (not world.rank), 2))),
    }.items():
        for match, bad in {
            "a must have two dimensions": np.ones(3),
            "a must be of numbers": np.zeros((4, 3), "M8[s]"),
            "a must be numeric": np.array([[None]]),
        }.items():
            with all_raise(EITHER, f"{function}: {match}"):
                call(bad if last else good)
        if world.size > 1:
            with all_raise(dc.ShapeMismatchError, "shape of a"):
                call(good[:, :2] if last else good)
            with all_raise(dc.CollectiveMismatchError, "dtype"):
                call(good.astype(np.float32) if last else good)
        with together():
            call(good)
    with all_raise(EITHER, "qr: a must be of 64 bits at most"):
        qr(good.astype(np.longdouble))
    with all_raise(dc.ShapeMismatchError, "matmul: b must have as many rows"):
        matmul(good, np.ones((5, 2)))
    with all_raise(np.linalg.LinAlgError, "svd"):
        svd(good * np.nan)
    with together():
        close(svd(good)[1][:1], np.array([np.sqrt(12.0 * world.size)]))
