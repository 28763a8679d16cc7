"""Decides on a file as the desk would now, against what a store knows, and writes nothing. A door.

Rules of this file:
- The store is only read, in one transaction that takes no lock; what a first file would leave is held in memory, so
  that an edit can be tried on it.
- It is the same reading, the same case, and the same decision as a mail's that comes in (`intake`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

import scheduler.store
from gateway import store
from gateway.address import from_uri, without_tag
from gateway.admission import Admission, Refusal
from gateway.authentication import Arrived, Require
from gateway.decide import Decision, Desk
from gateway.ics import Message, Unreadable
from gateway.intake import ASIDE, Held, Played, addressed, case_of, decided, within_rate
from gateway.mime import recipients_of
from gateway.pals import Pal
from gateway.precheck import fault_of
from gateway.preview import Weighed
from gateway.reading import Reading, read_file, read_mail
from gateway.senders import Sender
from gateway.verdict import Verdict
from scheduler.database import connect, reading

MEMORY: Final = "sqlite:///:memory:"
SENT_ALREADY: Final = "the same answer went out before, or the last one said the same"

_BARE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")


NOTHING: Final = Held()


@dataclass(frozen=True)
class File:
    """A file as it would come in: a mail, or a bare calendar file (.ics). `refusal`: what the door says instead."""

    name: str
    data: bytes
    is_calendar: bool
    sender: Sender | None = None
    refusal: str = ""


@dataclass
class Trial:
    """Files that are decided on one after the other at an instant (UTC), each on what those before would leave."""

    connection: Connection
    desk: Desk
    now: datetime
    held: dict[tuple[str, str], Held] = field(default_factory=dict)

    def weigh(self, file: File, pals: Sequence[tuple[Pal, bool]]) -> list[Weighed]:
        """What the messages of a file would mean for these PALs, each with whether the store has it."""
        read = read_file(file.data) if file.is_calendar else read_mail(file.data).sent_by(file.sender)
        if read.fault is not None:
            verdict = Verdict.QUARANTINED if read.fault in ASIDE else Verdict.IGNORED
            decision = Decision(verdict, read.fault, detail=read.detail)
            return [self._weighed(pal, known, None, read.sender, decision) for pal, known in pals]
        is_known = {pal.id: known for pal, known in pals}
        invited = [pal for pal, _ in pals]
        recipients = _recipients(file, invited)
        return [
            self._one(message, read, pal, recipients, is_known=is_known[pal.id])
            for message in read.messages
            for pal in (addressed(message, invited) if file.is_calendar else invited)
        ]

    def _one(self, message: Message, read: Reading, pal: Pal, recipients: Sequence[str], *, is_known: bool) -> Weighed:
        held = self._held(pal.id, message.uid)
        case = case_of(self.connection, recipients, read, message, pal, held, self.desk, self.now)
        decision = decided(case, self.desk, self.now)
        if decision.event is not None:
            rows = {join.id: join for join in (*held.joins, *decision.joins)}
            held = self.held[pal.id, message.uid] = Held(decision.event, tuple(rows.values()))
        return self._weighed(pal, is_known, message.uid, case.sender, decision, held)

    def _held(self, pal_id: str, uid: str) -> Held:
        if (pal_id, uid) not in self.held:
            event = scheduler.store.load_event(self.connection, pal_id, uid, locked=False)
            joins = scheduler.store.load_joins(self.connection, pal_id, uid, locked=False)
            self.held[pal_id, uid] = Held(event, joins)
        return self.held[pal_id, uid]

    def _weighed(
        self,
        pal: Pal,
        is_known: bool,
        uid: str | None,
        sender: Sender,
        decision: Decision,
        held: Held = NOTHING,
    ) -> Weighed:
        decision = within_rate(self.connection, Played(pal, uid, decision), self.desk, self.now).decision
        kept_back = {
            reply.key: SENT_ALREADY
            for reply in decision.replies
            if not store.would_go_out(self.connection, pal.id, reply)
        }
        return Weighed(
            pal, is_known, uid, sender, decision, held.event, held.joins, self.desk.scheduling, self.now, kept_back
        )


@contextmanager
def looking(url: str | None) -> Iterator[Connection]:
    """A transaction on a store that cannot write; without a URL on an empty one in memory."""
    engine = reading(url) if url is not None else connect(MEMORY)
    try:
        if url is None:
            store.create_throwaway(engine)
        with engine.connect().execution_options(postgresql_readonly=True) as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only=ON")
            yield connection
    finally:
        engine.dispose()


def opened(path: Path) -> File:
    """A file as it lies there. Raises OSError."""
    data = path.read_bytes()
    if path.suffix.lower() == ".ics":
        return File(str(path), data, is_calendar=True)
    return File(str(path), data, is_calendar=False, refusal=_refusal(data))


def _refusal(data: bytes) -> str:
    fault = fault_of(_as_sent(data))
    return f"550 5.6.0 {fault}" if fault is not None else ""


def _as_sent(data: bytes) -> bytes:
    """A mail with the line ends that it had on its way: what saves mails often writes its own."""
    return data if b"\r\n" in data else _BARE_END.sub(b"\r\n", data)


async def asked(file: File, admission: Admission, now: Callable[[], datetime]) -> File:
    """The same with who sent it, as DNS says now; it may be refused for that. A calendar file has no sender to ask."""
    if file.is_calendar or file.refusal or admission.require is Require.OFF:
        return file
    arrived = Arrived(_as_sent(file.data))
    sender = await admission.examine(arrived, now, for_a_pal=True)
    if isinstance(sender, Refusal):
        return replace(file, refusal=sender.answer)
    return replace(file, sender=sender)


def named_in(file: File) -> tuple[str, ...]:
    """The comparable addresses that a file says it is for."""
    try:
        if not file.is_calendar:
            return tuple(dict.fromkeys(recipients_of(file.data)))
    except Unreadable:
        return ()
    events = (event for message in read_file(file.data).messages for event in message.events)
    found = (from_uri(one.value) for event in events for one in event.all("ATTENDEE"))
    return tuple(dict.fromkeys(one for one in found if one))


def reached(connection: Connection, file: File, named: Sequence[Pal]) -> list[tuple[Pal, bool]]:
    """The PALs that a file is for, each with whether the store has it: those named (as they are known there), else
    those of the store that it names."""
    if named:
        known = [(store.find_pal(connection, one.address), one) for one in named]
        return [(found or one, found is not None) for found, one in known]
    addresses = dict.fromkeys(without_tag(one) for one in named_in(file))
    stored = (store.find_pal(connection, one) for one in addresses)
    return [(one, True) for one in stored if one is not None]


def _recipients(file: File, pals: Sequence[Pal]) -> tuple[str, ...]:
    """The envelope that it would have had: the PALs as its header writes them, or by their own addresses."""
    written = named_in(file)
    return tuple(next((one for one in written if pal.is_called(one)), pal.address) for pal in pals)
