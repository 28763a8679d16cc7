"""Try again when, or give up why: what follows from the platform's answer to a join. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(seconds=60)  # a meeting of half an hour still gets tens of tries
STOP_BEFORE_END = timedelta(seconds=60)  # joining a call in its last minute helps nobody


@dataclass(frozen=True)
class Again:
    """Try again at this instant (UTC)."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """Never again, and the reason for people."""

    reason: str


def after_failure(
    *, status: int | None, retry_after: timedelta | None, attempt: int, now: datetime, until: datetime
) -> Again | GiveUp:
    """What follows from a failed attempt (1 = the first); `status` None means no answer came.

    4xx other than 408 and 429 is our own fault and final; anything else is tried again, `retry_after` honoured,
    until shortly before `until`.
    """
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return GiveUp(f"platform-refused-{status}")
    wait = min(FIRST_WAIT * 2 ** min(attempt - 1, 10), LONGEST_WAIT)
    at = now + max(wait, retry_after or timedelta())
    if at >= until - STOP_BEFORE_END:
        return GiveUp(f"platform-answered-{status}" if status is not None else "platform-unreachable")
    return Again(at)
