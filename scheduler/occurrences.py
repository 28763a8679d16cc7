"""When an event occurs: `expand` turns a master and its overrides into instants. Pure.

Rules of this file:
- Rules run in wall-clock time of DTSTART's zone and are converted last (RFC 5545 3.8.5.3).
- An occurrence is known by the instant of its original start, never by text (RFC 5545 3.8.4.4).
- The window bounds the work: nothing here depends on how old or how endless a series is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from operator import attrgetter
from typing import NamedTuple

from scheduler.event import Component, Event
from scheduler.recurrence import Rule, wall_clocks
from scheduler.zones import Zone

MAX_OCCURRENCES = 5000  # of one expansion: hourly for 200 days; past that a window is cut short
_SLACK = timedelta(days=2)  # wall clocks and instants differ by at most 26 hours
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9900, 1, 1, tzinfo=UTC)
_FEW = 20  # dates, for each of which a rule is asked by itself
_LOOK_AHEAD = (timedelta(days=8), timedelta(days=40), timedelta(days=400), timedelta(days=3700))
_by_start = attrgetter("starts", "recurrence_id")
_Dates = list[tuple[datetime, datetime]]  # original start (UTC) and its wall clock, ascending; instants hash slowly


class Occurrence(NamedTuple):
    """One date: the instant it stands for, when it takes place (UTC), and the component that describes it."""

    recurrence_id: datetime
    starts: datetime
    ends: datetime
    component: Component


def expand(event: Event, after: datetime, before: datetime) -> list[Occurrence]:
    """The occurrences the PAL attends that end after `after` and start before `before` (UTC), by start.

    One that ends as it starts counts from its start. Cancelled dates are left out.
    """
    found = [
        one for one in _all(event, after, before) if one.starts < before and (one.ends > after or one.starts >= after)
    ]
    return sorted(found, key=_by_start)[:MAX_OCCURRENCES]


def next_occurrence(event: Event, after: datetime, of: Component | None = None) -> Occurrence | None:
    """The first occurrence (of one component) that ends after `after`, looking ten years ahead; None: there is none."""
    has_series = event.master is not None and (event.master.rules or event.master.added)
    for reach in _LOOK_AHEAD if has_series else _LOOK_AHEAD[-1:]:
        found = [one for one in expand(event, after, after + reach) if of is None or one.component is of]
        if found:
            return found[0]
    return None


def occurs_at(master: Component, recurrence_id: datetime) -> bool:
    """Whether the rule, DTSTART or an RDATE gives this original start and no EXDATE takes it."""
    return recurrence_id in dates_between(master, recurrence_id, recurrence_id + timedelta(seconds=1))


def dates_between(master: Component, after: datetime, before: datetime) -> list[datetime]:
    """Original starts of a series from `after` on and before `before` (UTC), whatever overrides make of them."""
    return [instant for instant, _ in _instants(master, after, before)]


def is_excluded(event: Event, recurrence_id: datetime) -> bool:
    """Whether the organizer took this date out: an EXDATE, or a cancelled override."""
    own = [one for one in _singles(event) if one.recurrence_id == recurrence_id]
    override = own[0] if own else _latest(_ranges(event), recurrence_id)
    if override is not None:
        return not override.attending
    master = event.master
    return master is not None and (not master.attending or _excluded(master, recurrence_id))


def _all(event: Event, after: datetime, before: datetime) -> Iterator[Occurrence]:
    singles, ranges = _singles(event), _ranges(event)
    named = {one.recurrence_id for one in singles if one.recurrence_id is not None}
    if event.master is not None and event.master.attending:
        dates = _series(event.master, ranges, after, before)
        yield from _regular(event.master, ranges, _without(dates, named))
    for one in singles:
        if one.attending:
            yield _own(one)
    for one in ranges:
        if one.attending and one.recurrence_id not in named and not _is_date(event.master, one):
            yield _own(one)


def _is_date(master: Component | None, one: Component) -> bool:
    """Whether an override names a date that the series has."""
    if master is None or not master.attending or one.recurrence_id is None:
        return False
    return occurs_at(master, one.recurrence_id)


def _singles(event: Event) -> list[Component]:
    return [one for one in event.in_force if not one.this_and_future]


def _ranges(event: Event) -> list[Component]:
    return [one for one in event.in_force if one.this_and_future]


def _series(master: Component, ranges: list[Component], after: datetime, before: datetime) -> _Dates:
    """The master's dates that can fall into the window once their length and shift are applied."""
    lengths = [one.length for one in (master, *ranges)]
    lengths += [added.length for added in master.added if added.length is not None]
    reach = max(timedelta(days=length.days, seconds=length.seconds) for length in lengths)
    slack = max((abs(_shift(one)) for one in ranges), default=timedelta())
    if ranges or any(length.days for length in lengths):
        slack += _SLACK  # days on the calendar are longer or shorter where the clock changes
    return _instants(master, _moved(after, -reach - slack), _moved(before, slack))


def _without(dates: _Dates, named: Collection[datetime]) -> _Dates:
    """The dates that no override names."""
    for recurrence_id in named:
        at = bisect_left(dates, (recurrence_id,))
        if at < len(dates) and dates[at][0] == recurrence_id:
            del dates[at]
    return dates


def _moved(instant: datetime, span: timedelta) -> datetime:
    """The instant moved by a span, away from both ends of the calendar, where there is nothing to reckon with."""
    try:
        return min(max(instant + span, _FIRST), _LAST)
    except OverflowError:
        return _FIRST if span < timedelta() else _LAST


def _instants(master: Component, after: datetime, before: datetime) -> _Dates:
    """The recurrence set, EXDATEs taken out."""
    # DTSTART is an occurrence whether or not the rule matches it, or ends before it (RFC 5545 3.8.5.3).
    found = [(master.zone.instant(master.start), master.start)]
    for rule in master.rules:
        found += _ruled(rule, master, after, before)
    found += [(one.start, master.zone.wall(one.start)) for one in master.added if after <= one.start < before]
    found.sort()
    # What two rules and RDATEs give is one date (RFC 5545 3.8.5.2), and so are two wall clocks of a gap.
    once = found[:1] + [two for one, two in pairwise(found) if one[0] != two[0]]
    inside = [date for date in once if after <= date[0] < before]
    gone = _taken_out(master, [instant for instant, _ in inside])
    return [date for date in inside if date[0] not in gone] if gone else inside


def _taken_out(master: Component, instants: Collection[datetime]) -> frozenset[datetime]:
    """Which of these dates EXDATEs and EXRULEs take out; the rules are walked once, not for each date."""
    if not (master.excluded or master.excluded_days or master.excluding):
        return frozenset()
    if len(instants) <= _FEW or not master.excluding:
        return frozenset(instant for instant in instants if _excluded(master, instant))
    plain = replace(master, excluding=())
    gone = {instant for instant in instants if _excluded(plain, instant)}
    walls = {master.zone.wall(instant): instant for instant in instants}
    for rule in master.excluding:
        given = wall_clocks(rule, master.start, min(walls), max(walls) + timedelta(microseconds=1))
        hit = (walls[wall] for wall in given if wall in walls)
        gone.update(instant for instant in hit if rule.until is None or instant <= rule.until)
    return frozenset(gone)


def _ruled(rule: Rule, master: Component, after: datetime, before: datetime) -> _Dates:
    low, high = master.zone.wall(after) - _SLACK, master.zone.wall(before) + _SLACK
    walls = list(islice(wall_clocks(rule, master.start, low, high), 2 * MAX_OCCURRENCES))
    dates = zip(master.zone.instants(walls), walls, strict=True)
    return list(dates) if rule.until is None else [date for date in dates if date[0] <= rule.until]


def _excluded(master: Component, instant: datetime) -> bool:
    if not master.excluded and not master.excluded_days and not master.excluding:
        return False
    wall = master.zone.wall(instant)
    if wall in master.excluded or wall.date() in master.excluded_days:
        return True
    return any(_gives(rule, master, wall, instant) for rule in master.excluding)


def _gives(rule: Rule, master: Component, wall: datetime, instant: datetime) -> bool:
    if rule.until is not None and instant > rule.until:
        return False
    return any(True for _ in wall_clocks(rule, master.start, wall, wall + timedelta(microseconds=1)))


def _regular(master: Component, ranges: list[Component], dates: _Dates) -> Iterator[Occurrence]:
    """Dates of the series, as the master or the THISANDFUTURE override in force for each has it."""
    # A PERIOD says how long it lasts (RFC 5545 3.8.5.2).
    own = {added.start: added.length for added in master.added if added.length is not None}
    if not ranges and not own and not master.length.days:
        lasting = timedelta(seconds=master.length.seconds)
        yield from [Occurrence(instant, instant, instant + lasting, master) for instant, _ in dates]
        return
    for instant, wall in dates:
        component = _latest(ranges, instant) or master
        if component is master:
            ends = own.get(instant, master.length).end(wall, master.zone)
            yield Occurrence(instant, instant, max(instant, ends), master)
        elif component.attending:
            yield _shifted(component, instant)


def _shifted(component: Component, instant: datetime) -> Occurrence:
    """A date as a THISANDFUTURE override has it."""
    zone: Zone = component.zone
    wall = zone.wall(instant) + _shift(component)
    starts = zone.instant(wall)
    return Occurrence(instant, starts, max(starts, component.length.end(wall, zone)), component)


def _latest(ranges: list[Component], instant: datetime) -> Component | None:
    known = sorted((one.recurrence_id, index) for index, one in enumerate(ranges) if one.recurrence_id)
    at = bisect_right(known, (instant, len(ranges))) - 1
    return ranges[known[at][1]] if at >= 0 else None


def _shift(component: Component) -> timedelta:
    """By how much a THISANDFUTURE override moves its dates, on the wall clock (RFC 5545 3.2.13)."""
    if component.recurrence_id is None or not component.attending:
        return timedelta()
    return component.start - component.zone.wall(component.recurrence_id)


def _own(component: Component) -> Occurrence:
    starts, length = component.zone.instant(component.start), component.length
    exact = starts + timedelta(seconds=length.seconds)
    ends = length.end(component.start, component.zone) if length.days else exact
    return Occurrence(component.recurrence_id or starts, starts, max(starts, ends), component)
