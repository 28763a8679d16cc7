"""What a PAL has promised, and how it is taken back: which answers are owed, and the REPLY for each. Pure.

Rules of this file:
- Taken back is what is still ahead or running, and would be attended: once for each answer that was given, that of the
  series and those of single dates. What is over, cancelled or declined was no promise, or is none any more.
- An acceptance broken by a join that came to nothing is taken back for that one occurrence; the rest stays promised.
- The REPLY is made from what the organizer wrote: the VEVENT of just this version, from the mail that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from gateway.address import from_uri, without_tag
from gateway.binding import Links, Unbound, bind, organizer, own_attendee
from gateway.decide import WITHHELD, Case, reply_for
from gateway.ics import Block, Message, Property
from gateway.itip import as_added, located
from gateway.reply import Reply, block_of_date
from gateway.verdict import Reason
from gateway.wording import declined
from scheduler.event import Answer, Component, Event
from scheduler.joins import LIVE, Join, JoinState, Policy, ahead
from scheduler.occurrences import Occurrence, expand


@dataclass(frozen=True)
class Promise:
    """That the PAL will come: to an event or a series (`recurrence_id` None), or to one date of it.

    `component` describes it. `starts` (UTC): one date that has no VEVENT of its own, and when it takes place.
    """

    component: Component
    recurrence_id: datetime | None
    starts: datetime | None = None


TELL_WITHIN: Final = timedelta(hours=24)  # after its end, who waited for the PAL knows it and needs no mail


@dataclass(frozen=True)
class Broken:
    """A promise that a join did not keep."""

    join: Join
    promise: Promise

    @property
    def reason(self) -> Reason:
        """Why, as the organizer can do something about it."""
        said = self.join.reason or ""
        if self.join.state is JoinState.MISSED:
            return Reason.MISSED
        is_refused = said.startswith("platform-refused") or said == "target-not-configured"
        return Reason.CALL_REFUSED if is_refused else Reason.CALL_UNREACHABLE


@dataclass(frozen=True)
class Heard:
    """A message about the event as it was decided once: when (UTC), and under which entry of the journal."""

    case: Case
    at: datetime
    invite_id: str


class Nearness(IntEnum):
    """How well a VEVENT speaks for a component, the best first."""

    SAME = 1  # the same version of it
    SERIES = 2  # the version of the series that a date was made from
    OTHER_VERSION = 3


@dataclass(frozen=True)
class Source:
    """The VEVENT that a promise was made on. `organizer`: the line of who has taken the event over since, if any."""

    nearness: Nearness
    heard: Heard
    block: Block
    organizer: Property | None = None


def owed(event: Event, now: datetime, policy: Policy) -> tuple[Promise, ...]:
    """What the organizer of an event may expect of the PAL at an instant (UTC): one promise for each answer.

    An organizer who has heard nothing yet expects it, too, but not one whom the answer was kept from.
    """
    dates: dict[datetime | None, list[Component]] = {}
    for one in (event.master, *event.in_force):
        if one is not None and one.attending and one.url is not None:
            dates.setdefault(event.answered_under(one.recurrence_id), []).append(one)
    return tuple(
        Promise(event.master if date is None and event.master is not None else those[0], date)
        for date, those in dates.items()
        if event.answer(date) not in ("DECLINED", WITHHELD) and any(_is_ahead(event, one, now, policy) for one in those)
    )


def promise_of(one: Occurrence) -> Promise:
    """What was promised for one occurrence alone."""
    component = one.component
    if component.recurrence_id is None and not component.rules and not component.added:
        return Promise(component, None)
    if component.recurrence_id == one.recurrence_id and not component.this_and_future:
        return Promise(component, one.recurrence_id)
    return Promise(component, one.recurrence_id, one.starts)


def broken(event: Event, joins: Sequence[Join], now: datetime) -> Broken | None:
    """Which promise is to be taken back because its join came to nothing and nobody was told; None: nothing is to say.

    Of several dates only the last: more than one breaks at once when we were away, and one mail for an event says so.
    """
    untold = (one for one in joins if one.broken_at is not None and one.until > now - TELL_WITHIN)
    for join in sorted(untold, key=lambda one: (one.starts, one.at), reverse=True):
        promise = _promised(event, join)
        if promise is not None and not any(_stands_in(other, join) for other in joins):
            return Broken(join, promise)
    return None


def _stands_in(other: Join, join: Join) -> bool:
    """Whether a later row has come in place of a join: the organizer asked once more."""
    later = other.id != join.id and other.at >= join.at
    return later and other.recurrence_id == join.recurrence_id and other.state in LIVE | {JoinState.ENDED}


def _promised(event: Event, join: Join) -> Promise | None:
    """What was promised for the occurrence of a join, if it still is: not cancelled, moved, or declined since."""
    moment = timedelta(microseconds=1)
    for one in expand(event, join.starts - moment, join.starts + moment):
        placed = (one.recurrence_id, one.starts, one.component.url)
        if placed != (join.recurrence_id, join.starts, join.url):
            continue
        own = {answer.recurrence_id: answer.partstat for answer in event.answers}.get(one.recurrence_id)
        said = own or event.answer(one.component.recurrence_id)
        return promise_of(one) if said not in ("DECLINED", WITHHELD) else None
    return None


def broken_off(event: Event, promise: Promise) -> Event:
    """The event with one occurrence declined. Nothing else changes: what failed is not planned again by itself.

    The first date of a shift has its answer in common with those that follow, which stay accepted.
    """
    if promise.component.this_and_future and promise.recurrence_id == promise.component.recurrence_id:
        return event
    others = (one for one in event.answers if one.recurrence_id != promise.recurrence_id)
    return replace(event, answers=(*others, Answer(promise.recurrence_id, "DECLINED")))


def _is_ahead(event: Event, component: Component, now: datetime, policy: Policy) -> bool:
    if component.recurrence_id is not None and not component.this_and_future:
        # A date that is in force takes place, whatever its series says; the series need not be expanded for it.
        event = Event(event.uid, event.organizer, overrides=(component,))
    return ahead(event, now, policy, component) is not None


def taken_back(event: Event, promises: Sequence[Promise]) -> Event:
    """The event with these promises declined: nothing is joined for them until the organizer's next version."""
    dates = dict.fromkeys(one.recurrence_id for one in promises)

    def given_up(one: Component) -> Component:
        if one.url is None or event.answered_under(one.recurrence_id) not in dates:
            return one
        return replace(one, url=None, given_up=one.url)

    kept = (one for one in event.answers if one.recurrence_id not in dates)
    return replace(
        event,
        master=given_up(event.master) if event.master is not None else None,
        overrides=tuple(map(given_up, event.overrides)),
        answers=(*kept, *(Answer(date, "DECLINED") for date in dates)),
    )


def sources(event: Event, promises: Sequence[Promise], heard: Iterable[Heard]) -> list[Source | None]:
    """For each promise the VEVENT that speaks for it, None when there is none. `heard`: the newest first; it is read
    no further than needed."""
    found: list[Source | None] = [None] * len(promises)
    newest: Property | None = None
    for message in heard:
        newest = newest or organizer_line(message.case.message, event)
        for component, block in _bound(event, message):
            for number, promise in enumerate(promises):
                nearness = _nearness(component, promise.component)
                best = found[number]
                if nearness is not None and (best is None or nearness < best.nearness):
                    found[number] = Source(nearness, message, block, newest)
        if all(one is not None and one.nearness is Nearness.SAME for one in found):
            break
    return found


def organizer_line(message: Message, event: Event) -> Property | None:
    """The line of who organizes the event by now, if the message has it."""
    lines = (block.first("ORGANIZER") for block in message.events)
    return next((one for one in lines if one is not None and from_uri(one.value) == event.organizer), None)


def _bound(event: Event, heard: Heard) -> Iterable[tuple[Component, Block]]:
    """The VEVENTs of a message, as they were bound when it came."""
    message = heard.case.message
    if message.method not in ("REQUEST", "ADD"):
        return
    for block in message.events:
        bound = bind(block, message, heard.case.pal, Links(), heard.at)
        if not isinstance(bound, Unbound):
            component = as_added(bound.component) if message.method == "ADD" else bound.component
            yield located(component, event.master), block


def _nearness(found: Component, wanted: Component) -> Nearness | None:
    same_version = found.revision == wanted.revision
    if (found.recurrence_id, found.this_and_future) == (wanted.recurrence_id, wanted.this_and_future):
        return Nearness.SAME if same_version else Nearness.OTHER_VERSION
    return Nearness.SERIES if found.recurrence_id is None and same_version else None


def regret(
    event: Event, promise: Promise, source: Source, reason: Reason, names: Sequence[str], now: datetime
) -> Reply:
    """The REPLY that takes a promise back. `names`: the addresses that the PAL has answered under, its own among them;
    the first that the organizer invited counts."""
    case, block = _as_invited(source.heard.case, source.block, names), _block(promise, source)
    if source.organizer is not None and organizer(case.message) != event.organizer:
        block = _with(block, source.organizer)
        case = replace(case, message=replace(case.message, events=(block,)))
    comment = declined(reason, case.pal.name, promise.component.platform)
    reply = reply_for(case, block, promise.recurrence_id, "DECLINED", comment, now, anew=False)
    # This version may have been declined before, and then been accepted.
    return replace(reply, key=f"{reply.key}\n{reason}")


def _block(promise: Promise, source: Source) -> Block:
    """The VEVENT as it stands for the promise, with the SEQUENCE that we hold."""
    component, block = promise.component, source.block
    wall = component.zone.wall
    if promise.starts is not None and promise.recurrence_id is not None:
        block = block_of_date(block, wall(promise.recurrence_id), wall(promise.starts))
    elif source.nearness is Nearness.SERIES and component.recurrence_id is not None:
        block = block_of_date(block, wall(component.recurrence_id), component.start)
    if source.nearness is Nearness.OTHER_VERSION:
        number = str(component.revision.sequence)
        block = _with(block, Property("SEQUENCE", {}, number, f"SEQUENCE:{number}"))
    return block


def _with(block: Block, one: Property) -> Block:
    """The block with a property in place of those of its name."""
    return Block(block.name, [*(other for other in block.properties if other.name != one.name), one], block.blocks)


def _as_invited(case: Case, block: Block, names: Sequence[str]) -> Case:
    """The case of the PAL under the address that was invited: it may have been renamed since."""
    called = [replace(case, pal=replace(case.pal, address=without_tag(name)), reached_at=name) for name in names]
    return next((one for one in called if own_attendee(block, one.pal) is not None), called[0])
