"""`plan`: which rows an event owes, and what becomes of those it owed before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.event import Component, Event, Length, Revision
from scheduler.joins import Join, JoinState, Policy, ahead, plan, refill_at
from scheduler.recurrence import count_to_last, parse_rule
from scheduler.request import Attendant
from scheduler.zones import UTC_ZONE

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = Attendant("p1", "f1")
POLICY = Policy()


def at(day: int, hour: int = 9, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def component(start: datetime, rrule: str = "", **values: object) -> Component:
    rules = (count_to_last(parse_rule(rrule, lambda text: NOW), start.replace(tzinfo=None)),) if rrule else ()
    made = Component(
        Revision(0, NOW),
        start.replace(tzinfo=None),
        UTC_ZONE,
        Length(seconds=3600),
        rules=rules,
        url="https://meet.google.com/abc-defg-hij",
    )
    return replace(made, **values)  # type: ignore[arg-type]


def event(master: Component | None, *overrides: Component) -> Event:
    return Event("u1", "alex@acme.example", master=master, overrides=overrides)


def after(rows: tuple[Join, ...], existing: tuple[Join, ...] = ()) -> tuple[Join, ...]:
    """All rows once `rows` are written over the existing ones."""
    return tuple(sorted({join.id: join for join in (*existing, *rows)}.values(), key=lambda join: join.starts))


def test_the_same_event_planned_twice_changes_nothing() -> None:
    rows = plan(event(component(at(2), "FREQ=DAILY")), (), ANNA, NOW, POLICY)
    assert len(rows) == 59
    assert plan(event(component(at(2), "FREQ=DAILY")), rows, ANNA, NOW, POLICY) == ()


def test_ids_are_the_same_wherever_they_are_planned() -> None:
    one = plan(event(component(at(2), "FREQ=DAILY")), (), ANNA, NOW, POLICY)
    other = plan(event(component(at(2), "FREQ=DAILY")), (), ANNA, NOW + timedelta(hours=1), POLICY)
    assert {join.id for join in one} <= {join.id for join in other}
    assert len({join.id for join in one}) == len(one)


def test_the_next_date_is_planned_although_it_lies_beyond_the_horizon() -> None:
    rows = plan(event(component(at(2, month=12))), (), ANNA, NOW, POLICY)
    assert [join.starts for join in rows] == [at(2, month=12)]
    assert plan(event(component(at(2, month=12))), rows, ANNA, NOW, POLICY) == ()


def test_a_far_join_survives_an_added_near_date() -> None:
    far = event(component(at(2, month=12)))
    rows = plan(far, (), ANNA, NOW, POLICY)
    near = replace(component(at(3)), recurrence_id=at(3))
    rows = after(plan(replace(far, overrides=(near,)), rows, ANNA, NOW, POLICY), rows)
    assert [(join.starts, join.state) for join in rows] == [
        (at(3), JoinState.PLANNED),
        (at(2, month=12), JoinState.PLANNED),
    ]


def test_a_rescheduled_series_keeps_its_rows() -> None:
    rows = plan(event(component(at(2), "FREQ=WEEKLY;COUNT=3")), (), ANNA, NOW, POLICY)
    moved = plan(event(component(at(3, 15), "FREQ=WEEKLY;COUNT=3")), rows, ANNA, NOW, POLICY)
    assert [join.id for join in after(moved)] == [join.id for join in rows]
    assert [join.starts for join in after(moved)] == [at(3, 15), at(10, 15), at(17, 15)]
    assert [join.wake_at for join in after(moved)] == [join.starts - POLICY.lead for join in after(moved)]


def test_a_cancelled_date_is_not_given_to_another() -> None:
    series = component(at(2), "FREQ=WEEKLY;COUNT=3")
    rows = plan(event(series), (), ANNA, NOW, POLICY)
    gone = replace(component(at(9)), recurrence_id=at(9), attending=False)
    extra = replace(component(at(20)), recurrence_id=at(20))
    rows = after(plan(event(series, gone, extra), rows, ANNA, NOW, POLICY), rows)
    assert [(join.starts.day, join.state.value) for join in rows] == [
        (2, "planned"),
        (9, "cancelled"),
        (16, "planned"),
        (20, "planned"),
    ]


def test_a_cancelled_date_that_comes_back_has_its_row_again() -> None:
    series = component(at(2), "FREQ=WEEKLY;COUNT=2")
    rows = plan(event(series), (), ANNA, NOW, POLICY)
    gone = replace(component(at(9)), recurrence_id=at(9), attending=False)
    without = after(plan(event(series, gone), rows, ANNA, NOW, POLICY), rows)
    again = after(plan(event(series), without, ANNA, NOW, POLICY), without)
    assert again == rows


@pytest.mark.parametrize("state", [JoinState.ENDED, JoinState.MISSED, JoinState.FAILED])
def test_what_is_settled_is_not_joined_again_unless_it_moves(state: JoinState) -> None:
    running = at(2) + timedelta(minutes=10)
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    settled = replace(row, state=state, wake_at=None, attempt=1)
    assert plan(event(component(at(2))), (settled,), ANNA, running, POLICY) == ()
    (fresh,) = plan(event(component(at(3))), (settled,), ANNA, running, POLICY)
    assert (fresh.starts, fresh.state, fresh.id != row.id) == (at(3), JoinState.PLANNED, True)


@pytest.mark.parametrize(
    ("reason", "comes"), [("max_call_duration reached", True), ("conversation endpoint hit", False), ("removed", False)]
)
def test_a_meeting_that_is_prolonged_after_its_call_was_over_is_joined_again_by_who_was_not_sent_away(
    reason: str, comes: bool
) -> None:
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    ended = replace(row, state=JoinState.ENDED, reason=reason, wake_at=None, attempt=1)
    later = row.until + timedelta(minutes=30)
    longer = replace(component(at(2)), length=Length(seconds=4 * 3600))
    assert plan(event(component(at(2))), (ended,), ANNA, later, POLICY) == ()
    fresh = plan(event(longer), (ended,), ANNA, later, POLICY)
    assert [(join.starts, join.at, join.id != row.id) for join in fresh] == [(at(2), later, True)] * comes


def test_a_retry_under_way_keeps_its_instant_when_only_the_title_changes() -> None:
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    waiting = replace(row, attempt=2, wake_at=at(2) + timedelta(seconds=30))
    now = at(2) + timedelta(seconds=5)
    (renamed,) = plan(event(component(at(2), summary="New title")), (waiting,), ANNA, now, POLICY)
    assert (renamed.name, renamed.wake_at) == ("New title", waiting.wake_at)


@pytest.mark.parametrize(("owner", "waits"), [("me", True), (None, False)])
def test_a_retry_whose_meeting_moves_still_waits_as_long_as_the_platform_asked(owner: str | None, waits: bool) -> None:
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    now = at(2) + timedelta(seconds=5)
    waiting = replace(row, attempt=1, owner=owner, wake_at=now + timedelta(seconds=40))
    earlier = event(component(at(2, 8), length=Length(seconds=3 * 3600)))
    (moved,) = plan(earlier, (waiting,), ANNA, now, POLICY)
    assert (moved.starts, moved.at, moved.wake_at) == (at(2, 8), now, waiting.wake_at if waits else now)


def test_a_claimed_join_that_is_cancelled_is_left_to_its_sender_until_the_lease_ends() -> None:
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    lease = at(2) + timedelta(seconds=60)
    claimed = replace(row, state=JoinState.CLAIMED, attempt=1, owner="x", wake_at=lease)
    (leaving,) = plan(event(component(at(2), attending=False)), (claimed,), ANNA, at(2), POLICY)
    assert (leaving.state, leaving.wake_at) == (JoinState.LEAVING, lease)


def test_what_is_over_is_left_to_the_clock() -> None:
    (row,) = plan(event(component(at(2))), (), ANNA, NOW, POLICY)
    assert plan(event(component(at(2), attending=False)), (row,), ANNA, at(2, 10), POLICY) == ()


def test_an_event_without_an_end_counts_as_running_for_an_hour() -> None:
    open_ended = event(component(at(2), length=Length()))
    assert ahead(open_ended, at(2) + timedelta(minutes=59), POLICY) is not None
    assert ahead(open_ended, at(2) + timedelta(minutes=60), POLICY) is None
    (row,) = plan(open_ended, (), ANNA, at(2) + timedelta(minutes=59), POLICY)
    assert (row.ends, row.until) == (at(2), at(2, 10))


def test_a_series_is_planned_further_before_its_rows_run_out() -> None:
    assert refill_at(event(component(at(2))), NOW, POLICY) is None
    due = refill_at(event(component(at(2), "FREQ=DAILY")), NOW, POLICY)
    assert due is not None
    assert NOW < due < NOW + POLICY.horizon
