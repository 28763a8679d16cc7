"""Occurrences: overrides, added and excluded dates, this-and-future, lengths, all-day events, windows."""

import time
from datetime import datetime, timedelta

import pytest

from gateway.binding import Unbound
from gateway.pals import Pal
from scheduler.event import Event
from scheduler.occurrences import MAX_OCCURRENCES, expand, is_excluded, next_occurrence, occurs_at
from tests.scheduler.calendars import (
    BERLIN_START,
    HOUR,
    PAL,
    at,
    bound,
    event,
    series,
    spans,
    starts,
    vcalendar,
    vevent,
)

DAILY = "RRULE:FREQ=DAILY;COUNT=5"
MASTER = vevent(BERLIN_START, HOUR, DAILY)
# 2 to 6 March 2026, 09:00 in Berlin.
WHOLE = ["03-02 08:00", "03-03 08:00", "03-04 08:00", "03-05 08:00", "03-06 08:00"]
THIRD = "RECURRENCE-ID;TZID=Europe/Berlin:20260304T090000"
ALL_DAY = vevent("DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=DAILY;COUNT=3")
LATER = "20260102T000000Z"
NEW_YORK_PAL = Pal("2", "Bob", "bob@pals.example", "face", zone="America/New_York")


def without(number: int) -> list[str]:
    return [one for index, one in enumerate(WHOLE) if index != number]


def moved(number: int, start: str) -> list[str]:
    return sorted([*without(number), start])


OVERRIDES: dict[str, tuple[list[str], list[str]]] = {
    "moved": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000"], moved(2, "03-04 14:00")),
    "moved-to-another-day": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260320T090000"], moved(2, "03-20 08:00")),
    "moved-before-dtstart": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260301T090000"], moved(2, "03-01 08:00")),
    "moved-to-another-zone": ([THIRD, "DTSTART;TZID=America/New_York:20260304T090000"], moved(2, "03-04 14:00")),
    "moved-onto-another-date": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260305T090000"], moved(2, "03-05 08:00")),
    "named-in-utc": (["RECURRENCE-ID:20260304T080000Z", "DTSTART:20260304T140000Z"], moved(2, "03-04 14:00")),
    "named-in-another-zone": (
        ["RECURRENCE-ID;TZID=America/New_York:20260304T030000", "DTSTART:20260304T140000Z"],
        moved(2, "03-04 14:00"),
    ),
    "named-floating": (
        ["RECURRENCE-ID:20260304T090000", "DTSTART;TZID=Europe/Berlin:20260304T150000"],
        moved(2, "03-04 14:00"),
    ),
    "named-by-day": (
        ["RECURRENCE-ID;VALUE=DATE:20260304", "DTSTART;TZID=Europe/Berlin:20260304T150000"],
        moved(2, "03-04 14:00"),
    ),
    "named-by-day-from-another-zone": (
        ["RECURRENCE-ID;VALUE=DATE:20260304", "DTSTART;TZID=Asia/Tokyo:20260304T230000"],
        moved(2, "03-04 14:00"),
    ),
    "named-by-day-and-all-day": (
        ["RECURRENCE-ID;VALUE=DATE:20260304", "DTSTART;VALUE=DATE:20260304"],
        moved(2, "03-03 23:00"),
    ),
    "first": (
        ["RECURRENCE-ID;TZID=Europe/Berlin:20260302T090000", "DTSTART;TZID=Europe/Berlin:20260302T150000"],
        moved(0, "03-02 14:00"),
    ),
    "cancelled": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260304T090000", "STATUS:CANCELLED"], without(2)),
    "cancelled-elsewhere": ([THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000", "STATUS:CANCELLED"], without(2)),
    "cancelled-by-day": (
        ["RECURRENCE-ID;VALUE=DATE:20260304", "DTSTART;TZID=Europe/Berlin:20260304T090000", "STATUS:CANCELLED"],
        without(2),
    ),
    "orphan": (
        ["RECURRENCE-ID;TZID=Europe/Berlin:20260304T100000", "DTSTART;TZID=Europe/Berlin:20260320T090000"],
        [*WHOLE, "03-20 08:00"],
    ),
    "orphan-cancelled": (
        ["RECURRENCE-ID;TZID=Europe/Berlin:20260304T100000", "DTSTART:20260304T090000Z", "STATUS:CANCELLED"],
        WHOLE,
    ),
}


@pytest.mark.parametrize(("lines", "expected"), OVERRIDES.values(), ids=OVERRIDES)
@pytest.mark.parametrize("order", ["master-first", "override-first", "later-message", "earlier-message"])
def test_override(lines: list[str], expected: list[str], order: str) -> None:
    override = vevent(*lines, stamp=LATER)
    texts = {
        "master-first": [vcalendar(MASTER, override)],
        "override-first": [vcalendar(override, MASTER)],
        "later-message": [vcalendar(MASTER), vcalendar(override)],
        "earlier-message": [vcalendar(override), vcalendar(MASTER)],
    }[order]
    assert starts(event(*texts)) == expected


def test_override_has_its_own_length_and_the_rest_the_masters() -> None:
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000", "DURATION:PT3H")
    found = spans(event(vcalendar(MASTER, override)))
    assert found[1:4] == ["03-03 08:00-09:00", "03-04 14:00-17:00", "03-05 08:00-09:00"]


def test_override_beats_an_exdate_of_the_same_date() -> None:
    """The override is the newer information; recurring-ical-events lets EXDATE win."""
    master = vevent(BERLIN_START, DAILY, "EXDATE;TZID=Europe/Berlin:20260304T090000")
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000")
    assert starts(event(vcalendar(master))) == without(2)
    assert starts(event(vcalendar(master, override))) == moved(2, "03-04 14:00")


def test_occurrence_is_known_by_its_original_start() -> None:
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20260320T150000")
    (found,) = expand(event(vcalendar(MASTER, override)), at("2026-03-20"), at("2026-03-21"))
    assert found.recurrence_id == at("2026-03-04 08:00")
    assert found.starts == at("2026-03-20 14:00")


def test_only_overrides_and_no_master() -> None:
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000")
    assert starts(event(vcalendar(override))) == ["03-04 14:00"]


def test_override_of_a_whole_day_in_an_all_day_series() -> None:
    override = vevent("RECURRENCE-ID;VALUE=DATE:20260303", "DTSTART;VALUE=DATE:20260310", stamp=LATER)
    assert starts(event(vcalendar(ALL_DAY, override))) == ["03-01 23:00", "03-03 23:00", "03-09 23:00"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Pacific/Auckland"])
@pytest.mark.parametrize("pal", [PAL, NEW_YORK_PAL], ids=["pal-in-berlin", "pal-in-new-york"])
def test_day_of_an_all_day_series_becomes_a_timed_event(zone: str, pal: Pal) -> None:
    override = vevent("RECURRENCE-ID;VALUE=DATE:20260303", f"DTSTART;TZID={zone}:20260303T120000", HOUR, stamp=LATER)
    known = event(vcalendar(ALL_DAY, override), pal=pal)
    found = expand(known, at("2026-03-01"), at("2026-03-10"))
    assert [one.component.all_day for one in sorted(found, key=lambda one: one.recurrence_id)].count(False) == 1
    assert len(found) == 3
    # A later change of the master that keeps the times keeps the moved date.
    again = vevent("DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=DAILY;COUNT=3", "SUMMARY:new", stamp="20260103T000000Z")
    assert (
        len(expand(event(vcalendar(ALL_DAY, override), vcalendar(again), pal=pal), at("2026-03-01"), at("2026-03-10")))
        == 3
    )


FUTURE = "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260304T090000"
RANGES: dict[str, tuple[list[str], list[str]]] = {
    "shifted": (
        [vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260304T110000", "DURATION:PT2H", stamp=LATER)],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-04 10:00-12:00", "03-05 10:00-12:00", "03-06 10:00-12:00"],
    ),
    "shifted-by-a-day": (
        [vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260305T090000", HOUR, stamp=LATER)],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-05 08:00-09:00", "03-06 08:00-09:00", "03-07 08:00-09:00"],
    ),
    "shifted-back": (
        [vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260303T090000", HOUR, stamp=LATER)],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-03 08:00-09:00", "03-04 08:00-09:00", "03-05 08:00-09:00"],
    ),
    "named-in-utc": (
        [vevent("RECURRENCE-ID;RANGE=THISANDFUTURE:20260304T080000Z", "DTSTART:20260304T100000Z", HOUR, stamp=LATER)],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-04 10:00-11:00", "03-05 10:00-11:00", "03-06 10:00-11:00"],
    ),
    "from-between-two-dates": (
        [vevent("RECURRENCE-ID;RANGE=THISANDFUTURE:20260303T120000Z", "DTSTART:20260303T130000Z", HOUR, stamp=LATER)],
        [
            "03-02 08:00-09:00",
            "03-03 08:00-09:00",
            "03-03 13:00-14:00",  # it names no date of the series, so it is joined at its own time, too
            "03-04 09:00-10:00",
            "03-05 09:00-10:00",
            "03-06 09:00-10:00",
        ],
    ),
    "two-of-them": (
        [
            vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260304T110000", HOUR, stamp=LATER),
            vevent("RECURRENCE-ID;RANGE=THISANDFUTURE:20260305T080000Z", "DTSTART:20260305T130000Z", HOUR, stamp=LATER),
        ],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-04 10:00-11:00", "03-05 13:00-14:00", "03-06 13:00-14:00"],
    ),
    "one-date-keeps-its-own": (
        [
            vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260304T110000", HOUR, stamp=LATER),
            vevent("RECURRENCE-ID:20260305T080000Z", "DTSTART:20260305T160000Z", HOUR, stamp=LATER),
        ],
        ["03-02 08:00-09:00", "03-03 08:00-09:00", "03-04 10:00-11:00", "03-05 16:00-17:00", "03-06 10:00-11:00"],
    ),
    "cancelled-by-status": (
        [vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260304T090000", "STATUS:CANCELLED", stamp=LATER)],
        ["03-02 08:00-09:00", "03-03 08:00-09:00"],
    ),
}


@pytest.mark.parametrize(("overrides", "expected"), RANGES.values(), ids=RANGES)
def test_this_and_future(overrides: list[str], expected: list[str]) -> None:
    assert spans(event(vcalendar(MASTER, *overrides))) == expected
    assert spans(event(vcalendar(MASTER), *(vcalendar(one) for one in overrides))) == expected


def test_this_and_future_far_along_an_endless_series() -> None:
    """The shift is of the wall clock, so that it holds over a change of the clock."""
    master = vevent(BERLIN_START, HOUR, "RRULE:FREQ=WEEKLY")
    later = vevent(FUTURE.replace("0304", "0309"), "DTSTART;TZID=Europe/Berlin:20260310T100000", HOUR, stamp=LATER)
    known = event(vcalendar(master, later))
    assert starts(known, "2031-07-01", days=14) == ["07-01 08:00", "07-08 08:00"]
    assert starts(known, "2031-12-01", days=14) == ["12-02 09:00", "12-09 09:00"]


def test_this_and_future_cancelled_by_message() -> None:
    cancel = vcalendar(vevent(FUTURE, "DTSTART;TZID=Europe/Berlin:20260304T090000", stamp=LATER), method="CANCEL")
    moved_before = vevent("RECURRENCE-ID:20260306T080000Z", "DTSTART:20260307T080000Z")
    assert starts(event(vcalendar(MASTER), cancel)) == WHOLE[:2]
    assert starts(event(cancel, vcalendar(MASTER))) == WHOLE[:2]
    # The single dates after it go, too, and one that is sent anew comes back.
    assert starts(event(vcalendar(MASTER, moved_before), cancel)) == WHOLE[:2]
    back = vcalendar(vevent("RECURRENCE-ID:20260306T080000Z", "DTSTART:20260307T080000Z", stamp="20260103T000000Z"))
    assert starts(event(vcalendar(MASTER), cancel, back)) == [*WHOLE[:2], "03-07 08:00"]


def test_series_cancelled_and_invited_again() -> None:
    cancel = vcalendar(vevent(BERLIN_START, "SEQUENCE:1", stamp=LATER), method="CANCEL")
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20260304T150000")
    assert starts(event(vcalendar(MASTER, override), cancel)) == []
    assert starts(event(cancel, vcalendar(MASTER, override))) == []
    again = vcalendar(vevent(BERLIN_START, DAILY, "SEQUENCE:2"))
    assert starts(event(vcalendar(MASTER), cancel, again)) == WHOLE


PERIODS = {
    "106-period-with-duration": (["RDATE;VALUE=PERIOD:20260303T100000Z/PT30M"], "03-03 10:00-10:30"),
    "106-period-with-end": (["RDATE;VALUE=PERIOD:20260303T100000Z/20260303T103000Z"], "03-03 10:00-10:30"),
    "106-period-in-a-zone": (
        ["RDATE;VALUE=PERIOD;TZID=Europe/Berlin:20260303T110000/20260303T113000"],
        "03-03 10:00-10:30",
    ),
    "106-period-that-ends-before": (["RDATE;VALUE=PERIOD:20260303T100000Z/20260303T093000Z"], "03-03 10:00-10:00"),
    "106-date-time-has-the-events-length": (["RDATE:20260303T100000Z"], "03-03 10:00-11:00"),
    "106-period-on-a-date-of-the-rule": (
        ["RRULE:FREQ=DAILY;COUNT=2", "RDATE;VALUE=PERIOD:20260303T080000Z/PT30M"],
        "03-03 08:00-08:30",
    ),
}


@pytest.mark.parametrize(("lines", "expected"), PERIODS.values(), ids=PERIODS)
def test_added_date(lines: list[str], expected: str) -> None:
    assert spans(series(BERLIN_START, HOUR, *lines)) == ["03-02 08:00-09:00", expected]


def test_added_date_that_is_excluded_is_out() -> None:
    assert starts(series(BERLIN_START, "RDATE:20260303T100000Z", "EXDATE:20260303T100000Z")) == ["03-02 08:00"]


# Summer time begins in Berlin on 29 March 2026 at 02:00, and ends on 25 October at 03:00.
LENGTHS: dict[str, tuple[list[str], list[str]]] = {
    "128-dtend": (["DTEND;TZID=Europe/Berlin:20260302T103000"], ["03-02 08:00-09:30"]),
    "125-dtend-in-another-zone": (["DTEND;TZID=America/New_York:20260302T040000"], ["03-02 08:00-09:00"]),
    "128-duration": (["DURATION:PT1H30M"], ["03-02 08:00-09:30"]),
    "128-neither": ([], ["03-02 08:00-08:00"]),
    "129-dtend-before-dtstart": (["DTEND;TZID=Europe/Berlin:20260302T080000"], ["03-02 08:00-08:00"]),
    "129-negative-duration": (["DURATION:-PT1H"], ["03-02 08:00-08:00"]),
    "129-dtend-equals-dtstart": (["DTEND;TZID=Europe/Berlin:20260302T090000"], ["03-02 08:00-08:00"]),
}


@pytest.mark.parametrize(("lines", "expected"), LENGTHS.values(), ids=LENGTHS)
def test_length(lines: list[str], expected: list[str]) -> None:
    assert spans(series(BERLIN_START, *lines)) == expected


NIGHT = "DTSTART;TZID=Europe/Berlin:20260327T230000"
NIGHTS: dict[str, tuple[str, list[str]]] = {
    # From Friday 23:00 for ten hours, on three nights; in the second the clock is put forward.
    "dtend-is-exact": (
        "DTEND;TZID=Europe/Berlin:20260328T090000",
        ["03-27 22:00-08:00", "03-28 22:00-08:00", "03-29 21:00-07:00"],
    ),
    "hours-are-exact": ("DURATION:PT10H", ["03-27 22:00-08:00", "03-28 22:00-08:00", "03-29 21:00-07:00"]),
    # RFC 5545 3.3.6: a day is of the calendar, also when it has 23 hours.
    "days-are-nominal": ("DURATION:P1D", ["03-27 22:00-22:00", "03-28 22:00-21:00", "03-29 21:00-21:00"]),
    "24-hours-are-exact": ("DURATION:PT24H", ["03-27 22:00-22:00", "03-28 22:00-22:00", "03-29 21:00-21:00"]),
    "weeks-are-nominal": ("DURATION:P1W", ["03-27 22:00-21:00", "03-28 22:00-21:00", "03-29 21:00-21:00"]),
    "day-and-hours": ("DURATION:P1DT1H", ["03-27 22:00-23:00", "03-28 22:00-22:00", "03-29 21:00-22:00"]),
}


@pytest.mark.parametrize(("line", "expected"), NIGHTS.values(), ids=NIGHTS)
def test_length_over_a_change_of_the_clock(line: str, expected: list[str]) -> None:
    assert spans(series(NIGHT, line, "RRULE:FREQ=DAILY;COUNT=3")) == expected


def test_112_series_keeps_its_wall_clock() -> None:
    known = series("DTSTART;TZID=Europe/Berlin:20251020T140000", "RRULE:FREQ=WEEKLY")
    assert starts(known, "2026-03-20", 14) == ["03-23 13:00", "03-30 12:00"]
    assert starts(known, "2026-10-18", 14) == ["10-19 12:00", "10-26 13:00"]


def test_112_day_near_midnight_is_the_local_one() -> None:
    known = series("DTSTART;TZID=America/New_York:20260302T220000", "RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2")
    assert starts(known) == ["03-03 03:00", "03-10 02:00"]


def test_123_series_in_utc_stays_in_utc() -> None:
    assert starts(series("DTSTART:20260323T130000Z", "RRULE:FREQ=WEEKLY;COUNT=2")) == ["03-23 13:00", "03-30 13:00"]


def test_113_date_in_the_gap_takes_place_and_is_counted() -> None:
    known = series("DTSTART;TZID=Europe/Berlin:20260328T023000", "RRULE:FREQ=DAILY;COUNT=3")
    assert starts(known) == ["03-28 01:30", "03-29 01:30", "03-30 00:30"]


def test_114_date_in_the_overlap_is_the_first() -> None:
    known = series("DTSTART;TZID=Europe/Berlin:20261024T023000", "RRULE:FREQ=DAILY;COUNT=3")
    assert starts(known, "2026-10-01") == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]


ALL_DAYS: dict[str, tuple[list[str], list[str]]] = {
    "131-one-day": ([], ["03-28 23:00-22:00"]),
    "131-dtend": (["DTEND;VALUE=DATE:20260330"], ["03-28 23:00-22:00"]),
    "131-dtend-of-the-same-day": (["DTEND;VALUE=DATE:20260329"], ["03-28 23:00-22:00"]),
    "131-four-days": (["DTEND;VALUE=DATE:20260402"], ["03-28 23:00-22:00"]),
    "131-duration": (["DURATION:P1D"], ["03-28 23:00-22:00"]),
    "132-series": (["RRULE:FREQ=DAILY;COUNT=2"], ["03-28 23:00-22:00", "03-29 22:00-22:00"]),
    "132-exdate": (["RRULE:FREQ=DAILY;COUNT=2", "EXDATE;VALUE=DATE:20260330"], ["03-28 23:00-22:00"]),
    "132-exdate-as-date-time": (["RRULE:FREQ=DAILY;COUNT=2", "EXDATE:20260330T000000"], ["03-28 23:00-22:00"]),
}


@pytest.mark.parametrize(("lines", "expected"), ALL_DAYS.values(), ids=ALL_DAYS)
def test_all_day_is_the_pals_day(lines: list[str], expected: list[str]) -> None:
    known = series("DTSTART;VALUE=DATE:20260329", *lines)
    assert spans(known) == expected
    days = expand(known, at("2026-03-01"), at("2026-04-30"))[0]
    assert days.ends - days.starts == timedelta(hours=95 if "20260402" in str(lines) else 23)


def test_all_day_in_the_zone_of_the_pal() -> None:
    known = event(vcalendar(ALL_DAY), pal=NEW_YORK_PAL)
    assert starts(known) == ["03-02 05:00", "03-03 05:00", "03-04 05:00"]


WINDOWS: dict[str, tuple[str, str, int]] = {
    "ends-as-it-begins": ("2026-03-02 09:00", "2026-03-02 12:00", 0),
    "ends-a-second-into-it": ("2026-03-02 08:59:59", "2026-03-02 12:00", 1),
    "under-way": ("2026-03-02 08:30", "2026-03-02 08:31", 1),
    "starts-as-it-begins": ("2026-03-02 08:00", "2026-03-02 08:01", 1),
    "starts-as-it-ends": ("2026-03-02 07:00", "2026-03-02 08:00", 0),
    "starts-a-second-before-it-ends": ("2026-03-02 07:00", "2026-03-02 08:00:01", 1),
    "before": ("2026-02-01", "2026-03-01", 0),
    "empty": ("2026-03-02 08:30", "2026-03-02 08:00", 0),
    "backwards": ("2026-03-04", "2026-03-01", 0),
    "whole": ("2026-03-01", "2026-03-31", 5),
    "dawn-and-end-of-time": ("1970-01-01", "9999-12-31", 5),
}


@pytest.mark.parametrize(("after", "before", "number"), WINDOWS.values(), ids=WINDOWS)
def test_window(after: str, before: str, number: int) -> None:
    assert len(expand(series(BERLIN_START, HOUR, DAILY), at(after), at(before))) == number


def test_window_and_an_occurrence_without_length() -> None:
    known = series(BERLIN_START)
    assert len(expand(known, at("2026-03-02 08:00"), at("2026-03-02 09:00"))) == 1
    assert expand(known, at("2026-03-02 08:01"), at("2026-03-02 09:00")) == []


def test_window_in_the_middle_of_a_long_one() -> None:
    known = series("DTSTART;TZID=Europe/Berlin:20260101T090000", "DURATION:P300D")
    assert len(expand(known, at("2026-10-01"), at("2026-10-02"))) == 1
    assert expand(known, at("2026-10-29"), at("2026-10-30")) == []


def test_window_and_what_is_moved_into_it_from_far_away() -> None:
    override = vevent(THIRD, "DTSTART;TZID=Europe/Berlin:20290304T090000")
    assert starts(event(vcalendar(MASTER, override)), "2029-03-01") == ["03-04 08:00"]


def test_window_is_cut_short_of_too_many() -> None:
    hours = ",".join(str(hour) for hour in range(24))
    known = series(BERLIN_START, f"RRULE:FREQ=DAILY;BYHOUR={hours}")
    found = expand(known, at("2026-03-01"), at("2028-03-01"))
    assert len(found) == MAX_OCCURRENCES
    assert found[0].starts == at("2026-03-02 08:00")


def test_occurrences_come_by_start() -> None:
    known = series(BERLIN_START, "RRULE:FREQ=WEEKLY;COUNT=3", "RDATE:20260305T080000Z", "RDATE:20260303T080000Z")
    found = [one.starts for one in expand(known, at("2026-03-01"), at("2026-04-01"))]
    assert found == sorted(found)
    assert len(found) == 5


def test_next_occurrence() -> None:
    known = series(BERLIN_START, HOUR, "RRULE:FREQ=YEARLY;INTERVAL=5")
    assert _next(known, "2026-03-02 08:30") == at("2026-03-02 08:00")
    assert _next(known, "2026-03-02 09:00") == at("2031-03-02 08:00")
    assert _next(series(BERLIN_START, HOUR, DAILY), "2026-03-07") is None
    assert _next(series(BERLIN_START, HOUR, "RRULE:FREQ=YEARLY;INTERVAL=20"), "2026-03-03") is None


def _next(known: Event, after: str) -> datetime | None:
    found = next_occurrence(known, at(after))
    return found.starts if found is not None else None


def test_occurs_at() -> None:
    master = series(BERLIN_START, DAILY, "RDATE:20260310T100000Z", "EXDATE:20260303T080000Z").master
    assert master is not None
    assert [occurs_at(master, at(f"2026-03-0{day} 08:00")) for day in range(1, 8)] == [0, 1, 0, 1, 1, 1, 0]
    assert occurs_at(master, at("2026-03-10 10:00"))
    assert not occurs_at(master, at("2026-03-10 10:00:01"))


def test_is_excluded() -> None:
    master = vevent(BERLIN_START, DAILY, "EXDATE:20260303T080000Z")
    cancelled = vevent(THIRD, "DTSTART:20260304T080000Z", "STATUS:CANCELLED", stamp=LATER)
    known = event(vcalendar(master, cancelled))
    assert [is_excluded(known, at(f"2026-03-0{day} 08:00")) for day in range(2, 6)] == [0, 1, 1, 0]


@pytest.mark.parametrize("year", [1970, 1996, 2015])
def test_old_series_is_in_the_window_what_the_whole_is(year: int) -> None:
    lines = (f"DTSTART;TZID=Europe/Berlin:{year}0105T090000", HOUR, "RRULE:FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,TH")
    known = series(*lines)
    low, high = at("2018-01-01"), at("2018-12-31")
    whole = expand(known, at(f"{year}-01-01"), high)
    assert expand(known, low, high) == [one for one in whole if one.ends > low]
    assert whole


@pytest.mark.parametrize("year", ["0001", "1969", "2099", "9999"])
def test_override_of_a_date_beyond_all_series_is_refused(year: str) -> None:
    """Or its shift would stretch every window over centuries."""
    override = vevent(f"RECURRENCE-ID;RANGE=THISANDFUTURE:{year}0304T080000Z", "DTSTART:20260304T100000Z")
    (refused,) = bound(vcalendar(override))
    assert isinstance(refused, Unbound)
    assert "RECURRENCE-ID" in refused.detail


@pytest.mark.usefixtures("without_collections")
def test_furthest_shift_is_bounded() -> None:
    master = vevent("DTSTART:19700302T080000Z", *["RRULE:FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"] * 5)
    shift = vevent("RECURRENCE-ID;RANGE=THISANDFUTURE:19700101T000000Z", "DTSTART:20350101T000000Z", stamp=LATER)
    known = event(vcalendar(master, shift))
    begun = time.process_time()
    assert expand(known, at("2026-03-01"), at("2026-04-01")) == []
    assert time.process_time() - begun < 0.5


def test_an_added_instant_is_that_one_also_where_the_clock_shows_it_twice() -> None:
    known = series("DTSTART;TZID=Europe/Berlin:20261024T023000", HOUR, "RDATE:20261025T003000Z,20261025T013000Z")
    assert spans(known, "2026-10-20") == ["10-24 00:30-01:30", "10-25 00:30-01:30", "10-25 01:30-02:30"]


def test_a_day_of_25_hours_goes_on_to_its_end() -> None:
    known = series("DTSTART;VALUE=DATE:20261024", "RRULE:FREQ=DAILY")
    (running,) = expand(known, at("2026-10-25 22:30"), at("2026-10-25 22:31"))
    assert (running.starts, running.ends) == (at("2026-10-24 22:00"), at("2026-10-25 23:00"))
