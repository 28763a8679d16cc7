"""The feed as two parsers of other people read it, hostile titles included."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ical.calendar_stream import IcsCalendarStream
from icalendar import Calendar

from gateway.feed import MAX_TITLE, Feeds, calendar_of
from gateway.pals import Pal
from scheduler.joins import Join

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MADE = datetime(2026, 1, 5, 8, tzinfo=UTC)
CHANGED = datetime(2026, 2, 1, 10, tzinfo=UTC)
URL = "https://meet.google.com/abc-defg-hij"
PAL = Pal("p1", "Anna", "anna@meet.acme.com", "f1")
JOIN = Join(
    "j1", "p1", "f1", "u1", START, START, START + timedelta(hours=1), START, START + timedelta(hours=1), URL, "Stand-up"
)

TITLES = {
    "plain": ("Stand-up", "Stand-up"),
    "lines": ("a\r\nATTENDEE:mailto:x@y.example\r\nSUMMARY:b", "a ATTENDEE:mailto:x@y.example SUMMARY:b"),
    "the-end-of-it": ("a\nEND:VEVENT\nEND:VCALENDAR\n", "a END:VEVENT END:VCALENDAR"),
    "bare-return": ("a\rX-EVIL:1", "a X-EVIL:1"),
    "other-line-ends": ("a\u2028b\u0085c\x0bd\x0ce", "a b c d e"),
    "quotes": ("\"a\" 'b' “c”", "\"a\" 'b' “c”"),
    "what-is-escaped": (r"a;b,c:d\n\,e\\", r"a;b,c:d\n\,e\\"),
    "emoji": ("🐍" * 100, "🐍" * 100),
    "right-to-left": ("a\u202egpj.exe", "a gpj.exe"),
    "nul": ("a\x00b", "a b"),
    "long": ("x" * 10_000, "x" * MAX_TITLE),
    "long-in-octets": ("ä€🐍" * 3000, ("ä€🐍" * 3000)[:MAX_TITLE]),
    "none": ("", "Meeting"),
    "blank": (" \r\n ", "Meeting"),
    "parameters": ('";X=1:a', '";X=1:a'),
}


def feed(*joins: Join, pal: Pal = PAL, changed: dict[str, datetime] | None = None) -> bytes:
    return calendar_of(pal, joins, changed or {}, MADE)


def events(raw: bytes) -> list[Any]:
    return list(Calendar.from_ical(raw).walk("VEVENT"))


@pytest.mark.parametrize(("title", "read"), TITLES.values(), ids=TITLES)
def test_titles_stay_in_their_field(title: str, read: str) -> None:
    raw = feed(replace(JOIN, name=title), replace(JOIN, id="j2"))
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    first, second = events(raw)
    assert str(first["SUMMARY"]) == read
    assert set(first) == set(second) == {
        "UID", "DTSTAMP", "DTSTART", "DTEND", "SUMMARY", "LOCATION", "URL", "STATUS",
    }  # fmt: skip
    other = IcsCalendarStream.calendar_from_ics(raw.decode()).events
    assert [one.summary for one in other] == [read, "Stand-up"]


# icalendar knows neither property, and leaves them as they are written.
NAMES = {"Anna": "Anna", "A;b,c\\n": "A\\;b\\,c\\\\n", "“Änna” 🐍" * 20: "“Änna” 🐍" * 20}


@pytest.mark.parametrize(("name", "written"), NAMES.items())
def test_the_calendar_has_the_pals_name(name: str, written: str) -> None:
    calendar: Any = Calendar.from_ical(feed(pal=replace(PAL, name=name)))
    assert str(calendar["NAME"]) == str(calendar["X-WR-CALNAME"]) == written
    assert calendar["REFRESH-INTERVAL"].dt == timedelta(minutes=15)
    assert str(calendar["X-PUBLISHED-TTL"]) == "PT15M"
    assert not calendar.walk("VEVENT")


def test_what_an_entry_says() -> None:
    raw = feed(JOIN, changed={"u1": CHANGED, "u2": MADE})
    (event,) = events(raw)
    assert (event["UID"], event["STATUS"]) == ("j1@meet.acme.com", "CONFIRMED")
    assert (event["URL"], event["LOCATION"]) == (URL, URL)
    assert (event["DTSTART"].dt, event["DTEND"].dt) == (JOIN.starts, JOIN.ends)
    assert event["DTSTAMP"].dt == event["LAST-MODIFIED"].dt == CHANGED
    (other,) = IcsCalendarStream.calendar_from_ics(raw.decode()).events
    assert (other.uid, other.dtstart, other.dtend, other.location) == ("j1@meet.acme.com", JOIN.starts, JOIN.ends, URL)
    assert (other.last_modified, other.dtstamp) == (CHANGED, CHANGED)


def test_what_is_not_known_of_an_entry_is_not_said() -> None:
    (event,) = events(feed(JOIN, changed={"another": CHANGED}))
    assert event["DTSTAMP"].dt == MADE
    assert "LAST-MODIFIED" not in event


def test_an_entry_without_an_end_lasts_as_long_as_the_pal_waits() -> None:
    (event,) = events(feed(replace(JOIN, ends=START)))
    assert event["DTEND"].dt == JOIN.until


def test_the_same_joins_are_the_same_bytes() -> None:
    assert feed(JOIN) == feed(JOIN) != feed(replace(JOIN, starts=START + timedelta(minutes=1)))


def test_a_token_is_of_one_installation_pal_and_number() -> None:
    feeds = Feeds(b"secret", "https://gateway.example/")
    url = feeds.url("p1", 0)
    start, token = url.split("?token=")
    assert start == "https://gateway.example/v2/pals/p1/calendar.ics"
    assert len(token) == 40
    assert feeds.is_open("p1", 0, token)
    others = [("p1", 1, token), ("p2", 0, token), ("p1", 0, token[:-1]), ("p1", 0, ""), ("p1", 0, "ä\udcff" * 20)]
    assert not [one for one in others if feeds.is_open(*one)]
    assert not Feeds(b"another", "").is_open("p1", 0, token)
