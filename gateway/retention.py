"""What is still needed of an event, and of the mails that told of it; the rest is forgotten. Pure.

Rules of this file:
- `before` is the instant (UTC) since which all is kept: now less the days of retention.
- What has dates to come keeps what they need: the event, and the mails that a promise could be taken back from.
- A cancelled date is remembered as long as it would have been one: an older message must not bring it back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from gateway.promises import Promise, owed
from scheduler.event import Component, Event
from scheduler.joins import Policy, ahead, too_late
from scheduler.occurrences import expand


@dataclass(frozen=True)
class Kept:
    """An event that is needed, without the text that is not; and until when (UTC) it is needed for certain."""

    event: Event
    until: datetime


def kept(event: Event, heard_at: datetime, before: datetime, now: datetime, policy: Policy) -> Kept | None:
    """What is kept of an event that was last heard of at `heard_at`; None: nothing is needed any more."""
    whole = _uncancelled(event)
    following = ahead(whole, now, policy)
    if following is not None:
        return Kept(without_old_text(event, heard_at, before), max(heard_at, too_late(following, policy)))
    recent = (too_late(one, policy) for one in expand(whole, before - policy.open_end, now))
    until = max(recent, default=heard_at)
    if max(until, heard_at) <= before:
        return None
    return Kept(without_old_text(event, heard_at, before), max(until, heard_at))


def _uncancelled(event: Event) -> Event:
    """The event with all the dates that it would have."""
    master = replace(event.master, attending=True) if event.master is not None else None
    return replace(event, master=master, overrides=tuple(replace(one, attending=True) for one in event.overrides))


def without_old_text(event: Event, heard_at: datetime, before: datetime) -> Event:
    """The event without the words of its dates that were over at `before`, and of what was cancelled by then."""
    was_heard = heard_at <= before

    def is_old(one: Component) -> bool:
        if not one.attending:
            return was_heard
        return _is_date(one) and one.length.end(one.start, one.zone) <= before

    master = event.master
    return replace(
        event,
        master=_without_text(master) if master is not None and is_old(master) else master,
        overrides=tuple(_without_text(one) if is_old(one) else one for one in event.overrides),
    )


def _without_text(one: Component) -> Component:
    return replace(one, summary="", description="", guests=(), notes=(), url=None, given_up=None)


def standing(event: Event, at: datetime, policy: Policy) -> tuple[Promise, ...]:
    """What could be taken back of an event at an instant (UTC): each answer, and each version that dates follow.

    The mails that these were promised on are needed, see `promises.sources`.
    """
    answers = owed(event, at, policy)
    versions = [one for one in (event.master, *event.in_force) if one is not None and answers]
    own = (Promise(one, one.recurrence_id) for one in versions if _is_standing(event, one, at))
    return tuple(dict.fromkeys((*answers, *own)))


def _is_standing(event: Event, one: Component, at: datetime) -> bool:
    if not one.attending or one.url is None or event.answer(one.recurrence_id) == "DECLINED":
        return False
    return not _is_date(one) or one.length.end(one.start, one.zone) > at


def _is_date(one: Component) -> bool:
    return one.recurrence_id is not None and not one.this_and_future
