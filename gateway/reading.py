"""A mail's bytes to its reading: who sent it and what its calendar says, or why it says nothing. Pure.

Rules of this file:
- All of it may run in another process (`reader`), so a reading is a plain value, and nothing here knows the store.
- What comes out is bounded: so many messages, so many bytes of calendar, whatever came in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway import ics
from gateway.confirmation import Confirmation, confirmation_of
from gateway.decide import Case, Desk, decide
from gateway.ics import Block, Message, Unreadable, read
from gateway.mime import CalendarPart, MailFacts, parse
from gateway.pals import Pal
from gateway.platforms import Cut, cut
from gateway.reports import Report, report_of
from gateway.senders import Sender
from gateway.verdict import Reason
from scheduler.joins import refill_at

MAX_MESSAGES: Final = 20  # UIDs of one mail, each of which is decided for each PAL; real mails have one
_PLAIN_EVENTS: Final = 5
_PLAIN_RULE: Final = 80  # characters: FREQ=WEEKLY;UNTIL=20270304T120000Z;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR;WKST=SU
_PLAIN_DATES: Final = 50  # of a series that do not take place
_DENSE: Final = re.compile(r"HOUR|MINUTE|SECOND", re.IGNORECASE)
_PLAIN_ZONES: Final = 10  # STANDARD and DAYLIGHT parts


@dataclass(frozen=True)
class Reading:
    """A mail once it is read: what it says, or why it says nothing."""

    messages: tuple[Message, ...]
    sender: Sender
    message_id: str = ""
    body: tuple[Cut, ...] = ()  # what may be a link in the mail's own text
    fault: Reason | None = None
    detail: str = ""
    confirmation: Confirmation | None = None
    report: Report | None = None  # of a mail to a bounce address only
    subject: str = ""  # for the log, where the operator asked for it

    def sent_by(self, checked: Sender | None) -> Reading:
        """The same with who really sent it, None: nobody asked, and its From counts."""
        if checked is None:
            return self
        asks = self.confirmation is not None and checked.is_google_forwarding
        forged = self.fault is Reason.FORWARDING_CONFIRMATION and not asks
        return replace(
            self,
            sender=checked,
            confirmation=self.confirmation if asks else None,
            fault=Reason.NO_CALENDAR if forged else self.fault,
        )


def read_mail(raw: bytes) -> Reading:
    """The reading of a whole mail, as if its From were true."""
    try:
        facts = parse(raw)
    except Unreadable as error:
        return Reading((), Sender(""), fault=Reason.UNREADABLE, detail=str(error))
    sender = Sender(facts.from_address, claimed=facts.from_address)
    asked = confirmation_of(facts.subject, facts.body) if sender.is_google_forwarding else None
    reading = Reading((), sender, facts.message_id, confirmation=asked, subject=facts.subject)
    fault = _no_invitation(facts)
    if fault is not None:
        return replace(reading, fault=Reason.FORWARDING_CONFIRMATION if asked else fault)
    try:
        messages = _messages(facts.calendars)
    except Unreadable as error:
        return replace(reading, fault=Reason.UNREADABLE, detail=str(error))
    return replace(reading, messages=messages, body=cut(facts.body), fault=None if messages else Reason.NO_EVENT)


def read_report(raw: bytes) -> Reading:
    """The reading of a mail to a bounce address, of which no calendar is read whatever is in it."""
    try:
        report = report_of(raw)
    except Unreadable as error:
        return Reading((), Sender(""), fault=Reason.UNREADABLE, detail=str(error))
    return Reading((), Sender(""), report.message_id, fault=Reason.REPORT, report=report)


def read_file(data: bytes) -> Reading:
    """The reading of a bare calendar file, which its organizer is taken to have sent."""
    sender = Sender("", is_file=True)
    try:
        # Without a METHOD a file that somebody plays is taken as an invitation.
        messages = tuple(replace(one, method=one.method or "REQUEST") for one in read(data))
    except Unreadable as error:
        return Reading((), sender, fault=Reason.UNREADABLE, detail=str(error))
    return Reading(messages, sender, fault=None if messages else Reason.NO_EVENT)


def read_kept(raw: bytes) -> Reading:
    """What was kept, read as it was when it came: a mail, or a bare calendar file."""
    reading = read_mail(raw)
    return reading if reading.fault is None else read_file(raw)


def read_here(raw: bytes, now: datetime, recipients: int) -> Reading:
    """The reading in this process and without limits, of a mail that the operator plays."""
    return read_mail(raw)


def read_report_here(raw: bytes, now: datetime) -> Reading:
    """The same for a mail to a bounce address."""
    return read_report(raw)


def too_costly(detail: str) -> Reading:
    """The reading of a mail that could not be read within limits."""
    return Reading((), Sender(""), fault=Reason.TOO_COSTLY, detail=detail)


def rehearse(reading: Reading, desk: Desk, now: datetime) -> None:
    """Decide on every message that is not plain as if it were the first one heard of its event, for nobody.

    Whoever runs this with a limit knows that the desk, which has none, can decide on it.
    """
    for message in reading.messages:
        if is_plain(message):
            continue
        # The work is the same for whichever PAL: only who answers differs.
        nobody = Pal("p", "Nobody", "nobody@invalid", "", zone="UTC", context="full")
        event = decide(Case(message, reading.sender, nobody, body=reading.body), desk, now).event
        if event is not None:
            refill_at(event, now, desk.scheduling)


def is_plain(message: Message) -> bool:
    """Whether a message is of the size and form of nearly all: a few events, at most one short rule each."""
    parts = sum(len(zone.blocks) for zone in message.calendar.inner("VTIMEZONE"))
    return len(message.events) <= _PLAIN_EVENTS and parts <= _PLAIN_ZONES and all(map(_is_plain, message.events))


def _is_plain(event: Block) -> bool:
    rules = [one.value for one in event.all("RRULE")]
    dates = sum(one.value.count(",") + 1 for one in event.all("EXDATE"))
    short = all(len(rule) <= _PLAIN_RULE and not _DENSE.search(rule) for rule in rules)
    return (
        short and len(rules) <= 1 and dates <= _PLAIN_DATES and not event.first("RDATE") and not event.first("EXRULE")
    )


def _messages(parts: tuple[CalendarPart, ...]) -> tuple[Message, ...]:
    """The messages of a mail's calendar parts. Raises Unreadable, also when they are too many together."""
    if sum(len(part.data) for part in parts) > ics.MAX_BYTES:
        raise Unreadable(f"the calendar parts are larger than {ics.MAX_BYTES // 1024} kB")
    messages = tuple(_said_by(part, message) for part in parts for message in read(part.data))
    if len(messages) > MAX_MESSAGES:
        raise Unreadable(f"more than {MAX_MESSAGES} events of their own in one mail")
    return messages


def _said_by(part: CalendarPart, message: Message) -> Message:
    """The message with its METHOD: the object's own, else the MIME header's (RFC 6047 2.4)."""
    if not part.method or part.method == message.method:
        return message
    note = f"the MIME header says METHOD {part.method}, the calendar {message.method or 'nothing'}"
    return replace(message, method=message.method or part.method, notes=(note,))


def _no_invitation(facts: MailFacts) -> Reason | None:
    if facts.is_report:
        return Reason.REPORT
    if not facts.calendars:
        return Reason.TNEF if facts.has_tnef else Reason.NO_CALENDAR
    return None
