"""What two calendar libraries make of the stories that are one message, beside us; the page says the figures.

A difference is one between answers, not a fault of theirs: some messages are forbidden by the standard, and libraries
may refuse them. Who is right is said where it was looked at, in `test_eds_attendee`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import icalendar
import pytest
import recurring_ical_events
from ical.calendar_stream import IcsCalendarStream
from ical.event import EventStatus
from icalendar.timezone import tzp

from tests.peers.ours import Ours
from tests.peers.stories import Story, stories
from tests.peers.test_eds_attendee import AFTER, BEFORE, DIFFERENCES, MEASURED

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "how-it-compares.md"
README: Final = PAGE.parents[2] / "README.md"
Spans = list[tuple[datetime, datetime]]


def by_recurring_ical_events(text: str) -> Spans:
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(text.encode())).between(AFTER, BEFORE)
    return [_span(one.start, one.end) for one in found if str(one.get("STATUS", "")).upper() != "CANCELLED"]


def by_ical(text: str) -> Spans:
    found = IcsCalendarStream.calendar_from_ics(text).timeline.overlapping(AFTER, BEFORE)
    return [_span(one.start, one.end) for one in found if one.status is not EventStatus.CANCELLED]


LIBRARIES: Final[dict[str, Callable[[str], Spans]]] = {
    "recurring-ical-events": by_recurring_ical_events,
    "ical": by_ical,
}


def _span(start: date, end: date) -> tuple[datetime, datetime]:
    return _instant(start), _instant(end)


def _instant(when: date) -> datetime:
    """Days and times without a zone are UTC's, as they are the PAL's of the stories."""
    moment = when if isinstance(when, datetime) else datetime(when.year, when.month, when.day)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of_one_message() -> list[Story]:
    return [story for story in stories() if len(story.messages) == 1]


def _is_same(story: Story, library: Callable[[str], Spans]) -> bool:
    ours = Ours()
    ours.receive(story.messages[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tzp.use_default()  # begins without the zones that messages before have defined, which it keeps
        try:
            found = library(story.messages[0])
        except Exception:  # noqa: BLE001  whatever it does not read, it does not hold
            found = []
    return sorted(one for one in found if AFTER <= one[0] < BEFORE) == ours.occurrences(AFTER, BEFORE)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_page_says_how_many_a_library_has_as_we_have(name: str) -> None:
    found = [_is_same(story, LIBRARIES[name]) for story in _of_one_message()]
    row = f"| {name} {version(name)} | {len(found)} | {sum(found)} | {found.count(False)} |"
    assert row in PAGE.read_text("utf-8"), row
    if name == "recurring-ical-events":
        assert f"| {sum(found)} come to the same |" in README.read_text("utf-8")


def test_the_page_says_how_many_evolution_has_as_we_have() -> None:
    told, differ = len(stories()), len(DIFFERENCES)
    wrong = sum(one.right == "ours-right" for one in DIFFERENCES.values())
    page = PAGE.read_text("utf-8")
    for row in (
        f"| Evolution's calendar server (EDS) {MEASURED} | {told} | {told - differ} | {differ} |",
        f"{wrong} of the {differ} are against the RFC",
    ):
        assert row in page, row
    open_ones = differ - wrong
    told_there = (
        f"| {told - differ} come to the same; of the other {differ}, {wrong} are against the RFC on its side, "
        f"and in {open_ones} the standard is open |"
    )
    assert told_there in README.read_text("utf-8")
    assert not [one for one in DIFFERENCES.values() if one.right == "ours-wrong"]
