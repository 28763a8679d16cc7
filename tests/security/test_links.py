"""Hostile links in every field of an invitation: the PAL is sent nowhere, or to the room that is meant, rebuilt."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.decide import Case, Desk, decide
from gateway.pals import Pal
from gateway.reading import read_mail
from tests.gateway.test_platforms import LOOKALIKES, MEET, hostile_forms

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
FIELDS = {
    "LOCATION": "LOCATION:{}",
    "URL": "URL:{}",
    "CONFERENCE": "CONFERENCE;VALUE=URI:{}",
    "X-GOOGLE-CONFERENCE": "X-GOOGLE-CONFERENCE:{}",
    "DESCRIPTION": "DESCRIPTION:Join here: {} (all welcome)",
    "X-ALT-DESC": 'X-ALT-DESC;FMTTYPE=text/html:<a href="{}">Join</a>',
}
# Text around it makes these what a person would read: a plain link to the true host. It is rebuilt, so nothing is lost.
HARMLESS = {"no slashes", "tab in host", "newline", "nul", "zero width", "three slashes"}
FORMS = {**hostile_forms(MEET), **{f"look-alike {number}": url for number, url in enumerate(LOOKALIKES)}}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_hostile_link_sends_nobody_elsewhere(form: str, field: str) -> None:
    lines = [
        "BEGIN:VCALENDAR", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:u1", "DTSTAMP:20260201T000000Z",
        "ORGANIZER:mailto:alex@acme.example", "DTSTART:20260303T140000Z", "ATTENDEE:mailto:anna@invite.example.com",
        FIELDS[field].format(FORMS[form].replace("\n", "\\n")), "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    head = "From: alex@acme.example\r\nContent-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n"
    reading = read_mail((head + "\r\n".join(lines)).encode())
    (message,) = reading.messages
    decision = decide(Case(message, reading.sender, ANNA), Desk(), NOW)
    found = {join.url for join in decision.joins}
    assert found <= ({MEET} if form in HARMLESS else set())
