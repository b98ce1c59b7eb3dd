"""How the ranks of one node carry out a collective through shared memory.

A `SharedRoute` holds the entry that the compiled functions of `kernels/exchange.py` work from: which bytes of whose
array go where. It keeps MPI's route beside it: for non-blocking and persistent calls, and for calls in which a rank
has no place in shared memory to receive. Where blocks are cut along another axis than the first, x is packed and the
result unpacked, as for MPI.
"""

from math import prod
from typing import Any

import numpy as np

from .._errors import UsageError
from .._layout import block_counts, displacements
from .._table import Shape
from ..kernels import exchange
from ..kernels import words as w
from . import mpi
from .channel import Channel, Steps, abandon
from .choose import NEVER, Rule
from .meeting import DATA, Meeting, layout_of, token_of
from .operations import fold_function
from .segment import address_of
from .waiting import wait

# Bytes of x in a small call: of blocks that are moved, and of arrays that are combined; and what one rank reads there.
_SMALL_MOVE, _SMALL_FOLD, _MOST_READ = 8192, 2048, 16384
_CHUNK = 65536  # bytes that one rank puts in for another at a time
_RING_SLOTS = 32  # at most; more would only be slower at first, for each is in pages of its own

_FOLD_RULES = {
    "allreduce": w.ALL, "reduce": w.AT_ROOT, "reduce_scatter": w.OWN, "scan": w.PREFIX, "exscan": w.BEFORE
}  # fmt: skip


class SharedRoute:
    """How one rank takes part in a collective among the ranks of a node.

    Attributes
    ----------
    entry : int              Address of what the compiled functions read.
    result_bytes : int       Of this rank's result.
    takes_any_out : bool     Whether an `out` in ordinary memory need not take a way through the heap.
    makes : bool             Whether this rank makes a new array for its result.
    sends_only : bool        Whether it is the root of bcast, whose result is x.
    is_plain : bool          Whether arrays in C order are used as they are.
    """

    def __init__(self, channel: Channel, meeting: Meeting, route: mpi.Route, entry: np.ndarray) -> None:
        self.channel, self.meeting, self.mpi = channel, meeting, route
        self.terms, self.shape, self.scalar, self.dtype = route.terms, route.shape, route.scalar, route.dtype
        self._entry = entry
        self.entry = address_of(entry)
        self.result_bytes = int(entry[w.Y_BYTES])
        self.is_small = bool(entry[w.IS_SMALL])
        rule = channel.rules.of(route.terms.row.name, route.terms.size)
        apply_rules(entry, rule)
        # Whether the others write into this rank's result, and have to.
        self._by_others = entry[w.KIND] == w.FOLD and entry[w.RULE] != w.OWN and not self.is_small
        self.takes_any_out = not self._by_others or self.result_bytes > rule.heap or route.identity is not None
        # How compiled functions know the result, and x: not before `recognise`.
        self._layout, self._x_layout = layout_of(self.shape or (), self.dtype), np.empty(0, np.int64)
        entry[w.DATA], entry[w.ARRAY_TYPE], entry[w.LAYOUT] = DATA, id(np.ndarray), address_of(self._layout)
        if route.identity is not None:  # then this rank receives nothing else
            self._identity = np.full(1, route.identity, route.native)
            entry[w.IDENTITY] = address_of(self._identity)
        self.x_dtype: np.dtype | None = None
        self.sends_only = self.terms.row.shape is Shape.BROADCAST and self.terms.is_root
        self.makes = self.shape is not None and not self.sends_only
        self.is_plain = not (route.axis or route.join or route.native != route.dtype)

    def bind(self, x: np.ndarray | None, out: np.ndarray | None) -> mpi.Transfer:
        """MPI's transfer, for calls that do not block."""
        return self.mpi.bind(x, out)

    def note_tokens(self) -> None:
        """The ranks have agreed on this call: the next time it is known by their tokens."""
        self._entry[w.EXPECTED] = self.meeting.combined

    def recognise(self, x: np.ndarray) -> None:
        """Have compiled functions take arrays of the shape and the very dtype of x for what this rank sends.

        Dtypes may be equal and not the same object; the last one is known. Layouts are written where they are, for
        compiled functions may look at them whatever interrupts this.
        """
        if self.x_dtype is None:
            self._x_layout = layout_of(x.shape, x.dtype)
            self._entry[w.X_LAYOUT] = address_of(self._x_layout)
        self._x_layout[0] = id(x.dtype)
        self.x_dtype = x.dtype

    def entry_for_plan(self) -> np.ndarray:
        """A copy of the entry for the rounds of a plan, which need no comparing, and go through shared memory alone."""
        return entry_for_rounds(self._entry, self.meeting)

    def can_be_received(self, y: np.ndarray | None) -> bool:
        """Whether what others write into this rank's result can reach y."""
        if y is None or not self._by_others or self.mpi.identity is not None or self.meeting.reaches_across:
            return True
        return self._is_shared(y)

    def run(self, x: np.ndarray | None, out: np.ndarray | None) -> Any:
        """Move the data of a blocking call on which the ranks have agreed, and return the result."""
        sent, received = self._begin(x, out)
        try:
            said = carry(self.channel, self.meeting, self.terms.function)
        except BaseException:
            abandon(sent, received)
            raise
        if said == w.COLLIDING:
            raise self.collision(self.meeting)
        return self.mpi.run(x, out) if said == w.ELSEWHERE else self._end(x, out, received)

    def collision(self, place: Meeting) -> ValueError:
        """What to raise after COLLIDING in the communicator's place or a plan's."""
        receiver, other, does = place.collision
        where = f"of {self.channel.size} on {self.channel.name}"
        return ValueError(
            f"{self.terms.function}: out must not overlap what another rank sends or receives; got an out on rank "
            f"{receiver} that shares memory with what rank {other} {does} ({where}). In a shared_array give every rank "
            "a part of its own, or use another array"
        )

    def move(self, x: np.ndarray | None, out: np.ndarray | None) -> Steps:
        """The same of a small non-blocking call; steps."""
        _, received = self._begin(x, out)
        said = w.WAITING

        def have_come() -> bool:
            nonlocal said
            said = exchange.glance(self.meeting.state)
            return said != w.WAITING

        yield have_come
        if said == w.COLLIDING:
            raise self.collision(self.meeting)
        return self._end(x, out, received)

    def _begin(self, x: np.ndarray | None, out: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Tell the others where this rank's arrays are, which are returned: what is sent, and what receives."""
        send = x
        if x is not None and not (self.is_plain and x.flags.c_contiguous):
            source = np.moveaxis(x, self.mpi.axis, 0) if self.mpi.axis else x
            send = np.ascontiguousarray(source, self.mpi.native)
            send = send.reshape(source.shape)
        received = self.place_for_result(x, out)
        self.note_tokens()
        told = received
        if self.sends_only and out is not None and out.flags.c_contiguous and self._is_shared(out):  # filled in the end
            told = out
        exchange.tell(self.entry, 0 if send is None else id(send), 0 if told is None else id(told))
        return send, received

    def _is_shared(self, array: np.ndarray) -> bool:
        return 0 <= address_of(array) - self.meeting.segment.base < self.meeting.segment.nbytes

    def _end(self, x: np.ndarray | None, out: np.ndarray | None, received: np.ndarray | None) -> Any:
        """The result."""
        return self.mpi.deliver(x if self.sends_only else received, out)

    def place_for_result(self, x: np.ndarray | None, out: np.ndarray | None) -> np.ndarray | None:
        """Where the result arrives: `out` itself where that can be, else a new array."""
        if not self.makes:
            return None
        route, segment = self.mpi, self.meeting.segment
        join, shape = route.join, self.shape or ()
        front = (shape[join], *shape[:join], *shape[join + 1 :]) if join else shape
        if out is not None and not join and route.native == out.dtype and out.flags.c_contiguous:
            # In place, a block that arrives may fall on what has not been sent.
            overlaps = out is x and self.terms.row.name in ("alltoall", "exscan")
            if not overlaps and (self.takes_any_out or self._is_shared(out)):
                return out
        if not self.is_small:
            result = segment.empty(front, route.native)
            if result is not None:
                return result
        return np.empty(front, route.native)


def carry(channel: Channel, meeting: Meeting, function: str) -> int:
    """Move the data to the end: DONE; ELSEWHERE, and no result is whole; COLLIDING, and nothing has been moved."""
    said = exchange.carry(meeting.state)
    if said == w.WORKING:

        def ended() -> bool:
            nonlocal said
            said = exchange.carry(meeting.state)
            if said != w.WORKING:
                return True
            channel.make_progress()
            return False

        wait(ended, channel, function)
    if said == w.SPOILED:
        raise spoiled(channel, function)
    return said


def spoiled(channel: Channel, function: str) -> UsageError:
    """What to raise after SPOILED; all ranks do."""
    channel.close(f"{function} in it has lost x")
    return UsageError(
        f"{function}: the system does not let other ranks write to the memory of out, as it did when the job started, "
        "and x is lost, which lay in the same array. Use an array in ordinary memory, or DCOMP_ENGINE=mpi."
    )


def share(channel: Channel, route: mpi.Route) -> SharedRoute | None:
    """The route through shared memory; None where the data goes through MPI. All ranks come to the same answer."""
    entry = _entry(route)
    if entry is None or channel.meeting is None:
        return None
    entry[w.OF_STATE], entry[w.TOKEN] = channel.meeting.state, token_of(route.terms.claim.packed)
    return SharedRoute(channel, channel.meeting, route, entry)


def _entry(route: mpi.Route) -> np.ndarray | None:
    """What the compiled functions read of a call; None if it is MPI's."""
    terms = route.terms
    size, kind = terms.size, terms.row.shape
    entry = np.zeros(w.ROWS + w.ROW * size, np.int64)
    rows = entry[w.ROWS :].reshape(size, w.ROW)
    item = max(route.native.itemsize, 1)
    entry[w.ITEM] = item
    if kind is Shape.NONE:
        entry[w.KIND], entry[w.IS_SMALL] = w.NOTHING, 1
        return entry
    lay = _lay_fold if terms.row.reduces else _lay_move
    lengths = lay(route, entry, rows)
    if lengths is None:
        return None
    longest, block = lengths
    if not lay_rings(entry, size, block):
        return None
    entry[w.X_BYTES] = 0 if terms.x_shape is None else prod(terms.x_shape) * item
    entry[w.Y_BYTES] = 0 if route.shape is None else prod(route.shape) * item
    from_one = entry[w.KIND] == w.MOVE and entry[w.RULE] == w.AT_ROOT
    if fits_slots(terms.row.name, int(entry[w.KIND]), longest, size):
        entry[w.IS_SMALL], entry[w.CHUNK] = 1, longest
        entry[w.PAYLOAD] = 0 if from_one and terms.rank != entry[w.ROOT] else entry[w.X_BYTES]
    return entry


def lay_rings(entry: np.ndarray, size: int, block: int) -> bool:
    """Say in what pieces blocks of at most so many bytes go through the rings; False: there is no room for two."""
    item = int(entry[w.ITEM])
    most = min(_CHUNK, (w.BLOCK - w.RING) // (4 * size))
    chunk = max(min(most, block) // item, 1) * item
    entry[w.ROOM] = room = -(-chunk // w.LINE) * w.LINE
    entry[w.RING_SLOTS] = slots = min((w.BLOCK - w.RING) // (room * size), _RING_SLOTS)
    entry[w.CHUNK], entry[w.ROUNDS] = chunk, max(-(-block // chunk), 1)
    return slots >= 2  # a chunk is put in while one is taken out


def apply_rules(entry: np.ndarray, rule: Rule) -> None:
    """Say from how many bytes on which way is taken."""
    entry[[w.ONCE, w.ONCE_FAR, w.BY_MPI, w.BY_MPI_FAR, w.ALONE]] = (
        rule.once, rule.once_far, rule.mpi, rule.mpi_far, rule.alone
    )  # fmt: skip


def entry_for_rounds(entry: np.ndarray, meeting: Meeting) -> np.ndarray:
    """A copy for the rounds of a plan, which need no comparing, and go through shared memory alone."""
    entry = entry.copy()
    entry[w.TOKEN] = entry[w.EXPECTED] = 0
    entry[[w.BY_MPI, w.BY_MPI_FAR]] = NEVER
    if not meeting.reaches_across:
        entry[[w.ONCE, w.ONCE_FAR]] = NEVER
    return entry


def place_bytes(entry: np.ndarray, size: int) -> int:
    """Of the place where the ranks meet for the rounds of a plan: there are few kinds, so that others use it again."""
    nbytes = w.RING
    while not entry[w.IS_SMALL] and nbytes < w.RING + int(entry[w.RING_SLOTS] * entry[w.ROOM]) * size:
        nbytes *= 4
    return nbytes


def fits_slots(name: str, kind: int, longest: int, size: int) -> bool:
    """Whether all ranks put their arrays, of `longest` bytes at most, where each takes from them what it needs."""
    if name == "bcast" and size > 4:  # a way with more steps would be a way through a ring
        return longest <= w.SLOT
    read = longest if name in ("bcast", "scatter", "alltoall", "reduce_scatter") else longest * size
    most = _SMALL_FOLD if kind == w.FOLD and name != "reduce_scatter" else _SMALL_MOVE
    return longest <= most and read <= _MOST_READ


def _lay_move(route: mpi.Route, entry: np.ndarray, rows: np.ndarray) -> tuple[int, int] | None:
    """bcast, scatter, gather, allgather and alltoall: blocks as they are.

    Bytes of the longest x, and of the longest block that goes from one rank to another; None: MPI's.
    """
    terms, agreed, name = route.terms, route.agreed, route.terms.row.name
    size, rank, root = terms.size, terms.rank, terms.root
    entry[w.KIND], entry[w.ROOT], entry[w.SAME] = w.MOVE, root, name in ("bcast", "allgather")
    item = route.dtype.itemsize
    if name == "bcast":
        total = prod(route.shape or ()) * item
        entry[w.RULE], entry[w.WEIGHT] = w.AT_ROOT, total
        rows[root, w.SENDS] = total
        rows[:, w.RECEIVES] = total
        if rank == root:
            rows[:, w.LENGTH] = total
            rows[root, w.LENGTH] = 0
        else:
            rows[root, w.ARRIVING] = total
        return total, total
    if name == "alltoall":
        if terms.axis != terms.concat_axis or not agreed.even or agreed.big:
            return None
        total = prod(terms.x_shape or ()) * item
        block = total // size
        entry[w.WEIGHT] = rows[:, w.SENDS] = rows[:, w.RECEIVES] = total
        rows[:, w.LENGTH] = rows[:, w.ARRIVING] = block
        rows[:, w.FROM] = rows[:, w.HERE] = np.arange(size) * block
        rows[:, w.TO] = rows[:, w.THERE] = rank * block
        return total, block
    # Blocks along an axis, of which every rank knows all lengths.
    like = route.shape if route.shape is not None else terms.x_shape or ()
    axis = terms.axis % len(like)
    step = prod(like[:axis]) * prod(like[axis + 1 :]) * item
    lengths = np.array(agreed.counts, np.int64) * step
    starts = np.array(displacements(agreed.counts), np.int64) * step
    total = entry[w.WEIGHT] = int(lengths.sum())
    if name == "scatter":
        entry[w.RULE] = w.AT_ROOT
        rows[root, w.SENDS], rows[:, w.RECEIVES] = total, lengths
        if rank == root:
            rows[:, w.LENGTH], rows[:, w.FROM] = lengths, starts
        rows[root, w.ARRIVING], rows[root, w.THERE] = lengths[rank], starts[rank]
        return total, int(lengths.max())
    rows[:, w.SENDS] = lengths
    rows[:, w.RECEIVES] = total  # on whoever does
    if name == "gather":
        entry[w.RULE] = w.TO_ROOT
        rows[root, w.LENGTH], rows[root, w.TO] = lengths[rank], starts[rank]
    else:
        entry[w.RULE] = w.ALL
        rows[:, w.LENGTH], rows[:, w.TO] = lengths[rank], starts[rank]
    if route.shape is not None:
        rows[:, w.ARRIVING], rows[:, w.HERE] = lengths, starts
    return int(lengths.max()), int(lengths.max())


def _lay_fold(route: mpi.Route, entry: np.ndarray, rows: np.ndarray) -> tuple[int, int] | None:
    """The reductions: each rank combines a slice. Bytes of x, and of the longest slice; None: MPI's."""
    terms, item = route.terms, max(route.native.itemsize, 1)
    total = prod(terms.x_shape or ()) * item
    if terms.row.name == "exscan" and terms.size == 2:  # combines nothing: the second gets what the first has
        entry[w.KIND], entry[w.RULE], entry[w.WEIGHT] = w.MOVE, w.AT_ROOT, total
        rows[:, w.SENDS] = rows[:, w.RECEIVES] = total
        rows[1 - terms.rank, w.LENGTH if terms.rank == 0 else w.ARRIVING] = total
        return total, total
    if terms.size == 1 and terms.row.name != "exscan":  # what one rank has is what all have
        entry[w.KIND], entry[w.RULE], entry[w.SAME], entry[w.WEIGHT] = w.MOVE, w.ALL, 1, total
        rows[0, [w.SENDS, w.RECEIVES, w.LENGTH, w.ARRIVING]] = total
        return total, total
    function = fold_function(terms.op, route.native)
    if function is None or item > w.PIECE:
        return None
    entry[w.KIND], entry[w.RULE], entry[w.ROOT] = w.FOLD, _FOLD_RULES[terms.row.name], terms.root
    entry[w.FUNCTION], entry[w.WEIGHT] = function, total
    if terms.size == 2 and terms.row.name in ("reduce", "scan") and total > _SMALL_FOLD:
        # Who gets the result combines all of it; rank 0 of scan has its own.
        lengths = np.zeros(2, np.int64)
        lengths[1 if terms.row.name == "scan" else terms.root] = total
        entry[w.RULE], entry[w.COPIES] = w.OWN, terms.row.name == "scan" and terms.rank == 0
        rows[:, w.RECEIVES] = total
    elif terms.row.shape is Shape.REDUCE_SPLIT:
        shape = terms.x_shape or (1,)
        step = prod(shape) // max(shape[terms.axis], 1) * item
        lengths = np.array(route.agreed.counts, np.int64) * step
        rows[:, w.FROM], rows[:, w.RECEIVES] = np.array(displacements(route.agreed.counts), np.int64) * step, lengths
    else:
        line = max(64 // item, 1)  # slices begin at cache lines
        elements = np.array(block_counts(-(-(total // item) // line), terms.size), np.int64) * line
        starts = np.minimum(np.array(displacements(tuple(elements)), np.int64), total // item)
        lengths = np.minimum(elements, total // item - starts) * item
        rows[:, w.FROM] = rows[:, w.TO] = starts * item
        rows[:, w.RECEIVES] = total
    rows[:, w.LENGTH], rows[:, w.SENDS] = lengths, total
    return total, int(lengths.max())
