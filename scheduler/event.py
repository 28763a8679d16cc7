"""What an event is, as it binds one PAL: a master, its overrides, and the version of each. Pure values.

Rules of this file:
- Times are kept as wall clock + zone, so that new time-zone data can be applied to what is planned.
- A cancelled series or date stays as a component that is not `attending`: it is the tombstone that keeps an older
  message from bringing it back (RFC 5546 2.1.5, 5.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from scheduler.recurrence import Rule, with_defaults
from scheduler.zones import Zone


@dataclass(frozen=True, order=True)
class Revision:
    """Which message about a component is newer: SEQUENCE first, then DTSTAMP in UTC (RFC 5546 2.1.5)."""

    sequence: int
    dtstamp: datetime


@dataclass(frozen=True)
class Length:
    """How long an occurrence lasts: days on the calendar, then exact seconds (RFC 5545 3.3.6, 3.8.2.5)."""

    days: int = 0
    seconds: int = 0

    def end(self, start: datetime, zone: Zone) -> datetime:
        """The end (UTC) of what starts at a wall clock in a zone."""
        return zone.instant(start + timedelta(days=self.days)) + timedelta(seconds=self.seconds)


@dataclass(frozen=True)
class Added:
    """An RDATE: an instant (UTC), with its own length when it was a PERIOD."""

    start: datetime
    length: Length | None = None


@dataclass(frozen=True)
class Component:
    """One VEVENT as it binds the PAL: the master (no recurrence_id) or the override of one date.

    `start` is a naive wall clock in `zone`. `url` is the canonical link the PAL can join, None when there is none;
    `platform` is also known for a link that cannot be joined. `this_and_future` is RANGE=THISANDFUTURE.
    `partstat` is the PAL's own, as the organizer has it. `notes` are remarks for `explain`.
    `recurrence_wall` is RECURRENCE-ID as written when it names no instant by itself: a floating time or a day.
    An override that a reschedule made void is `dormant`: remembered, so that messages may come in any order, but not
    in force (RFC 5546 4.4.7). `beside` is the newest master that it came with in one message, which vouches for it.
    """

    revision: Revision
    start: datetime
    zone: Zone
    length: Length = Length()
    all_day: bool = False
    zone_known: bool = True  # False: `zone` only stands in, and nothing is planned
    recurrence_id: datetime | None = None
    recurrence_wall: datetime | None = None
    anchor: datetime | None = None  # what recurrence_id is on the wall clock of the master, once that is known
    this_and_future: bool = False
    rules: tuple[Rule, ...] = ()
    added: tuple[Added, ...] = ()
    excluded: frozenset[datetime] = frozenset()  # EXDATE, as wall clocks in `zone`
    excluded_days: frozenset[date] = frozenset()
    excluding: tuple[Rule, ...] = ()  # EXRULE (RFC 2445): the dates it gives do not take place
    beside: Revision | None = None
    dormant: bool = False
    attending: bool = True
    listed: bool = True  # the PAL is an ATTENDEE, not only reached by the envelope
    summary: str = ""
    description: str = ""
    guests: tuple[str, ...] = ()  # the other attendees, by name where there is one
    url: str | None = None
    given_up: str | None = None  # the link it had when the PAL took back its acceptance; `url` is None meanwhile
    platform: str | None = None
    status: str = "CONFIRMED"
    partstat: str = "NEEDS-ACTION"
    notes: tuple[str, ...] = ()

    @property
    def timing(self) -> tuple[object, ...]:
        """What makes an edit a reschedule; the extent of the rules (COUNT, UNTIL) and RDATEs are not in it."""
        # A rule may spell out what DTSTART says anyway: that is the same rule.
        rules = tuple(_without_extent(with_defaults(rule, self.start)) for rule in self.rules)
        return (self.start, self.zone, self.all_day, rules)


def _without_extent(rule: Rule) -> tuple[object, ...]:
    names = [name for name in rule.__dataclass_fields__ if name not in ("count", "until", "last")]
    return tuple(getattr(rule, name) for name in names)


@dataclass(frozen=True)
class Answer:
    """The last PARTSTAT we sent for the series (recurrence_id None) or for one date."""

    recurrence_id: datetime | None
    partstat: str


@dataclass(frozen=True)
class Timing:
    """A version of the master that was seen, and a mark that is the same for the same times; '' for a cancelled one."""

    revision: Revision
    mark: str


@dataclass(frozen=True)
class Event:
    """All that one PAL knows of one UID. `owner` is the sender that the first invitation pinned, None if unknown;
    `owner_verified`: somebody vouched for it, so that a mail which nobody vouches for cannot speak for it.

    `inviter` and `inviter_domain` are whom its joins are counted for.
    `timings` are the versions of the master, oldest first: an override older than a change of times is void.
    """

    uid: str
    organizer: str
    owner: str | None = None
    owner_verified: bool = False
    inviter: str | None = None
    inviter_domain: str | None = None
    master: Component | None = None
    overrides: tuple[Component, ...] = ()
    answers: tuple[Answer, ...] = ()
    timings: tuple[Timing, ...] = ()

    def anchored(self) -> Event:
        """The event with its RECURRENCE-IDs where today's time-zone data puts them."""
        if self.master is None:
            return self
        zone = self.master.zone
        moved: dict[datetime | None, datetime | None] = {one.recurrence_id: one.recurrence_id for one in self.answers}
        for one in self.overrides:
            moved[one.recurrence_id] = zone.instant(one.anchor) if one.anchor else one.recurrence_id
        if all(before == after for before, after in moved.items()):
            return self
        overrides = tuple(replace(one, recurrence_id=moved[one.recurrence_id]) for one in self.overrides)
        answers = tuple(replace(one, recurrence_id=moved[one.recurrence_id]) for one in self.answers)
        return replace(self, overrides=overrides, answers=answers)

    @property
    def in_force(self) -> tuple[Component, ...]:
        """The overrides that count."""
        return tuple(one for one in self.overrides if not one.dormant)

    def answered_under(self, recurrence_id: datetime | None) -> datetime | None:
        """The date whose answer a date stands under: its own, else the series' (None); its own if there is neither."""
        known = {answer.recurrence_id for answer in self.answers}
        return None if recurrence_id not in known and None in known else recurrence_id

    def answer(self, recurrence_id: datetime | None) -> str | None:
        """What was answered for one date, or for the series if that date has no answer of its own."""
        said = {answer.recurrence_id: answer.partstat for answer in self.answers}
        return said.get(recurrence_id, said.get(None))
