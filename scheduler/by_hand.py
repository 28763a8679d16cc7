"""What somebody may ask of one join by hand: to stay away, to come at once, or to be tried once more. Pure.

Rules of this file:
- What comes back is the row to write, or one sentence that says why nothing is to be done.
- Whoever is kept away by hand stays away from that meeting, at its time and behind its link (`joins.plan`), until the
  organizer gives it another of them, or takes it off and invites anew: that is answered, and a promise of its own.
- A further order is another one to the platform, so that nothing of the first is found in its place. Where the first
  may have been taken, its answer lost, it is the same order once more: late beats double.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from scheduler.event import Event
from scheduler.joins import BY_HAND, LIVE, SENT, Join, JoinState, Policy, placed
from scheduler.occurrences import Occurrence, expand
from scheduler.request import Attendant
from scheduler.retry import REFUSED, STOP_BEFORE_END

_AGAIN: Final = frozenset({JoinState.ENDED, JoinState.MISSED, JoinState.FAILED})


def kept_away(join: Join, now: datetime) -> Join | str:
    """The join as it is to be written when the PAL must not be in that meeting, or why nothing changes."""
    if join.state is JoinState.PLANNED and not join.attempt:
        return replace(join, state=JoinState.CANCELLED, reason=BY_HAND, wake_at=None)
    if join.state in LIVE:
        # What was tried before may be in the call, its answer lost; a claimed one is found leaving by its sender.
        wake_at = join.wake_at if join.state is JoinState.CLAIMED else now
        return replace(join, state=JoinState.LEAVING, reason=BY_HAND, wake_at=wake_at)
    if join.state is JoinState.LEAVING:
        return f"{join.id} is leaving its call already."
    return f"{join.id} is {join.state.value} already; there is nothing to cancel."


def brought_forward(join: Join, now: datetime) -> Join | str:
    """The join as it is to be written when the PAL is to come at once, before its time, or why it is not."""
    if join.state is not JoinState.PLANNED:
        return f"{join.id} is {join.state.value}; only one that is planned can come now."
    if join.attempt and join.owner is not None:  # how long it waits is the platform's word
        return f"{join.id} was tried already, and is tried again by itself."
    if join.until - STOP_BEFORE_END <= now:
        return f"The meeting of {join.id} is over (it goes on until {join.until:%Y-%m-%d %H:%M} UTC)."
    return replace(join, at=now, wake_at=now)


def tried_again(
    join: Join,
    others: tuple[Join, ...],
    event: Event | None,
    attendant: Attendant | None,
    now: datetime,
    policy: Policy,
) -> Join | str:
    """The join planned once more, as its event is by now, or why not. `others`: all joins of the event."""
    if join.state in SENT | {JoinState.PLANNED}:
        return f"{join.id} is {join.state.value}: it is under way, and tried again by itself."
    if join.state is JoinState.LEAVING:
        return f"{join.id} is leaving its call; ask again when it is cancelled."
    if event is None or attendant is None:
        return f"{join.id} was ordered over HTTP (POST /v2/conversations); order it again there."
    if join.state not in _AGAIN and join.reason != BY_HAND:
        return f"{join.id} was cancelled ({join.reason}); the organizer has to invite the PAL again."
    one = _occurrence(event, join, policy)
    if one is None:
        return f"The meeting of {join.id} was cancelled, moved or lost its link since."
    live = next((other.id for other in others if _is_in_place_of(other, join)), None)
    if live is not None:
        return f"Another join of the same meeting is under way: {live}."
    again = placed(_once_more(join), one, event, attendant, now, policy)
    if again.until - STOP_BEFORE_END <= now:
        return f"The meeting of {join.id} is over (it goes on until {again.until:%Y-%m-%d %H:%M} UTC)."
    return again


def _once_more(join: Join) -> Join:
    """As a further order where the first one came to a call, or was refused."""
    was_answered = join.conversation_id is not None or (join.reason or "").startswith(REFUSED)
    # Nobody is in doubt about a further order: without an owner it keeps no other join from the room.
    again = replace(join, owner=None, entry=join.entry + 1) if was_answered else join
    return replace(again, state=JoinState.PLANNED, reason=None, conversation_id=None, room={}, broken_at=None)


def _is_in_place_of(other: Join, join: Join) -> bool:
    return other.id != join.id and other.recurrence_id == join.recurrence_id and other.state in LIVE


def _occurrence(event: Event, join: Join, policy: Policy) -> Occurrence | None:
    """The join's occurrence, if there is still one to go to at its time."""
    low, high = join.starts - policy.open_end, max(join.ends, join.starts + policy.open_end)
    found = (one for one in expand(event, low, high) if one.recurrence_id == join.recurrence_id)
    return next((one for one in found if one.component.url), None)
