"""What is the same for all exchanges between neighbours that a function makes again and again: see `_halo`, `_entries`.

Ranks that share a node know one that has been made before by their tokens; any other is asked about first.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ._calls import located
from .engine import neighbours
from .engine.channel import Channel, abandon
from .engine.requests import MISSED, run


class Exchange:
    """One exchange, as this rank knows it; `key` tells it from others on this rank.

    Attributes
    ----------
    way     What moves the data, from its buffer `sent` into `received`.
    is_here : bool     Whether the buffers are in memory that the ranks share.
    """

    def __init__(
        self,
        channel: Channel,
        function: str,
        key: tuple,
        sends: Mapping[int, neighbours.Block],
        receives: Mapping[int, neighbours.Block],
        longest: int,
    ) -> None:
        """`longest`: the bytes of the rank that sends most, the same on all."""
        self._channel, self._function, self._key = channel, function, key
        self._made: Any = None  # how it is known by the ranks' tokens
        here = None
        if channel.meeting is not None:
            from .engine.neighbours_here import make_neighbours_here  # where memory is shared numba has been started

            here = make_neighbours_here(channel, function, sends, receives, longest)
        self.is_here = here is not None
        self.way: Any = here or neighbours.Neighbours(channel, function, sends, receives)

    def note_agreement(self, claim: bytes) -> None:
        """All ranks have made this claim: the next time their tokens tell."""
        if self.is_here:
            from .engine.known import Made

            self.way.note_agreement(claim)
            self._made = Made(self._key, self.way, self.way.entry, None, None, None, False, False)

    def can_be_known(self) -> bool:
        """Whether the ranks may know it by their tokens, and nothing that was begun before has to come first."""
        return self._made is not None and not self._channel.unstarted

    def make_again(self, known: Any) -> bool:
        """Move what is in `sent` if all ranks make it, too: whether it was made."""
        made, sent, received = self._made, self.way.sent, self.way.received
        try:
            said = known.call(made.entry, sent, received, None)
            return not (said and known.go_on(said, made, sent, received) is MISSED)
        except BaseException:  # on this rank alone: whether the others have met it is not known
            self._channel.interrupt(self._function)
            abandon(sent, received)
            raise


def ask(channel: Channel, function: str, claim: bytes, fault: Exception | None) -> bytes | None:
    """The ranks' verdict on a call; None where it is not asked for. The caller has the turn."""
    if channel.is_checked:
        channel.count_call()
        return run(channel, function, channel.exchange(claim))
    if fault is not None:
        raise located(fault, channel)
    return None


def make_the_ordinary_way(
    channel: Channel,
    known: Any,
    function: str,
    key: tuple | None,
    claim: bytes,
    fault: Exception | None,
    conclude: Callable[[bytes | None], Any],
) -> Any:
    """Make a call from the beginning, or from where the ranks have met for one of this key; None: they cannot have."""
    if known is not None and key is not None and known.have_met_for(key):
        return known.take_up(function, claim, conclude)
    with channel.turn(function):
        return conclude(ask(channel, function, claim, fault))
