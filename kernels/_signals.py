"""How the ranks of a node find each other: lines, flags, short waits, and how to write into another's memory."""

from . import words as w
from ._jit import jit
from ._memory import (
    copy,
    copy_requested,
    copy_streamed,
    cycles,
    load,
    pause,
    peek,
    poke,
    process_vm_readv,
    process_vm_writev,
    sched_yield,
    store,
)
from .words import set_word, word

_FAR = 470  # cycles of a flag barrier of two ranks, from which on their cores share no cache
_PROBES = 12
_PATIENCE = 64  # short waits, together longer than a rank sleeps that waits for others
_SOONEST = 60  # cycles of a flag barrier, fewer than any cores take


@jit
def block_of(state, rank):
    """The address of a rank's control block."""
    return peek(word(state, w.BLOCKS) + 8 * rank)


@jit
def _line(state, index):
    """Where in a control block a copy of the line for the present call is."""
    return w.LINES + w.PAIR * index + (w.PAIR // 2) * (word(state, w.EPOCH) & 1)


@jit
def line_of(state, rank):
    """The address of a rank's line for the present call, as this rank reads it."""
    return block_of(state, rank) + _line(state, word(state, w.GROUP))


@jit
def has_come(state, address, value):
    """Whether a flag reaches a value, within a short wait."""
    if load(address) >= value:
        return True
    for _ in range(word(state, w.SPINS)):
        pause()
        if load(address) >= value:
            return True
    for _ in range(word(state, w.YIELDS)):
        sched_yield()
        if load(address) >= value:
            return True
    return False


@jit
def all_have_come(state, flag, value):
    """Whether all ranks' counters reach a value, within a short wait; AWAITED remembers who has not."""
    size, rank = word(state, w.SIZE), word(state, w.AWAITED)
    while rank < size:
        if not has_come(state, block_of(state, rank) + flag, value):
            set_word(state, w.AWAITED, rank)
            return False
        rank += 1
    set_word(state, w.AWAITED, 0)
    return True


@jit
def _own_line(state, index):
    """The address of a copy of this rank's line for the present call."""
    return block_of(state, word(state, w.RANK)) + _line(state, index)


@jit
def put_in_lines(state, x, nbytes):
    """Put x beside the flag of this rank's next `post_line`."""
    for index in range(word(state, w.GROUPS)):
        copy(_own_line(state, index) + 40, x, nbytes)


@jit
def post_line(state, token, x, y, expected):
    """Say that this rank is here, and where its arrays are if it is the `expected` call that the ranks make."""
    for index in range(word(state, w.GROUPS)):
        line = _own_line(state, index)
        poke(line + 8, token + word(state, w.AGE))  # so that COMBINED stays as it is until the next call
        poke(line + 16, x)
        poke(line + 24, y)
        poke(line + 32, expected)
        store(line, word(state, w.EPOCH))


@jit
def all_arrived(state):
    """Whether all ranks are here, within a short wait; then COMBINED tells their tokens."""
    if not all_have_come(state, _line(state, word(state, w.GROUP)), word(state, w.EPOCH)):
        return False
    combined = 0
    for other in range(word(state, w.SIZE)):
        combined = combined * 6364136223846793005 + peek(line_of(state, other) + 8)
    set_word(state, w.COMBINED, combined)
    return True


@jit
def offset_of(state, address):
    """Where an address lies in the segment; else a negative number: minus the address, or PRIVATE if it is 0."""
    offset = address - word(state, w.BASE)
    if 0 <= offset < word(state, w.SEGMENT):
        return offset
    return -address if address != 0 else w.PRIVATE


@jit
def payload_of(state, rank, nbytes):
    """Where a rank has put its x of a small call, of whose the longest has so many bytes."""
    if nbytes <= w.IN_LINE:
        return line_of(state, rank) + 40
    return block_of(state, rank) + w.SLOTS + w.SLOT * (word(state, w.EPOCH) & 1)


@jit
def row_of(entry, rank):
    return entry + 8 * (w.ROWS + w.ROW * rank)


@jit
def result_offset(state, entry, y):
    """What the others are told of a result: to one that is only filled they do not write, but they may send it."""
    if y == 0:
        return w.PRIVATE
    offset = offset_of(state, y)
    return w.PRIVATE if offset < 0 and word(entry, w.IDENTITY) else offset


@jit
def is_ordinary(offset):
    """Whether what a rank has told is an array in ordinary memory, at minus that address."""
    return offset < w.LATER


@jit
def told_at_once(state, rank):
    """Whether a rank knew on its arrival what call this is, and so where its arrays are."""
    line = line_of(state, rank)
    return peek(line + 16) != w.LATER and peek(line + 32) == word(state, w.COMBINED)


@jit
def has_told(state, rank):
    """Whether a rank has said where its arrays are."""
    late = block_of(state, rank) + w.LATE
    return told_at_once(state, rank) or has_come(state, late, word(state, w.EPOCH))


@jit
def x_offset(state, rank):
    told = line_of(state, rank) + 16 if told_at_once(state, rank) else block_of(state, rank) + w.LATE + 8
    return peek(told)


@jit
def y_offset(state, rank):
    told = line_of(state, rank) + 24 if told_at_once(state, rank) else block_of(state, rank) + w.LATE + 16
    return peek(told)


@jit
def how_to_write(state):
    """How to write to lines in another core's cache, as the last probe says; ranks that share cores share caches."""
    is_near = word(state, w.ROUND) < _FAR or word(state, w.SPINS) < 100
    return w.REQUEST if is_near else w.STREAM


@jit
def send(how, target, source, nbytes):
    """Write what leaves this core."""
    if how == w.STREAM:
        copy_streamed(target, source, nbytes)
    else:
        copy_requested(target, source, nbytes)


@jit
def reach(state, rank, address, other_address, nbytes, writes):
    """Copy from this rank's memory to another's own, or to this rank's, by way of the kernel; False if that fails."""
    if rank == word(state, w.RANK):
        copy(other_address if writes else address, address if writes else other_address, nbytes)
        return True
    here, there = state + 8 * w.VECTORS, state + 8 * w.VECTORS + 16  # address and length
    done = 0
    while done < nbytes:
        poke(here, address + done)
        poke(there, other_address + done)
        poke(here + 8, nbytes - done)
        poke(there + 8, nbytes - done)
        process = peek(word(state, w.PIDS) + 8 * rank)
        if writes:
            moved = process_vm_writev(process, here, 1, there, 1, 0)
        else:
            moved = process_vm_readv(process, here, 1, there, 1, 0)
        if moved <= 0:
            return False
        done += moved
    return True


@jit
def probe(state):
    """Time flag barriers with the rank half of all ranks away: whether the cores share a cache does not depend on how
    many ranks there are. All ranks meet in the first; without one who is late it ends itself.
    """
    rank, size = word(state, w.RANK), word(state, w.SIZE)
    mine, half = block_of(state, rank) + w.PROBE, (rank + size // 2) % size
    before = peek(mine)
    began = cycles()
    for turn in range(1, _PROBES + 1):
        if turn == 5:
            began = cycles()
        store(mine, before + turn)
        for other in range(size if turn == 1 else 1):
            if turn > 1:
                other = half
            flag, patience = block_of(state, other) + w.PROBE, _PATIENCE if turn == 1 else 1
            while patience > 0 and not has_come(state, flag, before + turn):
                patience -= 1
            if patience == 0:
                store(mine, before + _PROBES)
                return
    taken = (cycles() - began) // (_PROBES - 4)
    if taken < _SOONEST:  # the others have given up, and their flags were there already
        return
    set_word(state, w.ROUND, taken)
    poke(mine + 8, taken)


@jit
def are_far(state):
    """Whether the ranks' cores share no cache, as rank 0 found: the same answer on all ranks in one call.

    Rank 0 changes it only when all have asked: a probe comes to its end when all ranks take part, at a call's end.
    """
    return peek(block_of(state, 0) + w.PROBE + 8) >= _FAR
