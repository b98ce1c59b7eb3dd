"""Messages between the ranks of a node: for every pair a ring of records, written by the sender, read by the receiver.

A record is a header of `MESSAGE_HEADER` bytes, a description of dtype and shape if the receiver does not know it yet,
and the data; all in whole cache lines, so that a message of up to 24 bytes is one. Its flag is its number of the pair,
written last; the flag of the place behind it is cleared before, so that nothing old is taken for a record.

Much data stays where it is: the record says where, and the receiver reads it there, in the segment or across processes,
and tells the sender by a cell.

Every function says what it has done at once, or after a short wait, and has done nothing where it says WAITING or
REFUSED: whoever calls it looks after signals, deadlines and MPI meanwhile.
"""

from numba import boolean, int64

from . import words as w
from ._jit import jit, jit_briefly
from ._memory import copy, load, pause, peek, poke, sched_yield, store
from ._objects import IN_ORDER, WRITEABLE, address_of, any_object, is_array
from ._signals import block_of, has_come, how_to_write, offset_of, reach
from ._signals import send as write
from .words import set_word, word

_LINE = 64
_BYTES = (1 << 32) - 1
_STREAMED = 1024  # bytes that are worth it
_BRIEF = 1 << 20  # bytes that are not worth giving the GIL away
_ANY = 1 << 62


@jit
def _row(mail, rank):
    return mail + 8 * (w.MAIL_ROWS + w.MAIL_ROW * rank)


@jit
def _slot(mail, owner, other):
    """The address of what a rank has for another."""
    return block_of(word(mail, w.MAIL_STATE), owner) + w.MAIL + word(mail, w.MAIL_SLOT) * other


@jit
def _me(mail):
    return word(word(mail, w.MAIL_STATE), w.RANK)


@jit
def _in_lines(nbytes):
    return (nbytes + _LINE - 1) & -_LINE


@jit
def _put(mail, dest, tag, what, key, meta, meta_bytes, data, nbytes):
    """Write a record for a rank, if its ring has room: whether it has."""
    row, slot, length = _row(mail, dest), _slot(mail, _me(mail), dest), word(mail, w.MAIL_RING)
    ring, tail = slot + w.MAIL_RECORDS, word(row, w.MAIL_TAIL)
    needs = _in_lines(w.MESSAGE_HEADER + meta_bytes + nbytes)
    at = tail % length
    skipped = length - at if at + needs > length else 0
    behind = tail + skipped + needs
    if behind + _LINE - word(row, w.MAIL_FREED) > length:  # with the flag of what comes behind
        set_word(row, w.MAIL_FREED, load(_slot(mail, dest, _me(mail)) + w.MAIL_TAKEN))
        if behind + _LINE - word(row, w.MAIL_FREED) > length:
            store(slot + w.MAIL_STUCK, 1)
            return False
    number = word(row, w.MAIL_SENT) + 1
    if skipped != 0:
        poke(ring, 0)
        poke(ring + at + w.MESSAGE_WHAT, w.MESSAGE_SKIP)
        poke(ring + at + w.MESSAGE_LENGTHS, skipped - w.MESSAGE_HEADER)
        store(ring + at, number)
        number += 1
        at = 0
    record = ring + at
    poke(ring + behind % length, 0)
    poke(record + w.MESSAGE_TAG, tag)
    poke(record + w.MESSAGE_WHAT, what)
    poke(record + w.MESSAGE_KEY, key)
    poke(record + w.MESSAGE_LENGTHS, meta_bytes << 32 | nbytes)
    if meta_bytes > 0:
        copy(record + w.MESSAGE_HEADER, meta, meta_bytes)
    if nbytes < _STREAMED:
        copy(record + w.MESSAGE_HEADER + meta_bytes, data, nbytes)
    else:
        write(how_to_write(word(mail, w.MAIL_STATE)), record + w.MESSAGE_HEADER + meta_bytes, data, nbytes)
    store(record, number)
    set_word(row, w.MAIL_SENT, number)
    set_word(row, w.MAIL_TAIL, behind)
    if peek(slot + w.MAIL_STUCK) != 0:
        store(slot + w.MAIL_STUCK, 0)
    return True


@jit
def _head(mail, source):
    """The address of the next record from a rank; 0 if there is none."""
    row = _row(mail, source)
    number = word(row, w.MAIL_GOT) + 1
    record = _slot(mail, source, _me(mail)) + w.MAIL_RECORDS + word(row, w.MAIL_HEAD) % word(mail, w.MAIL_RING)
    if load(record) != number:
        return 0
    if peek(record + w.MESSAGE_WHAT) != w.MESSAGE_SKIP:
        return record
    _drop(mail, source, record)
    record = _slot(mail, source, _me(mail)) + w.MAIL_RECORDS
    return record if load(record) == number + 1 else 0


@jit
def _meta_bytes(record):
    return peek(record + w.MESSAGE_LENGTHS) >> 32


@jit
def _nbytes(record):
    return peek(record + w.MESSAGE_LENGTHS) & _BYTES


@jit
def _drop(mail, source, record):
    """Give the room of the next record back."""
    row = _row(mail, source)
    head = word(row, w.MAIL_HEAD) + _in_lines(w.MESSAGE_HEADER + _meta_bytes(record) + _nbytes(record))
    set_word(row, w.MAIL_HEAD, head)
    set_word(row, w.MAIL_GOT, word(row, w.MAIL_GOT) + 1)
    store(_slot(mail, _me(mail), source) + w.MAIL_TAKEN, head)


@jit
def _seek(mail, source, tag):
    """The address of the next record, if it can be received from such a source and with such a tag; -1 if there are
    only others; 0 if there is none. MAIL_FOUND is whose it is.
    """
    if source != w.ANYONE:
        set_word(mail, w.MAIL_FOUND, source)
        record = _head(mail, source)
        if record == 0 or tag == w.ANY_TAG or peek(record + w.MESSAGE_TAG) == tag:
            return record
        return -1
    found, size = 0, word(word(mail, w.MAIL_STATE), w.SIZE)
    for index in range(size):
        other = (word(mail, w.MAIL_NEXT) + index) % size
        record = _head(mail, other)
        if record != 0:
            found = -1
            if tag == w.ANY_TAG or peek(record + w.MESSAGE_TAG) == tag:
                set_word(mail, w.MAIL_FOUND, other)
                set_word(mail, w.MAIL_NEXT, other + 1)  # else who has many would keep the others from their turn
                return record
    return found


@jit
def _await(mail, source, tag):
    """`_seek`, with a short wait."""
    record = _seek(mail, source, tag)
    if record != 0:
        return record
    state = word(mail, w.MAIL_STATE)
    for _ in range(word(state, w.SPINS)):
        pause()
        record = _seek(mail, source, tag)
        if record != 0:
            return record
    for _ in range(word(state, w.YIELDS)):
        sched_yield()
        record = _seek(mail, source, tag)
        if record != 0:
            return record
    return 0


@jit
def _is_free(mail):
    """Whether no thread has the turn."""
    return word(word(mail, w.MAIL_STATE), w.BUSY) == 0


@jit
def _send(form, x, dest, tag):
    mail = word(form, w.FORM_MAIL)
    state = word(mail, w.MAIL_STATE)
    if not (_is_free(mail) and 0 <= dest < word(state, w.SIZE) and 0 <= tag < w.TAGS):
        return w.REFUSED
    if word(_row(mail, dest), w.MAIL_QUEUED) != 0:
        return w.REFUSED
    told = form + 8 * (w.FORM_ROWS + dest)
    meta_bytes = 0 if peek(told) != 0 else word(form, w.FORM_META_BYTES)
    what, key, meta = word(form, w.FORM_WHAT), word(form, w.FORM_KEY), word(form, w.FORM_META)
    nbytes = word(form, w.FORM_NBYTES)
    said = w.DONE
    if what & w.MESSAGE_REMOTE:
        what = _expose(mail, dest, x, what)
        if what == 0:
            return w.REFUSED
        x, nbytes, said = mail + 8 * w.MAIL_PLACE, 16, word(mail, w.MAIL_CELL)
    if not _put(mail, dest, tag, what, key, meta, meta_bytes, x, nbytes):
        if said != w.DONE:
            store(said, w.CELL_FREE)
        return w.WAITING
    poke(told, 1)
    return said


@jit
def _expose(mail, dest, x, what):
    """Have a cell for data that stays where it is: what the record says; 0 if the receiver cannot read it there."""
    state = word(mail, w.MAIL_STATE)
    place = offset_of(state, x)
    if place < 0 and word(state, w.PIDS) == 0:
        return 0
    cells = _slot(mail, _me(mail), dest) + w.MAIL_CELLS
    for index in range(w.CELLS):
        if load(cells + 8 * index) == w.CELL_FREE:
            store(cells + 8 * index, w.CELL_WAITING)
            set_word(mail, w.MAIL_CELL, cells + 8 * index)
            set_word(mail, w.MAIL_PLACE, place)
            set_word(mail, w.MAIL_INDEX, index)
            number = (word(mail, w.MAIL_NUMBER) + 1) % w.NUMBERS
            set_word(mail, w.MAIL_NUMBER, number)
            return what + (w.FIRST_NUMBER + number) * w.MESSAGE_NUMBER
    return 0


@jit
def _fetch(mail, y, nbytes, source, place, index):
    """Read what a rank has exposed, and say so: whether it could be read."""
    state = word(mail, w.MAIL_STATE)
    if place >= 0:
        copy(y, word(state, w.BASE) + place, nbytes)
    elif not reach(state, source, y, -place, nbytes, False):
        return False
    store(_slot(mail, source, _me(mail)) + w.MAIL_CELLS + 8 * index, w.CELL_FREE)
    return True


@jit
def _is_read(mail, cell):
    return has_come(word(mail, w.MAIL_STATE), cell, w.CELL_FREE) and load(cell) == w.CELL_FREE


@jit
def _receive(form, y, source, tag, most, has_turn):
    """Receive what is of this form; WORKING, and nothing has happened, if it has more than `most` bytes."""
    mail = word(form, w.FORM_MAIL)
    size = word(word(mail, w.MAIL_STATE), w.SIZE)
    if not ((has_turn or _is_free(mail)) and w.ANYONE <= source < size and w.ANY_TAG <= tag < w.TAGS):
        return w.REFUSED
    if word(mail, w.MAIL_SORTED) != 0:
        return w.REFUSED
    record = _await(mail, source, tag)
    if record == 0:
        return w.WAITING
    if record < 0 or peek(record + w.MESSAGE_KEY) != word(form, w.FORM_KEY):
        return w.REFUSED
    nbytes, data = word(form, w.FORM_NBYTES), record + w.MESSAGE_HEADER + _meta_bytes(record)
    what = peek(record + w.MESSAGE_WHAT)
    if what & w.MESSAGE_REMOTE:
        if nbytes > most:
            return w.WORKING
        if not _fetch(mail, y, nbytes, word(mail, w.MAIL_FOUND), peek(data), peek(data + 8)):
            return w.REFUSED
    elif what >= w.MESSAGE_NUMBER:  # its data comes through MPI
        return w.REFUSED
    else:
        copy(y, data, nbytes)
    _drop(mail, word(mail, w.MAIL_FOUND), record)
    return w.DONE


@jit
def _data_of(form, value, flags):
    """The address of the data of an array of this form; 0 if the object is none."""
    if form == 0 or value == 0:
        return 0
    data = word(form, w.FORM_DATA)
    if not is_array(value, data, word(form, w.FORM_ARRAY_TYPE), word(form, w.FORM_LAYOUT), flags):
        return 0
    return peek(value + data)


@jit_briefly
def send(form, x, dest, tag):
    """Send an array, if it is of this form: DONE; the address of a cell, until it is free, for the receiver reads the
    array where it is; WAITING, for room; REFUSED, also if another thread has the turn, or messages wait for room.
    """
    data = _data_of(form, address_of(x), IN_ORDER)
    return w.REFUSED if data == 0 else _send(form, data, dest, tag)


@jit_briefly
def send_by_address(form, x, dest, tag):
    """`send`, for an array in C order of this form by its address, with a short wait until it has been read, plus 1 if
    that has not sufficed; to no one nothing is sent.
    """
    if dest == w.NO_ONE:
        return w.DONE
    cell = _send(form, x, dest, tag)
    if cell == w.DONE or cell == w.WAITING or cell == w.REFUSED:
        return cell
    return w.DONE if _is_read(word(form, w.FORM_MAIL), cell) else cell + 1


@jit_briefly
def receive(form, out, source, tag, has_turn):
    """Receive into an array, if it and the message are of this form: DONE; WAITING, for a message; WORKING, if it has
    so much data that `receive_large` should read it; REFUSED, also if another message, or some thread, comes first.
    """
    data = _data_of(form, address_of(out), IN_ORDER | WRITEABLE)
    return w.REFUSED if data == 0 else _receive(form, data, source, tag, _BRIEF, has_turn)


@jit_briefly
def receive_by_address(form, y, source, tag):
    """`receive`, into an array in C order of this form by its address; from no one nothing comes."""
    return w.DONE if source == w.NO_ONE else _receive(form, y, source, tag, _BRIEF, False)


@jit
def _swap(form, x, dest, sendtag, form_of_y, y, source, recvtag):
    mail = word(form, w.FORM_MAIL)
    is_known = w.ANYONE <= source < word(word(mail, w.MAIL_STATE), w.SIZE) and w.ANY_TAG <= recvtag < w.TAGS
    if not is_known and source != w.NO_ONE:
        return w.REFUSED
    cell = w.DONE
    if dest != w.NO_ONE:
        overlap = x < y + word(form_of_y, w.FORM_NBYTES) and y < x + word(form, w.FORM_NBYTES)
        if overlap and word(form, w.FORM_WHAT) & w.MESSAGE_REMOTE:  # what arrives would fall on what has not been read
            return w.REFUSED
        cell = _send(form, x, dest, sendtag)
        if cell == w.WAITING or cell == w.REFUSED:
            return w.REFUSED
    if source != w.NO_ONE and _receive(form_of_y, y, source, recvtag, _BRIEF, False) != w.DONE:
        return w.WORKING if cell == w.DONE else cell
    return w.DONE if cell == w.DONE or _is_read(mail, cell) else cell + 1


@jit_briefly
def swap(form, x, dest, sendtag, form_of_out, out, source, recvtag):
    """`send` and `receive`: DONE; the cell of the first, plus 1 if the second is done; WORKING, if there is no cell and
    the second is still to be done; REFUSED, if nothing is.
    """
    data, y = _data_of(form, address_of(x), IN_ORDER), _data_of(form_of_out, address_of(out), IN_ORDER | WRITEABLE)
    if data == 0 or y == 0 or dest < 0 or source < w.ANYONE:
        return w.REFUSED
    return _swap(form, data, dest, sendtag, form_of_out, y, source, recvtag)


@jit_briefly
def swap_by_address(form, x, dest, sendtag, form_of_y, y, source, recvtag):
    """`swap` for arrays in C order of these forms by their addresses; no one can be on either side."""
    return _swap(form, x, dest, sendtag, form_of_y, y, source, recvtag)


@jit
def receive_large(form, y, source, tag):
    """`receive_by_address`, the GIL released; the caller has the turn."""
    return _receive(form, y, source, tag, _ANY, True)


@jit
def fetch(mail, y, nbytes, source, place, index, number):
    """Read what a rank has exposed, the GIL released: whether it could be read, else it has to come through MPI."""
    if _fetch(mail, y, nbytes, source, place, index):
        return True
    store(_slot(mail, source, _me(mail)) + w.MAIL_CELLS + 8 * index, w.CELL_UNREACHED + number)
    return False


@jit_briefly
def expose(mail, dest, x, what):
    """Have a cell for data that stays where it is, see MAIL_PLACE and MAIL_CELL: what the record says; 0 if there is
    none. The caller has the turn.
    """
    return _expose(mail, dest, x, what)


@jit_briefly
def is_read(mail, cell):
    """Whether the receiver has read what was exposed, within a short wait."""
    return _is_read(mail, cell)


@jit_briefly
def look_for(mail, source, tag, has_turn):
    """The key of the message that `receive` would get; 0 if there is none, or that would be refused."""
    size = word(word(mail, w.MAIL_STATE), w.SIZE)
    if not ((has_turn or _is_free(mail)) and w.ANYONE <= source < size) or word(mail, w.MAIL_SORTED) != 0:
        return 0
    record = _await(mail, source, tag)
    return 0 if record <= 0 else peek(record + w.MESSAGE_KEY)


@jit_briefly
def put(mail, dest, tag, what, key, meta, meta_bytes, data, nbytes):
    """Write a record for a rank: whether there was room. The caller has the turn."""
    return _put(mail, dest, tag, what, key, meta, meta_bytes, data, nbytes)


@jit_briefly
def next_record(mail, is_patient):
    """The address of the next record from any rank, whose number MAIL_FOUND is; 0 if there is none, also within a short
    wait if there is to be one.
    """
    return _await(mail, w.ANYONE, w.ANY_TAG) if is_patient else _seek(mail, w.ANYONE, w.ANY_TAG)


@jit_briefly
def drop(mail, record):
    """Give the room of the record back that was found."""
    _drop(mail, word(mail, w.MAIL_FOUND), record)


@jit_briefly
def is_pressed(mail):
    """Whether some rank waits for room to send to this one."""
    for other in range(word(word(mail, w.MAIL_STATE), w.SIZE)):
        if load(_slot(mail, other, _me(mail)) + w.MAIL_STUCK) != 0:
            return True
    return False


# What is called from Python, and with what.
CALLED = (
    (send, (int64, any_object, int64, int64)),
    (send_by_address, (int64, int64, int64, int64)),
    (receive, (int64, any_object, int64, int64, int64)),
    (receive_by_address, (int64, int64, int64, int64)),
    (swap, (int64, any_object, int64, int64) * 2),
    (swap_by_address, (int64,) * 8),
    (receive_large, (int64, int64, int64, int64)),
    (fetch, (int64,) * 7),
    (expose, (int64,) * 4),
    (is_read, (int64, int64)),
    (look_for, (int64,) * 4),
    (put, (int64,) * 9),
    (next_record, (int64, boolean)),
    (drop, (int64, int64)),
    (is_pressed, (int64,)),
)
