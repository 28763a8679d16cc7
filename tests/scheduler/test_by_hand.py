"""A join that somebody cancels or tries again by hand: what is written, and what later planning makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from scheduler.by_hand import brought_forward, kept_away, tried_again
from scheduler.event import Event
from scheduler.joins import BY_HAND, Join, JoinState, plan
from tests.scheduler.test_joins import ANNA, NOW, POLICY, after, at, component, event

MEETING = event(component(at(2), "FREQ=DAILY;COUNT=3"))


def planned(of: Event = MEETING) -> tuple[Join, ...]:
    return after(plan(of, (), ANNA, NOW, POLICY))


def cancelled_first(of: Event = MEETING, **values: Any) -> tuple[Join, ...]:
    """The rows of an event, the first of them cancelled by hand."""
    first, *rest = planned(of)
    gone = kept_away(replace(first, **values), NOW)
    assert isinstance(gone, Join)
    return gone, *rest


def states(of: Event, rows: tuple[Join, ...], now: datetime = NOW) -> list[tuple[str, datetime]]:
    return [(join.state.value, join.starts) for join in after(plan(of, rows, ANNA, now, POLICY), rows)]


IN_A_CALL: dict[str, Any] = {"state": JoinState.JOINED, "attempt": 1, "conversation_id": "c1"}
REST = [("planned", at(3)), ("planned", at(4))]


@pytest.mark.parametrize("values", [{}, IN_A_CALL], ids=["planned", "in a call"])
@pytest.mark.parametrize(
    "update",
    [
        MEETING,
        event(component(at(2), "FREQ=DAILY;COUNT=3", summary="Another title")),
        event(replace(component(at(2), "FREQ=DAILY;COUNT=3"), description="More text")),
        event(component(at(2), "FREQ=DAILY;COUNT=3"), replace(component(at(4, 15)), recurrence_id=at(4))),
    ],
    ids=["planned further", "title", "text", "another date moved"],
)
def test_who_is_kept_away_stays_away(values: dict[str, Any], update: Event) -> None:
    rows = cancelled_first(**values)
    found = states(update, rows)
    assert found[0] == ("leaving" if values else "cancelled", at(2))
    assert [state for state, _ in found[1:]] == ["planned", "planned"]


@pytest.mark.parametrize(
    "update",
    [
        event(component(at(2), "FREQ=DAILY;COUNT=3"), replace(component(at(2, 15)), recurrence_id=at(2))),
        event(component(at(2, 15), "FREQ=DAILY;COUNT=3")),
        event(component(at(2), "FREQ=DAILY;COUNT=3", url="https://meet.google.com/xyz-abcd-efg")),
    ],
    ids=["date moved", "series moved", "another link"],
)
@pytest.mark.parametrize("values", [{}, IN_A_CALL], ids=["planned", "in a call"])
def test_another_time_or_link_is_gone_to(values: dict[str, Any], update: Event) -> None:
    rows = cancelled_first(**values)
    written = after(plan(update, rows, ANNA, NOW, POLICY), rows)
    assert sum(join.state is JoinState.PLANNED for join in written) == 3
    assert not any(join.reason == BY_HAND for join in written)
    assert plan(update, written, ANNA, NOW, POLICY) == ()


def test_what_the_organizer_cancels_and_invites_to_again_is_gone_to() -> None:
    off = event(component(at(2), "FREQ=DAILY;COUNT=3"), replace(component(at(2), attending=False), recurrence_id=at(2)))
    rows = cancelled_first()
    gone = after(plan(off, rows, ANNA, NOW, POLICY), rows)
    assert (gone[0].state.value, gone[0].reason) == ("cancelled", "cancelled")
    assert states(MEETING, gone) == [("planned", at(2)), *REST]


def test_the_next_date_far_ahead_stays_cancelled() -> None:
    far = event(component(at(2, month=12)))
    (gone,) = cancelled_first(far)
    assert plan(far, (gone,), ANNA, NOW, POLICY) == ()


@pytest.mark.parametrize("state", [JoinState.CANCELLED, JoinState.LEAVING, JoinState.ENDED, JoinState.FAILED])
def test_what_is_over_is_not_cancelled(state: JoinState) -> None:
    first, *_ = planned()
    assert "already" in str(kept_away(replace(first, state=state), NOW))


def test_what_may_be_in_the_call_leaves_it() -> None:
    first, *_ = planned()
    tried = kept_away(replace(first, attempt=1, wake_at=at(3)), NOW)
    assert isinstance(tried, Join)
    assert (tried.state, tried.wake_at) == (JoinState.LEAVING, NOW)
    claimed = kept_away(replace(first, state=JoinState.CLAIMED, attempt=1, wake_at=at(3)), NOW)
    assert isinstance(claimed, Join)
    assert (claimed.state, claimed.wake_at) == (JoinState.LEAVING, at(3))


DURING = at(2) + timedelta(minutes=20)


@pytest.mark.parametrize(
    ("values", "entry"),
    [
        ({"state": JoinState.ENDED, "conversation_id": "c1", "entry": 2}, 3),
        ({"state": JoinState.FAILED, "reason": "platform-refused-422"}, 1),
        ({"state": JoinState.FAILED, "reason": "platform-unreachable"}, 0),
        ({"state": JoinState.MISSED, "reason": "ended-before-we-could-join"}, 0),
        ({"state": JoinState.CANCELLED, "reason": BY_HAND}, 0),
    ],
    ids=["ended", "refused", "unreachable", "missed", "cancelled by hand"],
)
def test_a_meeting_that_goes_on_is_gone_to_again_at_once(values: dict[str, Any], entry: int) -> None:
    rows = planned()
    join = replace(rows[0], **{"attempt": 1, "wake_at": None, **values})
    again = tried_again(join, rows, MEETING, ANNA, DURING, POLICY)
    assert isinstance(again, Join)
    assert (again.id, again.state, again.wake_at, again.entry) == (join.id, JoinState.PLANNED, DURING, entry)
    assert (again.conversation_id, again.reason) == (None, None)
    assert plan(MEETING, (again, *rows[1:]), ANNA, DURING, POLICY) == ()


def test_one_that_was_cancelled_too_early_waits_for_its_instant() -> None:
    gone, *rest = cancelled_first()
    again = tried_again(gone, (gone, *rest), MEETING, ANNA, NOW, POLICY)
    assert again == planned()[0]


def test_a_missed_meeting_that_was_prolonged_goes_on() -> None:
    rows = planned(event(component(at(2))))
    longer = event(replace(component(at(2)), length=replace(component(at(2)).length, seconds=7200)))
    missed = replace(rows[0], state=JoinState.MISSED)
    later = at(2, 10) + timedelta(minutes=30)
    again = tried_again(missed, rows, longer, ANNA, later, POLICY)
    assert isinstance(again, Join)
    assert (again.until, again.wake_at) == (at(2, 11), later)


FAILED = {"state": JoinState.FAILED, "attempt": 1}


@pytest.mark.parametrize(
    ("values", "of", "now", "says"),
    [
        ({}, MEETING, DURING, "tried again by itself"),
        ({"state": JoinState.JOINED}, MEETING, DURING, "tried again by itself"),
        ({"state": JoinState.LEAVING}, MEETING, DURING, "ask again"),
        (FAILED, None, DURING, "POST /v2/conversations"),
        ({"state": JoinState.CANCELLED, "reason": "cancelled"}, MEETING, DURING, "has to invite"),
        (FAILED, event(component(at(2), attending=False)), DURING, "cancelled, moved or lost its link"),
        (FAILED, event(component(at(2), url=None)), DURING, "cancelled, moved or lost its link"),
        (FAILED, event(component(at(3))), DURING, "cancelled, moved or lost its link"),
        (FAILED, MEETING, at(2, 10) - timedelta(seconds=59), "is over"),
        (FAILED, MEETING, at(4), "is over"),
    ],
)
def test_why_it_is_not_tried_again(values: dict[str, Any], of: Event | None, now: datetime, says: str) -> None:
    rows = planned()
    join = replace(rows[0], **values)
    assert says in str(tried_again(join, (join, *rows[1:]), of, ANNA, now, POLICY))


def test_another_join_of_the_meeting_goes_first() -> None:
    rows = planned()
    failed = replace(rows[0], id="j0", state=JoinState.FAILED, url="https://meet.google.com/old-link-xxx")
    assert rows[0].id in str(tried_again(failed, (failed, *rows), MEETING, ANNA, DURING, POLICY))


def test_who_is_to_come_at_once_does_so_also_when_the_event_is_planned_again() -> None:
    first, *rest = planned()
    coming = brought_forward(first, NOW)
    assert isinstance(coming, Join)
    assert (coming.at, coming.wake_at, coming.starts, coming.until) == (NOW, NOW, first.starts, first.until)
    again = after(plan(MEETING, (coming, *rest), ANNA, NOW, POLICY), (coming, *rest))
    assert [join.wake_at for join in again] == [NOW, *(join.wake_at for join in rest)]


def test_who_was_to_come_at_once_follows_a_meeting_that_is_moved() -> None:
    coming = brought_forward(planned()[0], NOW)
    assert isinstance(coming, Join)
    moved = event(replace(component(at(2, 15)), rules=()))
    (join,) = after(plan(moved, (coming,), ANNA, NOW, POLICY), (coming,))
    assert (join.starts, join.wake_at) == (at(2, 15), at(2, 15) - POLICY.lead)


@pytest.mark.parametrize(
    ("values", "now", "says"),
    [
        ({"state": JoinState.JOINED}, NOW, "is joined"),
        ({"state": JoinState.CANCELLED}, NOW, "is cancelled"),
        ({"attempt": 1, "owner": "us"}, NOW, "tried already"),
        ({}, at(2) + timedelta(hours=2), "is over"),
    ],
    ids=["in the call", "cancelled", "tried", "over"],
)
def test_why_it_does_not_come_at_once(values: dict[str, Any], now: datetime, says: str) -> None:
    assert says in str(brought_forward(replace(planned()[0], **values), now))


def test_who_is_sent_again_after_a_call_may_come_now_and_is_in_no_doubt() -> None:
    away = kept_away(replace(planned()[0], **IN_A_CALL, owner="us"), NOW)
    assert isinstance(away, Join)
    again = tried_again(replace(away, state=JoinState.CANCELLED), (), MEETING, ANNA, NOW, POLICY)
    assert isinstance(again, Join)
    assert (again.entry, again.owner, again.wake_at) == (1, None, at(2) - POLICY.lead)
    coming = brought_forward(again, NOW)
    assert isinstance(coming, Join)
    assert coming.wake_at == NOW
