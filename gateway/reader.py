"""The process that reads mails: a nursery that forks readers, and the life of a reader. Started by `readers`. Shell.

Rules of this file:
- A reader dies by its own timer (the kernel's, so C code dies too), its memory is limited, and it cannot write files.
  Nobody needs to kill it, and when the gateway is gone it ends at the end of its input.
- Signals to the process group (Ctrl-C, SIGTERM of a service manager) are not for it: mails under way are read on.
- It imports what reading needs and nothing that knows the store, a setting or a secret.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from multiprocessing.connection import Connection
from time import process_time
from types import FrameType
from typing import Any, Final

from gateway.decide import Desk
from gateway.reading import Reading, read_mail, read_report, rehearse, too_costly
from scheduler.clock import utc_now

SLOW: Final = 0.03  # seconds of CPU after which a reader lowers its priority
PRIORITY: Final = 19  # as `nice`: a good mail needs two milliseconds, and gets them
BEGUN: Final = b""  # what a reader says when it has taken a mail; its answer comes after
REHEARSAL: Final = 0.25  # seconds of CPU that deciding on a mail may take, for all its recipients together

# Time zones by every kind of name, a rule, a link: what reading it loads is there before the first fork.
_WARM: Final = b"""From: a@b.example
Content-Type: text/calendar; method=REQUEST

BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
UID:warm
ORGANIZER:mailto:a@b.example
DTSTART;TZID=W. Europe Standard Time:20260302T090000
RRULE:FREQ=MONTHLY;BYDAY=1MO
EXDATE;TZID=(UTC) Berlin:20260302T090000
LOCATION:https://meet.google.com/abc-defg-hij
END:VEVENT
END:VCALENDAR
"""


def main() -> None:
    """The nursery: fork a reader for every socket that comes in, until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a reader ended
    control = socket.socket(fileno=os.dup(0))
    megabytes, desk = _order(control)
    rehearse(read_mail(_WARM), desk, utc_now())
    gc.freeze()
    while True:
        word, ends, _, _ = socket.recv_fds(control, 1, 1)
        if not word:
            return
        if os.fork() == 0:
            try:
                control.close()
                os.close(0)
                _serve(Connection(ends[0]), megabytes, desk)
            finally:
                os._exit(0)  # never back into the nursery's loop
        os.close(ends[0])


def _order(control: socket.socket) -> tuple[int, Desk]:
    """What the gateway wants of its readers: the megabytes of each, and how the desk decides."""
    with control.makefile("rb", buffering=0) as stream:
        size = int.from_bytes(stream.read(4), "big")
        megabytes, desk = pickle.loads(stream.read(size))  # noqa: S301  from the gateway that started us
    return megabytes, desk


def _serve(requests: Connection[Any, Any], megabytes: int, desk: Desk) -> None:
    """The life of a reader: one mail after the other until the input ends."""
    memory = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, _yield)
    with suppress(EOFError, OSError):
        while True:
            request = requests.recv_bytes()
            requests.send_bytes(BEGUN)
            answer = _answer(request, desk)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            requests.send_bytes(answer)


def _answer(request: bytes, desk: Desk) -> bytes:
    """A reading, or the name of a fault of ours, as the gateway takes it."""
    try:
        raw, now, recipients, is_report, seconds = pickle.loads(request)  # noqa: S301  from the gateway
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM, unhandled, ends this process
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
        return pickle.dumps(read_report(raw) if is_report else _read(raw, now, recipients, desk))
    except MemoryError:
        return pickle.dumps(too_costly("reading it took more memory than a reader has"))
    except Exception as error:  # noqa: BLE001  it is told to the gateway, which sets the mail aside
        return pickle.dumps(f"{type(error).__name__}: {error}"[:500])


def _yield(number: int, frame: FrameType | None) -> None:
    """A mail that takes long lets the others go first: lower priority, for what is left of this process."""
    os.nice(PRIORITY)


def _read(raw: bytes, now: datetime, recipients: int, desk: Desk) -> Reading:
    reading = read_mail(raw)
    began = process_time()
    rehearse(reading, desk, now)
    spent = (process_time() - began) * max(1, recipients)
    if spent > REHEARSAL:
        return replace(too_costly(f"deciding on it would take {spent:.1f} s"), sender=reading.sender)
    return reading


if __name__ == "__main__":
    main()
