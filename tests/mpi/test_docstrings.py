"""The examples in the docstrings of the collectives, run.

An example is a line ``rank 0 [1 2], rank 1 [3 4]  ->  both [4 6]``: what the two ranks pass, and what they get.
"""

import inspect
import re

import numpy as np
import pytest
from parallel import together

import dcomp as dc
from dcomp._collectives import Collectives

_ARROW = re.compile(r"^\s*(rank 0 .*?)  ->  (.*?)\s*$", re.MULTILINE)
_FREE = -1  # for ".", a ghost cell that has no value yet


def parse_value(text: str):
    """`[1 2]` as an array, `None`, or `{1: [1 2]}` as a dict of arrays."""
    if text == "None":
        return None
    if text.startswith("{"):
        pairs = re.findall(r"(\d+): (\[[^\]]*\])", text)
        return {int(rank): parse_value(array) for rank, array in pairs}
    return np.array([_FREE if word == "." else int(word) for word in text.strip("[]").split()])


def parse_ranks(text: str) -> list:
    """What rank 0 and rank 1 have."""
    if text.startswith("both "):
        return [parse_value(text.removeprefix("both "))] * 2
    told = re.fullmatch(r"rank 0 (.*), rank 1 (.*)", text)
    assert told is not None, f"not an example: {text!r}"
    return [parse_value(part) for part in told.groups()]


def examples(owner: type, names: list[str]) -> list[tuple[str, str, str]]:
    """Method, what is passed and what comes out, of every example in the docstrings of `names`."""
    return [
        (name, passed, result)
        for name in names
        for passed, result in _ARROW.findall(inspect.getdoc(getattr(owner, name)) or "")
    ]


BLOCKING = [name for name, member in vars(Collectives).items() if inspect.isfunction(member)]
EXAMPLES = [*examples(Collectives, BLOCKING), *examples(dc.Communicator, ["exchange"])]

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(dc.size != 2, reason="the examples are of two ranks"),
]


def same(result, expected) -> bool:
    if isinstance(expected, dict):
        return result.keys() == expected.keys() and all(same(result[key], expected[key]) for key in expected)
    if expected is None:
        return result is None
    return isinstance(result, np.ndarray) and result.dtype == expected.dtype and np.array_equal(result, expected)


def test_all_have_one():
    assert {name for name, *_ in EXAMPLES} == {*BLOCKING, "exchange"} - {"barrier"}


@pytest.mark.parametrize(("name", "passed", "result"), EXAMPLES)
def test_example(name, passed, result):
    mine, expected = parse_ranks(passed)[dc.rank], parse_ranks(result)[dc.rank]
    with together():
        assert same(getattr(dc.COMM_WORLD, name)(mine), expected)
    with together():
        assert same(getattr(dc, name)(mine), expected)


@pytest.mark.parametrize(("name", "passed", "result"), examples(dc.CartComm, ["halo"]))
def test_halo(name, passed, result):
    array, expected = parse_ranks(passed)[dc.rank], parse_ranks(result)[dc.rank]
    cart = dc.COMM_WORLD.cart(2)
    with together():
        cart.halo(array)
        assert same(array, expected)
    cart.free()
