"""A cache entry of other sources is one that cannot be read, whatever form it had."""

import pickle
from typing import NamedTuple

import pytest

from dcomp._njit import _stamp
from dcomp._njit._bridge import Bridge, Site


@pytest.mark.parametrize("contents", [(), ("content",), (_stamp.Stamped, "content"), (1, 2, 3)])
def test_entries_of_other_sources(contents):
    with pytest.raises(OSError, match="compiled by other"):
        _stamp._read("other", *contents)
    assert "other" in str(_stamp.revive_type("other", *contents))


def test_entries_of_these_sources():
    copy = pickle.loads(pickle.dumps(_stamp.Stamped(["content"])))
    assert type(copy) is _stamp.Stamped
    assert copy.content == ["content"]


class _Content(NamedTuple):
    one: int = 1


def test_contents_that_other_sources_had(monkeypatch):
    """They are not looked at: of what is told they may have less, or more, or another name."""
    with monkeypatch.context() as then:
        then.setattr(_stamp, "SOURCES", "other")
        told = pickle.dumps(_stamp.Stamped(_Content()))
    for now in (lambda: None, None):
        monkeypatch.setattr(f"{__name__}._Content", now)
        with pytest.raises(OSError, match="compiled by other"):
            pickle.loads(told)


class _SiteAsBefore:
    def __reduce__(self):
        return Site, ("program.py", 3, "step", "sum", ("x",), None, 1, None)


class _BridgeAsBefore:
    def __reduce__(self):
        return _stamp._read, ("other", Bridge, _SiteAsBefore())


def test_contents_that_were_not_pickled_by_themselves():
    """As landed versions wrote them: made before the stamp is compared, so their form must still be one."""
    with pytest.raises(OSError, match="compiled by other"):
        pickle.loads(pickle.dumps(_BridgeAsBefore()))
