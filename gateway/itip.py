"""iTIP: what a message makes of an event (RFC 5546). Pure.

Rules of this file:
- Each component has its own version, `Revision(sequence, dtstamp)`, compared per (UID, RECURRENCE-ID) (2.1.5).
- Across components SEQUENCEs are counted apart (Google, Exchange), so there the later DTSTAMP is the newer one.
- Nothing is thrown away: an override that a reschedule made void lies dormant, a cancelled date or series stays as a
  tombstone. So the messages of a story may come in any order.
- What is known decides what is news; who may say it is not asked here (`senders`, `decide`).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import Final

from gateway.verdict import Reason
from scheduler.event import Component, Event, Revision, Timing
from scheduler.occurrences import dates_between, occurs_at

MAX_TIMINGS: Final = 100  # versions of a master that are remembered
MAX_OVERRIDES: Final = 500  # dates of an event that are not as the rule has them; each later message looks at all
MAX_RANGES: Final = 50  # of them with RANGE=THISANDFUTURE, which is looked at for each date


class Freshness(StrEnum):
    NEWS = "news"
    DUPLICATE = "duplicate"
    OUTDATED = "outdated"


@dataclass(frozen=True)
class Applied:
    """The event after a message, and which of the message's components were news."""

    event: Event
    news: tuple[Component, ...]
    freshness: Freshness


def apply(known: Event, components: tuple[Component, ...]) -> Applied:
    """The event once the components of one REQUEST, ADD or CANCEL were taken in; a component that does not attend
    is a cancellation. `known` is empty (no master, no overrides) for an event never heard of."""
    event, taken, freshness = known, [], []
    masters = [one.revision for one in components if one.recurrence_id is None]
    # The master first, whatever the order in the message.
    for component in sorted(components, key=lambda one: one.recurrence_id is not None):
        how = _freshness(component, event)
        freshness.append(how)
        event = _take(event, component) if how is Freshness.NEWS else _learn(event, component)
        if how is not Freshness.OUTDATED and masters and component.recurrence_id is not None:
            event = _vouched(event, component, max(masters))
        if how is Freshness.NEWS:
            taken.append(component)
    event = _settle(event)
    news = tuple(one for one in taken if _counts(event, one))
    if news:
        return Applied(event, news, Freshness.NEWS)
    duplicate = all(how is Freshness.DUPLICATE for how in freshness)
    return Applied(event, (), Freshness.DUPLICATE if duplicate else Freshness.OUTDATED)


def too_many(event: Event) -> str | None:
    """Why an event is too large to be held, None when it is not."""
    if len(event.overrides) > MAX_OVERRIDES:
        return f"more than {MAX_OVERRIDES} dates of its own"
    if sum(one.this_and_future for one in event.overrides) > MAX_RANGES:
        return f"more than {MAX_RANGES} changes from one date on"
    return None


def held(event: Event, component: Component) -> Component | None:
    """What is known of the same component: the master, or the override of the same date and range."""
    if component.recurrence_id is None:
        return event.master
    for one in event.overrides:
        if (one.recurrence_id, one.this_and_future) == (component.recurrence_id, component.this_and_future):
            return one
    return None


def located(one: Component, master: Component | None) -> Component:
    """An override whose RECURRENCE-ID is a floating time or a day, with the date of the series that it means.

    Read in the series' zone; if that is none of its dates and one date alone falls on that day, it is that one.
    """
    wall = one.recurrence_wall
    if wall is None or one.recurrence_id is None or master is None:
        return one
    there = master.zone.instant(wall)
    for instant in (there, one.recurrence_id):
        if occurs_at(master, instant):
            return replace(one, recurrence_id=instant)
    if wall.time() != time() or master.all_day:
        return replace(one, recurrence_id=there)
    on_day = dates_between(master, there, master.zone.instant(wall + timedelta(days=1)))
    return replace(one, recurrence_id=on_day[0]) if len(on_day) == 1 else one


def removed(component: Component, known: Event, master: Component | None) -> Reason | None:
    """Why the PAL is out although the organizer did not cancel, None when it is not.

    It was an attendee and is none any more; or the organizer's copy says that it does not attend and we never said so.
    """
    before = held(known, component)
    if component.recurrence_id is not None:
        before = before or master
    if not component.listed and before is not None and _was_attendee(before):
        return Reason.NOT_INVITED
    said_no = component.partstat == "DECLINED" and known.answer(component.recurrence_id) != "DECLINED"
    if said_no or component.partstat == "DELEGATED":
        return Reason.DECLINED_FOR_US
    return None


def _was_attendee(before: Component) -> bool:
    """Named as an attendee, or taken out already; one reached by the envelope alone never was."""
    return before.listed or not (before.attending or before.status == "CANCELLED")


def as_added(component: Component) -> Component:
    """An ADD: one more date, known by its own start, with no rule of its own (RFC 5546 3.2.4)."""
    own = component.zone.instant(component.start)
    return replace(component, recurrence_id=component.recurrence_id or own, rules=(), added=())


def is_orphan(component: Component, event: Event) -> bool:
    """Whether an override names a date that its series does not have."""
    master = event.master
    if component.recurrence_id is None or master is None or not master.attending:
        return False
    return not occurs_at(master, component.recurrence_id)


def is_latest(news: tuple[Component, ...], known: Event) -> bool:
    """Whether nothing that was known was said after this news."""
    before = [one.revision.dtstamp for one in (known.master, *known.overrides) if one is not None]
    return max(one.revision.dtstamp for one in news) >= max(before, default=datetime.min.replace(tzinfo=UTC))


def _freshness(component: Component, event: Event) -> Freshness:
    before = held(event, component)
    if before is None:
        return Freshness.NEWS
    if component.revision == before.revision:
        # A cancellation is never sent before what it cancels.
        return Freshness.NEWS if before.attending and not component.attending else Freshness.DUPLICATE
    return Freshness.NEWS if component.revision > before.revision else Freshness.OUTDATED


def _take(event: Event, component: Component) -> Event:
    if component.recurrence_id is None:
        return _remembered(replace(event, master=component), component)
    return with_override(event, component)


def with_override(event: Event, component: Component) -> Event:
    """The event with one more date of its own, in place of what stood for that date."""
    before = held(event, component)
    overrides = [one for one in event.overrides if one is not before]
    insort(overrides, component, key=_place)
    return replace(event, overrides=tuple(overrides))


def _place(component: Component) -> tuple[datetime, bool]:
    assert component.recurrence_id is not None  # noqa: S101  only overrides are placed
    return component.recurrence_id, component.this_and_future


def _remembered(event: Event, master: Component) -> Event:
    """The event with the times of one more version of its master."""
    mark = blake2b(repr(master.timing).encode(), digest_size=8).hexdigest() if master.attending else ""
    others = [one for one in event.timings if one.revision != master.revision]
    timings = sorted((*others, Timing(master.revision, mark)), key=lambda one: one.revision)
    return replace(event, timings=tuple(timings[-MAX_TIMINGS:]))


def _learn(event: Event, component: Component) -> Event:
    """What an older master still tells: its times, and that the PAL was an attendee."""
    master = event.master
    if component.recurrence_id is not None or master is None or component.revision >= master.revision:
        return event
    event = _remembered(event, component)
    if component.listed and component.attending and not master.listed and master.attending:
        return _remembered(replace(event, master=replace(master, attending=False)), replace(master, attending=False))
    return event


def _vouched(event: Event, override: Component, master: Revision) -> Event:
    """An override sent along with its master is as new as that: a reschedule that brings it does not make it void."""
    known = held(event, override)
    if known is None or (known.beside is not None and _clock(known.beside) >= _clock(master)):
        return event
    return with_override(event, replace(known, beside=master))


def _settle(event: Event) -> Event:
    """Which overrides are in force, and for which dates."""
    placed: dict[tuple[datetime, bool], Component] = {}
    for one in event.overrides:
        found = located(one, event.master)
        before = placed.get(_place(found))
        if before is None or before.revision < found.revision:
            placed[_place(found)] = found
    overrides = tuple(_listed(placed[place], event.master) for place in sorted(placed))
    event = replace(event, overrides=overrides)
    ranges = [one for one in overrides if one.this_and_future]
    settled = (
        replace(one, dormant=not _in_force(one, event, ranges), anchor=_anchor(one, event.master)) for one in overrides
    )
    return replace(event, overrides=tuple(settled))


def _listed(one: Component, master: Component | None) -> Component:
    """A date that leaves out the PAL, of a series that names it, is one that it is not invited to."""
    out = master is not None and master.listed and master.attending and not one.listed
    return replace(one, attending=False) if out else one


def _clock(revision: Revision) -> tuple[datetime, int]:
    """What is newer among different components: SEQUENCE is counted for each apart, DTSTAMP is not."""
    return revision.dtstamp, revision.sequence


def _said(one: Component) -> Revision:
    """When an override was last said: by itself, or along with a master."""
    return max((one.revision, one.beside or one.revision), key=_clock)


def _anchor(one: Component, master: Component | None) -> datetime | None:
    """The wall clock of a RECURRENCE-ID in the master's zone, by which new time-zone data finds it again."""
    if master is None or one.recurrence_id is None:
        return None
    wall = master.zone.wall(one.recurrence_id)
    return wall if master.zone.instant(wall) == one.recurrence_id else None


def _in_force(one: Component, event: Event, ranges: list[Component]) -> bool:
    """Whether an override counts; `ranges` are the event's overrides with RANGE=THISANDFUTURE."""
    if any(_covers(other, one) for other in ranges):
        return False
    master = event.master
    if master is None or one.recurrence_id is None:
        return True
    if not master.attending:
        along = one.beside == master.revision and master.status != "CANCELLED"
        return along or _clock(one.revision) > _clock(master.revision)
    if _is_void(one, event.timings):
        return False
    # A date that the rule does not give (any more) needs to be newer than the rule.
    return not _is_older(one, master.revision) or occurs_at(master, one.recurrence_id)


def _is_older(one: Component, master: Revision) -> bool:
    """Whether an override was last said before a version of its series. Of one second, only what came along with an
    earlier version is known to be older: their SEQUENCEs count together."""
    said = _said(one)
    if said.dtstamp != master.dtstamp:
        return said.dtstamp < master.dtstamp
    return said == one.beside and said < master


def _covers(other: Component, one: Component) -> bool:
    """A CANCEL with RANGE=THISANDFUTURE takes the single dates after it, too; a REQUEST with it only older ranges."""
    if other is one or _place(other)[0] > _place(one)[0]:
        return False
    if other.attending:
        # Two that were said together both stand.
        return one.this_and_future and one.attending and _clock(_said(one)) < _clock(other.revision)
    return _clock(_said(one)) <= _clock(other.revision)


def _is_void(one: Component, timings: tuple[Timing, ...]) -> bool:
    """Whether the series was rescheduled after an override was said (RFC 5546 4.4.7).

    The first master that we know may be a reschedule itself: then SEQUENCE was raised.
    """
    said = _said(one)
    first = timings[0].revision
    if said.sequence < first.sequence and said.dtstamp < first.dtstamp:
        return True
    changes = (after.revision for before, after in pairwise(timings) if before.mark != after.mark)
    return any(_clock(said) < _clock(change) for change in changes)


def _counts(event: Event, component: Component) -> bool:
    """Whether a component is in force, and not replaced by a further version in the same message."""
    now = held(event, component)
    return now is None or (not now.dormant and now.revision == component.revision)
