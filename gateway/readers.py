"""Reads mails in processes of their own, so that none can hang or kill the desk. Shell.

There is one nursery, a process that has imported all that reading needs and does nothing but fork readers (a few
milliseconds each); see `reader`. A reader takes one mail at a time over its socket and sends back the reading.

Rules of this file:
- A mail that takes long keeps no other waiting: when no reader is free soon, there is one more, up to a limit; the
  more are at work, the less time the next mail has.
- What goes to a reader may be anything; what comes from one is a pickle of our own code's making.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from threading import Condition
from time import monotonic
from typing import Any, Final, TypeAlias

from gateway.decide import Desk
from gateway.reader import BEGUN
from gateway.reading import Reading, too_costly

PATIENCE: Final = 0.02  # seconds that a mail waits for a reader at rest before one more is forked
HURRY: Final = 0.5  # seconds that a mail may take while more readers are at work than rest in quiet times
GROWTH: Final = 4  # so many times the readers of quiet times may be at work at once
TIRED: Final = 0.05  # seconds; a reader that took longer for a mail has lowered its priority, and is not used again
DEATHS: Final = 2  # readers that a mail may cost before it is set aside
START: Final = 30.0  # seconds that a new nursery and reader may take until they work

Line: TypeAlias = "Connection[Any, Any]"  # our end of a reader's socket


class ReaderFault(Exception):
    """Reading failed by a fault of ours; the message names it."""


@dataclass(frozen=True)
class Limits:
    """What reading may cost: readers in quiet times, seconds of one mail, megabytes of one reader."""

    size: int = 2
    seconds: float = 5.0
    megabytes: int = 512


class Readers:
    """The readers of one gateway. Its methods may be called from any thread."""

    def __init__(self, limits: Limits, desk: Desk) -> None:
        self._limits = limits
        self._order = pickle.dumps((limits.megabytes, desk))
        self._changed = Condition()
        self._idle: list[Line] = []
        self._at_work = 0
        self._nursery: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = False

    def start(self) -> None:
        """Have the readers of quiet times ready before the first mail."""
        with self._changed:
            self._idle += [self._fork() for _ in range(self._limits.size - len(self._idle))]

    def read(self, raw: bytes, now: datetime, recipients: int = 1) -> Reading:
        """The reading of a mail at an instant (UTC), which says TOO_COSTLY for one that cannot be read within limits.

        Raises ReaderFault.
        """
        return self._read(raw, now, recipients, is_report=False)

    def read_report(self, raw: bytes, now: datetime) -> Reading:
        """The same for a mail to a bounce address."""
        return self._read(raw, now, 1, is_report=True)

    def _read(self, raw: bytes, now: datetime, recipients: int, *, is_report: bool) -> Reading:
        deaths = 0
        for _ in range(self._limits.size * GROWTH):  # all that rest may be dead, of something else than this mail
            reader, seconds = self._taken()
            began = monotonic()
            has_begun, answer = _asked(reader, pickle.dumps((raw, now, recipients, is_report, seconds)), seconds)
            spent = monotonic() - began
            self._put_back(reader, fresh=answer is not None and spent < TIRED)
            if answer is not None:
                return _unpacked(answer)
            deaths += has_begun
            if has_begun and spent >= seconds:
                return too_costly(f"it was not read within {seconds:g} s")
            if deaths == DEATHS:
                return too_costly("its reader died twice")
        raise ReaderFault("no reader stays alive")

    def close(self) -> None:
        """End the readers that rest; those at work end with their mail."""
        with self._changed:
            self._closed = True
            for reader in self._idle:
                reader.close()
            self._idle.clear()
            self._end_nursery()

    def _taken(self) -> tuple[Line, float]:
        """A reader at rest, or one more, and the seconds it may take."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle, PATIENCE)
            self._changed.wait_for(lambda: self._idle or self._at_work < self._limits.size * GROWTH)
            reader = self._idle.pop() if self._idle else self._fork()
            self._at_work += 1
            hurried = self._at_work > self._limits.size
            return reader, min(HURRY, self._limits.seconds) if hurried else self._limits.seconds

    def _put_back(self, reader: Line, *, fresh: bool) -> None:
        """To rest; one that has died or is tired is replaced, so that the next mail need not wait for a fork."""
        with self._changed:
            self._at_work -= 1
            is_wanted = len(self._idle) < self._limits.size and not self._closed
            if fresh and is_wanted:
                self._idle.append(reader)
            else:
                reader.close()
                if is_wanted:
                    self._idle.append(self._fork())
            if self._closed and not self._at_work:
                self._end_nursery()
            self._changed.notify()

    def _fork(self) -> Line:
        """One more reader; the nursery is started anew if it is not there."""
        ours, theirs = socket.socketpair()
        with theirs:
            if self._nursery is None or not _sent(self._nursery[1], theirs):
                self._end_nursery()
                self._nursery = _nursery(self._order)
                _sent(self._nursery[1], theirs)
        return Connection(ours.detach())

    def _end_nursery(self) -> None:
        if self._nursery is not None:
            process, control = self._nursery
            self._nursery = None
            control.close()
            process.wait()


def _asked(reader: Line, request: bytes, seconds: float) -> tuple[bool, bytes | None]:
    """Whether the reader has begun with the mail, and its answer; None when it has died."""
    has_begun = False
    with suppress(OSError, EOFError):
        reader.send_bytes(request)
        if has_begun := reader.poll(START) and reader.recv_bytes() == BEGUN:
            return True, reader.recv_bytes() if reader.poll(seconds + START) else None
    return has_begun, None


def _unpacked(answer: bytes) -> Reading:
    found = pickle.loads(answer)  # noqa: S301  written by our own code in a process of ours
    if not isinstance(found, Reading):
        raise ReaderFault(str(found))
    return found


def _sent(control: socket.socket, end: socket.socket) -> bool:
    """Whether the nursery has taken a reader's end of a socket."""
    try:
        socket.send_fds(control, [b"r"], [end.fileno()])
    except OSError:
        return False
    return True


def _nursery(order: bytes) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new nursery and our end of its socket. It finds our modules where we did, and none of our secrets."""
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with theirs:
        command = [sys.executable, "-P", "-m", "gateway.reader"]
        # S603: our own interpreter and module, no word from outside.
        process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment)  # noqa: S603
    ours.sendall(len(order).to_bytes(4, "big") + order)
    return process, ours
