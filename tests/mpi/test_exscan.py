"""What exscan has of its own: the identity on rank 0. The rest is in `test_elementwise.py`."""

import numpy as np
import oracle
import pytest
from arrays import assert_same, values
from oracle import FORMS, check
from parallel import together

import dcomp as dc

_GREATEST = np.iinfo(np.int64).max
_LEAST = np.iinfo(np.int64).min
_IDENTITIES = {
    "SUM": {"f8": 0, "?": False, "m8[s]": 0, "D": 0},
    "PROD": {"f8": 1, "i1": 1, "?": True},
    "MIN": {"f8": np.inf, ">f4": np.inf, "i2": 32767, "u1": 255, "?": True, "M8[s]": _GREATEST},
    "MAX": {"f8": -np.inf, "f2": -np.inf, "i2": -32768, "u1": 0, "?": False, "M8[s]": _LEAST + 1},
    "LAND": {"f8": 1, "i2": 1},
    "LOR": {"f8": 0, "i2": 0},
    "LXOR": {"i4": 0},
    "BAND": {"i2": -1, "u4": 2**32 - 1, "?": True},
    "BOR": {"i8": 0},
    "BXOR": {">u2": 0},
}


@pytest.mark.parametrize("name", _IDENTITIES)
def test_rank_0_gets_the_identity(world, name):
    for dtype, identity in _IDENTITIES[name].items():
        expected = np.full(2, identity, "i8" if dtype[0] == "M" else dtype).astype(dtype)
        with together():
            result = world.exscan(values(1, (2,), dtype), getattr(dc, name))
            if world.rank == 0:
                assert_same(result, expected)


@pytest.mark.parametrize("form", FORMS)
def test_rank_0_gets_the_identity_in_out(world, form):
    """Whatever was in out, and also when a plan is made again."""
    xs = [values((1, rank), (3,), "i4") for rank in range(world.size)]
    check(world, oracle.reduction("exscan", xs, dc.MAX, identity=np.iinfo("i4").min), form, out="C")


def test_offsets_of_blocks(world):
    """The usual use: where this rank's elements start."""
    with together():
        assert world.exscan(world.rank + 1) == sum(range(1, world.rank + 1))
