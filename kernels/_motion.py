"""How data moves between the ranks of a node once they are all there: from slots, block by block, or combined."""

from . import words as w
from ._jit import jit
from ._memory import combine, copy, copy_streamed, store
from ._signals import (
    all_have_come,
    block_of,
    has_told,
    how_to_write,
    offset_of,
    payload_of,
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
            copy(payload_of(state, rank, longest), x, nbytes)
        else:
            send(how_to_write(state), payload_of(state, rank, longest), x, nbytes)
    elif word(entry, w.KIND) == w.FOLD and offset_of(state, x) == w.PRIVATE:
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
    if y == 0:
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
    if last == 1:
        copy(y, payload_of(state, 0, nbytes) + start, length)
    elif last > 1:
        first, second = payload_of(state, 0, nbytes) + start, payload_of(state, 1, nbytes) + start
        combine(function, y, first, second, length // item)
        for other in range(2, last):
            combine(function, y, y, payload_of(state, other, nbytes) + start, length // item)
    return w.DONE


@jit
def look_around(state, entry):
    """When all have said where their arrays are: decide how the data goes."""
    size = word(state, w.SIZE)
    for other in range(size):
        if not has_told(state, other):
            return w.WORKING
    direct = 1
    for other in range(size):
        if y_offset(state, other) == w.NOWHERE:
            return w.ELSEWHERE
        if x_offset(state, other) == w.PRIVATE:
            direct = 0
    how = how_to_write(state)
    set_word(state, w.DIRECT, direct)
    set_word(state, w.HOW, w.STREAM if word(entry, w.WEIGHT) >= w.STREAMED else how)
    set_word(state, w.PUT, 1)
    set_word(state, w.TAKEN, 0)
    set_word(state, w.PHASE, 1)
    return w.DONE


@jit
def move(state, entry):
    """Blocks go from x into the results of the ranks; a root's x in the segment is read by those who want it."""
    size, rank, base = word(state, w.SIZE), word(state, w.RANK), word(state, w.BASE)
    x, y, how = word(state, w.X), word(state, w.Y), word(state, w.HOW)
    one_to_many = word(entry, w.RULE) == w.AT_ROOT
    for step in range(size):
        other = (rank + step) % size
        row = row_of(entry, other)
        length = word(row, w.LENGTH)
        if other == rank:
            if length and y != 0:
                source, target = x + word(row, w.FROM), y + word(row, w.HERE)
                if source != target:
                    copy(target, source, length)
            continue
        if length and not (one_to_many and x_offset(state, rank) >= 0):
            send(how, base + y_offset(state, other) + word(row, w.TO), x + word(row, w.FROM), length)
        length = word(row, w.ARRIVING)
        if length and one_to_many and x_offset(state, other) >= 0:
            copy(y + word(row, w.HERE), base + x_offset(state, other) + word(row, w.THERE), length)
    set_word(state, w.TAKEN, 1)
    store(block_of(state, rank) + w.FINISHED, word(state, w.CHUNKS) + 1)


@jit
def _ring_slot(state, entry, rank, chunk, dest):
    """Where a rank puts a chunk of x for another rank."""
    size, room = word(state, w.SIZE), (word(entry, w.CHUNK) + 4095) & ~4095
    slots = (w.BLOCK - w.RING) // (room * size)
    index = (word(state, w.CHUNKS) + chunk) % slots
    return block_of(state, rank) + w.RING + (index * size + dest) * room


@jit
def _put_in(state, entry, x, chunk):
    """Copy a chunk of every other rank's slice of x into this rank's ring."""
    size, rank = word(state, w.SIZE), word(state, w.RANK)
    room = word(entry, w.CHUNK)
    how = how_to_write(state)
    for other in range(size):
        row = row_of(entry, other)
        length = min(room, word(row, w.LENGTH) - chunk * room)
        if other != rank and length > 0:
            slot = _ring_slot(state, entry, rank, chunk, other)
            send(how, slot, x + word(row, w.FROM) + chunk * room, length)


@jit
def fold(state, entry):
    """Every rank combines its slice of all x, chunk by chunk, and writes it to whom it belongs; False: not yet.

    Chunks are put into the ring one ahead of the one that is combined. A slot is used again when all ranks have
    finished the chunk that was in it.
    """
    size, rank = word(state, w.SIZE), word(state, w.RANK)
    block, before = block_of(state, rank), word(state, w.CHUNKS)
    direct, room = word(state, w.DIRECT), word(entry, w.CHUNK)
    rounds = 1 if direct else word(entry, w.ROUNDS)
    slots = (w.BLOCK - w.RING) // (((room + 4095) & ~4095) * size)
    while word(state, w.TAKEN) < rounds:
        chunk, ahead = word(state, w.TAKEN), word(state, w.PUT)
        if ahead <= chunk + 1 and ahead < rounds:
            if ahead >= slots and not all_have_come(state, w.FINISHED, before + ahead - slots + 1):
                return False
            if x_offset(state, rank) < 0:
                _put_in(state, entry, word(state, w.X), ahead)
            store(block + w.COPIED, before + ahead + 1)
            set_word(state, w.PUT, ahead + 1)
        if chunk > 0 and not all_have_come(state, w.COPIED, before + chunk + 1):
            return False
        row = row_of(entry, rank)
        start, length = chunk * room, word(row, w.LENGTH)
        end = length if direct else min(start + room, length)
        _fold_chunk(state, entry, chunk, start, end)
        set_word(state, w.TAKEN, chunk + 1)
        store(block + w.FINISHED, before + chunk + 1)
    return True


@jit
def _fold_chunk(state, entry, chunk, start, end):
    """Combine the bytes from `start` to `end` of this rank's slice, a piece at a time, and write the results."""
    size, rank, item = word(state, w.SIZE), word(state, w.RANK), word(entry, w.ITEM)
    rule, scratch = word(entry, w.RULE), word(state, w.SCRATCH)
    piece = max(w.PIECE // item, 1) * item
    function, row = word(entry, w.FUNCTION), row_of(entry, rank)
    here, y = word(row, w.TO), word(state, w.Y)
    is_mine = rule in (w.ALL, w.OWN) or (rule == w.AT_ROOT and rank == word(entry, w.ROOT))
    # Where the result is x itself, the first two ranks' sum would fall on what this rank has yet to add.
    keeps_x = rank == 0 or y != word(state, w.X)
    in_place = is_mine and keeps_x and word(entry, w.WEIGHT) < w.STREAMED
    for place in range(start, end, piece):
        length = min(piece, end - place)
        total = y + here + place if in_place else scratch
        first = _source(state, entry, 0, chunk, start, place)
        if rule == w.BEFORE and size > 1:
            _deliver(state, 1, here + place, first, length)
        elif rule == w.PREFIX:
            _deliver(state, 0, here + place, first, length)
        last = size - 1 if rule == w.BEFORE else size
        for other in range(1, last):
            second = _source(state, entry, other, chunk, start, place)
            combine(function, total, first, second, length // item)
            first = total
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
        target = word(state, w.BASE) + y_offset(state, other) + place
        send(word(state, w.HOW), target, source, length)
    elif word(state, w.HOW) == w.STREAM:
        copy_streamed(word(state, w.Y) + place, source, length)
    else:
        copy(word(state, w.Y) + place, source, length)
