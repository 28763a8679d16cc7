"""Whatever an invitation says, its answer has the headers and the one ATTENDEE that we meant, to every parser."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import Message as Mail
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from gateway.decide import Case, Desk, decide
from gateway.pals import Pal
from gateway.reading import read_mail
from gateway.reply import Reply, render

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
HEADERS = ["Content-Type", "MIME-Version", "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
PROPERTIES = {
    "ATTENDEE", "COMMENT", "DTEND", "DTSTAMP", "DTSTART", "ORGANIZER", "REQUEST-STATUS", "SEQUENCE", "SUMMARY", "UID",
}  # fmt: skip

# What has broken mail programs before, between text of all kinds.
NASTY = st.sampled_from(
    ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x00", "\\n",
     "=?utf-8?q?a=0D=0ABcc:_eve@x.example?=", "=?", "?=", "Bcc: eve@x.example",
     "\r\nBcc: eve@x.example\r\n", "\r\n\r\n--b\r\n", '"', "<", ">", ",", ";", ":",
     "@", "\\", "^n", "^'", "%0D%0A", "mailto:", "ATTENDEE:mailto:eve@x.example", "\r\nATTENDEE:mailto:eve@x.example",
     "END:VEVENT", "\r\nEND:VCALENDAR\r\n", "\u202e", "\ufeff", "\U0001f389", "ü", "a" * 80, " "]
)  # fmt: skip
TEXT = st.lists(NASTY | st.text(max_size=8), max_size=6).map("".join)


def answers(summary: str, cn: str, organizer: str, uid: str, message_id: str) -> list[Reply]:
    """The answers to an invitation into which these texts were put as they are."""
    lines = [
        "BEGIN:VCALENDAR", "METHOD:REQUEST", "BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260201T000000Z",
        f"ORGANIZER;CN={cn}:mailto:{organizer}", f"SUMMARY:{summary}", "DTSTART:20260303T140000Z", "SEQUENCE:1",
        f"ATTENDEE;CN={cn}:mailto:anna@invite.example.com", "LOCATION:https://meet.google.com/abc-defg-hij",
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    head = f"From: alex@acme.example\r\nMessage-ID: {message_id}\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n"
    reading = read_mail((head + "\r\n".join(lines)).encode("utf-8", "replace"))
    cases = [Case(one, reading.sender, ANNA, message_id=reading.message_id) for one in reading.messages]
    return [reply for case in cases for reply in decide(case, Desk(), NOW).replies]


def header_faults(mail: Mail[Any, Any], reply: Reply) -> list[str]:
    names = [name for name in mail.keys() if name not in ("In-Reply-To", "References")]  # noqa: SIM118  doubles count
    faults = [] if names == HEADERS else [f"headers {names}"]
    if str(mail["To"]) != reply.to:
        faults.append(f"To {mail['To']!r}, not {reply.to!r}")
    return faults


@settings(max_examples=400, deadline=None, derandomize=True)
@given(TEXT, TEXT, st.just("alex@acme.example") | TEXT, st.just("u1") | TEXT, st.just("<1@a.example>") | TEXT)
def test_no_text_adds_a_header_or_an_attendee(summary: str, cn: str, organizer: str, uid: str, message_id: str) -> None:
    for reply in answers(summary, cn, organizer, uid, message_id):
        raw = render(reply, "<r1@invite.example.com>", NOW)
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert b"\r" not in raw.replace(b"\r\n", b"")
        old, new = message_from_bytes(raw), message_from_bytes(raw, policy=policy.default)
        assert header_faults(old, reply) + header_faults(new, reply) == []
        (to,) = new["To"].addresses
        assert to.addr_spec.lower() == reply.to.lower()
        (sender,) = new["From"].addresses
        assert sender.addr_spec == ANNA.address
        assert not any(ord(char) < 32 for char in new["Subject"])
        assert [part.get_content_type() for part in new.walk()][2:] == [
            "text/plain",
            "text/calendar",
            "application/ics",
        ]
        for part in list(old.walk())[3:]:
            check_calendar(part.get_payload(decode=True))


def check_calendar(data: Any) -> None:
    """One REPLY with one VEVENT, whose one ATTENDEE is ours, with nothing in it that we did not mean."""
    calendar = Calendar.from_ical(data)
    assert calendar["METHOD"] == "REPLY"
    assert [block.name for block in calendar.subcomponents] == ["VEVENT"]
    event = calendar.subcomponents[0]
    assert set(event) <= PROPERTIES
    assert not event.subcomponents
    attendee = event["ATTENDEE"]
    assert not isinstance(attendee, list)
    assert str(attendee).lower().removeprefix("mailto:") == ANNA.address  # as it was invited
    assert attendee.params["PARTSTAT"] in ("ACCEPTED", "DECLINED")
