"""The next date of a series costs the same however old the series is: counted in calls, not in seconds."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import FrameType

import pytest

from scheduler.event import Component, Event, Length, Revision
from scheduler.occurrences import next_occurrence
from scheduler.recurrence import parse_rule
from scheduler.zones import Zone

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def calls(rule: str, year: int) -> int:
    """Function calls that the next date of a series begun in this year takes."""
    parsed = parse_rule(rule, lambda _: NOW)
    revision = Revision(0, NOW)
    master = Component(revision, datetime(year, 3, 2, 14), Zone("Europe/Berlin"), Length(seconds=3600), rules=(parsed,))
    event = Event("u1", "alex@acme.example", master=master)
    counted = 0

    def count(frame: FrameType, kind: str, argument: object) -> None:
        nonlocal counted
        counted += 1

    next_occurrence(event, NOW)  # what is cached once is not counted
    sys.setprofile(count)
    try:
        found = next_occurrence(event, NOW)
    finally:
        sys.setprofile(None)
    assert found is not None
    assert found.starts >= NOW
    return counted


@pytest.mark.parametrize(
    "rule", ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,WE", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=YEARLY", "FREQ=DAILY;INTERVAL=3"]
)
def test_an_old_series_costs_what_a_young_one_does(rule: str) -> None:
    assert calls(rule, 1971) <= calls(rule, 2025) * 1.5
