"""Try again when, or give up why: what follows from the platform's answer to a join, and from the end of a call. Pure.

Rules of this file:
- Who was told to leave does not come back: an end that somebody asked for, a removal, a refusal by the host.
- A call that ended for the platform's own reasons while the meeting goes on is entered again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

REFUSED: Final = (
    "platform-refused-"  # begins the reason of a join whose order the platform took for wrong; a status follows
)
TOO_MANY: Final = 429  # RFC 6585, section 4
FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(seconds=60)  # a meeting of half an hour still gets tens of tries
STOP_BEFORE_END = timedelta(seconds=60)  # joining a call in its last minute helps nobody
FIRST_RETURN = timedelta(seconds=5)
LONGEST_RETURN = timedelta(seconds=120)  # who knocks more often is a nuisance

# Reasons of the platform ("Webhooks and Callbacks") after which the PAL goes in again: it was not let in in time, the
# platform failed, or the longest call it allows was over before the meeting.
_COME_BACK = re.compile(
    r"could not join|lobby|waiting room|not admitted|max call duration|exception encountered|internal error"
)
_STAY_OUT = re.compile(r"host|denied|rejected|refused|removed|kicked|banned|endpoint hit|over the api")


@dataclass(frozen=True)
class Again:
    """Try again at this instant (UTC)."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """Never again, and the reason for people."""

    reason: str


def after_end(*, reason: str, entry: int, now: datetime) -> Again | None:
    """When to go in again after a call that ended with the platform's `reason`; None: never. `entry` 0 = the first."""
    return Again(now + min(FIRST_RETURN * 2 ** min(entry, 10), LONGEST_RETURN)) if brings_back(reason) else None


def brings_back(reason: str) -> bool:
    """Whether a call that ended with the platform's `reason` is entered again while the meeting goes on."""
    words = re.sub(r"[^a-z0-9]+", " ", reason.lower())
    return not _STAY_OUT.search(words) and bool(_COME_BACK.search(words))


def after_failure(
    *,
    status: int | None,
    retry_after: timedelta | None,
    attempt: int,
    now: datetime,
    until: datetime,
    starts: datetime | None = None,
    jitter: float = 0.0,
) -> Again | GiveUp:
    """What follows from a failed attempt (1 = the first); `status` None means no answer came. `jitter` (0 to 1) makes
    the wait up to half as long again, so that those who failed together do not come back together.

    4xx other than 408 and 429 is our own fault and final; anything else is tried again, `retry_after` honoured,
    until shortly before `until`. Who was asked to come later (429) does so soon until the meeting `starts`: that not$
    too many do at once is seen to by the pace of all (`lanes`).
    """
    if status is not None and 400 <= status < 500 and status not in (408, TOO_MANY):
        return GiveUp(f"{REFUSED}{status}")
    is_soon = status == TOO_MANY and starts is not None and now < starts
    doublings = 0 if is_soon else min(attempt - 1, 10)
    wait = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT) * (1 + jitter / 2)
    at = now + max(wait, retry_after or timedelta())
    if at >= until - STOP_BEFORE_END:
        return GiveUp(f"platform-answered-{status}" if status is not None else "platform-unreachable")
    return Again(at)
