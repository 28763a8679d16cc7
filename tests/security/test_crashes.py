"""What fuzzing found, a row each: the mail is decided on without a fault and in time."""

from __future__ import annotations

from time import process_time

import pytest

from gateway.reading import read_mail
from tests.fuzz import Tally, play

# What thousands of tests before have left is gone through in seconds, which are not the reader's.
pytestmark = pytest.mark.usefixtures("without_collections")

HEAD = b"From: alex@acme.example\r\nContent-Type: text/calendar; method=REQUEST\r\n"


def invitation(*lines: str, head: bytes = HEAD, method: str = "REQUEST") -> bytes:
    """A mail whose event has these lines beside what it needs."""
    event = [
        "UID:u1", "DTSTAMP:20260201T000000Z", "ORGANIZER:mailto:alex@acme.example", *lines,
        "ATTENDEE:mailto:anna@invite.example.com", "LOCATION:https://meet.google.com/abc-defg-hij",
    ]  # fmt: skip
    text = ["BEGIN:VCALENDAR", f"METHOD:{method}", "BEGIN:VEVENT", *event, "END:VEVENT", "END:VCALENDAR", ""]
    return head + b"\r\n" + "\r\n".join(text).encode()


START = "DTSTART:20260302T090000Z"
LATE = "DTSTART;TZID=America/New_York:20260302T090000"
CRASHES = {
    "the 53rd Monday of December, past dateutil's table": invitation(START, "RRULE:FREQ=YEARLY;BYMONTH=12;BYDAY=53MO"),
    "the 53rd Monday of a month": invitation(START, "RRULE:FREQ=MONTHLY;BYDAY=53MO;COUNT=3"),
    "an RDATE in the year 1, west of Greenwich": invitation(LATE, "RDATE:00010101T000000Z"),
    "an RDATE in the year 9999, east of Greenwich": invitation(
        "DTSTART;TZID=Asia/Tokyo:20260302T090000", "RRULE:FREQ=DAILY", "RDATE:99991231T235959Z"
    ),
    "an EXDATE in the year 1": invitation(LATE, "RRULE:FREQ=DAILY", "EXDATE:00010101T000000Z"),
    "a cancelled date in the year 1": invitation(LATE, "RECURRENCE-ID:00010101T000000Z", method="CANCEL"),
    "a cancelled date in the year 9999": invitation("RECURRENCE-ID:99991231T235959Z", method="CANCEL"),
    "a cancellation without a start, said in the year 1": invitation("DTSTAMP:00010101T000000Z", method="CANCEL"),
    "a charset with an 8-bit character in Subject": invitation(START, head=HEAD + b"Subject: =?punyc\xf6de?q?a?=\r\n"),
    "a file name in idna": invitation(
        START, head=HEAD + b"Content-Disposition: attachment; filename*=idna''%C3%BC\r\n"
    ),
    "a method in idna": invitation(
        START, head=b"From: a@b.example\r\nContent-Type: text/calendar; method*=idna''%C3%BC\r\n"
    ),
    "comments in comments in From": invitation(START, head=b"From: " + b"(" * 60_000 + b"\r\n" + HEAD),
    "quotes in quotes in a parameter": invitation(START, head=HEAD[:-2] + b'; a="' + b';\\"' * 20_000 + b"\r\n"),
    "an encoded word in punycode": invitation(START, head=HEAD + b"Subject: =?punycode?q?" + b"a" * 60_000 + b"?=\r\n"),
    "a rule that takes out every day of a rule": invitation(
        START, "RRULE:FREQ=DAILY", "EXRULE:FREQ=YEARLY;BYYEARDAY=" + ",".join(map(str, range(1, 366)))
    ),
    "a place that no day has": invitation(
        START, *["RRULE:FREQ=DAILY;BYSETPOS=300;BYHOUR=" + ",".join(map(str, range(24)))] * 5
    ),
    "a NUL in a title": invitation(START, "SUMMARY:a\0b"),
    "a UID that no index holds": invitation(START, "UID:" + "u" * 5000),
}


@pytest.mark.parametrize("name", CRASHES)
def test_row(name: str) -> None:
    begun = process_time()
    play(CRASHES[name], {}, Tally())
    assert process_time() - begun < 0.5


def test_a_nul_is_nowhere() -> None:
    (message,) = read_mail(CRASHES["a NUL in a title"]).messages
    assert message.events[0].text("SUMMARY") == "ab"
