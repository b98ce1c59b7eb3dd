"""Kernels in threads give what they give in one."""

import os
import signal

import numpy as np
import pytest

from dcomp.kernels import sparse, stencil, threads, transpose, vectors
from dcomp.kernels.stencil import Weights


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch):
    monkeypatch.setattr(threads._config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(threads, "_LEAST", 1000)


def test_same_bits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(203, 150))
    kind = Weights(rng.normal(size=(3, 3)))
    one, many = np.zeros_like(x), np.zeros_like(x)
    for box in (None, ((2, 200), (3, 140)), ((5, 5), (3, 140))):
        stencil.apply(one, x, kind, box)
        threads.apply(many, x, kind, box)
        np.testing.assert_array_equal(many, one)
    for shape in ((203, 150), (2, 150, 203)):
        part = np.resize(x, shape)
        one, many = (np.zeros((*shape[:-2], shape[-1], shape[-2])) for _ in range(2))
        transpose.transpose_into(one, part)
        threads.transpose_into(many, part)
        np.testing.assert_array_equal(many, one)
    one, many = x.ravel().copy(), x.ravel().copy()
    vectors.axpy_into(one, 0.3, x.ravel())
    threads.axpy_into(many, 0.3, x.ravel())
    np.testing.assert_array_equal(many, one)


@pytest.mark.parametrize("lengths", [[5] * 100, [0] * 30 + [400] + [0] * 30, [0, 0], [9]])
def test_sparse(lengths):
    rng = np.random.default_rng(1)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    indices = rng.integers(0, 20, indptr[-1]).astype(np.int32)
    data, x = rng.normal(size=indptr[-1]), rng.normal(size=20)
    one, many = np.empty(len(lengths)), np.empty(len(lengths))
    sparse.csr_matvec_into(one, indptr, indices, data, x)
    threads.csr_matvec_into(many, indptr, indices, data, x)
    np.testing.assert_array_equal(many, one)


def test_parts_run_at_once_and_errors_arrive():
    meeting = threads.threading.Barrier(3, timeout=20)
    assert threads.run(lambda i: (meeting.wait(), i)[1], [(0,), (1,), (2,)]) == [0, 1, 2]

    def fail(i):
        if i == 1:
            raise ValueError("part 1")
        return i

    with pytest.raises(ValueError, match="part 1"):
        threads.run(fail, [(0,), (1,), (2,)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_of_a_fork_has_threads_of_its_own():
    """For those of its parent are not there, and to wait for them is to wait for ever."""
    assert threads.run(lambda i: i, [(0,), (1,)]) == [0, 1]
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(threads.run(lambda i: i, [(3,), (4,)]) != [3, 4])
    assert os.waitpid(child, 0)[1] == 0


def test_small_arrays_have_one_thread(monkeypatch):
    monkeypatch.undo()
    assert threads.count_threads(1 << 20) == 1
