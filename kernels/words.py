"""The words that the ranks of a node write for each other, and for themselves: their places and values.

Addresses are of this process; places in the segment, which every process has mapped elsewhere, are told as offsets.
Every rank has a control block in the segment, which it alone writes:

======== ==============================================================================================
256, 384 its claim for even and odd calls, read where tokens differ from those seen before
512      number of the call, offsets of x and of the result: from a rank that could not tell them on arrival
640      how many chunks it has put into its ring, over all calls
768      how many it has finished; number of the last call in which it could not reach another rank's memory
896      rounds of the probe, and the cycles of one when it was last made
4096     slots for x up to `SLOT` bytes, for even and odd calls
`LINES`  its lines, 128 bytes each, for even and odd calls: number of the call, token of what is called,
         where x and the result are, the tokens it expects, and up to 88 bytes of x; a pair of lines for
         each group of ranks that read them
`RING`   chunks of x on their way to the ranks that combine them
`MAIL`   messages to each rank, see `mail.py`; places of plans have none
======== ==============================================================================================
"""

from ._jit import jit
from ._memory import peek, poke

# The control block; offsets in bytes.
CLAIM, LATE, COPIED, FINISHED, UNREAD, PROBE, SLOTS, LINES, RING = 256, 512, 640, 768, 776, 896, 4096, 36864, 65536
PAIR = 256  # bytes of two lines
LINE = 128  # bytes of two cache lines, which processors fetch in pairs
IN_LINE = 88  # bytes of x beside the flag
SLOT = 16384
BLOCK = 4 << 20  # bytes of a control block, the ring included
MAIL, MAIL_BYTES = BLOCK, 1 << 20  # where messages are, behind it

# The state: this rank's side of a meeting place; int64 each.
(
    BASE, RANK, SIZE, EPOCH, COMBINED, SPINS, YIELDS, BLOCKS, SEGMENT, CHUNKS, ROUND, SINCE, SCRATCH,
    ENTRY, X, Y, PHASE, PUT, TAKEN, DIRECT, HOW, AWAITED, BUSY, AGE, OWNER, HEAPS, HEAP, COLLISION,
    PIDS, GROUPS, GROUP, ACROSS, VECTORS,
) = range(33)  # fmt: skip
STATE = 40  # VECTORS are four

# The entry: how a call is carried out; int64 each. A row per rank follows.
(
    TOKEN, EXPECTED, KIND, IS_SMALL, PAYLOAD, FUNCTION, ITEM, RULE, ROOT, CHUNK, ROUNDS, WEIGHT, X_BYTES, Y_BYTES,
    OF_STATE, DATA, SAME, ARRAY_TYPE, X_LAYOUT, LAYOUT, IDENTITY, COPIES, ROOM, RING_SLOTS,
    ONCE, ONCE_FAR, BY_MPI, BY_MPI_FAR, ALONE,
) = range(29)  # fmt: skip
ROWS, ROW = 29, 8
# Of a row of MOVE: what goes to that rank, and what comes from it. Of FOLD: where the rank's slice lies.
# Of both: bytes that the rank sends in all, and receives.
FROM, LENGTH, TO, THERE, ARRIVING, HERE, SENDS, RECEIVES = range(8)

# The record, by which compiled code knows a communicator: a number that no other ever has, the address of the function
# that makes known calls, that of the list of requests that have not begun, a count of such calls, and the addresses of
# the functions for messages. And a slot, of a call in such code: for which record, its number then, the entry, other
# arguments, whether there is an x, what comes of it, the place by way of which the result comes, the Python object that
# makes an array for it, and the extents of x and of the result.
RECORD_NUMBER, RECORD_CALL, RECORD_UNSTARTED, RECORD_COUNT, RECORD_SEND, RECORD_RECEIVE, RECORD_SWAP = range(7)
(
    SLOT_RECORD, SLOT_NUMBER, SLOT_ENTRY, SLOT_OP, SLOT_ROOT, SLOT_AXIS, SLOT_OTHER_AXIS, SLOT_HAS_X, SLOT_GIVES,
    SLOT_PLACE, SLOT_MAKER, SLOT_EXTENTS,
) = range(12)  # fmt: skip
# The mail: this rank's side of its messages. A row per rank follows: what it has sent there, and got from there, in
# messages and in bytes; what the other has taken, when last seen; and whether messages wait for room.
(
    MAIL_STATE, MAIL_SLOT, MAIL_RING, MAIL_SORTED, MAIL_FOUND, MAIL_NEXT, MAIL_NUMBER, MAIL_PLACE, MAIL_INDEX,
    MAIL_CELL, MAIL_ROWS,
) = range(11)  # fmt: skip
MAIL_SENT, MAIL_TAIL, MAIL_FREED, MAIL_GOT, MAIL_HEAD, MAIL_QUEUED, MAIL_ROW = range(7)
# A slot of a rank for another: bytes taken of what comes from there; whether what goes there waits for room; and cells,
# for data that the receiver reads where it is: what has become of it.
MAIL_TAKEN, MAIL_STUCK, MAIL_CELLS, MAIL_RECORDS = 0, 64, 128, 192
CELLS = 8
CELL_WAITING, CELL_FREE, CELL_UNREACHED = range(-1, 2)  # the last and the message's number: it is to come through MPI
# A message's record: its number, tag, kind and number of data that comes by itself, key of the description, lengths;
# behind it the description and the data, or where that is: its place, as an offset in the segment or minus an address
# of the sender's, and its cell.
MESSAGE_FLAG, MESSAGE_TAG, MESSAGE_WHAT, MESSAGE_KEY, MESSAGE_LENGTHS, MESSAGE_HEADER = 0, 8, 16, 24, 32, 40
MESSAGE_SKIP = 0  # the kind of what fills the end of a ring; the others are of `dcomp.engine.messages`
# Added to the kind: the receiver has to keep the description, for it does not come again; the data is to be read where
# it is; and, from there on, the number of data that comes by itself.
MESSAGE_KEPT, MESSAGE_REMOTE, MESSAGE_NUMBER = 128, 256, 65536
FIRST_NUMBER, NUMBERS = 20480, 8192  # of data read where it is; the others, of `dcomp.engine.messages`, are below
ANYONE, ANY_TAG = -1, -1
NO_ONE = -(1 << 62)  # no number that a program gives
TAGS = 32768  # MPI promises tags up to 32767 (MPI-4.1, 9.1.2)
# A form: what is the same for all messages of one dtype and shape. A word per rank follows: whether it knows the form.
(
    FORM_MAIL, FORM_DATA, FORM_ARRAY_TYPE, FORM_LAYOUT, FORM_KEY, FORM_WHAT, FORM_NBYTES, FORM_META, FORM_META_BYTES,
    FORM_ROWS,
) = range(10)  # fmt: skip
# The slot of a message: as above, then the forms of x and of `out`, and the extents of both.
SLOT_FORM, SLOT_FORM_OF_OUT, SLOT_FORM_EXTENTS = range(2, 5)
# A table of boxes, and a row of it: see `boxes.py`.
BOX_DATA, BOX_ARRAY_TYPE, BOX_LAYOUT, BOX_PACKED, BOX_UNPACKED, BOX_LOOPS, BOX_ROWS = range(7)
BOX_IN_ARRAY, BOX_IN_BUFFER, BOX_RUN, BOX_EXTENTS = range(4)
OBJECT_LENGTH = 16  # where a Python object that has a length keeps it (PyVarObject)
GIVES_NOTHING, GIVES_RESULT, GIVES_X = range(3)

NOTHING, MOVE, FOLD = range(3)  # kinds
ALL, AT_ROOT, OWN, PREFIX, BEFORE, TO_ROOT = range(6)  # rules: who gets what of a combination, or whose blocks move

REQUEST, STREAM = range(2)  # ways to write what leaves the core
PRIVATE, LATER = -1, -2  # instead of an offset; an address in ordinary memory is told as a negative number
DONE, WAITING, UNKNOWN, WORKING, ELSEWHERE, REFUSED, COLLIDING, SPOILED = range(8)  # what the functions say

WITHIN, ORDINARY, IN_PLACE = range(3)  # what is written or read across processes: nothing; arrays; and what is sent

PIECE = 8192  # bytes combined at a time: a few of them fit the first cache
PIECE_ACROSS = 65536  # the same where the kernel carries the results, who takes as long for a call as for some KiB
STREAMED = 16 << 20  # bytes of a call that do not fit any cache
CACHED = 2 << 20  # bytes of a result that stays in the cache of who writes it


@jit
def word(record, index):
    """One of the words of a state, an entry or a row."""
    return peek(record + 8 * index)


@jit
def set_word(record, index, value):
    """Write it."""
    poke(record + 8 * index, value)
