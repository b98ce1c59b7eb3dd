"""The heap that results come from, on memory of this process alone."""

import sys
import threading

import numpy as np
import pytest

pytest.importorskip("mpi4py.MPI")

from dcomp.engine import segment
from dcomp.engine.segment import Segment, address_of

HEAP = 16 << 20


@pytest.fixture
def memory():
    return np.zeros(HEAP * 2 + 4096, np.uint8)


@pytest.fixture
def heap(memory):
    """The heap of the second of two ranks."""
    return Segment(-(-address_of(memory) // 4096) * 4096, HEAP, 1, 2)


@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (0, 5), (1 << 19,)])
@pytest.mark.parametrize("dtype", ["f8", "u1", "c16", "V5"])
def test_an_array_lies_in_the_heap_of_its_rank(heap, shape, dtype):
    array = heap.empty(shape, np.dtype(dtype))
    if array is None:
        pytest.fail("the heap is full")
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert heap.base + HEAP <= address_of(array)
    assert address_of(array) + array.nbytes <= heap.base + 2 * HEAP


def test_arrays_that_live_do_not_share_memory(heap):
    rng = np.random.default_rng(1)
    live: list[tuple[int, np.ndarray]] = []
    for turn in range(3000):
        array = heap.empty((int(2 ** rng.uniform(0, 14)),), np.dtype("i8"))
        if array is not None:
            array[:] = turn
            live.append((turn, array[rng.integers(array.size) :] if turn % 2 else array))
        while len(live) > rng.integers(60):
            live.pop(rng.integers(len(live)))
        for was, view in live[:: max(1, len(live) // 5)]:
            assert (view == was).all()


@pytest.mark.parametrize(
    "hold", [lambda a: a[3:], lambda a: a.T, memoryview, lambda a: np.frombuffer(a, "u1"), np.asarray]
)
def test_a_block_is_free_when_no_view_is_left(heap, hold):
    n = 6 << 20  # too large for three of them
    array = heap.empty((n,), np.dtype("u1"))
    other = heap.empty((n,), np.dtype("u1"))
    view = hold(array)
    del array
    assert heap.empty((n,), np.dtype("u1")) is None
    del view
    again = heap.empty((n,), np.dtype("u1"))
    assert again is not None
    assert not np.shares_memory(again, other)


def test_a_full_heap_says_so(heap):
    make = heap.maker(HEAP)
    assert heap.empty((HEAP + 1,), np.dtype("u1")) is None
    assert not np.shares_memory(make((HEAP,), np.dtype("u1")), heap.bytes)


def test_a_free_block_serves_for_less(heap):
    """So that memory does not grow with the number of sizes."""
    for n in (14 << 20, 13 << 20, 9 << 20, 14 << 20):
        assert heap.empty((n,), np.dtype("u1")) is not None
    assert heap.empty((100,), np.dtype("u1")) is not None


def test_a_pinned_block_is_not_used_again(heap):
    block = heap.block(9 << 20)
    heap.pin(block)
    del block
    assert heap.block(9 << 20) is None
    heap.unpin(next(iter(heap._pinned.values())))
    assert heap.block(9 << 20) is not None


def test_sizes_lose_a_quarter_at_most():
    for n in [*range(1, 20000, 7), *range(1 << 20, 1 << 25, 99991)]:
        size = segment._size_class(n)
        assert n <= size <= max(4096, n * 1.25 + 4096)
        assert size % 4096 == 0


def test_threads_never_get_the_same_block(heap):
    """Each marks what it gets, and finds its marks."""
    failures = []

    def work(me: int) -> None:
        kept: list[np.ndarray] = []
        for turn in range(400):
            array = heap.empty((1000 + 500 * (turn % 3),), np.dtype("i8"))
            if array is not None:
                array[:] = me
                kept = [*kept[-5:], array]
            if any((one != me).any() for one in kept):
                failures.append(me)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(me,)) for me in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
