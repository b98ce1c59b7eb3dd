"""The ranks of a node meet in shared memory: arrival, the comparison of calls, and the motion of data.

All ranks have one segment mapped, each at an address of its own; places in it are told as offsets. Every rank has
a control block in it, which it alone writes:

======== ==============================================================================================
0, 128   the rank's line for even and odd calls: number of the call, token of what is called, offsets of x
         and of the result, the tokens it expects, and up to 88 bytes of x
256, 384 its claim, read where tokens differ from those seen before
512      number of the call, offsets of x and of the result: from a rank that could not tell them on arrival
640      how many chunks it has put into its ring, over all calls
768      how many it has finished
896      rounds of the probe
4096     slots for x up to `SLOT` bytes, for even and odd calls
`RING`   chunks of x on their way to the ranks that combine them
======== ==============================================================================================

A call is a barrier to begin with: so no rank can be two calls ahead of another, and two lines and slots per rank
suffice. Every wait in here is short: a function that cannot go on says so and is called again, with all that it has
done in the state; whoever calls it looks after signals, deadlines and MPI meanwhile.

Results are pushed: the rank that has a block, or has combined one, writes it to where it belongs. What leaves a
core is written past the caches (`copy_streamed`) where the cores share none, or after its lines were asked for
(`copy_requested`) where they do; plain stores to lines in another core's cache take several times as long.
"""

from numba import int64

from ._jit import jit, jit_briefly
from ._memory import (
    combine, copy, copy_requested, copy_streamed, cycles, load, pause, peek, peek32, poke, sched_yield, store,
)  # fmt: skip

# The control block; offsets in bytes.
LINE, CLAIM, LATE, COPIED, FINISHED, PROBE, SLOTS, RING = 0, 256, 512, 640, 768, 896, 4096, 65536
IN_LINE = 88  # bytes of x beside the flag
SLOT = 16384
BLOCK = 4 << 20  # bytes of a control block, the ring included

# The state: this rank's side of a meeting place; int64 each.
(
    BASE, RANK, SIZE, EPOCH, COMBINED, SPINS, YIELDS, BLOCKS, SEGMENT, CHUNKS, ROUND, SINCE, SCRATCH,
    ENTRY, X, Y, PHASE, PUT, TAKEN, DIRECT, HOW, AWAITED, BUSY,
) = range(23)  # fmt: skip
STATE = 32

# The entry: how a call is carried out; int64 each. A row per rank follows.
TOKEN, EXPECTED, KIND, IS_SMALL, PAYLOAD, FUNCTION, ITEM, RULE, ROOT, CHUNK, ROUNDS, WEIGHT, X_BYTES, Y_BYTES, OF_STATE, DATA = range(16)
ROWS, ROW = 16, 6
# Of a row of MOVE: what goes to that rank, and what comes from it. Of FOLD: where the rank's slice lies.
FROM, LENGTH, TO, THERE, ARRIVING, HERE = range(6)

NOTHING, MOVE, FOLD = range(3)  # kinds
ALL, AT_ROOT, OWN, PREFIX, BEFORE = range(5)  # rules: who gets what of a combination

REQUEST, STREAM = range(2)  # ways to write what leaves the core
PRIVATE, LATER, NOWHERE = -1, -2, -3  # instead of an offset
DONE, WAITING, UNKNOWN, WORKING, ELSEWHERE, REFUSED = range(6)  # what the functions say

_CONTIGUOUS = 1  # in an array's flags
_IN_ORDER = 1 | 1024  # and writeable
_FAR = 350  # cycles of a flag barrier, from which on the cores share no cache
_BRIEF = 256 << 10  # bytes of a call that is not worth giving the GIL away
_STREAMED = 16 << 20  # bytes of a call that do not fit any cache
_PROBE_EVERY = 64 << 20
_PROBES = 12
PIECE = 8192  # bytes combined at a time: a few of them fit the first cache


@jit
def _line(state, rank):
    """The address of a rank's line for the present call."""
    return peek(peek(state + 8 * BLOCKS) + 8 * rank) + LINE + 128 * (peek(state + 8 * EPOCH) & 1)


@jit
def _block(state, rank):
    return peek(peek(state + 8 * BLOCKS) + 8 * rank)


@jit
def _has_come(state, address, value):
    """Whether a flag reaches a value, within a short wait."""
    if load(address) >= value:
        return True
    for _ in range(peek(state + 8 * SPINS)):
        pause()
        if load(address) >= value:
            return True
    for _ in range(peek(state + 8 * YIELDS)):
        sched_yield()
        if load(address) >= value:
            return True
    return False


@jit
def _all_have_come(state, flag, value):
    """Whether all ranks' counters reach a value, within a short wait; TAKEN remembers who has."""
    size, rank = peek(state + 8 * SIZE), peek(state + 8 * AWAITED)
    while rank < size:
        if not _has_come(state, _block(state, rank) + flag, value):
            poke(state + 8 * AWAITED, rank)
            return False
        rank += 1
    poke(state + 8 * AWAITED, 0)
    return True


@jit
def _post(state, token, x, y, expected):
    """Say that this rank is here, and where its arrays are if it is the `expected` call that the ranks make."""
    rank = peek(state + 8 * RANK)
    line = _line(state, rank)
    poke(line + 8, token)
    poke(line + 16, x)
    poke(line + 24, y)
    poke(line + 32, expected)
    store(line, peek(state + 8 * EPOCH))


@jit
def _arrived(state):
    """Whether all ranks are here, within a short wait; then COMBINED tells their tokens."""
    size, epoch, rank = peek(state + 8 * SIZE), peek(state + 8 * EPOCH), peek(state + 8 * AWAITED)
    while rank < size:
        if not _has_come(state, _line(state, rank), epoch):
            poke(state + 8 * AWAITED, rank)
            return False
        rank += 1
    poke(state + 8 * AWAITED, 0)
    combined = 0
    for other in range(size):
        combined = combined * 6364136223846793005 + peek(_line(state, other) + 8)
    poke(state + 8 * COMBINED, combined)
    return True


@jit
def _offset(state, address):
    """Where an address lies in the segment; PRIVATE if it does not."""
    offset = address - peek(state + 8 * BASE)
    return offset if 0 <= offset < peek(state + 8 * SEGMENT) else PRIVATE


@jit
def _deposit(state, entry, x):
    """Put x, or the first chunk of it, where the others find it; nobody has to be here for that."""
    rank = peek(state + 8 * RANK)
    if peek(entry + 8 * IS_SMALL):
        longest, nbytes = peek(entry + 8 * CHUNK), peek(entry + 8 * PAYLOAD)
        if longest <= IN_LINE:
            copy(_payload(state, rank, longest), x, nbytes)
        else:
            _send(_how(state), _payload(state, rank, longest), x, nbytes)
    elif peek(entry + 8 * KIND) == FOLD and _offset(state, x) == PRIVATE:
        _put_in(state, entry, x, 0)


@jit
def _payload(state, rank, nbytes):
    if nbytes <= IN_LINE:
        return _line(state, rank) + 40
    return _block(state, rank) + SLOTS + SLOT * (peek(state + 8 * EPOCH) & 1)


@jit
def _row(entry, rank):
    return entry + 8 * (ROWS + ROW * rank)


@jit
def _begin(state, entry, x, y):
    poke(state + 8 * ENTRY, entry)
    poke(state + 8 * X, x)
    poke(state + 8 * Y, y)
    poke(state + 8 * PHASE, 0)


@jit
def _result_offset(state, y):
    if y == 0:
        return PRIVATE
    offset = _offset(state, y)
    return offset if offset >= 0 else NOWHERE


@jit
def _carry(state):
    """Move the data of a call on which the ranks agree: DONE; WORKING, and call again; ELSEWHERE: it is MPI's,
    since a rank has nowhere in the segment to receive.
    """
    entry = peek(state + 8 * ENTRY)
    if peek(entry + 8 * IS_SMALL):
        return _carry_small(state)
    if peek(state + 8 * PHASE) == 0:
        said = _look_around(state, entry)
        if said != DONE:
            return said
    if peek(state + 8 * PHASE) == 1:
        if peek(entry + 8 * KIND) == MOVE:
            _move(state, entry)
        elif not _fold(state, entry):
            return WORKING
        poke(state + 8 * PHASE, 2)
    rounds = peek(state + 8 * CHUNKS) + peek(state + 8 * TAKEN)
    if not _all_have_come(state, FINISHED, rounds):
        return WORKING
    store(_block(state, peek(state + 8 * RANK)) + COPIED, rounds)
    poke(state + 8 * CHUNKS, rounds)
    since = peek(state + 8 * SINCE) + peek(entry + 8 * WEIGHT)
    if since >= _PROBE_EVERY and peek(state + 8 * SPINS) >= 100:
        since = 0
        _probe(state)
    poke(state + 8 * SINCE, since)
    return DONE


@jit
def _told_at_once(state, rank):
    """Whether a rank knew on its arrival what call this is, and so where its arrays are."""
    line = _line(state, rank)
    return peek(line + 16) != LATER and peek(line + 32) == peek(state + 8 * COMBINED)


@jit
def _has_told(state, rank):
    """Whether a rank has said where its arrays are."""
    late = _block(state, rank) + LATE
    return _told_at_once(state, rank) or _has_come(state, late, peek(state + 8 * EPOCH))


@jit
def _x_offset(state, rank):
    told = _line(state, rank) + 16 if _told_at_once(state, rank) else _block(state, rank) + LATE + 8
    return peek(told)


@jit
def _y_offset(state, rank):
    told = _line(state, rank) + 24 if _told_at_once(state, rank) else _block(state, rank) + LATE + 16
    return peek(told)


@jit
def _carry_small(state):
    """Every rank takes what it needs from the slots of the others."""
    size, rank = peek(state + 8 * SIZE), peek(state + 8 * RANK)
    entry, y = peek(state + 8 * ENTRY), peek(state + 8 * Y)
    kind = peek(entry + 8 * KIND)
    if kind == NOTHING:
        return DONE
    for other in range(size):
        if not _has_told(state, other):
            return WORKING
    if y == 0:
        return DONE
    longest = peek(entry + 8 * CHUNK)  # of all payloads: all ranks put theirs in the same kind of place
    if kind == MOVE:
        for other in range(size):
            row = _row(entry, other)
            length = peek(row + 8 * ARRIVING)
            if length:
                copy(y + peek(row + 8 * HERE), _payload(state, other, longest) + peek(row + 8 * THERE), length)
        return DONE
    rule, nbytes, item = peek(entry + 8 * RULE), peek(entry + 8 * PAYLOAD), peek(entry + 8 * ITEM)
    last, start, length = size, 0, nbytes
    if rule == OWN:
        start, length = peek(_row(entry, rank) + 8 * FROM), peek(_row(entry, rank) + 8 * LENGTH)
    elif rule == PREFIX:
        last = rank + 1
    elif rule == BEFORE:
        last = rank
    function = peek(entry + 8 * FUNCTION)
    if last == 1:
        copy(y, _payload(state, 0, nbytes) + start, length)
    elif last > 1:
        first, second = _payload(state, 0, nbytes) + start, _payload(state, 1, nbytes) + start
        combine(function, y, first, second, length // item)
        for other in range(2, last):
            combine(function, y, y, _payload(state, other, nbytes) + start, length // item)
    return DONE


@jit
def _look_around(state, entry):
    """When all have said where their arrays are: decide how the data goes."""
    size, kind = peek(state + 8 * SIZE), peek(entry + 8 * KIND)
    for other in range(size):
        if not _has_told(state, other):
            return WORKING
    direct = 1
    for other in range(size):
        if _y_offset(state, other) == NOWHERE:
            return ELSEWHERE
        if _x_offset(state, other) == PRIVATE:
            direct = 0
    how = _how(state)
    poke(state + 8 * DIRECT, direct)
    poke(state + 8 * HOW, STREAM if peek(entry + 8 * WEIGHT) >= _STREAMED else how)
    poke(state + 8 * PUT, 1)
    poke(state + 8 * TAKEN, 0)
    poke(state + 8 * PHASE, 1)
    return DONE


@jit
def _how(state):
    """How to write to lines in another core's cache, as the last probe says; ranks that share cores share caches."""
    is_near = peek(state + 8 * ROUND) < _FAR or peek(state + 8 * SPINS) < 100
    return REQUEST if is_near else STREAM


@jit
def _send(how, target, source, nbytes):
    """Write what leaves this core."""
    if how == STREAM:
        copy_streamed(target, source, nbytes)
    else:
        copy_requested(target, source, nbytes)


@jit
def _move(state, entry):
    """Blocks go from x into the results of the ranks; a root's x in the segment is read by those who want it."""
    size, rank, base = peek(state + 8 * SIZE), peek(state + 8 * RANK), peek(state + 8 * BASE)
    x, y, how = peek(state + 8 * X), peek(state + 8 * Y), peek(state + 8 * HOW)
    one_to_many = peek(entry + 8 * RULE) == AT_ROOT
    for step in range(size):
        other = (rank + step) % size
        row = _row(entry, other)
        length = peek(row + 8 * LENGTH)
        if other == rank:
            if length and y != 0:
                source, target = x + peek(row + 8 * FROM), y + peek(row + 8 * HERE)
                if source != target:
                    copy(target, source, length)
            continue
        if length and not (one_to_many and _x_offset(state, rank) >= 0):
            _send(how, base + _y_offset(state, other) + peek(row + 8 * TO), x + peek(row + 8 * FROM), length)
        length = peek(row + 8 * ARRIVING)
        if length and one_to_many and _x_offset(state, other) >= 0:
            copy(y + peek(row + 8 * HERE), base + _x_offset(state, other) + peek(row + 8 * THERE), length)
    poke(state + 8 * TAKEN, 1)
    store(_block(state, rank) + FINISHED, peek(state + 8 * CHUNKS) + 1)


@jit
def _ring_slot(state, entry, rank, chunk, dest):
    """Where a rank puts a chunk of x for another rank."""
    size, room = peek(state + 8 * SIZE), (peek(entry + 8 * CHUNK) + 4095) & ~4095
    slots = (BLOCK - RING) // (room * size)
    index = (peek(state + 8 * CHUNKS) + chunk) % slots
    return _block(state, rank) + RING + (index * size + dest) * room


@jit
def _put_in(state, entry, x, chunk):
    """Copy a chunk of every other rank's slice of x into this rank's ring."""
    size, rank = peek(state + 8 * SIZE), peek(state + 8 * RANK)
    room = peek(entry + 8 * CHUNK)
    how = _how(state)
    for other in range(size):
        row = _row(entry, other)
        length = min(room, peek(row + 8 * LENGTH) - chunk * room)
        if other != rank and length > 0:
            slot = _ring_slot(state, entry, rank, chunk, other)
            _send(how, slot, x + peek(row + 8 * FROM) + chunk * room, length)


@jit
def _fold(state, entry):
    """Every rank combines its slice of all x, chunk by chunk, and writes it to whom it belongs; False: not yet.

    Chunks are put into the ring one ahead of the one that is combined. A slot is used again when all ranks have
    finished the chunk that was in it.
    """
    size, rank = peek(state + 8 * SIZE), peek(state + 8 * RANK)
    block, before = _block(state, rank), peek(state + 8 * CHUNKS)
    direct, room = peek(state + 8 * DIRECT), peek(entry + 8 * CHUNK)
    rounds = 1 if direct else peek(entry + 8 * ROUNDS)
    slots = (BLOCK - RING) // (((room + 4095) & ~4095) * size)
    while peek(state + 8 * TAKEN) < rounds:
        chunk, ahead = peek(state + 8 * TAKEN), peek(state + 8 * PUT)
        if ahead <= chunk + 1 and ahead < rounds:
            if ahead >= slots and not _all_have_come(state, FINISHED, before + ahead - slots + 1):
                return False
            if _x_offset(state, rank) < 0:
                _put_in(state, entry, peek(state + 8 * X), ahead)
            store(block + COPIED, before + ahead + 1)
            poke(state + 8 * PUT, ahead + 1)
        if chunk > 0 and not _all_have_come(state, COPIED, before + chunk + 1):
            return False
        row = _row(entry, rank)
        start, length = chunk * room, peek(row + 8 * LENGTH)
        end = length if direct else min(start + room, length)
        _fold_chunk(state, entry, chunk, start, end)
        poke(state + 8 * TAKEN, chunk + 1)
        store(block + FINISHED, before + chunk + 1)
    return True


@jit
def _fold_chunk(state, entry, chunk, start, end):
    """Combine the bytes from `start` to `end` of this rank's slice, a piece at a time, and write the results."""
    size, rank, item = peek(state + 8 * SIZE), peek(state + 8 * RANK), peek(entry + 8 * ITEM)
    rule, scratch = peek(entry + 8 * RULE), peek(state + 8 * SCRATCH)
    piece = max(PIECE // item, 1) * item
    function, row = peek(entry + 8 * FUNCTION), _row(entry, rank)
    here, y = peek(row + 8 * TO), peek(state + 8 * Y)
    is_mine = rule == ALL or rule == OWN or (rule == AT_ROOT and rank == peek(entry + 8 * ROOT))
    in_place = is_mine and peek(entry + 8 * WEIGHT) < _STREAMED
    for place in range(start, end, piece):
        length = min(piece, end - place)
        total = y + here + place if in_place else scratch
        first = _source(state, entry, 0, chunk, start, place)
        if rule == BEFORE and size > 1:
            _deliver(state, 1, here + place, first, length)
        elif rule == PREFIX:
            _deliver(state, 0, here + place, first, length)
        last = size - 1 if rule == BEFORE else size
        for other in range(1, last):
            second = _source(state, entry, other, chunk, start, place)
            combine(function, total, first, second, length // item)
            first = total
            if rule == PREFIX:
                _deliver(state, other, here + place, total, length)
            elif rule == BEFORE:
                _deliver(state, other + 1, here + place, total, length)
        if rule == ALL:
            for other in range(size):
                if other != rank or not in_place:
                    _deliver(state, other, here + place, total, length)
        elif rule == AT_ROOT and not in_place:
            _deliver(state, peek(entry + 8 * ROOT), here + place, total, length)
        elif rule == OWN and not in_place:
            _deliver(state, rank, here + place, total, length)


@jit
def _source(state, entry, other, chunk, start, place):
    """Where a rank's x is for a place in this rank's slice."""
    rank = peek(state + 8 * RANK)
    slice_start = peek(_row(entry, rank) + 8 * FROM)
    if other == rank:
        return peek(state + 8 * X) + slice_start + place
    offset = _x_offset(state, other)
    if offset >= 0:
        return peek(state + 8 * BASE) + offset + slice_start + place
    return _ring_slot(state, entry, other, chunk, rank) + place - start


@jit
def _deliver(state, other, place, source, length):
    """Write a piece of a result where it belongs."""
    if other != peek(state + 8 * RANK):
        target = peek(state + 8 * BASE) + _y_offset(state, other) + place
        _send(peek(state + 8 * HOW), target, source, length)
    elif peek(state + 8 * HOW) == STREAM:
        copy_streamed(peek(state + 8 * Y) + place, source, length)
    else:
        copy(peek(state + 8 * Y) + place, source, length)


@jit
def _probe(state):
    """Time a flag barrier, which tells whether the cores share a cache; without one who is late it ends itself."""
    rank, size = peek(state + 8 * RANK), peek(state + 8 * SIZE)
    mine = _block(state, rank) + PROBE
    before = peek(mine)
    began = cycles()
    for turn in range(1, _PROBES + 1):
        if turn == 5:
            began = cycles()
        store(mine, before + turn)
        for other in range(size):
            if not _has_come(state, _block(state, other) + PROBE, before + turn):
                store(mine, before + _PROBES)
                return
    poke(state + 8 * ROUND, (cycles() - began) // (_PROBES - 4))


@jit_briefly
def post(state, token):
    """Arrive at a call of which this rank does not know yet how it will be carried out."""
    poke(state + 8 * EPOCH, peek(state + 8 * EPOCH) + 1)
    _post(state, token, LATER, LATER, 0)


@jit_briefly
def arrived(state):
    """Whether all ranks are here: DONE or WAITING."""
    return DONE if _arrived(state) else WAITING


@jit_briefly
def tell(entry, x, y):
    """After `post`, or UNKNOWN: say where the arrays are, which are in C order, so that `carry` can go on."""
    state, data = peek(entry + 8 * OF_STATE), peek(entry + 8 * DATA)
    x = peek(x + data) if x != 0 else 0
    y = peek(y + data) if y != 0 else 0
    _begin(state, entry, x, y)
    _deposit(state, entry, x)
    late = _block(state, peek(state + 8 * RANK)) + LATE
    poke(late + 8, _offset(state, x))
    poke(late + 16, _result_offset(state, y))
    store(late, peek(state + 8 * EPOCH))


@jit_briefly
def call(entry, x, y):
    """Arrive, compare, and carry out a small call that has been made before.

    x and y are addresses of Python's array objects, 0 for none. The state and where an array object has the address
    of its data stand in the entry; after that follow number of dimensions, extents, strides, base, dtype and flags,
    each in 8 bytes (numpy's ndarrayobject.h, PyArrayObject_fields).

    Returns DONE; WAITING, for ranks; WORKING, if `carry` must go on; UNKNOWN, if the ranks' tokens together are
    not the expected ones: all but DONE keep the turn. REFUSED, and nothing has happened, if another thread has the
    turn, an array is not in C order, the result cannot be written, or they overlap.
    """
    state, data = peek(entry + 8 * OF_STATE), peek(entry + 8 * DATA)
    if peek(state + 8 * BUSY):
        return REFUSED
    if x != 0:
        if peek32(x + data + 48) & _CONTIGUOUS == 0:
            return REFUSED
        x = peek(x + data)
    if y != 0:
        if peek32(y + data + 48) & _IN_ORDER != _IN_ORDER:
            return REFUSED
        y = peek(y + data)
        if x != 0 and x != y and x < y + peek(entry + 8 * Y_BYTES) and y < x + peek(entry + 8 * X_BYTES):
            return REFUSED
    poke(state + 8 * BUSY, 1)
    poke(state + 8 * EPOCH, peek(state + 8 * EPOCH) + 1)
    _begin(state, entry, x, y)
    _deposit(state, entry, x)
    expected = peek(entry + 8 * EXPECTED)
    _post(state, peek(entry + 8 * TOKEN), _offset(state, x), _result_offset(state, y), expected)
    if not _arrived(state):
        return WAITING
    if peek(state + 8 * COMBINED) != expected:
        return UNKNOWN
    if peek(entry + 8 * WEIGHT) > _BRIEF:
        return WORKING
    said = _carry(state)
    if said == DONE:
        poke(state + 8 * BUSY, 0)
    return said


@jit_briefly
def take(state):
    """Take the turn: whether no one had it. No other thread comes between, for the GIL is not given away."""
    if peek(state + 8 * BUSY):
        return False
    poke(state + 8 * BUSY, 1)
    return True


@jit_briefly
def look(array, data):
    """The address of the data of an array object in C order, else 0; its own address stands `data` bytes in it."""
    return peek(array + data) if peek32(array + data + 48) & _CONTIGUOUS else 0


@jit_briefly
def resume(state):
    """`call`, after WAITING."""
    if not _arrived(state):
        return WAITING
    entry = peek(state + 8 * ENTRY)
    return WORKING if peek(state + 8 * COMBINED) == peek(entry + 8 * EXPECTED) else UNKNOWN


@jit
def carry(state):
    """Bring a call to its end, the GIL released; what `_carry` says."""
    return _carry(state)

call.compile((int64, int64, int64))  # so that its machine code can be called without the dispatcher
