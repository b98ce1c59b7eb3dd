"""What reduce has of its own: a root. The rest is in `test_elementwise.py`."""

import oracle
from arrays import values
from oracle import check


def test_every_root(world):
    for root in range(world.size):
        xs = [values((root, rank), (2,), "i8") for rank in range(world.size)]
        check(world, oracle.reduction("reduce", xs, root=root), out="C")
