"""What a VEVENT means for one PAL: a block of properties to a `Component`. Pure.

Rules of this file:
- Every time gets its zone here, by what stands in this message and, for times without a zone, by the PAL's own.
- UNTIL becomes an instant and COUNT a last date, so that nobody has to read them again.
- What cannot be bound is a value (`Unbound`) with the reason, not an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Final

from gateway import zone_names
from gateway.address import as_written, from_uri, normal
from gateway.ics import NO_END, Block, Message, Property, Stamp, Unreadable, duration, stamp, stamps
from gateway.pals import Pal
from gateway.platforms import Candidate, Cut, candidates, choose
from gateway.verdict import Reason
from scheduler.event import Added, Component, Length, Revision
from scheduler.recurrence import Rule, RuleRefused, count_to_last, gives_nothing, parse_rule
from scheduler.request import MAX_AGENDA, MAX_GUESTS
from scheduler.zones import UTC_ZONE, Zone

MAX_DATES: Final = 5000  # RDATE and EXDATE values of one event
MAX_RULES: Final = 5  # RRULEs of one event; 3.8.5.3 wants one
EARLIEST: Final = 1970
FURTHEST: Final = timedelta(days=3660)  # DTSTART at most ten years ahead
_DIGITS: Final = re.compile(r"\s*\+?(\d{1,30})\s*", re.ASCII)


@dataclass(frozen=True)
class Unbound:
    """This event cannot be bound: the reason, and the detail for the operator."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Bound:
    """A VEVENT as it binds the PAL, and the links that were seen in it, best first, with the one that was chosen."""

    component: Component
    seen: tuple[Candidate, ...] = ()
    chosen: Candidate | None = None


@dataclass(frozen=True)
class Links:
    """Which links count: platforms a PAL can be sent to, and the operator's own Jitsi hosts."""

    joinable: frozenset[str] = frozenset({"google_meet"})
    jitsi_hosts: frozenset[str] = frozenset()

    def can_join(self, one: Candidate) -> bool:
        """Whether a PAL can be sent there: a concrete room of a platform that it can join."""
        return one.link.room and one.link.platform in self.joinable


def bind(
    event: Block,
    message: Message,
    pal: Pal,
    links: Links,
    now: datetime,
    body: tuple[Cut, ...] = (),
    reached_at: str = "",
) -> Bound | Unbound:
    """The VEVENT as it binds the PAL; `now` (UTC) stands in for a missing DTSTAMP, `body` is what was cut
    out of the mail's own text.

    `reached_at` is the address that the mail came to, if it is known.
    """
    try:
        return _Binder(event, message, pal, now).bound(links, body, reached_at)
    except (Unreadable, OverflowError) as error:
        return Unbound(Reason.INVALID, str(error))


def organizer(message: Message, *, written: bool = False) -> str:
    """The address of the ORGANIZER, '' when there is none: the comparable one, or as it was written."""
    lines = (event.first("ORGANIZER") for event in message.events)
    read = as_written if written else from_uri
    return next((read(line.value) for line in lines if line is not None), "")


def attendee_address(one: Property) -> str:
    """The comparable address of an ATTENDEE: its own, or that of EMAIL= beside another URI (RFC 7986 6.2)."""
    return from_uri(one.value) or normal(one.params.get("EMAIL", ""))


def own_attendee(event: Block, pal: Pal, reached_at: str = "") -> Property | None:
    """The ATTENDEE line that names the PAL, under its plain address or with a +tag; the one that the mail came to."""
    found = [one for one in event.all("ATTENDEE") if pal.is_called(attendee_address(one))]
    return min(found, key=lambda one: attendee_address(one) != reached_at, default=None)


class _Binder:
    """One VEVENT with what its values are read against."""

    def __init__(self, event: Block, message: Message, pal: Pal, now: datetime) -> None:
        self.event = event
        self.message = message
        self.pal = pal
        self.now = now
        self.cancels = message.method == "CANCEL"
        self.notes: list[str] = []
        self.zone_known = True

    def bound(self, links: Links, body: tuple[Cut, ...], reached_at: str) -> Bound:
        component = self._component(reached_at)
        seen = candidates(_link_fields(self.event), body, jitsi_hosts=links.jitsi_hosts)
        chosen = choose(seen, links.joinable)
        if chosen is not None:
            # Nobody can come at a time that nobody knows.
            url = chosen.link.url if links.can_join(chosen) and self.zone_known else None
            component = replace(component, url=url, platform=chosen.link.platform)
        return Bound(component, seen, chosen)

    def _component(self, reached_at: str) -> Component:
        """The VEVENT without its link."""
        start = self._start()
        zone = self._zone(start)
        length = self._length(start, zone)
        attendee = own_attendee(self.event, self.pal, reached_at)
        rules, unruled = self._rules("RRULE", "the recurrence rule", start, zone)
        excluding, unexcluded = self._rules("EXRULE", "an EXRULE", start, zone)
        status = "CANCELLED" if self.cancels else self.event.text("STATUS").strip().upper() or "CONFIRMED"
        excluded, excluded_days = self._excluded(zone, start.date_only)
        component = Component(
            revision=self._revision(),
            start=start.wall,
            zone=zone,
            length=length,
            all_day=start.date_only,
            rules=rules,
            added=tuple(self._added(start, zone)),
            excluded=excluded,
            excluded_days=excluded_days,
            excluding=excluding,
            attending=status != "CANCELLED",
            status=status,
            listed=attendee is not None,
            partstat=(attendee.params.get("PARTSTAT", "") if attendee is not None else "").upper() or "NEEDS-ACTION",
            summary=self.event.text("SUMMARY").strip(),
            description=self.event.text("DESCRIPTION").strip()[:MAX_AGENDA],
            guests=tuple(self._guests()),
            zone_known=self.zone_known,
            notes=(*self.notes, *unruled, *unexcluded),
        )
        return self._override(component)

    def _guests(self) -> Iterator[str]:
        others = (one for one in self.event.all("ATTENDEE") if not self.pal.is_called(attendee_address(one)))
        for one in islice(others, MAX_GUESTS):
            yield (one.params.get("CN", "").strip() or attendee_address(one))[:200]

    def _start(self) -> Stamp:
        found = self.event.first("DTSTART")
        if found is not None:
            start = stamp(found.value, found.params)
            self._check_year(start, "DTSTART")
            return start
        if not self.cancels:
            raise Unreadable("the event has no DTSTART")
        # A CANCEL may come without; then its RECURRENCE-ID or its DTSTAMP stands in, for the tombstone.
        named = self.event.first("RECURRENCE-ID")
        if named is not None:
            start = stamp(named.value, named.params)
            self._check_year(start, "RECURRENCE-ID")
            return start
        return Stamp(self._revision().dtstamp.replace(tzinfo=None), utc=True)

    def _check_year(self, one: Stamp, name: str) -> None:
        if not _is_countable(one.wall):
            raise Unreadable(f"{name} is at the end of the calendar")
        if not self.cancels and not EARLIEST <= one.wall.year <= (self.now + FURTHEST).year:
            raise Unreadable(f"{name} is not between {EARLIEST} and ten years from now")

    def _zone(self, one: Stamp) -> Zone:
        if one.utc:
            return UTC_ZONE
        if one.tzid is not None and not one.date_only:
            zone = zone_names.resolve(one.tzid, self.message.calendar)
            if zone is not None:
                if zone_names.is_contradicted(zone, one.tzid, self.message.calendar, one.wall):
                    self.notes.append(f"the VTIMEZONE of {one.tzid} says otherwise than its IANA rules, which are used")
                return zone
        return self._floating(one)

    def _floating(self, one: Stamp) -> Zone:
        """The zone of a time that names none that is known: the PAL's, else, for one that names none at all, the
        calendar's (X-WR-TIMEZONE)."""
        # A TZID that nobody knows is another zone than the calendar's.
        named = self.pal.zone or ("" if one.tzid else self.message.calendar.text("X-WR-TIMEZONE"))
        zone = zone_names.resolve(named, self.message.calendar) if named else None
        fault = f"the time zone {one.tzid!r} is not known" if one.tzid else "the event names no time zone"
        if not one.date_only and not self.cancels:
            self.zone_known = zone is not None
            self.notes.append(f"{fault}; {zone.name} is used" if zone is not None else fault)
        return zone or UTC_ZONE

    def _instant(self, one: Stamp, zone: Zone) -> datetime:
        """The instant of a further date of this event: in its own zone if it names one, else in the event's."""
        if one.utc:
            return one.wall.replace(tzinfo=UTC)
        own = zone_names.resolve(one.tzid, self.message.calendar) if one.tzid else None
        return (own or zone).instant(one.wall)

    def _revision(self) -> Revision:
        numbers = [_DIGITS.fullmatch(one.value) for one in self.event.all("SEQUENCE")]
        sequence = max((int(match[1]) for match in numbers if match), default=0)
        outlook = _DIGITS.fullmatch(self.event.text("X-MICROSOFT-CDO-APPT-SEQUENCE"))
        if sequence == 0 and outlook:  # old Outlook counts there
            sequence = int(outlook[1])
        written = self.event.first("DTSTAMP")
        try:
            # DTSTAMP is UTC by RFC 5545 3.8.7.2, also where the Z was forgotten.
            dtstamp = stamp(written.value, {}).wall.replace(tzinfo=UTC) if written is not None else self.now
        except Unreadable:
            dtstamp = self.now
        if not _is_countable(dtstamp):
            dtstamp = self.now
        return Revision(sequence, dtstamp)

    def _length(self, start: Stamp, zone: Zone) -> Length:
        end, lasting = self.event.first("DTEND"), self.event.first("DURATION")
        if end is not None:
            length = self._until_end(start, zone, stamp(end.value, end.params))
        elif lasting is not None:
            length = duration(lasting.value)
        else:
            length = Length()
        if length == Length() and start.date_only:
            return Length(days=1)  # RFC 5545 3.6.1
        return length

    def _until_end(self, start: Stamp, zone: Zone, end: Stamp) -> Length:
        if start.date_only or end.date_only:
            return Length(days=max(0, min((end.wall.date() - start.wall.date()).days, 366)))
        # With DTEND every date has the same exact duration (RFC 5545 3.8.5.3).
        seconds = (self._instant(end, zone) - zone.instant(start.wall)).total_seconds()
        if seconds > timedelta(days=366).total_seconds():
            raise Unreadable("an event lasts longer than a year")
        return Length(seconds=max(0, int(seconds)))

    def _override(self, component: Component) -> Component:
        """The component with its RECURRENCE-ID as an instant, if it has one; one date has no rules of its own."""
        named = self.event.first("RECURRENCE-ID")
        if named is None:
            return component
        one = stamp(named.value, named.params)
        self._check_year(one, "RECURRENCE-ID")
        known = one.utc or (one.tzid is not None and zone_names.resolve(one.tzid, self.message.calendar) is not None)
        return replace(
            component,
            recurrence_id=self._instant(one, component.zone),
            recurrence_wall=None if known and one.wall.time() != time() else one.wall,
            this_and_future=named.params.get("RANGE", "").upper() == "THISANDFUTURE",
            rules=(),
            added=(),
            excluding=(),
        )

    def _rules(self, name: str, called: str, start: Stamp, zone: Zone) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
        rules, notes = [], []
        for number, one in enumerate(self.event.all(name)):
            if number >= MAX_RULES:
                notes.append(f"only the first {MAX_RULES} of its {name}s were read")
                break
            try:
                rule = count_to_last(parse_rule(one.value, self._until(start, zone)), start.wall)
            except (RuleRefused, Unreadable) as error:
                # DTSTART can still be joined, and the note says what was left out.
                notes.append(f"{called} was left out: {error}")
                continue
            rules.append(rule)
            if gives_nothing(rule, start.wall):
                notes.append(f"{called} gives no date: {one.value[:100]}")
        return tuple(rules), tuple(notes)

    def _until(self, start: Stamp, zone: Zone) -> Callable[[str], datetime]:
        """UNTIL in every form that is sent: a DATE is the end of that local day, a local time is in DTSTART's zone,
        and UTC beside a floating DTSTART is a wall clock."""

        def read(text: str) -> datetime:
            until = stamp(text, {})
            if until.date_only or start.date_only:
                midnight = _day(min(until.wall, NO_END)) + timedelta(days=1)
                return zone.instant(midnight) - timedelta(microseconds=1)
            if until.utc and (start.utc or start.tzid is not None):
                return until.wall.replace(tzinfo=UTC)
            return zone.instant(min(until.wall, NO_END))

        return read

    def _dates(self, name: str) -> Iterator[tuple[Stamp, str]]:
        for number, one in enumerate(pair for line in self.event.all(name) for pair in stamps(line)):
            if number >= MAX_DATES:
                raise Unreadable(f"more than {MAX_DATES} dates in {name}")
            yield one

    def _added(self, start: Stamp, zone: Zone) -> Iterator[Added]:
        for one, rest in self._dates("RDATE"):
            if not _is_countable(one.wall):
                continue
            if start.date_only or one.date_only:
                # A day: at the event's time of day, which is midnight for an all-day event.
                one = replace(one, wall=datetime.combine(one.wall.date(), start.wall.time()))
            begin = self._instant(one, zone)
            if not rest:
                yield Added(begin)
            elif rest.upper().startswith(("P", "+P", "-P")):
                yield Added(begin, duration(rest))
            else:
                end = self._instant(replace(stamp(rest, {}), tzid=one.tzid), zone)
                yield Added(begin, Length(seconds=max(0, int((end - begin).total_seconds()))))

    def _excluded(self, zone: Zone, all_day: bool) -> tuple[frozenset[datetime], frozenset[date]]:
        dates = [pair for pair in self._dates("EXDATE") if _is_countable(pair[0].wall)]
        days = frozenset(one.wall.date() for one, _ in dates if one.date_only or all_day)
        timed = (self._instant(one, zone) for one, _ in dates if not one.date_only and not all_day)
        return frozenset(map(zone.wall, timed)), days


def _is_countable(wall: datetime) -> bool:
    """Whether a date has room on both sides for zones and lengths; datetime ends at the years 1 and 9999."""
    return 1900 <= wall.year < 9900


def _day(wall: datetime) -> datetime:
    return datetime.combine(wall.date(), datetime.min.time())


def _link_fields(event: Block) -> Iterator[tuple[str, str]]:
    for one in event.properties:
        yield one.name, one.text
