"""How data moves between the ranks of a node once they are all there: from slots, block by block, or combined."""

from . import words as w
from ._jit import jit
from ._memory import combine, copy, copy_streamed, poke, store
from ._overlap import collide
from ._signals import (
    all_have_come,
    are_far,
    block_of,
    has_come,
    has_told,
    how_to_write,
    is_ordinary,
    offset_of,
    payload_of,
    put_in_lines,
    reach,
    row_of,
    send,
    x_offset,
    y_offset,
)
from .words import set_word, word


@jit
def deposit(state, entry, x):
    """Put x, or the first chunk of it, where the others find it; nobody has to be here for that."""
    rank = word(state, w.RANK)
    if word(entry, w.IS_SMALL):
        longest, nbytes = word(entry, w.CHUNK), word(entry, w.PAYLOAD)
        if longest <= w.IN_LINE:
            put_in_lines(state, x, nbytes)
        else:
            send(how_to_write(state), payload_of(state, rank, longest), x, nbytes)
    elif word(entry, w.KIND) == w.FOLD and offset_of(state, x) < 0:
        _put_in(state, entry, x, 0)


@jit
def carry_small(state):
    """Every rank takes what it needs from the slots of the others."""
    size, rank = word(state, w.SIZE), word(state, w.RANK)
    entry, y = word(state, w.ENTRY), word(state, w.Y)
    kind = word(entry, w.KIND)
    if kind == w.NOTHING:
        return w.DONE
    for other in range(size):
        if not has_told(state, other):
            return w.WORKING
    if collide(state, entry):
        return w.COLLIDING
    if y == 0:
        return w.DONE
    if word(entry, w.IDENTITY):
        fill(state, entry)
        return w.DONE
    longest = word(entry, w.CHUNK)  # of all payloads: all ranks put theirs in the same kind of place
    if kind == w.MOVE:
        for other in range(size):
            row = row_of(entry, other)
            length = word(row, w.ARRIVING)
            if length:
                copy(y + word(row, w.HERE), payload_of(state, other, longest) + word(row, w.THERE), length)
        return w.DONE
    rule, nbytes, item = word(entry, w.RULE), word(entry, w.PAYLOAD), word(entry, w.ITEM)
    last, start, length = size, 0, nbytes
    if rule == w.OWN:
        start, length = word(row_of(entry, rank), w.FROM), word(row_of(entry, rank), w.LENGTH)
    elif rule == w.PREFIX:
        last = rank + 1
    elif rule == w.BEFORE:
        last = rank
    function = word(entry, w.FUNCTION)
    total = payload_of(state, 0, nbytes) + start
    if last == 1:
        copy(y, total, length)
    for other in range(1, last):  # a plan's y may be one array of several ranks: only the result is written there
        target = y if other == last - 1 else word(state, w.SCRATCH)
        combine(function, target, total, payload_of(state, other, nbytes) + start, length // item)
        total = target
    return w.DONE


@jit
def fill(state, entry):
    """Put into the result what no other rank has a part in: the identity, or this rank's x."""
    x, y, identity, nbytes = word(state, w.X), word(state, w.Y), word(entry, w.IDENTITY), word(entry, w.Y_BYTES)
    if word(entry, w.COPIES) and x != y:
        copy(y, x, nbytes)
    if y == 0 or identity == 0 or nbytes == 0:
        return
    done = word(entry, w.ITEM)
    copy(y, identity, done)
    most = max(w.PIECE // done, 1) * done
    while done < nbytes:  # from what is there already, in the first cache
        length = min(done, most, nbytes - done)
        if nbytes > w.CACHED:
            copy_streamed(y + done, y, length)
        else:
            copy(y + done, y, length)
        done += length


@jit
def look_around(state, entry):
    """When all have said where their arrays are: decide how the data goes."""
    size, is_fold = word(state, w.SIZE), word(entry, w.KIND) == w.FOLD
    for other in range(size):
        if not has_told(state, other):
            return w.WORKING
    all_shared, all_receive, in_place = True, True, False
    for other in range(size):
        x, y = x_offset(state, other), y_offset(state, other)
        all_receive = all_receive and not is_ordinary(y)
        all_shared = all_shared and x >= 0
        in_place = in_place or (is_ordinary(y) and x == y)
    direct = all_shared or (all_receive and not is_fold)
    # In a reduction the others write into a rank's result, but for reduce_scatter.
    across = w.WITHIN
    if not all_receive and is_fold and word(entry, w.RULE) != w.OWN:
        across = w.IN_PLACE if in_place else w.ORDINARY
    is_sent = across != w.WITHIN and word(state, w.PIDS) == 0
    if not is_fold and not all_shared:
        block = word(entry, w.ROUNDS) * word(entry, w.CHUNK)
        is_shared = word(entry, w.RULE) == w.AT_ROOT and block >= word(entry, w.ALONE)
        is_sent = not all_receive and _reaches(state, entry, block, w.BY_MPI, w.BY_MPI_FAR)
        direct = direct and not (is_shared and word(entry, w.SAME))
        if not is_sent and (is_shared if direct else _reaches(state, entry, block, w.ONCE, w.ONCE_FAR)):
            across = w.ORDINARY if word(state, w.PIDS) else w.WITHIN
            is_sent = across == w.WITHIN and not all_receive
            direct = direct or across != w.WITHIN
    if collide(state, entry):
        return w.COLLIDING
    if is_sent:
        return w.ELSEWHERE
    set_word(state, w.DIRECT, direct)
    set_word(state, w.ACROSS, across)
    set_word(state, w.HOW, w.STREAM if word(entry, w.WEIGHT) >= w.STREAMED else how_to_write(state))
    set_word(state, w.PUT, is_fold)  # see `deposit`
    set_word(state, w.TAKEN, 0)
    set_word(state, w.PHASE, 1)
    return w.DONE


@jit
def _reaches(state, entry, block, near, far):
    """Whether the longest block, in whole chunks, has as many bytes as a rule says."""
    return block >= word(entry, far if are_far(state) else near)


@jit
def note_unreached(state):
    """This rank cannot reach another's memory. All are to know it: they look when all have finished."""
    poke(block_of(state, word(state, w.RANK)) + w.UNREAD, word(state, w.EPOCH))


@jit
def _is_apart(state, entry, source, dest):
    """Whether a block can neither be read where it is nor written where it belongs, as memory in common can; or is one
    that a root had better put in once than write to everyone.
    """
    if x_offset(state, source) >= 0:
        return False
    is_for_all = word(entry, w.SAME) and word(entry, w.RULE) == w.AT_ROOT
    return is_ordinary(y_offset(state, dest)) or (is_for_all and not word(state, w.DIRECT))


@jit
def move(state, entry):
    """Send the blocks that go straight from x into a result; False: a rank's memory could not be reached."""
    size, rank, base = word(state, w.SIZE), word(state, w.RANK), word(state, w.BASE)
    x, y, how = word(state, w.X), word(state, w.Y), word(state, w.HOW)
    within = word(state, w.ACROSS) == w.WITHIN
    for step in range(size):
        other = (rank + step) % size
        row = row_of(entry, other)
        length, arriving = word(row, w.LENGTH), word(row, w.ARRIVING)
        if other == rank:
            source, target = x + word(row, w.FROM), y + word(row, w.HERE)
            if length and y != 0 and source != target:
                copy(target, source, length)
            continue
        if length and not (within and _is_apart(state, entry, rank, other)):
            target, done = y_offset(state, other), _part_read(state, entry, length, rank, other)
            here, there, length = x + word(row, w.FROM) + done, word(row, w.TO) + done, length - done
            if target >= 0:
                send(how, base + target + there, here, length)
            elif is_ordinary(target) and not reach(state, other, here, there - target, length, True):
                return False
        if arriving and not (within and _is_apart(state, entry, other, rank)):
            source, part = x_offset(state, other), _part_read(state, entry, arriving, other, rank)
            here, there = y + word(row, w.HERE), word(row, w.THERE)
            if source >= 0:
                copy(here, base + source + there, part)
            elif not reach(state, other, here, there - source, part, False):
                return False
    return True


@jit
def _part_read(state, entry, nbytes, sender, receiver):
    """How many bytes of a block its receiver reads; its sender writes the others.

    Who has a block writes it, but for a result that is not in the segment; and a root's block in the segment is read by
    those who want it, all at once. Where long blocks are reached across processes, and are all a root's, or come to it
    in ordinary memory, the root does its part of the work and the other ranks theirs.
    """
    rule, is_outside = word(entry, w.RULE), is_ordinary(y_offset(state, receiver))
    if x_offset(state, sender) >= 0:
        return nbytes if rule == w.AT_ROOT or is_outside else 0
    if word(state, w.ACROSS) == w.WITHIN or not (is_outside or rule == w.AT_ROOT):
        return 0
    if rule != w.AT_ROOT and rule != w.TO_ROOT:
        return nbytes
    part = nbytes // word(state, w.SIZE) & ~4095
    return part if receiver == word(entry, w.ROOT) else nbytes - part


@jit
def _ring_slot(state, entry, rank, chunk, dest):
    """Where a rank puts a chunk of x for another rank."""
    if word(entry, w.SAME):
        dest = 0
    index = (word(state, w.CHUNKS) + chunk) % word(entry, w.RING_SLOTS)
    return block_of(state, rank) + w.RING + (index * word(state, w.SIZE) + dest) * word(entry, w.ROOM)


@jit
def _put_in(state, entry, x, chunk):
    """Copy a chunk of what is for every other rank into this rank's ring."""
    size, rank, longest = word(state, w.SIZE), word(state, w.RANK), word(entry, w.CHUNK)
    how, is_move = how_to_write(state), word(entry, w.KIND) == w.MOVE
    for other in range(size):
        row = row_of(entry, other)
        length = min(longest, word(row, w.LENGTH) - chunk * longest)
        if other == rank or length <= 0 or (is_move and not _is_apart(state, entry, rank, other)):
            continue
        slot = _ring_slot(state, entry, rank, chunk, other)
        send(how, slot, x + word(row, w.FROM) + chunk * longest, length)
        if is_move and word(entry, w.SAME):
            break


@jit
def flow(state, entry):
    """What goes through the rings, chunk by chunk; False: not yet.

    Chunks are put in one ahead of the one that is taken out. A slot is used again when all ranks have finished the
    chunk that was in it.
    """
    rank, is_fold = word(state, w.RANK), word(entry, w.KIND) == w.FOLD
    block, before = block_of(state, rank), word(state, w.CHUNKS)
    direct, longest = word(state, w.DIRECT), word(entry, w.CHUNK)
    rounds = 1 if direct else word(entry, w.ROUNDS)
    slots = word(entry, w.RING_SLOTS)
    while word(state, w.TAKEN) < rounds:
        chunk, ahead = word(state, w.TAKEN), word(state, w.PUT)
        while ahead <= chunk + 1 and ahead < rounds:
            if ahead >= slots and not all_have_come(state, w.FINISHED, before + ahead - slots + 1):
                return False
            if not direct and x_offset(state, rank) < 0:
                _put_in(state, entry, word(state, w.X), ahead)
            ahead += 1
            store(block + w.COPIED, before + ahead)
            set_word(state, w.PUT, ahead)
        if not direct and not _has_been_put_in(state, entry, chunk):
            return False
        if is_fold:
            start, length = chunk * longest, word(row_of(entry, rank), w.LENGTH)
            _fold_chunk(state, entry, chunk, start, length if direct else min(start + longest, length))
        elif not direct and word(state, w.Y) != 0:
            _take_out(state, entry, chunk)
        set_word(state, w.TAKEN, chunk + 1)
        store(block + w.FINISHED, before + chunk + 1)
    return True


@jit
def _has_been_put_in(state, entry, chunk):
    """Whether the ranks from which this one takes have put a chunk into their rings."""
    value = word(state, w.CHUNKS) + chunk + 1
    if word(entry, w.KIND) == w.FOLD:  # of that the first chunk was there before its rank came
        return chunk == 0 or all_have_come(state, w.COPIED, value)
    for other in range(word(state, w.SIZE)):
        arrives = word(row_of(entry, other), w.ARRIVING) > chunk * word(entry, w.CHUNK)
        if arrives and not has_come(state, block_of(state, other) + w.COPIED, value):
            return False
    return True


@jit
def _take_out(state, entry, chunk):
    """Copy a chunk of every block that comes through a ring to where it belongs."""
    rank, longest, y = word(state, w.RANK), word(entry, w.CHUNK), word(state, w.Y)
    for other in range(word(state, w.SIZE)):
        row = row_of(entry, other)
        length = min(longest, word(row, w.ARRIVING) - chunk * longest)
        if other != rank and length > 0 and _is_apart(state, entry, other, rank):
            slot = _ring_slot(state, entry, other, chunk, rank)
            copy(y + word(row, w.HERE) + chunk * longest, slot, length)


@jit
def _fold_chunk(state, entry, chunk, start, end):
    """Combine the bytes from `start` to `end` of this rank's slice, a piece at a time, and write the results."""
    size, rank, item = word(state, w.SIZE), word(state, w.RANK), word(entry, w.ITEM)
    rule, scratch = word(entry, w.RULE), word(state, w.SCRATCH)
    piece = max((w.PIECE_ACROSS if word(state, w.ACROSS) else w.PIECE) // item, 1) * item
    function, row = word(entry, w.FUNCTION), row_of(entry, rank)
    here, y = word(row, w.TO), word(state, w.Y)
    is_mine = rule in (w.ALL, w.OWN) or (rule == w.AT_ROOT and rank == word(entry, w.ROOT))
    # Not where the last rank's x is its result: the loops are quicker where nothing overlaps but the first and the sum.
    ends_in_x = rank == size - 1 and y == word(state, w.X)
    in_place = is_mine and not ends_in_x and word(entry, w.WEIGHT) < w.STREAMED
    for place in range(start, end, piece):
        length = min(piece, end - place)
        total = _source(state, entry, 0, chunk, start, place)
        if rule == w.BEFORE and size > 1:
            _deliver(state, 1, here + place, total, length)
        elif rule == w.PREFIX:
            _deliver(state, 0, here + place, total, length)
        last = size - 1 if rule == w.BEFORE else size
        for other in range(1, last):
            target = y + here + place if in_place and other == size - 1 else scratch
            combine(function, target, total, _source(state, entry, other, chunk, start, place), length // item)
            total = target
            if rule == w.PREFIX:
                _deliver(state, other, here + place, total, length)
            elif rule == w.BEFORE:
                _deliver(state, other + 1, here + place, total, length)
        if rule == w.ALL:
            for other in range(size):
                if other != rank or not in_place:
                    _deliver(state, other, here + place, total, length)
        elif rule == w.AT_ROOT and not in_place:
            _deliver(state, word(entry, w.ROOT), here + place, total, length)
        elif rule == w.OWN and not in_place:
            _deliver(state, rank, here + place, total, length)


@jit
def _source(state, entry, other, chunk, start, place):
    """Where a rank's x is for a place in this rank's slice."""
    rank = word(state, w.RANK)
    slice_start = word(row_of(entry, rank), w.FROM)
    if other == rank:
        return word(state, w.X) + slice_start + place
    offset = x_offset(state, other)
    if offset >= 0:
        return word(state, w.BASE) + offset + slice_start + place
    return _ring_slot(state, entry, other, chunk, rank) + place - start


@jit
def _deliver(state, other, place, source, length):
    """Write a piece of a result where it belongs."""
    if other != word(state, w.RANK):
        target = y_offset(state, other)
        if is_ordinary(target):
            if not reach(state, other, source, place - target, length, True):
                note_unreached(state)
        else:
            send(word(state, w.HOW), word(state, w.BASE) + target + place, source, length)
    elif word(state, w.HOW) == w.STREAM:
        copy_streamed(word(state, w.Y) + place, source, length)
    else:
        copy(word(state, w.Y) + place, source, length)
