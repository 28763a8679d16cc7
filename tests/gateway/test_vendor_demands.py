"""What Google, Microsoft, Apple and the standards demand of a REPLY: one test for each row of docs/reference/replies.md

Invitations in the vendors' shapes go through the real desk and outbox to a relay on loopback. What arrives there is
read by other parsers: the standard library's for mail, `ical` for the calendar, and a plain unfolding of lines for what
must be the same to the byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

import pytest
from ical.calendar import Calendar
from ical.calendar_stream import IcsCalendarStream
from ical.event import Event

from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, fresh_id
from gateway.outbox import Outbox, Via
from gateway.pals import Pal
from gateway.senders import Sender
from scheduler.database import connect
from tests.peers.vendors import APPLE, GOOGLE, ICLOUD, MEET, OUTLOOK, ZOOM, Vendor
from tests.wire.ports import BOUNCES
from tests.wire.test_bounces import RelayServer

ANNA: Final = "anna@invite.example.com"
NOW: Final = datetime(2026, 1, 15, 12, tzinfo=UTC)
LATER: Final = timedelta(minutes=1)
NO_LINK: Final = "Room 7"
INVITED: Final = "<invitation@acme.example>"
GOOGLE_SHARED: Final = replace(
    GOOGLE,
    name="google-shared",
    event=GOOGLE.event.replace(
        "ORGANIZER;CN=Alex:mailto:alex@acme.example", "ORGANIZER;CN=Team:mailto:c_188a@group.calendar.google.com"
    ),
)
SENDERS: Final = {"icloud": Sender("alex@icloud.example", verified=True, checked=True)}
ALEX: Final = Sender("alex@acme.example", verified=True, checked=True)


@dataclass(frozen=True)
class Sent:
    """A reply as the relay got it, and the calendar that it answers."""

    invitation: str
    envelope_sender: str
    recipient: str
    raw: bytes

    @property
    def mail(self) -> EmailMessage:
        mail = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        assert not [defect for part in mail.walk() for defect in part.defects]
        return mail

    @property
    def part(self) -> EmailMessage:
        (part,) = [part for part in self.mail.walk() if part.get_content_type() == "text/calendar"]
        assert isinstance(part, EmailMessage)
        return part

    @property
    def bytes(self) -> bytes:
        data = self.part.get_payload(decode=True)
        assert isinstance(data, bytes)
        return data

    @property
    def calendar(self) -> Calendar:
        return IcsCalendarStream.calendar_from_ics(self.bytes.decode())

    @property
    def event(self) -> Event:
        (event,) = self.calendar.events
        return event

    @property
    def text(self) -> str:
        return self.bytes.decode()

    def lines(self, name: str) -> list[str]:
        """The lines of a name in the VEVENT of the answer."""
        return lines_of(event_of(self.text), name)

    def asked(self, name: str) -> list[str]:
        """The same of the invitation's last VEVENT, which is the one that is answered."""
        return lines_of(event_of(self.invitation), name)


def event_of(calendar: str) -> str:
    """The last VEVENT, without what is inside it."""
    event = calendar[calendar.rindex("BEGIN:VEVENT") :]
    return re.sub("BEGIN:VALARM.*?END:VALARM\r\n", "", event, flags=re.DOTALL)


def lines_of(text: str, name: str) -> list[str]:
    """The content lines of a name, unfolded (RFC 5545 3.1)."""
    return re.findall(rf"^{name}[;:].*$", re.sub("\r\n[ \t]", "", text).replace("\r\n", "\n"), re.MULTILINE)


def as_mail(vendor: Vendor, calendar: str) -> bytes:
    """The invitation in the MIME shape of its vendor."""
    mail = EmailMessage(policy.SMTP)
    mail["From"] = "noreply@insideicloud.icloud.com" if vendor is ICLOUD else "Alex <alex@acme.example>"
    mail["To"] = vendor.anna
    mail["Subject"], mail["Message-ID"], mail["Date"] = "Invitation: Planning", INVITED, NOW
    mail.set_content("You are invited.")
    if vendor in (APPLE, ICLOUD):
        mail.add_attachment(calendar, subtype="calendar", params={"method": "REQUEST"}, filename="iCal.ics")
        return mail.as_bytes()
    mail.add_alternative("<p>You are invited.</p>", subtype="html")
    mail.add_alternative(calendar, subtype="calendar", params={"method": "REQUEST"}, cte="base64")
    if vendor in (GOOGLE, GOOGLE_SHARED):
        mail.add_attachment(calendar.encode(), "application", "ics", filename="invite.ics")
    return mail.as_bytes()


async def _carried(outbox: Callable[[Via], Outbox]) -> RelayServer:
    relay = RelayServer()
    server, port = await relay.open()
    async with server:
        await outbox(Via("127.0.0.1", port)).work()
    return relay


def answers(vendor: Vendor, *calendars: str) -> list[Sent]:
    """What the relay gets when these invitations come in, a minute after each other."""
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    with engine.begin() as connection:
        store.add_pal(connection, Pal("p1", "Anna", ANNA, "face"), NOW)
    intake, found = Intake(engine, Desk()), []
    for number, calendar in enumerate(calendars):
        now = NOW + number * LATER
        who = SENDERS.get(vendor.name, ALEX)
        intake.take(Incoming(fresh_id("m"), as_mail(vendor, calendar), "", (ANNA,), sender=who), now)
        send_at = now + LATER / 2
        relay = asyncio.run(_carried(lambda via, at=send_at: Outbox(engine, via, lambda: at, "us", BOUNCES)))  # type: ignore[misc]
        found += [Sent(calendar, *given) for given in relay.given]
    engine.dispose()
    return found


CASES: Final[dict[str, tuple[Vendor, Callable[[Vendor], tuple[str, ...]]]]] = {
    f"{vendor.name} {title}": (vendor, told)
    for vendor in (GOOGLE, GOOGLE_SHARED, OUTLOOK, APPLE, ICLOUD)
    for title, told in (
        ("single", lambda one: (one.single(2),)),
        ("series", lambda one: (one.series(1),)),
        ("moved date", lambda one: (one.series(1), one.date(3))),
        ("declined date", lambda one: (one.series(4), one.date(5, ZOOM))),
        ("declined", lambda one: (one.single(link=NO_LINK),)),
    )
}


@lru_cache
def case(name: str) -> Sent:
    """The last reply of a case."""
    vendor, told = CASES[name]
    calendars = told(vendor)
    found = answers(vendor, *calendars)
    assert len(found) == len(calendars)
    return found[-1]


@pytest.fixture(params=CASES)
def sent(request: pytest.FixtureRequest) -> Sent:
    return case(request.param)


def expected_answer(one: Sent) -> str:
    return "ACCEPTED" if MEET in one.invitation else "DECLINED"


# The mail


def test_the_calendar_part_is_text_calendar(sent: Sent) -> None:
    assert sent.part.get_content_type() == "text/calendar"  # and `part` has found just one
    assert str(sent.part.get_param("charset")).upper() == "UTF-8"


def test_method_stands_in_the_mime_header(sent: Sent) -> None:
    assert sent.part.get_param("method") == "REPLY"
    assert lines_of(sent.text, "METHOD") == ["METHOD:REPLY"]


def test_the_calendar_part_is_an_alternative_in_the_first_child(sent: Sent) -> None:
    assert sent.mail.get_content_type() == "multipart/mixed"
    first, *_ = sent.mail.iter_parts()
    assert first.get_content_type() == "multipart/alternative"
    plain, calendar = first.iter_parts()
    assert (plain.get_content_type(), calendar.get_content_type()) == ("text/plain", "text/calendar")
    assert plain.get_content().strip()  # Outlook shows it; an empty alternative is what was in the way elsewhere
    assert calendar.get_content_disposition() is None


def test_the_same_calendar_is_attached_as_a_file(sent: Sent) -> None:
    (attachment,) = sent.mail.iter_attachments()
    assert (attachment.get_content_type(), attachment.get_filename()) == ("application/ics", "invite.ics")
    assert attachment.get_content() == sent.bytes


def test_one_calendar_with_one_event(sent: Sent) -> None:
    assert [sent.text.count(f"BEGIN:{name}\r\n") for name in ("VCALENDAR", "VEVENT")] == [1, 1]
    assert len(sent.calendar.events) == 1


def test_from_is_the_attendee(sent: Sent) -> None:
    (line,) = sent.lines("ATTENDEE")
    (address,) = sent.mail["From"].addresses
    assert address.addr_spec == line.lower().rpartition("mailto:")[2]
    assert sent.mail["Sender"] is sent.mail["Reply-To"] is None


def test_the_envelope_is_in_the_domain_of_from(sent: Sent) -> None:
    assert sent.envelope_sender.rpartition("@")[2] == sent.mail["From"].addresses[0].domain == "invite.example.com"


def test_it_goes_to_the_organizer_and_nobody_else(sent: Sent) -> None:
    (line,) = sent.asked("ORGANIZER")
    address = re.split("mailto:", line, flags=re.IGNORECASE)[-1]
    assert [one.addr_spec for one in sent.mail["To"].addresses] == [sent.recipient] == [address]
    assert sent.mail["Cc"] is sent.mail["Bcc"] is None


def test_it_is_marked_as_an_automatic_answer(sent: Sent) -> None:
    assert sent.mail["Auto-Submitted"] == "auto-replied"


def test_it_belongs_to_the_thread_of_the_invitation(sent: Sent) -> None:
    assert sent.mail["In-Reply-To"] == sent.mail["References"] == INVITED


def test_the_subject_says_the_answer_and_the_title(sent: Sent) -> None:
    word = expected_answer(sent).capitalize()
    assert sent.mail["Subject"] == f"{word}: {sent.event.summary}"
    assert sent.event.summary


def test_no_relay_has_to_encode_it_anew(sent: Sent) -> None:
    lines = sent.raw.split(b"\r\n")
    assert sent.raw.isascii()
    assert max(map(len, lines)) <= 78
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert {part["Content-Transfer-Encoding"] for part in sent.mail.walk() if not part.is_multipart()} == {
        "base64",
        "quoted-printable",
    }


# The calendar


def test_exactly_one_attendee(sent: Sent) -> None:
    assert len(sent.asked("ATTENDEE")) > 1
    assert len(sent.lines("ATTENDEE")) == len(sent.event.attendees) == 1


def test_the_attendee_as_it_was_invited(sent: Sent) -> None:
    (invited,) = [line for line in sent.asked("ATTENDEE") if line.lower().endswith(f"mailto:{ANNA}")]
    (line,) = sent.lines("ATTENDEE")
    pattern = re.compile("mailto:.*", re.IGNORECASE)
    assert pattern.findall(line) == pattern.findall(invited)


def test_the_answer_is_in_partstat(sent: Sent) -> None:
    (attendee,) = sent.event.attendees
    assert attendee.status == expected_answer(sent)


@pytest.mark.parametrize("name", ["ORGANIZER", "UID", "SEQUENCE", "RECURRENCE-ID"])
def test_what_the_answer_is_found_by_goes_back_as_it_came(sent: Sent, name: str) -> None:
    assert sent.lines(name) == sent.asked(name)


def test_times_and_title_are_not_changed(sent: Sent) -> None:
    for name in ("DTSTART", "DTEND", "SUMMARY"):
        assert sent.lines(name) == sent.asked(name) != []


def test_the_organizer_is_always_named(sent: Sent) -> None:
    assert sent.event.organizer is not None
    assert len(sent.lines("ORGANIZER")) == 1


def test_the_sequence_is_that_of_the_date_which_is_answered() -> None:
    for vendor in (GOOGLE, OUTLOOK, APPLE, ICLOUD):
        # The date has counted to 7, its series to 4, and both stand in one message; only the date is declined.
        date = vendor.date(7, ZOOM)
        block = date[date.index("BEGIN:VEVENT") : date.index("END:VCALENDAR")]
        both = vendor.series(4).replace("END:VCALENDAR", f"{block}END:VCALENDAR")
        found = {bool(one.lines("RECURRENCE-ID")): one.lines("SEQUENCE") for one in answers(vendor, both)}
        assert found == {False: ["SEQUENCE:4"], True: ["SEQUENCE:7"]}


def test_outlooks_own_sequence_goes_back_where_it_counts() -> None:
    name = "X-MICROSOFT-CDO-APPT-SEQUENCE"
    (counted,) = answers(OUTLOOK, OUTLOOK.single(0).replace(f"{name}:0", f"{name}:3"))
    assert (counted.lines("SEQUENCE"), counted.lines(name)) == (["SEQUENCE:0"], [f"{name}:3"])
    for written in (f"{name}:0", f"{name}:-1", f"{name}:three", f"{name}:{'9' * 5000}"):
        (plain,) = answers(OUTLOOK, OUTLOOK.single(0).replace(f"{name}:0", written))
        assert plain.lines(name) == []
    (newer,) = answers(OUTLOOK, OUTLOOK.single(5))
    assert (newer.lines("SEQUENCE"), newer.lines(name)) == (["SEQUENCE:5"], [])


@pytest.mark.parametrize(
    "line",
    [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260309T090000",
        "RECURRENCE-ID:20260309T080000Z",
        "RECURRENCE-ID;TZID=America/New_York:20260309T040000",
    ],
)
def test_a_recurrence_id_keeps_its_form(line: str) -> None:
    moved = GOOGLE.date(3).replace("RECURRENCE-ID;TZID=Europe/Berlin:20260309T090000", line)
    _, date = answers(GOOGLE, GOOGLE.series(1), moved)
    assert date.lines("RECURRENCE-ID") == [line]


def test_zones_that_are_named_come_along(sent: Sent) -> None:
    named = set(re.findall("TZID=([^:;]+)", "\n".join(sent.lines("DTSTART") + sent.lines("RECURRENCE-ID"))))
    zones = set(lines_of(sent.invitation, "TZID"))
    assert {f"TZID:{zone}" for zone in named} == set(lines_of(sent.text, "TZID")) == zones != set()
    start = sent.event.dtstart
    assert isinstance(start, datetime)
    wall = sent.lines("DTSTART")[0].rpartition(":")[2]
    assert f"{start:%Y%m%dT%H%M%S}" == wall


def test_dtstamp_is_of_the_answer_and_newer_each_time() -> None:
    first, second = answers(GOOGLE, GOOGLE.single(0), GOOGLE.single(0, NO_LINK).replace("T000000Z", "T000100Z"))
    assert [one.event.attendees[0].status for one in (first, second)] == ["ACCEPTED", "DECLINED"]
    assert [one.lines("DTSTAMP") for one in (first, second)] == [
        ["DTSTAMP:20260115T120000Z"],
        ["DTSTAMP:20260115T120100Z"],
    ]
    assert parsedate_to_datetime(str(first.mail["Date"])) == NOW


def test_a_refusal_says_why_once(sent: Sent) -> None:
    comments = sent.lines("COMMENT")
    assert len(comments) == (expected_answer(sent) == "DECLINED")
    plain = sent.mail.get_body(("plain",))
    assert plain is not None
    for line in comments:
        words = line.removeprefix("COMMENT:").replace("\\,", ",")
        assert words.startswith(("There is no Google Meet link", "This event has a Zoom link"))
        assert words in plain.get_content().replace("\n", " ")


def test_the_status_of_the_request_is_success(sent: Sent) -> None:
    assert sent.lines("REQUEST-STATUS") == ["REQUEST-STATUS:2.0;Success"]


def test_nothing_that_belongs_to_the_organizer_goes_back(sent: Sent) -> None:
    event = re.sub("\r\n ", "", sent.text[sent.text.index("BEGIN:VEVENT") :])
    for word in ("BEGIN:VALARM", "RSVP", "RRULE", "DESCRIPTION", "LOCATION", "bob@acme.example", MEET, "SCHEDULE-"):
        assert word not in event


def test_the_calendar_is_valid(sent: Sent) -> None:
    assert (lines_of(sent.text, "VERSION"), len(lines_of(sent.text, "PRODID"))) == (["VERSION:2.0"], 1)
    assert lines_of(sent.text, "PRODID") != lines_of(sent.invitation, "PRODID")  # it is ours, not the organizer's
    assert sent.event.uid == sent.asked("UID")[0].partition(":")[2]


def test_lines_are_folded_at_75_octets_between_characters(sent: Sent) -> None:
    *lines, last = sent.bytes.split(b"\r\n")
    assert last == b""
    assert max(map(len, lines)) <= 75
    for line in lines:
        line.decode()
        assert b"\n" not in line
        assert b"\r" not in line
