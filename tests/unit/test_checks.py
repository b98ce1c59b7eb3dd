"""Claims and verdicts: what the smallest of every entry over the ranks tells."""

import hashlib

import numpy as np
import pytest

from dcomp._checks import (
    BYTES,
    FAULTY,
    SIZE,
    asked_again,
    dtype_text,
    fingerprint,
    is_agreed,
    judge,
    lengths,
    normalise_axis,
    normalise_counts,
    normalise_rank,
    pack,
    simple_claim,
)
from dcomp._table import ALLGATHER, ALLREDUCE, ALLTOALL, SCATTER


def _verdict(*claims: bytes) -> bytes:
    return np.min([np.frombuffer(one, np.int64) for one in claims], axis=0).tobytes()


def test_a_claim_has_its_size():
    assert len(pack()) == len(FAULTY) == BYTES == 8 * SIZE


def test_fingerprints():
    assert fingerprint("a") == fingerprint("a") != fingerprint("b")
    assert all(0 < fingerprint(str(i)) < 2**63 for i in range(100))
    # In every process and with every hash seed.
    assert fingerprint("allreduce") == 1 + int.from_bytes(bytes.fromhex(_BLAKE), "little") % 2**62


_BLAKE = hashlib.blake2b(b"allreduce", digest_size=8).hexdigest()


def test_equal_calls_agree():
    one = pack(fingerprint("a"), layout=fingerprint("x"))
    assert is_agreed(_verdict(one, one, one))
    assert judge(ALLREDUCE, 3, 0, _verdict(one, one, one)) is None


@pytest.mark.parametrize("where", [0, 1, 2])
def test_one_other_call(where):
    claims = [pack(fingerprint("a"))] * 3
    claims[where] = pack(fingerprint("b"))
    assert not is_agreed(_verdict(*claims))
    assert judge(ALLREDUCE, 3, 0, _verdict(*claims)) == "call"


@pytest.mark.parametrize("where", [0, 1, 2])
def test_one_fault(where):
    claims = [pack(fingerprint("a"))] * 3
    claims[where] = FAULTY
    assert not is_agreed(_verdict(*claims))
    assert judge(ALLREDUCE, 3, 0, _verdict(*claims)) == "call"


def test_all_faults():
    assert not is_agreed(_verdict(FAULTY, FAULTY))
    assert judge(ALLREDUCE, 2, 0, _verdict(FAULTY, FAULTY)) == "call"


@pytest.mark.parametrize("where", [0, 1])
def test_layouts_differ(where):
    claims = [pack(1, layout=5), pack(1, layout=5), pack(1, layout=5)]
    claims[where] = pack(1, layout=6)
    assert judge(ALLREDUCE, 3, 0, _verdict(*claims)) == "layout"


def test_who_has_nothing_to_say_agrees_with_all():
    claims = [pack(1, layout=5), pack(1), pack(1)]
    assert judge(ALLREDUCE, 3, 0, _verdict(*claims)) is None


def test_lengths():
    verdict = _verdict(pack(1, a=(3, 3)), pack(1, a=(7, 7)), pack(1, a=(5, 5)))
    assert tuple(lengths(verdict, 4)) == (3, 7)
    assert not lengths(verdict, 4).even
    assert lengths(_verdict(pack(1, a=(3, 3)), pack(1, a=(3, 3))), 4).even


def test_out_of_allgather():
    def claims(*outs):
        return _verdict(*(pack(1, layout=2, a=(4, 4), b=None if n is None else (n, n)) for n in outs))

    assert judge(ALLGATHER, 3, 0, claims(12, None, 12)) is None
    assert judge(ALLGATHER, 3, 0, claims(None, None, None)) is None
    assert judge(ALLGATHER, 3, 0, claims(12, 11, 12)) == "out"
    assert judge(ALLGATHER, 3, 0, claims(11, None, None)) == "out"


def test_lengths_of_alltoall_along_two_axes():
    same = [pack(1, layout=2, a=(4, 4), b=(n, n)) for n in (1, 2, 3)]
    assert judge(ALLTOALL, 3, 0, _verdict(*same)) is None
    other = [pack(1, layout=2, a=(n, n), b=(1, 1)) for n in (4, 5, 4)]
    assert judge(ALLTOALL, 3, 0, _verdict(*other)) == "length"
    one_axis = [pack(1, layout=2, a=(n, n)) for n in (4, 5, 4)]
    assert judge(ALLTOALL, 3, 0, _verdict(*one_axis)) is None


def test_counts_of_scatter():
    claims = [pack(1, b=(5, 5)), pack(1), pack(1, b=(6, 6))]
    assert judge(SCATTER, 3, 0, _verdict(*claims)) == "counts"


def test_asked_again():
    assert not asked_again(_verdict(pack(1), pack(1)))
    assert asked_again(_verdict(pack(1), pack(1, again=True), pack(1)))


def test_simple_claims():
    assert simple_claim("dup").packed == simple_claim("dup").packed
    assert simple_claim("dup").packed != simple_claim("free").packed
    assert simple_claim("cart", dims=(1, 2)).packed != simple_claim("cart", dims=(2, 1)).packed
    assert simple_claim("cart", dims=(1, 2), periods=None).facts == (("dims", "(1, 2)"),)


_DISTINCT = [
    "f8", "f4", ">f8", "i8", "u8", "m8[s]", "m8[ms]", "M8[s]", ">M8[s]", "?", "i1", "u1", "V1", "V2", "D", ">c16",
    [("a", "f8")], [("b", "f8")], [("a", "f4"), ("b", "f4")], [("a", "f8", (1,))], [("a", "f8", (2,))],
    [("a", [("b", "f8")])],
    {"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [0, 4], "itemsize": 8},
    {"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [0, 4], "itemsize": 5},
    {"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [0, 5], "itemsize": 8},
    {"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [4, 1], "itemsize": 8},
    {"names": ["a", "b"], "formats": ["i4", "u4"], "offsets": [0, 0], "itemsize": 4},
    {"names": ["a"], "formats": ["i4"], "offsets": [0], "itemsize": 4, "titles": ["A"]},
]  # fmt: skip


def test_dtypes_are_told_apart():
    texts = [dtype_text(np.dtype(one)) for one in _DISTINCT]
    assert len(set(texts)) == len(texts)


def test_equal_dtypes_are_told_alike():
    assert dtype_text(np.dtype("f8")) == dtype_text(np.dtype("<f8" if np.little_endian else ">f8")) == "float64"
    assert dtype_text(np.dtype("l")) == dtype_text(np.dtype("q"))


@pytest.mark.parametrize(("axis", "ndim", "index"), [(0, 1, 0), (-1, 3, 2), (np.int8(1), 2, 1), (-3, 3, 0)])
def test_axis(axis, ndim, index):
    assert normalise_axis(axis, ndim, "gather") == index


@pytest.mark.parametrize(("axis", "ndim"), [(1, 1), (-2, 1), (0, 0), (5, 3)])
def test_axis_outside(axis, ndim):
    with pytest.raises(ValueError, match=rf"gather: axis must lie in the array's {ndim} dimension.*; got {axis}"):
        normalise_axis(axis, ndim, "gather")


@pytest.mark.parametrize("axis", [1.0, "a", None, [0], np.array([0]), np.float64(0)])
def test_axis_no_integer(axis):
    with pytest.raises(TypeError, match="gather: axis must be an integer"):
        normalise_axis(axis, 2, "gather")


@pytest.mark.parametrize("rank", [-1, 4, 2**70])
def test_rank_outside(rank):
    with pytest.raises(ValueError, match=f"send: dest must be a rank from 0 to 3; got {rank}"):
        normalise_rank(rank, 4, "send", "dest")


@pytest.mark.parametrize("rank", [1.0, "a", None, np.array([0])])
def test_rank_no_integer(rank):
    with pytest.raises(TypeError, match="send: dest must be an integer"):
        normalise_rank(rank, 4, "send", "dest")


def test_counts():
    assert normalise_counts([1, 2, 0], 3, 3, "scatter") == (1, 2, 0)
    assert normalise_counts(np.array([1, 2], "u1"), 2, None, "scatter") == (1, 2)
    assert all(type(n) is int for n in normalise_counts(np.array([1, 2], "i2"), 2, 3, "scatter"))
    assert normalise_counts((2**40, 0), 2, 2**40, "scatter") == (2**40, 0)


@pytest.mark.parametrize("counts", [[1, 2], [1, 2, 3, 4], 3, [[1, 2, 3]], [1.0, 2.0, 3.0], "abc", None, [None] * 3, []])
def test_counts_that_are_no_counts(counts):
    with pytest.raises((ValueError, TypeError), match="scatter: counts must be 3 integers, one for each rank"):
        normalise_counts(counts, 3, None, "scatter")


def test_bad_counts():
    with pytest.raises(ValueError, match="scatter: counts must not be negative; got \\[2, -1\\]"):
        normalise_counts([2, -1], 2, 1, "scatter")
    with pytest.raises(ValueError, match="scatter: counts must add up to the length of the axis, 5; .*which is 3"):
        normalise_counts([2, 1], 2, 5, "scatter")
    with pytest.raises((ValueError, TypeError), match="counts must be 2 integers"):
        normalise_counts([[1], [1, 2]], 2, None, "scatter")
    with pytest.raises((ValueError, TypeError), match="counts must be 2 integers"):
        normalise_counts([True, False], 2, 1, "scatter")
