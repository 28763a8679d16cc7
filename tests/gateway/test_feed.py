"""The feed as two parsers of other people read it, hostile titles included."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ical.calendar_stream import IcsCalendarStream
from icalendar import Calendar

from gateway.feed import (
    AHEAD,
    MAX_DECLINED,
    MAX_OF_EVENT,
    MAX_TITLE,
    Declined,
    Feeds,
    calendar_of,
    declined_dates,
    why_declined,
)
from gateway.pals import Pal
from gateway.replay import read_events
from scheduler.event import Answer, Event
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


def event(*lines: str, answers: tuple[Answer, ...] = (Answer(None, "DECLINED"),), uid: str = "u9") -> Event:
    """An event of a calendar file, with what was answered to it."""
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260201T000000Z")
    data = "\r\n".join((*head, *lines, "END:VEVENT", "END:VCALENDAR", "")).encode()
    (found,), faults = read_events(data, PAL, MADE)
    assert not faults
    return replace(found, answers=answers)


def declined(*lines: str, **more: Any) -> list[Declined]:
    return declined_dates(event(*lines, **more), "No link.", CHANGED, START)


HOUR = ("DTSTART;TZID=Europe/Berlin:20260303T100000", "DURATION:PT1H")
DAILY = (*HOUR, "RRULE:FREQ=DAILY")


def declined_feed(*dates: Declined) -> bytes:
    return calendar_of(PAL, [JOIN], {"u1": CHANGED}, MADE, dates)


def test_what_was_declined_says_so_in_every_reader() -> None:
    raw = declined_feed(*declined(*HOUR, "SUMMARY:Lunch"))
    attended, one = events(raw)
    # The title is what each of them shows; free time is TRANSP for Google and Apple, BUSYSTATUS for Outlook.
    assert (str(attended["SUMMARY"]), str(one["SUMMARY"])) == ("Stand-up", "Declined: Lunch")
    assert (one["TRANSP"], one["X-MICROSOFT-CDO-BUSYSTATUS"], one["DESCRIPTION"]) == ("TRANSPARENT", "FREE", "No link.")
    assert "TRANSP" not in attended
    # Google leaves a cancelled one out, and an ATTENDEE is nobody's own in a calendar that one subscribes to.
    assert one["STATUS"] == "CONFIRMED"
    assert not {"ATTENDEE", "ORGANIZER", "URL", "LOCATION"} & set(one)
    assert one["DTSTAMP"].dt == one["LAST-MODIFIED"].dt == CHANGED
    starts = datetime(2026, 3, 3, 9, tzinfo=UTC)
    assert (one["DTSTART"].dt, one["DTEND"].dt) == (starts, starts + timedelta(hours=1))
    assert b"METHOD:" not in raw
    (_, other) = IcsCalendarStream.calendar_from_ics(raw.decode()).events
    assert (other.summary, other.dtstart, other.transparency, other.categories) == (
        "Declined: Lunch",
        starts,
        "TRANSPARENT",
        ["Declined"],
    )


@pytest.mark.parametrize(("title", "read"), TITLES.values(), ids=TITLES)
def test_titles_of_what_was_declined_stay_in_their_field(title: str, read: str) -> None:
    (one,) = declined(*HOUR)
    component = replace(one.date.component, summary=title)
    raw = declined_feed(replace(one, date=one.date._replace(component=component), why=title))
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    found = events(raw)[1]
    assert str(found["SUMMARY"]) == f"Declined: {read}"
    assert len(events(raw)) == 2


def test_an_all_day_event_is_one_of_days() -> None:
    (one,) = events(declined_feed(*declined("DTSTART;VALUE=DATE:20260303", "DURATION:P2D")))[1:]
    assert [str(one[name].dt) for name in ("DTSTART", "DTEND")] == ["2026-03-03", "2026-03-05"]


def test_an_event_without_an_end_has_none() -> None:
    (one,) = events(declined_feed(*declined("DTSTART:20260303T100000Z")))[1:]
    assert "DTEND" not in one


def test_which_dates_stand_declined() -> None:
    third = datetime(2026, 3, 5, 9, tzinfo=UTC)
    of_date = declined(*DAILY, answers=(Answer(None, "ACCEPTED"), Answer(third, "DECLINED")))
    assert [one.date.starts for one in of_date] == [third]
    all_but = declined(*HOUR, "RRULE:FREQ=DAILY;COUNT=3", answers=(Answer(None, "DECLINED"), Answer(third, "ACCEPTED")))
    assert third not in [one.date.starts for one in all_but]
    assert len(all_but) == 2
    assert declined(*HOUR, answers=(Answer(None, "ACCEPTED"),)) == []
    assert declined(*HOUR, answers=()) == []
    assert declined("DTSTART:20260222T080000Z", "DURATION:PT1H") == []
    assert len(declined("DTSTART:20260223T100000Z", "DURATION:PT1H")) == 1
    assert declined(f"DTSTART:{START + AHEAD:%Y%m%dT%H%M%SZ}", "DURATION:PT1H") == []


def test_it_is_bounded_and_each_date_keeps_its_uid() -> None:
    dates = declined(*DAILY)
    assert len(dates) == MAX_OF_EVENT
    later = declined_dates(event(*DAILY), "Another reason.", CHANGED + timedelta(days=1), START)
    assert [one.key for one in later] == [one.key for one in dates]
    assert len({one.key for one in dates}) == len(dates)
    moved = declined("DTSTART:20260304T100000Z", "DURATION:PT1H")
    assert [one.key for one in moved] == [one.key for one in declined(*HOUR)]
    many = [replace(one, key=f"{one.key}{number}") for number in range(5) for one in dates]
    assert len(events(declined_feed(*many))) == 1 + MAX_DECLINED


def test_the_same_is_the_same_bytes_whenever_it_is_asked_for() -> None:
    first, later = (
        declined_dates(event(*HOUR), "No link.", CHANGED, START + timedelta(minutes=minutes)) for minutes in (0, 90)
    )
    assert declined_feed(*first) == declined_feed(*reversed(later))


@pytest.mark.parametrize(
    ("reason", "platform", "says"),
    [
        ("no-meeting-link", None, "There is no Google Meet link"),
        ("link-not-joinable", "zoom", "a Zoom link, which Anna cannot join"),
        ("not-the-organizer", None, ""),  # told to nobody
        ("of-a-newer-release", None, ""),
        (None, None, ""),
    ],
)
def test_the_reason_is_what_the_organizer_was_told(reason: str | None, platform: str | None, says: str) -> None:
    found = why_declined(reason, platform, PAL)
    assert says in found
    assert bool(says) is bool(found)
