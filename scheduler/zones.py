"""Time zones of events: wall clock to instant and back. Pure.

Rules of this file:
- A zone is a value that travels with the event: an IANA name, or the observances of the VTIMEZONE that came in the
  same message. Nothing is cached by a name that a sender chose, so no message can change another one's zone.
- A wall clock in a spring gap is read with the offset before the gap, one in an autumn overlap is its first
  (RFC 5545 3.3.5).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo, available_timezones

from scheduler.recurrence import Rule, wall_clocks


@dataclass(frozen=True)
class Observance:
    """One STANDARD or DAYLIGHT part of a VTIMEZONE (RFC 5545 3.6.5); offsets in seconds east of UTC."""

    onset: datetime
    offset_from: int
    offset_to: int
    rule: Rule | None = None
    added: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Zone:
    """A time zone by IANA name, or by the observances of a message's own VTIMEZONE."""

    name: str
    observances: tuple[Observance, ...] = ()

    def instant(self, wall: datetime) -> datetime:
        """The UTC instant of a naive wall clock in this zone."""
        return self.instants([wall])[0]

    def instants(self, walls: Sequence[datetime]) -> list[datetime]:
        """The same of many."""
        if self.observances:
            known = {year: _transitions_local(self, year) for year in {wall.year for wall in walls}}
            before = _first(self).offset_from
            return [_EPOCH_UTC + (wall - _EPOCH - _offset(known[wall.year], wall, before)) for wall in walls]
        # Without a fold a wall clock is what PEP 495 and RFC 5545 take both the gap and the overlap for. This is a
        # tenth of the cost of `replace` and `astimezone`.
        offset = cast("Callable[[datetime], timedelta]", ZoneInfo(self.name).utcoffset)
        return [_EPOCH_UTC + (wall - _EPOCH - offset(wall)) for wall in walls]

    def wall(self, instant: datetime) -> datetime:
        """The naive wall clock that this zone shows at an instant."""
        if not self.observances:
            return instant.astimezone(ZoneInfo(self.name)).replace(tzinfo=None, fold=0)
        plain = instant.astimezone(UTC).replace(tzinfo=None)
        for transition, offset in reversed(_transitions(self, plain.year)):
            if transition <= plain:
                return plain + timedelta(seconds=offset)
        return plain + timedelta(seconds=_first(self).offset_from)


UTC_ZONE = Zone("UTC")
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)


@lru_cache(maxsize=1)
def iana_names() -> frozenset[str]:
    """Every IANA name that this installation's time-zone data knows."""
    return frozenset(available_timezones())


def _first(zone: Zone) -> Observance:
    return min(zone.observances, key=lambda observance: observance.onset)


def _offset(known: list[tuple[datetime, int]], wall: datetime, before: int) -> timedelta:
    """East of UTC, in force at a wall clock; `before` (seconds) is that before all transitions that are known."""
    index = bisect_right(known, (wall, 1 << 30)) - 1
    return timedelta(seconds=known[index][1] if index >= 0 else before)


@lru_cache(maxsize=256)
def _transitions(zone: Zone, year: int) -> list[tuple[datetime, int]]:
    """(UTC without tzinfo, offset from then on) of the zone's transitions that matter for a year."""
    found = {}
    for observance in zone.observances:
        for onset in _onsets(observance, year):
            found[_moved(onset, -observance.offset_from)] = observance.offset_to
    return sorted(found.items())


@lru_cache(maxsize=256)
def _transitions_local(zone: Zone, year: int) -> list[tuple[datetime, int]]:
    """The same by the wall clock: a transition counts from the later of its two readings."""
    local, before = [], _first(zone).offset_from
    for transition, offset in _transitions(zone, year):
        local.append((_moved(transition, max(before, offset)), offset))
        before = offset
    return local


def _moved(plain: datetime, seconds: int) -> datetime:
    try:
        return plain + timedelta(seconds=seconds)
    except OverflowError:
        return datetime(1, 1, 1)  # a VTIMEZONE may begin with year 1


def _onsets(observance: Observance, year: int) -> list[datetime]:
    """Wall clocks at which the observance begins, near a year, and the last one before if none is near."""
    low, high = datetime(max(year - 1, 1), 1, 1), datetime(min(year + 2, 9999), 1, 1)
    onsets = {onset for onset in (observance.onset, *observance.added) if onset < high}
    if observance.rule is not None:
        last = observance.rule.last
        # A rule that has run out still says what is in force after its last onset.
        first = min(low, datetime(max(last.year - 1, 1), 1, 1)) if last is not None else low
        onsets.update(wall_clocks(replace(observance.rule, until=None), observance.onset, first, high))
    near = {onset for onset in onsets if onset >= low}
    before = [onset for onset in onsets if onset < low]
    return sorted(near | ({max(before)} if before else set()))
