"""P4: the next occurrence of a series of ten years beside that of one of a month; the same asked of dateutil.

An instant is asked about that is some hours after a date, so that the next one is a whole step ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from dateutil.rrule import rrulestr

from bench.figure import Row, hottest, in_turns
from scheduler.event import Event
from scheduler.occurrences import next_occurrence
from tests.scheduler.calendars import at, series

GOAL = 1.5  # times as long
SERIES = {  # rule: its first date ten years ago, and a month ago
    "daily": ("FREQ=DAILY", "20160509T090000", "20260509T090000"),
    "weekly MO,WE": ("FREQ=WEEKLY;BYDAY=MO,WE", "20160509T090000", "20260511T090000"),
    "last weekday of the month": (
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "20160531T090000",
        "20260430T090000",
    ),
}
NOW = "2026-06-10 12:00"
WALL = datetime.fromisoformat(f"{NOW}:00") + timedelta(hours=2)  # what a clock in Berlin shows


def measure() -> list[Row]:
    """A row for each rule, and one for dateutil, which has no goal."""
    rows = []
    for name, (rule, *starts) in SERIES.items():
        old, young = (partial(next_occurrence, _event(rule, start), at(NOW)) for start in starts)
        assert _start(old()) == _start(young()), name
        ours, other = (took * 1e6 for took in in_turns(old, young, turns=25, calls=40))
        met = ours <= GOAL * other
        where = "" if met else hottest(old)
        rows.append(Row(f"P4 next date, {name}: 10 years old | 1 month", ours, other, "µs", f"≤ {GOAL} ×", met, where))
        ours, other = (took * 1e6 for took in in_turns(*(_dateutil(rule, start) for start in starts), turns=5, calls=4))
        rows.append(Row(f"P4 the same by dateutil, {name}", ours, other, "µs", "to be known", True))
    return rows


def _event(rule: str, start: str) -> Event:
    return series(f"DTSTART;TZID=Europe/Berlin:{start}", "DURATION:PT1H", f"RRULE:{rule}")


def _start(found: object) -> object:
    return getattr(found, "starts", None)


def _dateutil(rule: str, start: str) -> Callable[[], object]:
    """The next wall clock by dateutil. A rule of its own keeps no dates between two calls."""
    parsed = rrulestr(rule, dtstart=datetime.fromisoformat(start))
    return lambda: parsed.after(WALL)
