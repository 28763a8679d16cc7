"""What happened to a join or an invitation, in one word: what the journal keeps and people are told. Pure.

Rules of this file:
- A word says what changed for somebody who counts on the PAL: that a process took a join, or gave it back, is none.
- One change is one word at most. Who is told to leave is `cancelled` at once; the end of the call follows as `ended`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from scheduler.joins import LIVE, SENT, Join, JoinState


class Happening(StrEnum):
    PLANNED = "planned"  # written down, or again after it had come to its end
    MOVED = "moved"  # another time or another link
    CANCELLED = "cancelled"  # it is not to be, and leaves the call if it is in one
    TRIED = "tried"  # an attempt came to nothing, or a call ended; it is tried again
    STARTED = "started"  # the platform took it
    JOINED = "joined"  # the PAL is in the call
    ENDED = "ended"  # the call is over
    FAILED = "failed"  # it is never tried again
    MISSED = "missed"  # the meeting was over before
    ACCEPTED = "accepted"  # here and below: an invitation
    DECLINED = "declined"


_REACHED: Final = {
    JoinState.JOINED: Happening.JOINED,
    JoinState.LEAVING: Happening.CANCELLED,
    JoinState.ENDED: Happening.ENDED,
    JoinState.CANCELLED: Happening.CANCELLED,
    JoinState.MISSED: Happening.MISSED,
    JoinState.FAILED: Happening.FAILED,
}


def what_happened(before: JoinState | None, after: JoinState) -> Happening | None:
    """What it means that a join went from a state (None: it is new) to another; None: nothing to anybody."""
    if before is None:
        return Happening.PLANNED
    if after is before or after is JoinState.CLAIMED:
        return None
    if after is JoinState.PLANNED:
        return Happening.TRIED if before in SENT else Happening.PLANNED
    if after is JoinState.STARTED:
        return None if before is JoinState.JOINED else Happening.STARTED
    if before is JoinState.LEAVING and after is JoinState.CANCELLED:
        return Happening.ENDED
    return _REACHED[after]


def what_became(before: JoinState, outcome: JoinState) -> Happening | None:
    """What came of an attempt: to send a join, to end its call (`before` is leaving), or to see how that goes."""
    if outcome is JoinState.LEAVING:
        return Happening.TRIED if before is JoinState.LEAVING else Happening.FAILED
    return what_happened(before, outcome)


def what_changed(before: Join, after: Join) -> Happening | None:
    """What a plan made of a join."""
    if before.state is after.state and after.state in LIVE:
        is_same = (before.starts, before.ends, before.url) == (after.starts, after.ends, after.url)
        return None if is_same else Happening.MOVED
    return what_happened(before.state, after.state)


def moved_from(before: Join, after: Join) -> dict[str, Any]:
    """From when to when a join was moved, and whether it has another link."""
    times = {
        name: {"start": join.starts.isoformat(), "end": join.ends.isoformat()}
        for name, join in (("before", before), ("after", after))
    }
    return {**times, "has_new_link": before.url != after.url}
