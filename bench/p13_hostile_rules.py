"""P13: every rule of the hostile list answered or refused; dateutil beside it, stopped after a quarter of a second.

Ours is all that the desk does with a rule: it is read and bound, its COUNT becomes a date, it is asked for the next
date, expanded as far ahead as joins are planned, and asked when to plan further. dateutil is asked for the next date
and the dates of as long. DTSTART is in 1970 or in this year, whichever takes us longer.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from statistics import median
from time import process_time
from types import FrameType

from dateutil.rrule import rrulestr

from bench.figure import Row, hottest
from tests.scheduler.calendars import NOW
from tests.scheduler.hostile import HOSTILE, POLICY, REFUSED, answer, invitation

GOAL = 5.0  # milliseconds
LIMIT = 0.25  # seconds for dateutil
ROUNDS = 9
SHOWN = 5
YEARS = (1970, 2026)


class Stopped(Exception):
    """The time is over."""


def measure() -> list[Row]:
    """Those that miss the goal and those that take longest, and how many there are."""
    rows = [_row(name, text) for name, text in {**REFUSED, **HOSTILE}.items()]
    stopped = sum("dateutil stopped" in row.name for row in rows)
    met = sum(row.met for row in rows)
    name = f"P13 hostile rules within {GOAL:g} ms; dateutil is stopped after {LIMIT * 1000:g} ms by {stopped}"
    shown = sorted(rows, key=lambda row: (row.met, -row.ours))[: max(SHOWN, len(rows) - met)]
    return [Row(name, met, len(rows), "rules", "all", met == len(rows)), *shown]


def _row(name: str, text: str) -> Row:
    ours = {}
    for year in YEARS:
        call = partial(answer, invitation(text, year))
        ours[_took(call)] = (year, call)
    slowest = max(ours)
    year, call = ours[slowest]
    theirs, how = _dateutil(text, datetime.fromisoformat(f"{year}-03-02T09:00"))
    met = slowest <= GOAL
    named = f"P13 hostile rule {name} (dateutil {how})"
    return Row(named, slowest, theirs, "ms", f"≤ {GOAL:g} ms", met, "" if met else hottest(call, 3))


def _took(call: Callable[[], object]) -> float:
    """Milliseconds of CPU of a call, the median of some; the first one counts for nothing."""
    took = []
    for _ in range(ROUNDS + 1):
        begun = process_time()
        call()
        took.append((process_time() - begun) * 1000)
    return median(took[1:])


def _dateutil(text: str, start: datetime) -> tuple[float, str]:
    """Milliseconds of CPU, and how it ended."""
    now = NOW.replace(tzinfo=None)
    begun, how = process_time(), "answers"
    try:
        with _limited():
            rule = rrulestr(text.replace("Z", ""), dtstart=start)
            rule.after(now)
            rule.between(now, now + POLICY.horizon)
    except Stopped:
        how = "stopped"
    except Exception:  # noqa: BLE001  it raises many kinds
        how = "refuses"
    return (process_time() - begun) * 1000, how


@contextmanager
def _limited() -> Iterator[None]:
    """Raises Stopped in what takes longer than LIMIT; a timer of CPU time would make its clock a coarse one."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
