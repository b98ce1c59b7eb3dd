"""Arrays of several ranks that are one: parts of a `shared_array`, which lies in the heap of one rank for all."""

from . import words as w
from ._jit import jit
from ._memory import peek
from ._signals import row_of, x_offset, y_offset
from .words import set_word, word


@jit
def collide(state, entry):
    """Whether a rank would receive into what another sends, or into what another receives: the same answer on all
    ranks; COLLISION tells whose. Cost: a look at each rank's places, and at each pair where one is in another's heap.

    Blocks that are the same for all may go into one array, and the root's be in it. Not so what is combined, for MPI
    would do that in the array itself.
    """
    if not _are_shared(state):
        return False
    same_result = word(entry, w.SAME)
    same_x = same_result and word(entry, w.RULE) == w.AT_ROOT  # not of allgather, in which each sends a part
    size = word(state, w.SIZE)
    for first in range(size):
        y, y_bytes = y_offset(state, first), word(row_of(entry, first), w.RECEIVES)
        for second in range(size):
            if second == first or y < 0:
                continue
            row = row_of(entry, second)
            x, z = x_offset(state, second), y_offset(state, second)
            meets_x = _overlap(y, y_bytes, x, word(row, w.SENDS)) and not (same_x and x == y)
            if meets_x or (_overlap(y, y_bytes, z, word(row, w.RECEIVES)) and not (same_result and z == y)):
                set_word(state, w.COLLISION, 2 * (first * size + second) + meets_x)
                return True
    return False


@jit
def _are_shared(state):
    """Whether an array lies in the heap of another rank than that which uses it."""
    for rank in range(word(state, w.SIZE)):
        heap = peek(word(state, w.HEAPS) + 8 * rank)
        if _is_beyond(state, heap, x_offset(state, rank)) or _is_beyond(state, heap, y_offset(state, rank)):
            return True
    return False


@jit
def _is_beyond(state, heap, offset):
    return offset >= 0 and not heap <= offset < heap + word(state, w.HEAP)


@jit
def _overlap(start, nbytes, other_start, other_nbytes):
    return nbytes > 0 and other_nbytes > 0 and other_start < start + nbytes and start < other_start + other_nbytes
