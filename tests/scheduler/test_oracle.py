"""Made-up series, compared with two calendar libraries and with the rule read by hand.

`ORACLE_SERIES` sets how many (default 2,496). What is not compared with a library, and why, stands at its function.
"""

import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events
from hypothesis import HealthCheck, given, note, seed, settings
from ical.calendar_stream import IcsCalendarStream
from ical.event import EventStatus

from gateway.pals import Pal
from scheduler.occurrences import expand
from scheduler.recurrence import Rule, parse_rule
from tests.scheduler import by_hand
from tests.scheduler.calendars import FIXED, event
from tests.scheduler.generated import Series, series

ZONES = (
    "Australia/Lord_Howe",  # half an hour of DST
    "Africa/Cairo",  # DST came back in 2023, on a Friday
    "America/Sao_Paulo",  # DST changed at midnight until 2019
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Africa/Casablanca",  # DST off for Ramadan
    "UTC",
)
EACH = max(1, int(os.environ.get("ORACLE_SERIES", "2496")) // len(ZONES))
COMPARED: Counter[str] = Counter()

MARGIN = timedelta(days=3)  # what lasts into the window, and what is moved into it

Spans = list[tuple[datetime, datetime]]


@pytest.mark.timeout(60 + EACH // 5)
@pytest.mark.parametrize("zone", ZONES)
def test_series_is_as_others_have_it(zone: str) -> None:
    @seed(ZONES.index(zone))
    @settings(FIXED, max_examples=EACH, suppress_health_check=list(HealthCheck))
    @given(series(zone))
    def compare(one: Series) -> None:
        COMPARED["series"] += 1
        note(one.text())
        pal = Pal("1", "Ada", "ada@pals.example", "face", zone=zone)
        ours = [(found.starts, found.ends) for found in expand(event(one.text(), pal=pal), one.after, one.before)]
        ours = sorted(span for span in ours if one.after <= span[0] < one.before)
        assert ours == _by_hand(one), "by hand"
        COMPARED["by hand"] += 1
        if (reason := _not_theirs(one)) is not None:
            COMPARED[f"left to the hand: {reason}"] += 1
            return
        for name, library in LIBRARIES.items():
            if name in _not_asked(one):
                continue
            assert _in_common(one, ours) == _in_common(one, library(one)), name
            COMPARED[name] += 1

    compare()


def test_enough_was_compared(record_testsuite_property: Callable[[str, object], None]) -> None:
    if COMPARED["series"] < EACH * len(ZONES):
        pytest.skip("not every zone was asked for")
    for name, number in sorted(COMPARED.items()):
        record_testsuite_property(name, number)
        print(f"{name}: {number}")
    assert COMPARED["by hand"] == COMPARED["series"]
    assert all(COMPARED[name] > COMPARED["series"] * 7 // 10 for name in LIBRARIES), COMPARED


def _by_hand(one: Series) -> Spans:
    """DTSTART, the rule and the added dates, less those taken out, less those with a word of their own, which count."""
    last = one.before.replace(tzinfo=None) + timedelta(days=3)
    walls = [one.start, *(wall for wall in by_hand.walls(_rule(one), one.start, last) if wall > one.start)]
    walls = walls[: one.count]
    if one.until is not None:
        limit = one.instant(one.until.replace(tzinfo=None)) if one.all_day else one.until
        walls = [one.start, *(wall for wall in walls[1:] if one.instant(wall) <= limit)]
    length = one.instant(one.start + timedelta(minutes=one.minutes)) - one.instant(one.start)
    found = {one.instant(wall): _end(one, wall, length) for wall in (*walls, *one.added)}
    found |= {one.instant(wall): one.instant(wall) + timedelta(hours=2) for wall in one.periods}
    for wall in (*one.taken, *one.cancelled, *(moved for moved, _, _ in one.moved)):
        found.pop(one.instant(wall), None)
    spans = list(found.items())
    for _, wall, minutes in one.moved:
        own = one.instant(wall + timedelta(minutes=minutes)) - one.instant(wall)
        spans.append((one.instant(wall), _end(one, wall, own)))
    return sorted(span for span in spans if one.after <= span[0] < one.before)


def _rule(one: Series) -> Rule:
    return parse_rule(one.parts, datetime.fromisoformat)


def _end(one: Series, wall: datetime, length: timedelta) -> datetime:
    return one.instant(wall + timedelta(days=1)) if one.all_day else one.instant(wall) + max(length, timedelta())


def _recurring(one: Series) -> Spans:
    calendar = icalendar.Calendar.from_ical(one.text().encode())
    found = recurring_ical_events.of(calendar).between(one.after - MARGIN, one.before + MARGIN)
    # It gives cancelled overrides as events.
    return [_utc(one, event.start, event.end) for event in found if event.get("STATUS") != "CANCELLED"]


def _ical(one: Series) -> Spans:
    calendar = IcsCalendarStream.calendar_from_ics(one.text())
    found = calendar.timeline_tz(ZoneInfo(one.zone)).overlapping(one.after - MARGIN, one.before + MARGIN)
    return [_utc(one, event.dtstart, event.end) for event in found if event.status != EventStatus.CANCELLED]


LIBRARIES: dict[str, Callable[[Series], Spans]] = {"recurring-ical-events": _recurring, "ical": _ical}


def _utc(one: Series, start: date | None, end: date | None) -> tuple[datetime, datetime]:
    assert start is not None
    assert end is not None
    return _instant(one, start), _instant(one, end)


def _instant(one: Series, value: date) -> datetime:
    if not isinstance(value, datetime):
        return one.instant(datetime.combine(value, time()))
    return value.astimezone(UTC)


def _in_common(one: Series, spans: Spans) -> set[tuple[datetime, datetime | None]]:
    """What can be compared with a library."""
    spans = [span for span in spans if one.after <= span[0] < one.before]
    if not one.on_rule:
        # RFC 5545 3.8.5.3: "The recurrence set generated with a "DTSTART" property value not synchronized with the
        # recurrence rule is undefined." We have DTSTART and the rule; ical leaves DTSTART out.
        spans = [span for span in spans if span[0] != one.instant(one.start)]
    steady = _steady(one, one.instant(one.start))
    return {(start, end if steady and _steady(one, start) else None) for start, end in spans}


def _steady(one: Series, start: datetime) -> bool:
    """RFC 5545 3.8.5.3: "If the duration of the recurring component is specified with the "DTEND" or "DUE" property,
    the same exact duration will apply to all the members of the generated recurrence set." The libraries add the
    duration on the wall clock, which is an hour off across a change of the clock."""
    near = (start + timedelta(days=days) for days in (-1, 0, 1, 2))
    return len({instant.astimezone(ZoneInfo(one.zone)).utcoffset() for instant in near}) == 1


def _not_asked(one: Series) -> set[str]:
    """The library that is not asked, for a fault of its own."""
    skipped = set()
    if one.periods or (one.zone == "UTC" and (one.moved or one.cancelled)):
        # It fails on RDATE;VALUE=PERIOD in a zone, and takes no RECURRENCE-ID in UTC for a date of the series.
        # RFC 5545 3.8.4.4 has "RECURRENCE-ID;RANGE=THISANDFUTURE:19960120T120000Z" for an example, 3.8.5.2 a PERIOD.
        skipped.add("ical")
    if one.utc_dates and any(_is_doubled(one, wall) for wall in one.taken):
        # It compares wall clocks, and so misses an EXDATE in UTC that names the first of two readings. RFC 5545 3.3.5:
        # "the DATE-TIME value refers to the first occurrence of the referenced time".
        skipped.add("ical")
    if len(_rule(one).by_hour) > 1 and (one.moved or one.cancelled or one.taken):
        # It knows a date by its UTC clock and by its local clock without zone alike, so that 00:30 in Berlin and the
        # same day's 02:30, which is 00:30Z, are one. RFC 5545 3.3.5: "The date with UTC time, or absolute time, is
        # identified by a LATIN CAPITAL LETTER Z suffix character".
        skipped.add("recurring-ical-events")
    return skipped


def _is_doubled(one: Series, wall: datetime) -> bool:
    """Whether the clock shows a time twice that day."""
    zone = ZoneInfo(one.zone)
    return wall.replace(tzinfo=zone, fold=0).utcoffset() != wall.replace(tzinfo=zone, fold=1).utcoffset()


def _not_theirs(one: Series) -> str | None:
    """Why the libraries, both on dateutil's rules, are not asked."""
    rule = _rule(one)
    if not one.on_rule and one.count is not None:
        # RFC 5545 3.3.10: "The "DTSTART" property value always counts as the first occurrence." dateutil counts only
        # what the rule matches.
        return "COUNT and a DTSTART off the rule"
    if len({n == 0 for _, n in rule.by_day}) == 2 and rule.freq in ("MONTHLY", "YEARLY"):
        # RFC 5545 3.3.10: "The BYDAY rule part specifies a COMMA-separated list of days of the week". dateutil wants a
        # day to be in the numbered and in the plain ones.
        return "BYDAY with and without numbers"
    if rule.by_weekno and not rule.by_day:
        # RFC 5545 3.3.10: "Information, not contained in the rule, necessary to determine the various recurrence
        # instance start time and dates are derived from the Start Time (DTSTART)". dateutil takes all seven days.
        return "BYWEEKNO alone"
    if {52, 53} & set(rule.by_weekno):
        # RFC 5545 3.3.10: "Week number one of the calendar year is the first week that contains at least four (4) days
        # in that calendar year." dateutil takes the length of the wrong year, so that 2022-01-01 is not in week 52.
        return "BYWEEKNO at the end of a year"
    if rule.freq == "WEEKLY" and rule.by_setpos and one.start.weekday() != rule.week_start:
        # RFC 5545 3.3.10: "A set of recurrence instances starts at the beginning of the interval defined by the FREQ
        # rule part." dateutil's first week starts on the day of DTSTART.
        return "BYSETPOS in a week that DTSTART is not the first day of"
    return None
