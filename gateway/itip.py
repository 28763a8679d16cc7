"""iTIP: what a message makes of an event (RFC 5546). Pure.

Rules of this file:
- Each component has its own version, `Revision(sequence, dtstamp)`, compared per (UID, RECURRENCE-ID) (2.1.5).
- Nothing is thrown away: an override that a reschedule made void lies dormant, a cancelled date or series stays as a
  tombstone. So the messages of a story may come in any order.
- What is known decides what is news; who may say it is not asked here (`senders`, `decide`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gateway.verdict import Reason
from scheduler.event import Component, Event, Revision
from scheduler.occurrences import occurs_at


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
    # The master first, whatever the order in the message.
    for component in sorted(components, key=lambda one: one.recurrence_id is not None):
        how = _freshness(component, event)
        freshness.append(how)
        if how is Freshness.NEWS:
            event = _take(event, component)
            taken.append(component)
        else:
            event = _learn(event, component)
    event = _settle(event)
    news = tuple(one for one in taken if not _is_dormant(event, one))
    if news:
        return Applied(event, news, Freshness.NEWS)
    duplicate = all(how is Freshness.DUPLICATE for how in freshness)
    return Applied(event, (), Freshness.DUPLICATE if duplicate else Freshness.OUTDATED)


def held(event: Event, component: Component) -> Component | None:
    """What is known of the same component: the master, or the override of the same date and range."""
    if component.recurrence_id is None:
        return event.master
    for one in event.overrides:
        if (one.recurrence_id, one.this_and_future) == (component.recurrence_id, component.this_and_future):
            return one
    return None


def removed(component: Component, known: Event, master: Component | None) -> Reason | None:
    """Why the PAL is out although the organizer did not cancel, None when it is not.

    It was an attendee and is none any more; or the organizer's copy says that it does not attend and we never said so.
    """
    before = master if component.recurrence_id is not None else known.master
    if not component.listed and before is not None and before.listed and before.attending:
        return Reason.NOT_INVITED
    said_no = component.partstat in ("DECLINED", "DELEGATED")
    if said_no and known.answer(component.recurrence_id) != "DECLINED":
        return Reason.DECLINED_FOR_US
    return None


def as_added(component: Component) -> Component:
    """An ADD: one more date, known by its own start, with no rule of its own (RFC 5546 3.2.4)."""
    own = component.zone.instant(component.start)
    return replace(component, recurrence_id=component.recurrence_id or own, rules=(), added=())


def is_newer(revision: Revision, than: Revision, *, or_equal: bool = False) -> bool:
    """Whether a component that has no version of its own yet counts beside one of another component.

    Its SEQUENCE may be lower: Google and Exchange count overrides apart. A later DTSTAMP is enough.
    """
    if or_equal and (revision == than or revision.dtstamp == than.dtstamp):
        return True
    return revision > than or revision.dtstamp > than.dtstamp


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
        return replace(event, master=replace(component, timed=_timed(event.master, component)))
    before = held(event, component)
    others = tuple(one for one in event.overrides if one is not before)
    overrides = sorted((*others, component), key=_place)
    return replace(event, overrides=tuple(overrides))


def _place(component: Component) -> tuple[datetime, bool]:
    assert component.recurrence_id is not None  # noqa: S101  only overrides are placed
    return component.recurrence_id, component.this_and_future


def _timed(before: Component | None, component: Component) -> Revision:
    """An edit of details keeps the moved dates, a reschedule makes them void (RFC 5546 4.4.7)."""
    if before is None or before.timed is None or not (before.attending and component.attending):
        return component.revision
    return before.timed if before.timing == component.timing else component.revision


def _learn(event: Event, component: Component) -> Event:
    """An older master with the same times says that they stand since then."""
    master = event.master
    if component.recurrence_id is not None or master is None or master.timed is None:
        return event
    if master.attending and component.attending and master.timing == component.timing:
        return replace(event, master=replace(master, timed=min(master.timed, component.revision)))
    return event


def _settle(event: Event) -> Event:
    """Which overrides are in force."""
    overrides = tuple(replace(one, dormant=not _in_force(one, event)) for one in event.overrides)
    return replace(event, overrides=overrides)


def _in_force(one: Component, event: Event) -> bool:
    for other in event.overrides:
        # CANCEL with RANGE=THISANDFUTURE takes the single dates after it, too.
        covers = other is not one and other.this_and_future and not other.attending
        if covers and _place(other)[0] <= _place(one)[0] and not is_newer(one.revision, other.revision):
            return False
    master = event.master
    if master is None or master.timed is None or one.recurrence_id is None:
        return True
    if not master.attending:
        return one.revision > master.revision
    if not is_newer(one.revision, master.timed, or_equal=True):
        return False
    # A date that the rule does not give (any more) needs to be newer than the rule.
    return is_newer(one.revision, master.revision, or_equal=True) or occurs_at(
        master, one.recurrence_id, day_only=one.recurrence_day is not None
    )


def _is_dormant(event: Event, component: Component) -> bool:
    now = held(event, component)
    return now is not None and now.dormant
