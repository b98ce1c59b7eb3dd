"""Receives that wait in a mail for their messages."""

from typing import Any

import numpy as np

from .._calls import call_place
from . import messages
from .mail import Mail
from .messages import Message
from .progress import helper
from .requests import Moving, Request

_FRAMES = 3  # of dcomp's around a new receive: call_place, __init__, and a method of the communicator


class Posted:
    """A receive: posted until its message has come, then the data that may follow by itself.

    The mail keeps it, whoever forgets its request.
    """

    __slots__ = ("function", "mail", "moving", "objects", "out", "source", "tag")

    def __init__(self, mail: Mail, function: str, source: int, tag: int, objects: bool, out: np.ndarray | None) -> None:
        self.mail, self.function, self.source, self.tag = mail, function, source, tag
        self.objects, self.out = objects, out
        self.moving: Moving | None = None
        channel = mail.channel
        message = messages.take_held(channel, source, tag) if channel.held else None
        if message is not None:
            self.take(message)
        else:
            mail.posted[self] = None
            channel.moving[self] = None
            helper.notice(channel)
        mail.note()

    def take(self, message: Message) -> None:
        """The message has come; the caller has the turn."""
        channel = self.mail.channel
        channel.moving.pop(self, None)
        steps = messages.accept(channel, message, objects=self.objects, out=self.out, function=self.function)
        self.moving = Moving(channel, steps)
        refused = next((i for i, held in enumerate(channel.held) if held is message), None)
        if refused is not None and self.mail.posted:  # another may be right for it
            self.mail.offer(channel.held.pop(refused))

    def move(self) -> None:
        """Look for the message, or move its data on; the caller has the turn."""
        if self.moving is None:
            if next(iter(self.mail.posted)) is self:  # for all
                self.mail.sort()
        else:
            self.moving.move()


class Receive(Request):
    """The request of a receive."""

    def __init__(self, mail: Mail, function: str, source: int, tag: int, objects: bool, out: np.ndarray | None) -> None:
        super().__init__(mail.channel, function, call_place(_FRAMES))
        self._posted = Posted(mail, function, source, tag, objects, out)
        self._peers = messages.peers_of(source)

    def wait(self) -> Any:
        """Wait for the message and return it; see `Request.wait`."""
        posted = self._posted
        if not self._finished and posted.moving is None and not posted.objects:
            channel, mail = self._channel, posted.mail
            with channel.turn(self._function):
                is_first = posted.moving is None and next(iter(mail.posted)) is posted and not channel.held
                result = mail.receive_first(posted) if is_first else None
            if result is not None:
                self._result, self._finished = result, True
                return result
        return super().wait()

    def test(self) -> tuple[bool, Any]:
        """See `Request.test`."""
        posted = self._posted
        if not self._finished and posted.moving is None:
            with self._channel.turn(self._function):
                self._channel.move_messages()  # this one is among them
                self._channel.make_progress()
            if posted.moving is None:
                return False, None
        return super().test()

    def _done(self) -> bool:
        posted = self._posted
        if posted.moving is None:
            posted.mail.sort(is_patient=True)
        if posted.moving is None:
            self._channel.make_progress()
            return False
        posted.moving.move()
        self._result, self._error = posted.moving.result, posted.moving.error
        return posted.moving.ended

    def _buffers(self) -> Any:
        return self._posted
