"""Joins: what a join is, its states, and `plan`: which joins an event owes. Pure.

    planned -> claimed -> started -> joined -> ended
       |  ^       |          |         |
       |  +-------|----------+---------+   the call ended for the platform's own reasons, and the meeting goes on
       |          |          |         |
       |          |          +---------+--> leaving -> cancelled   the occurrence is gone, the call still runs
       +----------+--> cancelled | missed | failed

Rules of this file:
- One live row per occurrence. A join that was never sent moves with its occurrence and keeps its id; one that is in
  a call stays, or leaves and is followed by a new row. One that waits for another try may be in a call: its answer may
  have been lost.
- A join that was cancelled by hand (BY_HAND) stays so until the organizer moves the meeting or invites anew.
- `wake_at` is the next instant at which something must be done for a row; None: nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from itertools import count
from typing import Any, Final

from scheduler.event import Component, Event
from scheduler.occurrences import Occurrence, expand, is_excluded, next_occurrence
from scheduler.request import CONVERSATION, Attendant, request_of
from scheduler.retry import brings_back


class JoinState(StrEnum):
    PLANNED = "planned"  # waits for its instant
    CLAIMED = "claimed"  # a process is sending it; the lease ends at wake_at
    STARTED = "started"  # the platform took it
    JOINED = "joined"  # the platform says that the PAL is in the call
    LEAVING = "leaving"  # not wanted any more, its conversation is still to be ended
    ENDED = "ended"  # the call is over
    CANCELLED = "cancelled"  # the occurrence was cancelled or moved away
    MISSED = "missed"  # the occurrence ended before it could be sent
    FAILED = "failed"  # the platform refused it for good


SENT = frozenset({JoinState.CLAIMED, JoinState.STARTED, JoinState.JOINED})
LIVE = SENT | {JoinState.PLANNED}
BROKEN = frozenset({JoinState.MISSED, JoinState.FAILED})
SETTLED = BROKEN | {JoinState.ENDED}
BY_HAND: Final = "cancelled-by-hand"  # the reason of a join that somebody here cancelled, not the organizer


@dataclass(frozen=True)
class Policy:
    """When to join. The specification says one minute before the start."""

    lead: timedelta = timedelta(seconds=60)
    horizon: timedelta = timedelta(days=60)  # how far ahead joins of a series are written down
    open_end: timedelta = timedelta(hours=1)  # how long an event without an end counts as running


@dataclass(frozen=True)
class Join:
    """A complete order: who goes where, when, and until when. Instants are UTC.

    `at` is when the PAL joins: one lead before the start, or the instant of planning when that was later.
    """

    id: str
    pal_id: str
    face_id: str
    uid: str
    recurrence_id: datetime
    starts: datetime
    ends: datetime
    at: datetime
    until: datetime  # from then on it is too late to join
    url: str
    name: str
    state: JoinState = JoinState.PLANNED
    reason: str | None = None
    wake_at: datetime | None = None
    attempt: int = 0
    owner: str | None = None
    conversation_id: str | None = None
    request: dict[str, Any] = field(default_factory=dict)  # further fields of the order, see `request`
    room: dict[str, Any] = field(default_factory=dict)  # where people find the call: url, token
    inviter: str | None = None  # whom it is counted for, and the organisation that is in
    inviter_domain: str | None = None
    entry: int = 0  # how often it has been in a call before: each is an order of its own to the platform
    forgotten_at: datetime | None = None  # when what people wrote in it was emptied
    broken_at: datetime | None = None  # since when it is missed or failed with nobody told; None: nothing to tell

    @property
    def order_id(self) -> str:
        """What the platform knows this order by: a second order for the same call is another one to it."""
        return f"{self.id}-{self.entry}" if self.entry else self.id

    @property
    def may_be_sent(self) -> bool:
        """Whether the platform may have a call for it."""
        return self.state in SENT or (self.state is JoinState.PLANNED and self.attempt > 0)

    @property
    def sits(self) -> bool:
        """Whether it is in its call, as far as is known."""
        return self.state in (JoinState.STARTED, JoinState.JOINED) and self.conversation_id is not None

    @property
    def target(self) -> dict[str, Any]:
        """Where the PAL is sent, with its options, see `targets`."""
        return self.request.get("target") or {"kind": CONVERSATION}


def order_parts(order_id: str) -> tuple[str, int]:
    """The join and the entry of an order; entry -1, which no join has, when it is none of ours."""
    join_id, _, entry = order_id.partition("-")
    return join_id, int(entry) if entry.isdecimal() and len(entry) < 10 else -1 if entry else 0


def plan(
    event: Event,
    existing: tuple[Join, ...],
    attendant: Attendant,
    now: datetime,
    policy: Policy,
    again: Collection[datetime] = (),
) -> tuple[Join, ...]:
    """The rows to write so that the joins match the event: new ones, and existing ones that change.

    `again`: original starts (UTC) that the organizer asks for once more; that they failed before does not count.
    """
    before = {join.id: join for join in existing}
    planner = _Planner(event, existing, attendant, now, policy, again)
    planner.run()
    return tuple(join for join in planner.rows.values() if before.get(join.id) != join)


def too_late(one: Occurrence, policy: Policy) -> datetime:
    """From when on it is too late to join: the end, or `open_end` after the start of what ends as it starts."""
    return one.ends if one.ends > one.starts else one.starts + policy.open_end


def ahead(event: Event, now: datetime, policy: Policy, of: Component | None = None) -> Occurrence | None:
    """The first occurrence (of one component) that is not over, joinable or not, None when all is past."""
    running = (one for one in expand(event, now - policy.open_end, now) if of is None or one.component is of)
    unfinished = [one for one in running if too_late(one, policy) > now]
    return unfinished[0] if unfinished else next_occurrence(event, now, of)


def placed(join: Join, one: Occurrence, event: Event, attendant: Attendant, now: datetime, policy: Policy) -> Join:
    """A join that is to be sent (again) to its occurrence, as that is now: one lead before the start, or at once."""
    planner = _Planner(event, (), attendant, now, policy)
    at = planner.due(one)
    return replace(join, **planner.order(one), at=at, wake_at=at)


def refill_at(event: Event, now: datetime, policy: Policy) -> datetime | None:
    """When the event is to be planned further, None when nothing lies beyond the horizon.

    A tenth of the horizon late on purpose, so that a daily series is not planned anew every day.
    """
    beyond = next_occurrence(event, now + policy.horizon)
    if beyond is None:
        return None
    return max(now, beyond.starts - policy.horizon) + policy.horizon / 10


@dataclass
class _Planner:
    """One run of `plan`: what it was given, and the rows it has written so far."""

    event: Event
    existing: tuple[Join, ...]
    attendant: Attendant
    now: datetime
    policy: Policy
    again: Collection[datetime] = ()
    rows: dict[str, Join] = field(default_factory=dict)

    def run(self) -> None:
        # A row whose occurrence is over is the clock's: an edit of past dates changes nothing.
        held = {j.recurrence_id: j for j in self.existing if j.state in LIVE and j.until > self.now}
        away = {
            j.recurrence_id: j
            for j in self.existing
            if _is_kept_away(j) and j.until > self.now and j.recurrence_id not in held
        }
        wanted = self._wanted({**held, **away})
        self._keep_away(away, wanted)
        for recurrence_id in sorted(wanted.keys() & held.keys()):
            self._follow(held.pop(recurrence_id), wanted.pop(recurrence_id))
        self._reschedule(held, wanted)
        for join in held.values():
            self._drop(join, "cancelled")
        for one in _by_start(wanted):
            self._add(one)

    def _wanted(self, held: dict[datetime, Join]) -> dict[datetime, Occurrence]:
        """Joinable occurrences that are not over: up to the horizon, always the next one, and those that have rows."""
        horizon = self.now + self.policy.horizon
        reach = max([horizon, *(join.starts + timedelta(seconds=1) for join in held.values())])
        found = {
            one.recurrence_id: one
            for one in expand(self.event, self.now - self.policy.open_end, reach)
            if one.component.url
            and too_late(one, self.policy) > self.now
            and (one.starts < horizon or one.recurrence_id in held)
        }
        following = None if found else ahead(self.event, self.now, self.policy)
        if following is not None and following.component.url:
            found[following.recurrence_id] = following
        return _once(found, held)

    def _reschedule(self, held: dict[datetime, Join], wanted: dict[datetime, Occurrence]) -> None:
        """A reschedule changes the original starts: rows that lost their occurrence follow those without a row."""
        homeless = sorted(rid for rid in held if not is_excluded(self.event, rid))
        for recurrence_id, one in zip(homeless, _by_start(wanted), strict=False):
            del wanted[one.recurrence_id]
            self._follow(held.pop(recurrence_id), one)

    def _keep_away(self, away: dict[datetime, Join], wanted: dict[datetime, Occurrence]) -> None:
        """Where somebody here cancelled a join nobody goes, as long as the meeting keeps its time and its link."""
        for recurrence_id, join in away.items():
            one = wanted.get(recurrence_id)
            if one is not None and (one.starts, one.component.url) == (join.starts, join.url):
                del wanted[recurrence_id]
            else:  # the organizer's word is newer
                self.rows[join.id] = replace(join, reason="cancelled")

    def _follow(self, join: Join, one: Occurrence) -> None:
        """The occurrence of this row is still there, perhaps moved or with another link."""
        moved = self._placed(join, one)
        if join.may_be_sent and (moved.url != join.url or moved.at > max(self.now, join.at)):
            self._drop(join, "rescheduled")
            self._fresh(one)
        else:
            self.rows[join.id] = moved

    def order(self, one: Occurrence) -> dict[str, Any]:
        """What an occurrence says of its row, besides when it is due."""
        return {
            "face_id": self.attendant.face_id,
            "recurrence_id": one.recurrence_id,
            "starts": one.starts,
            "ends": one.ends,
            "until": too_late(one, self.policy),
            "url": one.component.url or "",
            "name": one.component.summary,
            "request": request_of(self.attendant, self.event, one),
            "inviter": self.event.inviter,
            "inviter_domain": self.event.inviter_domain,
        }

    def _placed(self, join: Join, one: Occurrence) -> Join:
        at = join.at if one.starts == join.starts else self.due(one)
        # A retry under way keeps its own instant, unless the occurrence moved.
        due = join.state is JoinState.PLANNED and (at != join.at or not join.attempt)
        wake_at = at if due else join.wake_at
        # How long the platform is to be left alone does not depend on when the meeting is. Who gave way has no owner.
        if due and join.attempt and join.owner is not None and join.wake_at is not None:
            wake_at = max(at, join.wake_at)
        return replace(join, **self.order(one), at=at, wake_at=wake_at)

    def _drop(self, join: Join, reason: str) -> None:
        if not join.may_be_sent:
            self.rows[join.id] = replace(join, state=JoinState.CANCELLED, reason=reason, wake_at=None)
        else:
            # A claimed one may be on its way: its sender finds it leaving when it writes the outcome.
            wake_at = join.wake_at if join.state is JoinState.CLAIMED else self.now
            self.rows[join.id] = replace(join, state=JoinState.LEAVING, reason=reason, wake_at=wake_at)

    def _add(self, one: Occurrence) -> None:
        """An occurrence without a live row: left alone if it was settled, brought back if it was cancelled unsent."""
        past = [j for j in self.existing if j.recurrence_id == one.recurrence_id and j.state not in LIVE]
        unsent = [j for j in past if j.state is JoinState.CANCELLED and not j.attempt]
        if any(self._is_settled(join, one) for join in past):
            return
        if unsent:
            revived = replace(unsent[-1], state=JoinState.PLANNED, reason=None, forgotten_at=None)
            self.rows[revived.id] = self._placed(revived, one)
        else:
            self._fresh(one)

    def _is_settled(self, join: Join, one: Occurrence) -> bool:
        """Whether a row without a live successor is all that an occurrence gets."""
        settled = SETTLED - BROKEN if one.recurrence_id in self.again else SETTLED
        if join.state not in settled or (join.starts, join.url) != (one.starts, one.component.url):
            return False
        # Nobody sent the PAL away, the meeting was over then; now it lasts longer.
        left_at_the_end = join.state is JoinState.ENDED and brings_back(join.reason or "")
        return not (left_at_the_end and too_late(one, self.policy) > join.until)

    def due(self, one: Occurrence) -> datetime:
        """One lead before the start, or now when that is past."""
        return max(one.starts - self.policy.lead, self.now)

    def _fresh(self, one: Occurrence) -> None:
        join_id, at = self._new_id(one.recurrence_id), self.due(one)
        self.rows[join_id] = Join(
            id=join_id, pal_id=self.attendant.pal_id, uid=self.event.uid, **self.order(one), at=at, wake_at=at
        )

    def _new_id(self, recurrence_id: datetime) -> str:
        """The same order has the same id wherever it is planned, so two processes cannot plan it twice."""
        taken = {join.id for join in self.existing} | self.rows.keys()
        for number in count():
            parts = (self.attendant.pal_id, self.event.uid, recurrence_id.astimezone(UTC).isoformat(), str(number))
            digest = blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=10)
            join_id = "j" + digest.hexdigest()
            if join_id not in taken:
                return join_id
        raise AssertionError("count() does not end")


def _is_kept_away(join: Join) -> bool:
    return join.reason == BY_HAND and join.state in (JoinState.CANCELLED, JoinState.LEAVING)


def _once(found: dict[datetime, Occurrence], held: dict[datetime, Join]) -> dict[datetime, Occurrence]:
    """A date moved onto another one is in the same room at the same time: one join, that which has a row already."""
    rooms: dict[tuple[datetime, str | None], Occurrence] = {}
    for one in sorted(_by_start(found), key=lambda one: one.recurrence_id not in held):
        rooms.setdefault((one.starts, one.component.url), one)
    return {one.recurrence_id: one for one in rooms.values()}


def _by_start(wanted: dict[datetime, Occurrence]) -> list[Occurrence]:
    return sorted(wanted.values(), key=lambda one: (one.starts, one.recurrence_id))
