"""Messages between ranks that meet in shared memory; `kernels/mail.py` moves them.

Little data goes with the message; other data is read by the receiver where it is, or comes through MPI. A receive that
is posted waits here for its message, and a message that comes before its receive is held here: they find each other in
the order in which they came, as MPI demands.
"""

import ctypes
import hashlib
from collections import deque
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI

from ..kernels import mail as kernel
from ..kernels import ready
from ..kernels import words as w
from . import messages
from .channel import Channel, Steps
from .meeting import DATA, Meeting, layout_of
from .messages import Message
from .requests import MessageRequest, Request
from .segment import address_of

if TYPE_CHECKING:
    from .receives import Posted

_MOST_SLOT, _LEAST_SLOT = 128 << 10, 4 << 10  # bytes for the messages to one rank
_ALONG = 32 << 10  # bytes of data that go with the message: two copies take as long as one across processes
_AT_ONCE = 64  # messages taken, before anyone looks for what it waits for: others may go on sending
_FORMS = 1024  # kept; the receivers keep as many of every sender
_KIND = 127  # the part of a record's word that is the kind

quick_send, quick_receive = ready.entry_point(kernel.send), ready.entry_point(kernel.receive)
quick_swap, find_key = ready.entry_point(kernel.swap), ready.entry_point(kernel.look_for)


def make_mail(channel: Channel, meeting: Meeting) -> "Mail | None":
    """The mail of a channel; None where there are so many ranks that MPI serves them better."""
    slot = min(_MOST_SLOT, w.MAIL_BYTES // channel.size // 64 * 64)
    return Mail(channel, meeting, slot) if slot >= _LEAST_SLOT else None


class Form:
    """What is the same for all messages of one dtype and shape, as compiled code reads it."""

    def __init__(
        self, mail: "Mail", dtype: np.dtype, shape: tuple[int, ...], kind: int, meta: bytes, is_remote: bool
    ) -> None:
        self.dtype, self.shape, self.is_scalar, self.is_remote = dtype, shape, kind == messages.SCALAR, is_remote
        self._meta = np.frombuffer(meta, np.uint8)
        self._layout = layout_of(shape, dtype)
        words = self._words = np.zeros(w.FORM_ROWS + mail.channel.size, np.int64)
        words[w.FORM_MAIL], words[w.FORM_DATA], words[w.FORM_ARRAY_TYPE] = mail.address, DATA, id(np.ndarray)
        words[w.FORM_LAYOUT], words[w.FORM_NBYTES] = address_of(self._layout), prod(shape) * dtype.itemsize
        words[w.FORM_KEY], words[w.FORM_WHAT] = _key(kind, meta), kind | w.MESSAGE_KEPT | is_remote * w.MESSAGE_REMOTE
        words[w.FORM_META], words[w.FORM_META_BYTES] = address_of(self._meta), len(meta)
        self.address = address_of(words)

    def recognise(self, dtype: np.dtype) -> None:
        """Have arrays of this dtype known, which is equal to that of the form."""
        if dtype is not self.dtype:
            self.dtype, self._layout[0] = dtype, id(dtype)


class Mail:
    """A rank's side of the messages of a channel.

    Attributes
    ----------
    address : int     Of what the compiled functions keep.
    """

    def __init__(self, channel: Channel, meeting: Meeting, slot: int) -> None:
        self.channel, self._segment = channel, meeting.segment
        words = self._words = np.zeros(w.MAIL_ROWS + w.MAIL_ROW * channel.size, np.int64)
        words[w.MAIL_STATE], words[w.MAIL_SLOT], words[w.MAIL_RING] = meeting.state, slot, slot - w.MAIL_RECORDS
        self.address = address_of(words)
        # Half of a ring, so that there is room at last, wherever the end of the ring is.
        self._most = (slot - w.MAIL_RECORDS) // 2 - 64 - w.MESSAGE_HEADER
        self.posted: dict[Posted, None] = {}  # in order
        self.get: Callable  # receives at once, or within a short wait; see `dcomp._quick_messages`
        channel.longest_meta = min(self._most - 16, channel.longest_meta)
        self._queues: list[deque[object]] = [deque() for _ in range(channel.size)]  # what waits for room, in order
        self._described: dict[int, tuple[int, bytes]] = {}  # kinds and descriptions by their keys
        self._forms: dict[tuple, Form] = {}

    def form(self, dtype: np.dtype, shape: tuple[int, ...], *, scalar: bool = False) -> Form | None:
        """The form of arrays; None if they go the ordinary way."""
        key = dtype, shape, scalar
        try:
            form = self._forms[key]
        except KeyError:
            kind, meta = messages.SCALAR if scalar else messages.ARRAY, messages.describe(dtype, shape)
            if dtype.hasobject or len(self._forms) >= _FORMS or len(meta) + 16 > self._most:
                return None
            is_remote = not self._goes_along(meta, prod(shape) * dtype.itemsize)
            # One, whatever other threads do meanwhile: compiled code keeps its address.
            form = self._forms.setdefault(key, Form(self, dtype, shape, kind, meta, is_remote))
            self._described[_key(kind, meta)] = kind, meta  # a quick receive reads no description
        form.recognise(dtype)
        return form

    def form_of_value(self, x: Any) -> Form | None:
        """The form of an array or a NumPy scalar."""
        return self.form(x.dtype, x.shape, scalar=isinstance(x, np.generic))

    def form_of(self, key: int) -> Form | None:
        """The form of a message that has come, if it has one."""
        kind, meta = self._described.get(key, (messages.OBJECT, b""))
        if kind == messages.OBJECT:
            return None
        dtype, shape = messages.described(meta)
        return self.form(dtype, shape, scalar=kind == messages.SCALAR)

    def empty(self, form: Form) -> np.ndarray:
        """An array for a message of this form."""
        result = self._segment.empty(form.shape, form.dtype) if form.is_remote else None
        return np.empty(form.shape, form.dtype) if result is None else result

    def send(self, packed: tuple[int, bytes, list[np.ndarray]], dest: int, tag: int) -> Steps:
        """Send a message; steps."""
        channel, (kind, meta, data) = self.channel, packed
        total = sum(part.size for part in data)
        what, cell, requests, body = kind, 0, [], np.empty(0, np.uint8)
        if self._goes_along(meta, total):
            body = data[0] if len(data) == 1 else np.concatenate(data)
        else:
            if len(data) == 1:
                exposed = kernel.expose(self.address, dest, address_of(data[0]), kind | w.MESSAGE_REMOTE)
                if exposed:
                    what, cell = exposed, int(self._words[w.MAIL_CELL])
                    body = self._words[w.MAIL_PLACE : w.MAIL_INDEX + 1].copy().view(np.uint8)
            if not cell:
                number = messages.new_number(channel)
                what |= number * w.MESSAGE_NUMBER
                requests = messages.send_data(channel, data, dest, number)
        description = np.frombuffer(meta, np.uint8)
        record = dest, tag, what, _key(kind, meta), address_of(description), len(meta), address_of(body), body.size
        queue, ticket = self._queues[dest], object()
        queue.append(ticket)
        waiting = w.MAIL_ROWS + w.MAIL_ROW * dest + w.MAIL_QUEUED

        def has_room() -> bool:
            if queue[0] is not ticket:
                return False
            if not kernel.put(self.address, *record):
                self.sort()  # who does not read may wait for room here
                return False
            return True

        self._words[waiting] = 1
        try:
            yield has_room
        finally:
            queue.remove(ticket)
            self._words[waiting] = len(queue)
        del description, body  # until now
        if cell:
            yield from self.wait_for(cell, data, dest)
        else:
            yield lambda: MPI.Request.Testall(requests)

    def wait_for(self, cell: int, data: list[np.ndarray], dest: int) -> Steps:
        """Until the receiver has read what is exposed, or gets it through MPI; steps."""
        state = ctypes.c_int64.from_address(cell)

        def has_changed() -> bool:
            if state.value == w.CELL_WAITING:
                self.channel.make_progress()
            return state.value != w.CELL_WAITING

        yield has_changed
        if state.value != w.CELL_FREE:
            requests = messages.send_data(self.channel, data, dest, state.value - w.CELL_UNREACHED)
            state.value = w.CELL_FREE
            yield lambda: MPI.Request.Testall(requests)

    def finishing(self, function: str, x: np.ndarray, dest: int, cell: int) -> Request:
        """The rest of a quick send that has exposed x."""
        with self.channel.turn(function):
            steps = self.wait_for(cell, [x.reshape(-1).view(np.uint8)], dest)
            return MessageRequest(self.channel, function, steps, (dest,))  # whose receiver does the work

    def is_read(self, cell: int) -> bool:
        """Whether what is exposed has been read, within a short wait."""
        return kernel.is_read(self.address, cell)

    def read_large(self, form: Form, out: np.ndarray, source: int, tag: int) -> int:
        """Receive what a quick receive leaves, since it has much data; what that says. The caller has the turn."""
        return kernel.receive_large(form.address, address_of(out), source, tag)

    def receive_first(self, receive: "Posted") -> Any:
        """The message of the first posted receive, if it comes within a short wait; else None.

        The caller has the turn.
        """
        self._words[w.MAIL_SORTED] = 0  # this once
        try:
            source = w.ANYONE if receive.source == MPI.ANY_SOURCE else receive.source
            tag = w.ANY_TAG if receive.tag == MPI.ANY_TAG else receive.tag
            result = self.get(receive.function, source, tag, receive.out, True)
            if result is not None:
                del self.posted[receive]
                self.channel.moving.pop(receive, None)
            return result
        finally:
            self.note()

    def sort(self, is_patient: bool = False) -> None:
        """Take some of what has come: to the receives that wait for it, else to be held; the caller has the turn."""
        for _ in range(_AT_ONCE):
            record = kernel.next_record(self.address, is_patient)
            if not record:
                break
            is_patient = False
            self.offer(self._read(record))
        self.note()

    def offer(self, message: Message) -> None:
        """Give a message to the first receive that waits for such a one, else hold it."""
        for receive in self.posted:
            if messages.fits(message, receive.source, receive.tag):
                del self.posted[receive]
                receive.take(message)
                return
        messages.hold(self.channel, message)

    def is_pressed(self) -> bool:
        """Whether a rank waits for room to send to this one."""
        return kernel.is_pressed(self.address)

    def _read(self, record: int) -> Message:
        tag, what, key, lengths = (ctypes.c_int64 * 4).from_address(record + w.MESSAGE_TAG)
        meta_bytes, nbytes = lengths >> 32, lengths & 0xFFFFFFFF
        body = ctypes.string_at(record + w.MESSAGE_HEADER, meta_bytes + nbytes)
        source = int(self._words[w.MAIL_FOUND])
        kernel.drop(self.address, record)
        kind, meta = what & _KIND, body[:meta_bytes]
        if not meta_bytes:
            kind, meta = self._described[key]
        elif key and (what & w.MESSAGE_KEPT or len(self._described) < _FORMS):
            self._described[key] = kind, meta
        number = what // w.MESSAGE_NUMBER
        data, fetch = np.frombuffer(body, np.uint8, nbytes, meta_bytes), None
        if what & w.MESSAGE_REMOTE:
            place, index = data.view(np.int64).tolist()

            def fetch(flat: np.ndarray) -> bool:
                return kernel.fetch(self.address, address_of(flat), flat.size, source, place, index, number)

        return Message(kind, number, meta, data, source, tag, fetch)

    def _goes_along(self, meta: bytes, nbytes: int) -> bool:
        """Whether the data is in the record."""
        return nbytes <= _ALONG and len(meta) + nbytes <= self._most

    def note(self) -> None:
        """Tell compiled code whether messages come by themselves, or by way of what is here."""
        self._words[w.MAIL_SORTED] = bool(self.posted or self.channel.held)


def _key(kind: int, meta: bytes) -> int:
    """A description as one number, the same on all ranks; not 0."""
    if kind == messages.OBJECT:
        return 0
    digest = hashlib.blake2b(meta, digest_size=8, salt=bytes([kind])).digest()
    return int.from_bytes(digest, "little", signed=True) or 1
