"""The private side of a communicator: its wires, whose turn it is, and what is still to be started."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from mpi4py import MPI

from .._errors import DcompError, RankFailedError, UsageError
from .._layout import format_ranks
from .._settings import Settings
from . import losses
from .choose import Rules
from .claims import Claims

if TYPE_CHECKING:
    from .._calls import Terms
    from .hierarchy import Levels
    from .mail import Mail
    from .meeting import Meeting
    from .messages import Message

#: What a step of communication yields while it waits: a function that is true when it has come.
Steps = Generator[Any, None, Any]

_NO_RULES = Rules()

_TURN = 5e-3  # seconds that compiled code may have the turn where it waits for no one

LONGEST_META = 16384  # bytes of a message's description that a receive is ready for

channels: "weakref.WeakValueDictionary[int, Channel]" = weakref.WeakValueDictionary()
#: Those with something to move on, where no thread does that.
unhelped: "weakref.WeakSet[Channel]" = weakref.WeakSet()


class Starting(Protocol):
    """A non-blocking call whose data is not under way yet."""

    def start_if_agreed(self) -> bool:
        """Move it on; true when its data is under way, or never will be. The caller has the turn."""


class Movable(Protocol):
    """A message under way."""

    def move(self) -> None:
        """Do what can be done for it. The caller has the turn."""


class Channel:
    """Two duplicates of a communicator, which no one else sends on.

    `sync` carries the agreement on calls and the pieces of large messages, `data` the arrays. Checks and
    arrays have a communicator each so that the check of a later call may be under way before the data of an
    earlier one: on either, all ranks keep the order of their calls.

    Making one is collective over `comm`.
    """

    def __init__(
        self, comm: MPI.Intracomm, name: str, settings: Settings, spins: int, meeting: Any = None, levels: Any = None,
        rules: Rules = _NO_RULES, make_claims: Callable[[MPI.Intracomm], Claims] = Claims,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.rules = rules
        self.meeting: Meeting | None = meeting
        self.mail: Mail | None = None  # messages in shared memory; None: they go through MPI
        self.longest_meta = LONGEST_META
        self.levels: Levels | None = levels
        # Where the ranks meet in shared memory they have to, check or no check, and comparing costs nothing.
        self.is_checked = settings.check == "collective" or meeting is not None
        self.spins = spins
        self.name = name
        self.rank, self.size = comm.rank, comm.size
        self.comm = comm
        self.sync, self.data = comm.Dup(), comm.Dup()
        for private in (self.sync, self.data):
            private.Set_errhandler(MPI.ERRORS_RETURN)
        self._calls = 0
        self.recoveries = 0  # calls among those that live, whatever has become of the communicator
        self.messages = 0  # large messages sent from here; their data is told apart by it
        self.exchanges = 0
        self.held: list[Message] = []  # messages that no one has asked for yet, or a wrong receive did not accept
        self.unstarted: deque[Starting] = deque()  # non-blocking calls, in order, whose data is not under way
        self.moving: dict[Movable, None] = {}  # messages under way, in order; large ones need two steps
        # The function whose data MPI is moving, and in which thread; another object each time.
        self.inside: tuple[str, int] | None = None
        self.terms: dict[tuple, Terms] = {}  # of the calls made here before
        self.helps = 0  # raised by the progress thread before and after its turns: odd while it has one
        self._turn = threading.Lock()  # whose it is; never given back once the channel is closed
        self._closed: tuple[str, type[DcompError]] | None = None
        self.lost: tuple[int, ...] | None = None  # the members that have died, as ranks of COMM_WORLD, once some have
        self.claims: Any = meeting or make_claims(self.sync)
        self.id = int.from_bytes(self.sync.bcast(os.urandom(7) if self.rank == 0 else None), "little")
        self.members = world_ranks(comm)
        channels[self.id] = self
        self.lose()

    def exchange(self, claim: bytes) -> Steps:
        """The least of every entry of all ranks' claims; steps."""
        yield self.claims.begin(claim)
        return self.claims.verdict

    @property
    def calls(self) -> int:
        """How many collective calls have begun here; a report compares it between ranks."""
        return (self._calls if self.meeting is None else self.meeting.calls) + self.recoveries

    def count_call(self) -> None:
        """A collective call begins; in shared memory the exchange itself counts."""
        self._calls += 1

    def turn(self, function: str) -> "_Turn":
        """``with channel.turn(function):`` has the turn; every public call takes it.

        An interrupt (Ctrl-C) in it closes the channel, for what the other ranks were told is not known.
        """
        return _Turn(self, function)

    def enter(self, function: str) -> None:
        """Take the turn.

        Raises
        ------
        UsageError     If the communicator cannot be used any more, or another thread is using it.
        """
        if not self._take_turn(0):
            self._wait_for_turn(function)

    def _take_turn(self, patience: float) -> bool:
        """Take the turn; where there is a meeting it has a turn of its own, for its quick calls take no lock."""
        if not (self._turn.acquire(timeout=patience) if patience else self._turn.acquire(False)):
            return False
        if self.meeting is None or self.meeting.take_turn():
            return True
        self._turn.release()
        return False

    def leave(self) -> None:
        """Give the turn back."""
        if self.is_open:
            if self.meeting is not None:
                self.meeting.give_turn()
            self._turn.release()

    def try_enter(self) -> bool:
        """Take the turn if it is free: for the progress thread, which must never hinder a call."""
        self.helps += 1
        if self._take_turn(0):
            return True
        self.helps += 1
        return False

    def leave_help(self) -> None:
        """Give back what `try_enter` took."""
        self.leave()
        self.helps += 1

    def make_progress(self) -> None:
        """Let MPI work on what this rank has sent: a peer that waits for it may be who this rank waits for."""
        self.sync.Iprobe()

    def help(self) -> None:
        """Move messages and rounds of plans on, if no one else has the turn."""
        if self.moving and self.try_enter():
            try:
                self.move_messages()
            finally:
                self.leave_help()

    def advance(self) -> None:
        """Start the data of as many non-blocking calls as have been agreed on; the caller has the turn."""
        unstarted = self.unstarted
        while unstarted:
            try:
                first = unstarted[0]
            except IndexError:  # a quick request is taken without the turn
                return
            if not first.start_if_agreed():
                return
            with suppress(ValueError):  # the same
                unstarted.remove(first)

    def move_messages(self) -> None:
        """Move messages on, whose data follows their header; the caller has the turn."""
        for request in list(self.moving):
            request.move()

    def _wait_for_turn(self, function: str) -> None:
        while self._closed is None:
            helps = self.helps
            if self._take_turn(1e-3):
                return
            if self.meeting is not None:
                time.sleep(1e-4)
            if helps == self.helps and helps % 2 == 0:  # it was not the progress thread
                raise UsageError(
                    f"{function}: another thread is in a call on {self.name} on rank {self.rank} of {self.size}. "
                    "Give every thread a communicator of its own: comm.dup()."
                )
        if self.lost is not None:
            raise self.failure(function)
        reason, kind = self._closed
        raise kind(f"{function}: {self.name} cannot be used any more on rank {self.rank} of {self.size}: {reason}.")

    @property
    def is_open(self) -> bool:
        """Whether calls can still be made."""
        return self._closed is None

    def interrupt(self, function: str, kind: type[DcompError] = UsageError) -> None:
        """Close the channel, if it is open, after an interrupt in `function`."""
        if self.is_open:
            self.close(f"{function} in it was interrupted, so the ranks are out of step", kind)

    def close(self, reason: str, kind: type[DcompError] = UsageError) -> None:
        """Make every later call raise `kind`; the caller has the turn, or no one ever will."""
        abandon(self.claims)  # an exchange may be under way, of which the others do not know that it has been left
        self._shut(reason, kind)

    def _shut(self, reason: str, kind: type[DcompError]) -> None:
        self._closed = (reason, kind)
        self._turn.acquire(False)
        if self.meeting is not None:
            self.meeting.take_turn()
        abandon(*self.moving)  # other ranks may still take part in them
        self.unstarted.clear()
        self.moving.clear()
        self.held.clear()
        if self.mail is not None:
            self.mail.posted.clear()

    def lose(self, *, in_thread: bool = False) -> None:
        """Make every call raise `RankFailedError`, also the one under way, if members have died."""
        dead = losses.lost.intersection(self.members)
        if dead:
            self._give_up(dead, in_thread)

    def _give_up(self, dead: Iterable[int], in_thread: bool) -> None:
        self.lost = tuple(sorted(dead))
        if self.is_open:
            self._shut("a rank of it has died", RankFailedError)
            end = time.monotonic() + _TURN
            while self.meeting is not None and time.monotonic() < end and not self.meeting.take_turn():
                time.sleep(1e-4)
        comms = [self.sync, self.data]
        if self.comm != MPI.COMM_WORLD:  # which is everyone's, also of those who know nothing of dcomp
            comms.append(self.comm)
        if self.levels is not None:
            comms += self.levels.comms
            if self.levels.node is not None:
                self.levels.node._give_up(dead, in_thread)
        losses.revoke(comms, in_thread=in_thread)

    def failure(self, function: str) -> RankFailedError:
        """What to raise in the place of the result when members have died."""
        self.lose()  # where another thread could not revoke
        ranks = self.lost or ()
        who = f"{format_ranks(ranks)} of {MPI.COMM_WORLD.size}" if ranks else "a rank"
        return RankFailedError(
            f"{function}: {who}, of {self.name}, {'have' if len(ranks) > 1 else 'has'} died. That communicator cannot "
            "be used any more; its shrink() makes one of those that live, and dc.recover makes a program go on in it.",
            ranks,
        )

    def explain(self, function: str, error: BaseException) -> BaseException:
        """The `RankFailedError` that an error of MPI stands for; any other error is itself."""
        if not losses.may_come_of_loss(error):
            return error
        if self.lost is None:
            # The channel of a node is given up for ranks of other nodes, too, and waits in vain for a name of its own.
            lose_ranks(losses.wait_for_names(self.sync, self.members, lambda: self.lost is not None), in_thread=False)
        if self.lost is None:
            if not self.sync.Is_revoked():
                return error
            self._give_up((), in_thread=False)
        return self.failure(function)

    def free(self) -> None:
        """Free the private communicators; collective. The caller has the turn."""
        if self.meeting is not None:
            self.sync.Barrier()  # until then a rank may be looking at this one's place
        self.claims.free()
        if self.levels is not None:
            self.levels.free()
        self.sync.Free()
        self.data.Free()
        self._shut("it has been freed", UsageError)


class _Turn:
    """The turn on a channel, as a context."""

    __slots__ = ("_channel", "_function")

    def __init__(self, channel: Channel, function: str) -> None:
        self._channel, self._function = channel, function

    def __enter__(self) -> None:
        self._channel.enter(self._function)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._fail(error)
        self._channel.leave()

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._channel.interrupt(self._function)
        known = self._channel.explain(self._function, error)
        if known is not error:
            raise known from None  # the turn is never given back: the channel is closed


def world_ranks(comm: MPI.Intracomm) -> tuple[int, ...]:
    """The ranks in MPI_COMM_WORLD of a communicator's members."""
    group, world = comm.Get_group(), MPI.COMM_WORLD.Get_group()
    ranks = tuple(MPI.Group.Translate_ranks(group, range(comm.size), world))
    group.Free()
    world.Free()
    return ranks


def _all_channels() -> list[Channel]:
    """Those that there are, whatever other threads make meanwhile."""
    return [channel for reference in channels.valuerefs() if (channel := reference()) is not None]


def make_room(own: Channel) -> None:
    """Take messages from ranks that wait for room to send more: it may be they that this rank waits for.

    The caller has the turn on its `own` channel.
    """
    for channel in _all_channels():
        if channel.mail is None or not channel.is_open or not channel.mail.is_pressed():
            continue
        if channel is own or channel.try_enter():
            try:
                channel.mail.sort()
            finally:
                if channel is not own:
                    channel.leave_help()


_abandoned: list[Any] = []


def abandon(*buffers: Any) -> None:
    """Keep the buffers of a call whose end this rank does not see: MPI or other ranks may still read and write them."""
    _abandoned.extend(buffers)


def close_all(reason: str) -> None:
    """Make all channels of this process unusable."""
    for channel in _all_channels():
        channel.close(reason)


def lose_ranks(ranks: Sequence[int], *, in_thread: bool = True) -> None:
    """These ranks of the job have died: every call on a communicator that has one raises, also those under way."""
    losses.learn(ranks)
    for channel in _all_channels():
        channel.lose(in_thread=in_thread)


def _after_fork() -> None:
    close_all("this process was forked from a rank and is none itself; MPI does not survive a fork")


os.register_at_fork(after_in_child=_after_fork)
