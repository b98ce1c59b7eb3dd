"""The ranks of a node meet in shared memory: arrival, the comparison of calls, and the motion of data.

A call is a barrier to begin with: so no rank can be two calls ahead of another, and two lines and slots per rank
suffice. Every wait in here is short: a function that cannot go on says so and is called again, with all that it has
done in the state; whoever calls it looks after signals, deadlines and MPI meanwhile.

Results are pushed: the rank that has a block, or has combined one, writes it to where it belongs. What leaves a
core is written past the caches (`copy_streamed`) where the cores share none, or after its lines were asked for
(`copy_requested`) where they do; plain stores to lines in another core's cache take several times as long.
"""

from numba import int64

from . import words as w
from ._jit import jit, jit_briefly
from ._memory import copy, load, peek, poke, store
from ._motion import carry_small, deposit, fill, flow, look_around, move, note_unreached
from ._objects import IN_ORDER, WRITEABLE, address_of, any_object, is_array
from ._signals import (
    all_arrived,
    all_have_come,
    are_far,
    block_of,
    line_of,
    offset_of,
    post_line,
    probe,
    result_offset,
)
from .words import set_word, word

_BRIEF = 256 << 10  # bytes of a call that is not worth giving the GIL away
_WORTH_PYTHON = 2 << 20  # the same, where it would mean to go from compiled code to Python
_ANY = 1 << 62  # more than any call has
_PROBE_EVERY = 64 << 20
_APART = 100  # fewer spins: ranks share cores, and with them caches


@jit
def _begin(state, entry, x, y):
    """Note a new call."""
    set_word(state, w.ENTRY, entry)
    set_word(state, w.X, x)
    set_word(state, w.Y, y)
    set_word(state, w.PHASE, 0)


@jit
def _count(state, entry):
    """Probe again after so many bytes, the same on all ranks."""
    since = word(state, w.SINCE) + word(entry, w.WEIGHT)
    if since >= _PROBE_EVERY and word(state, w.SPINS) >= _APART:
        since = 0
        probe(state)
    set_word(state, w.SINCE, since)


@jit
def _carry(state, most):
    """Move the data of a call on which the ranks agree: DONE; WORKING, and call again, also if it has more than `most`
    bytes; ELSEWHERE: it is MPI's, since the system does not let ranks reach each other's memory, or has not let one;
    SPOILED: the same, and results have been written over what is sent; COLLIDING: see `collide`.
    """
    entry = word(state, w.ENTRY)
    if word(entry, w.IS_SMALL):
        return carry_small(state)
    if word(state, w.PHASE) == 0:
        said = look_around(state, entry)
        if said == w.ELSEWHERE:
            _count(state, entry)
        if said != w.DONE:
            return said
    if word(entry, w.WEIGHT) > most:
        return w.WORKING
    if word(state, w.PHASE) == 1:
        if word(entry, w.KIND) == w.MOVE and not move(state, entry):
            note_unreached(state)
        set_word(state, w.PHASE, 2)
    if word(state, w.PHASE) == 2:
        if not flow(state, entry):
            return w.WORKING
        fill(state, entry)  # while the others take what this rank has put in
        set_word(state, w.PHASE, 3)
    rounds = word(state, w.CHUNKS) + word(state, w.TAKEN)
    if not all_have_come(state, w.FINISHED, rounds):
        return w.WORKING
    store(block_of(state, word(state, w.RANK)) + w.COPIED, rounds)
    set_word(state, w.CHUNKS, rounds)
    _count(state, entry)
    return _outcome(state, entry)


@jit
def _outcome(state, entry):
    """DONE, if every rank could reach what it had to; the same answer on all ranks."""
    if word(state, w.ACROSS) != w.WITHIN:
        for rank in range(word(state, w.SIZE)):
            if peek(block_of(state, rank) + w.UNREAD) == word(state, w.EPOCH):
                return w.SPOILED if word(state, w.ACROSS) == w.IN_PLACE else w.ELSEWHERE
    return w.DONE


@jit_briefly
def post(state, token):
    """Arrive at a call of which this rank does not know yet how it will be carried out."""
    set_word(state, w.EPOCH, word(state, w.EPOCH) + 1)
    post_line(state, token, w.LATER, w.LATER, 0)


@jit_briefly
def arrived(state):
    """Whether all ranks are here: DONE or WAITING."""
    return w.DONE if all_arrived(state) else w.WAITING


@jit_briefly
def tell(entry, x, y):
    """After `post`, or UNKNOWN: say where the arrays are, which are in C order, so that `carry` can go on."""
    state, data = word(entry, w.OF_STATE), word(entry, w.DATA)
    x = peek(x + data) if x != 0 else 0
    y = peek(y + data) if y != 0 else 0
    _begin(state, entry, x, y)
    deposit(state, entry, x)
    late = block_of(state, word(state, w.RANK)) + w.LATE
    poke(late + 8, offset_of(state, x))
    poke(late + 16, result_offset(state, entry, y))
    store(late, word(state, w.EPOCH))


@jit
def _is_x(entry, value):
    """Whether an object is an array such as this rank sends in the call; 0, where it sends none."""
    layout = word(entry, w.X_LAYOUT)
    if value == 0 or layout == 0:
        return value == layout
    return is_array(value, word(entry, w.DATA), word(entry, w.ARRAY_TYPE), layout, IN_ORDER)


@jit
def _can_hold_result(entry, value):
    """Whether an object is an array such as this rank receives in the call."""
    data, kind, layout = word(entry, w.DATA), word(entry, w.ARRAY_TYPE), word(entry, w.LAYOUT)
    return is_array(value, data, kind, layout, IN_ORDER | WRITEABLE)


@jit
def _can_receive(entry, x, y):
    """Whether a result can be written to y where x is sent: not if they overlap in part, nor, where blocks move, if
    they are the same, since what arrives would fall on what has not been sent.
    """
    x_bytes, y_bytes = word(entry, w.X_BYTES), word(entry, w.Y_BYTES)
    if x == y and x_bytes == y_bytes:
        moves = word(entry, w.KIND) == w.MOVE or word(entry, w.RULE) == w.BEFORE
        return word(entry, w.IS_SMALL) or not moves
    return x == 0 or x >= y + y_bytes or y >= x + x_bytes


@jit
def _arrive(state, entry, x, y, out, brings_data):
    """Arrive at a call that has been made before: DONE; REFUSED, and nothing has happened, if x is another array than
    then, or not in C order, or `out` cannot take the result: of another layout, read-only, or in x.

    x, y and out are addresses of objects, 0 for None: the array that is sent, the array that receives, and what the
    user gave for the result; y may be another than `out`, if the result reaches that later.
    """
    if not _is_x(entry, x):
        return w.REFUSED
    data = word(entry, w.DATA)
    if x != 0:
        x = peek(x + data)
    if out != 0 and not (_can_hold_result(entry, out) and _can_receive(entry, x, peek(out + data))):
        return w.REFUSED
    if y != 0:
        y = peek(y + data)
    _arrive_with(state, entry, x, y, brings_data)
    return w.DONE


@jit
def _arrive_with(state, entry, x, y, brings_data):
    """The same for arrays by their addresses, which are such as the call is for."""
    set_word(state, w.EPOCH, word(state, w.EPOCH) + 1)
    _begin(state, entry, x, y)
    x_told, y_told = w.LATER, w.LATER
    if brings_data:
        deposit(state, entry, x)
        x_told, y_told = offset_of(state, x), result_offset(state, entry, y)
    post_line(state, word(entry, w.TOKEN), x_told, y_told, word(entry, w.EXPECTED))


@jit
def _meet(state, entry, most):
    """After the arrival: take the turn, compare, and carry out what has up to `most` bytes; what `call` says."""
    set_word(state, w.BUSY, 1)
    if not all_arrived(state):
        return w.WAITING
    if word(state, w.COMBINED) != word(entry, w.EXPECTED):
        return w.UNKNOWN
    said = _carry(state, most)
    if said == w.DONE:
        set_word(state, w.BUSY, 0)
    return said


@jit_briefly
def call(entry, x, y, out):
    """Arrive, compare, and carry out a small call that has been made before; x, y and out are objects, see `_arrive`.

    Returns DONE; REFUSED, also if another thread has the turn; and, all of which keep the turn, WAITING, for ranks;
    UNKNOWN, if the ranks' tokens together are not the expected ones; and what `_carry` says.
    """
    state = word(entry, w.OF_STATE)
    if word(state, w.BUSY):
        return w.REFUSED
    if _arrive(state, entry, address_of(x), address_of(y), address_of(out), True) == w.REFUSED:
        return w.REFUSED
    return _meet(state, entry, _BRIEF)


@jit_briefly
def call_by_address(entry, x, place, y):
    """`call`, for arrays in C order by address, of the shape and dtype that the entry is for. If there is a place in
    the segment, and y is not there itself, the result comes to y by way of it; after WAITING, WORKING it is left there.
    """
    state = word(entry, w.OF_STATE)
    if word(state, w.BUSY) or not (y == 0 or _can_receive(entry, x, y)):
        return w.REFUSED
    uses_place = place != 0 and y != 0 and offset_of(state, y) < 0
    _arrive_with(state, entry, x, place if uses_place else y, True)
    said = _meet(state, entry, _WORTH_PYTHON)
    if said == w.DONE and uses_place:
        copy(y, place, word(entry, w.Y_BYTES))
    return said


@jit
def _compare(state):
    """When all have arrived: DONE, and a small call is carried out; UNKNOWN; WAITING, for where a rank's array is;
    COLLIDING.
    """
    entry = word(state, w.ENTRY)
    if word(state, w.COMBINED) != word(entry, w.EXPECTED):
        return w.UNKNOWN
    if not word(entry, w.IS_SMALL):
        return w.DONE
    said = carry_small(state)
    return w.WAITING if said == w.WORKING else said


@jit
def _glance(state):
    epoch = word(state, w.EPOCH)
    for rank in range(word(state, w.SIZE)):
        if load(line_of(state, rank)) < epoch:
            return w.WAITING
    return _compare(state) if all_arrived(state) else w.WAITING


@jit_briefly
def begin(entry, x, y, out, has_turn):
    """Arrive at a call, and do not wait for anyone; arguments as of `call`. The data of a call that is not small
    stays where it is. What `glance` says, or REFUSED, also if another thread has the turn; no turn is taken.
    """
    state = word(entry, w.OF_STATE)
    if word(state, w.BUSY) and not has_turn:
        return w.REFUSED
    brings_data = word(entry, w.IS_SMALL)
    if _arrive(state, entry, address_of(x), address_of(y), address_of(out), brings_data) == w.REFUSED:
        return w.REFUSED
    return _glance(state)


@jit_briefly
def glance(state):
    """`begin`, after WAITING: WAITING; DONE; COLLIDING; UNKNOWN, if the ranks' tokens together are not the expected."""
    return _glance(state)


@jit_briefly
def settle(state):
    """`glance`, with a short wait; WAITING also if a thread has the turn."""
    return w.WAITING if word(state, w.BUSY) or not all_arrived(state) else _compare(state)


@jit_briefly
def take(state):
    """Take the turn: whether no one had it. No other thread comes between, for the GIL is not given away."""
    if word(state, w.BUSY):
        return False
    set_word(state, w.BUSY, 1)
    return True


@jit_briefly
def look(entry, value):
    """The address of an array's data if it can receive the result; negative if it can only be sent; else 0."""
    address = address_of(value)
    data = peek(address + word(entry, w.DATA))
    if _can_hold_result(entry, address):
        return data
    return -data if _is_x(entry, address) else 0


@jit_briefly
def is_shared(entry, value):
    """Whether an object is an array that can receive the result, in the segment."""
    address = address_of(value)
    if not _can_hold_result(entry, address):
        return False
    return offset_of(word(entry, w.OF_STATE), peek(address + word(entry, w.DATA))) >= 0


@jit_briefly
def sends(entry, value):
    """Whether an object is an array such as this rank sends in the call; None, where it sends none."""
    return _is_x(entry, address_of(value))


@jit_briefly
def look_at_cores(state):
    """Find out whether the ranks' cores share a cache; all ranks do so at about the same time."""
    if word(state, w.SPINS) >= _APART:
        probe(state)


@jit_briefly
def is_far(state):
    """Whether the ranks' cores share no cache, as rank 0's last probe says."""
    return are_far(state)


@jit_briefly
def resume(state):
    """`call`, after WAITING."""
    if not all_arrived(state):
        return w.WAITING
    entry = word(state, w.ENTRY)
    return w.WORKING if word(state, w.COMBINED) == word(entry, w.EXPECTED) else w.UNKNOWN


@jit
def carry(state):
    """Bring a call to its end, the GIL released; what `_carry` says."""
    return _carry(state, _ANY)


@jit
def _begin_round(state):
    entry, x, y = word(state, w.ENTRY), word(state, w.X), word(state, w.Y)
    set_word(state, w.EPOCH, word(state, w.EPOCH) + 1)
    _begin(state, entry, x, y)
    deposit(state, entry, x)
    x_told, y_told = w.PRIVATE, w.PRIVATE
    if not word(entry, w.IS_SMALL):
        x_told, y_told = offset_of(state, x), result_offset(state, entry, y)
    # All tokens are 0, and so is what they make together: the rank has told all there is.
    post_line(state, 0, x_told, y_told, 0)


@jit
def _end_round(state):
    return _carry(state, _BRIEF) if all_arrived(state) else w.WAITING


@jit_briefly
def begin_round(state):
    """Make x of a plan's next round known to the others: DONE; REFUSED, if a call on the communicator that owns the
    plan is under way, or it is closed.
    """
    if word(word(state, w.OWNER), w.BUSY):
        return w.REFUSED
    _begin_round(state)
    return w.DONE


@jit_briefly
def end_round(state):
    """Take part in a round: WAITING for ranks, and what `_carry` says; after WORKING `carry` may go on. No one has to
    wait for this rank to do so in a small one.
    """
    return _end_round(state)


@jit_briefly
def play_round(state):
    """`begin_round` and `end_round`."""
    if word(word(state, w.OWNER), w.BUSY):
        return w.REFUSED
    _begin_round(state)
    return _end_round(state)


# What is called from Python, and with what.
CALLED = (
    (post, (int64, int64)),
    (arrived, (int64,)),
    (tell, (int64, int64, int64)),
    (call, (int64, any_object, any_object, any_object)),
    (call_by_address, (int64,) * 4),
    (begin, (int64, any_object, any_object, any_object, int64)),
    (glance, (int64,)),
    (settle, (int64,)),
    (take, (int64,)),
    (look, (int64, any_object)),
    (is_shared, (int64, any_object)),
    (sends, (int64, any_object)),
    (look_at_cores, (int64,)),
    (is_far, (int64,)),
    (resume, (int64,)),
    (carry, (int64,)),
    (begin_round, (int64,)),
    (end_round, (int64,)),
    (play_round, (int64,)),
)
