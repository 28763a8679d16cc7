"""What a conversation is told of its meeting, and how long it may last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scheduler.event import Component, Event, Length, Revision
from scheduler.occurrences import Occurrence, expand
from scheduler.request import Attendant, request_of
from scheduler.zones import Zone

START = datetime(2026, 3, 3, 14)
MASTER = Component(
    Revision(0, datetime(2026, 3, 1, tzinfo=UTC)),
    START,
    Zone("Europe/Berlin"),
    Length(seconds=1800),
    summary="Roadmap",
    description="What ships in spring.",
    guests=("Bob", "cy@acme.example"),
    url="https://meet.google.com/abc-defg-hij",
)
ANNA = Attendant("p1", "f1")


def occurrence(master: Component = MASTER) -> tuple[Event, Occurrence]:
    event = Event("u1", "alex@acme.example", master=master)
    (one,) = expand(event, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    return event, one


def context(mode: str, master: Component = MASTER) -> str | None:
    return request_of(replace(ANNA, context=mode), *occurrence(master)).get("conversational_context")


def test_nothing_of_the_event_leaves_the_house() -> None:
    assert context("none") is None


def test_only_the_title() -> None:
    assert context("title") == "You are in the meeting “Roadmap”."
    assert context("title", replace(MASTER, summary="")) is None


def test_all_of_it() -> None:
    assert context("full") == (
        "You are in the meeting “Roadmap”.\n"
        "It takes place on Tuesday 3 March 2026, 14:00 to 14:30 (Europe/Berlin).\n"
        "Organizer: alex@acme.example.\n"
        "Guests: Bob, cy@acme.example.\n"
        "Agenda:\nWhat ships in spring."
    )


def test_what_there_is_of_it() -> None:
    bare = replace(MASTER, summary="", description="", guests=())
    assert str(context("full", bare)).splitlines()[0] == "You are in a meeting."
    assert "Agenda" not in str(context("full", bare))


@pytest.mark.parametrize(
    ("seconds", "longest"),
    [(1800, 2700), (3600, 3600), (7200, 3600), (0, 3600)],
    ids=["half-an-hour", "an-hour", "two-hours", "no-end"],
)
def test_a_call_lasts_as_long_as_its_event_and_some_within_the_platforms_limit(seconds: int, longest: int) -> None:
    request = request_of(ANNA, *occurrence(replace(MASTER, length=Length(seconds=seconds))))
    assert request["properties"]["max_call_duration"] == longest


def test_the_pals_own_properties_win_within_the_limit() -> None:
    own = replace(ANNA, properties={"max_call_duration": 9999, "participant_left_timeout": 5, "enable_recording": True})
    assert request_of(own, *occurrence())["properties"] == {
        "max_call_duration": 3600,
        "participant_absent_timeout": 900,
        "participant_left_timeout": 5,
        "enable_recording": True,
    }
