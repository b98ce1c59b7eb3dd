"""More than 2**31 elements, really. Needs some 12 GB: ``mpirun -n 2 python -m pytest --with-mpi --big tests/mpi``."""

import numpy as np
import pytest
from parallel import together

pytestmark = [pytest.mark.big, pytest.mark.timeout(900)]

_N = 2**31 + 5


@pytest.fixture(autouse=True)
def two_ranks(world):
    if world.size != 2:
        pytest.skip("has memory for two ranks")


def _pattern(start: int, n: int) -> np.ndarray:
    """Bytes whose place can be told from their value, a few at a time."""
    return ((np.arange(start, start + n, dtype=np.int64) * 2654435761) >> 13).astype(np.uint8)


def _is_right(x: np.ndarray, places: list[int]) -> bool:
    return all(np.array_equal(x[at : at + 1000], _pattern(at, min(1000, x.size - at))) for at in places if at < x.size)


_PLACES = [0, 2**30 - 500, 2**31 - 500, 2**31 - 5, 2**32 - 500, 2**32, _N - 1000]


def _make(n: int, places: list[int]) -> np.ndarray:
    x = np.zeros(n, np.uint8)
    for at in places:
        if at < n:
            x[at : at + 1000] = _pattern(at, min(1000, n - at))
    return x


def test_bcast(world):
    with together():
        x = _make(_N, _PLACES) if world.rank == 1 else None
        result = world.bcast(x, root=1)
        assert result.size == _N
        assert _is_right(result, _PLACES)


def test_allgather(world):
    """Each block is below the limit, their sum above."""
    half = 2**30 + 2**29
    with together():
        start = world.rank * half
        mine = np.zeros(half, np.uint8)
        for at in _PLACES:
            if start <= at < start + half - 1000:
                mine[at - start : at - start + 1000] = _pattern(at, 1000)
        result = world.allgather(mine)
        assert result.size == 2 * half
        inside = [at for at in _PLACES if any(r * half <= at < r * half + half - 1000 for r in range(2))]
        assert len(inside) >= 3
        assert _is_right(result, inside)


def test_allreduce(world):
    with together():
        x = np.zeros(_N, np.uint8)
        x[:: 2**20] = 1 + world.rank
        x[-1] = 7
        result = world.allreduce(x, out=x)
        assert (result[:: 2**20] == 3).all()
        assert result[-1] == 14
        assert result[1] == 0


def test_send(world):
    with together():
        if world.rank == 0:
            world.send(_make(_N, _PLACES), 1)
        else:
            assert _is_right(world.recv(0), _PLACES)
