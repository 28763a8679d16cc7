"""P5: occurrences a second out of a series with 20 overrides, beside recurring-ical-events.

An event as Google sends it, ten of its dates moved and ten cancelled: two years of it, ten of the monthly one. Both
sides begin with what is read already: an `Event`, an `icalendar.Calendar`. That they find the same is seen to first.
"""

from __future__ import annotations

import gc
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import icalendar
import recurring_ical_events

from bench.figure import Row, hottest, in_turns
from scheduler.occurrences import expand
from scheduler.recurrence import parse_rule, wall_clocks
from tests.scheduler.calendars import at, event, vcalendar, vevent

GOAL = 20.0  # times as many
RULES = {  # and the years that are looked through
    "daily": ("FREQ=DAILY", 2),
    "workdays": ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 2),
    "the last workday of each month": ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", 10),
}
FIRST = datetime.fromisoformat("2026-03-31T09:00")
AFTER = at("2026-03-01")
OVERRIDES = 20
SAMPLE = Path(__file__).parent.parent / "samples" / "google" / "06-series.eml"
TIMES = ("DTSTART", "DTEND", "RRULE", "DTSTAMP", "UID", "STATUS")


def measure() -> list[Row]:
    """A row for each rule. The peer leaves much to collect: as `timeit` has it, nobody does so meanwhile."""
    gc.disable()
    try:
        return [_row(name, rule, years) for name, (rule, years) in RULES.items()]
    finally:
        gc.enable()


def _row(name: str, rule: str, years: int) -> Row:
    text, before = _calendar(rule), AFTER.replace(year=AFTER.year + years)
    ours = partial(expand, event(text), AFTER, before)
    theirs = partial(_theirs, icalendar.Calendar.from_ical(text.encode()), before)
    number = len(ours())
    assert [one.starts for one in ours()] == sorted(one.start for one in theirs() if one.get("STATUS") is None)
    mine, peer = (number / took for took in in_turns(ours, theirs, turns=9, calls=5))
    met = mine >= GOAL * peer
    where = "" if met else hottest(ours)
    return Row(f"P5 occurrences of a series with 20 overrides, {name}", mine, peer, "/s", "≥ 20 ×", met, where)


def _theirs(calendar: icalendar.Calendar, before: datetime) -> list[icalendar.Event]:
    return list(recurring_ical_events.of(calendar).between(AFTER, before))


def _calendar(rule: str) -> str:
    """The series, every other of its first dates moved by two hours, those between cancelled."""
    plain = parse_rule(rule, datetime.fromisoformat)
    dates = list(wall_clocks(plain, FIRST, FIRST + timedelta(days=1), FIRST + timedelta(days=800)))[:OVERRIDES]
    master = vevent(_date("DTSTART", FIRST), f"RRULE:{rule}", *_lines())
    moved = [_override(wall, wall + timedelta(hours=2)) for wall in dates[::2]]
    cancelled = [_override(wall, wall, "STATUS:CANCELLED") for wall in dates[1::2]]
    return vcalendar(master, *moved, *cancelled)


def _override(wall: datetime, starts: datetime, *lines: str) -> str:
    return vevent(_date("RECURRENCE-ID", wall), _date("DTSTART", starts), *lines, *_lines())


def _lines() -> list[str]:
    """What Google says of an event beside its times."""
    text = SAMPLE.read_text("utf-8").partition("BEGIN:VEVENT\n")[2].partition("END:VEVENT")[0]
    unfolded = text.replace("\n ", "").splitlines()
    return ["DURATION:PT1H", *(line for line in unfolded if not line.startswith(TIMES))]


def _date(name: str, wall: datetime) -> str:
    return f"{name};TZID=Europe/Berlin:{wall:%Y%m%dT%H%M%S}"
