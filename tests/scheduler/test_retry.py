"""What follows from the platform's answer to a join, and from the end of a call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.joins import order_parts
from scheduler.retry import Again, after_end, after_failure

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("max_call_duration reached", True),
        ("bot_could_not_join_meeting_it_was_probably_ended", True),
        ("exception_encountered_during_conversation_startup", True),
        ("internal error occurred at step 4", True),
        ("lobby timeout", True),
        ("participant_left_timeout reached", False),
        ("participant_absent_timeout reached", False),
        ("daily_room_has_been_deleted", False),
        ("end_conversation_endpoint_hit", False),
        ("ended-over-the-api", False),
        ("could not join: host denied", False),
        ("removed from the waiting room", False),
        ("", False),
    ],
)
def test_which_ends_are_not_the_end(reason: str, again: bool) -> None:
    expected = Again(NOW + timedelta(seconds=5)) if again else None
    assert after_end(reason=reason, entry=0, now=NOW) == expected


def test_it_does_not_knock_too_often() -> None:
    waits = [after_end(reason="lobby", entry=entry, now=NOW) for entry in (0, 1, 2, 5, 50)]
    assert [(one.at - NOW).total_seconds() for one in waits if one] == [5, 10, 20, 120, 120]


def test_jitter_spreads_a_wait_by_half_at_most() -> None:
    waits = [
        after_failure(status=503, retry_after=None, attempt=1, now=NOW, until=NOW + timedelta(hours=1), jitter=jitter)
        for jitter in (0.0, 0.5, 1.0)
    ]
    assert [(one.at - NOW).total_seconds() for one in waits if isinstance(one, Again)] == [2, 2.5, 3]


@pytest.mark.parametrize(("status", "waits"), [(429, [2, 2, 2, 16]), (503, [2, 4, 8, 16])])
def test_who_was_told_to_come_later_does_not_wait_ever_longer_before_the_meeting_starts(
    status: int, waits: list[int]
) -> None:
    found = [
        after_failure(
            status=status,
            retry_after=None,
            attempt=attempt,
            now=NOW,
            starts=NOW + timedelta(seconds=1 if attempt < 4 else 0),
            until=NOW + timedelta(hours=1),
        )
        for attempt in (1, 2, 3, 4)
    ]
    assert [(one.at - NOW).total_seconds() for one in found if isinstance(one, Again)] == waits


@pytest.mark.parametrize(
    ("order_id", "parts"),
    [
        ("jabc", ("jabc", 0)),
        ("jabc-1", ("jabc", 1)),
        ("jabc-x", ("jabc", -1)),
        ("jabc-1-2", ("jabc", -1)),
        ("", ("", 0)),
    ],
)
def test_an_order_names_its_join_and_entry(order_id: str, parts: tuple[str, int]) -> None:
    assert order_parts(order_id) == parts
