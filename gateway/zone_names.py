"""The zone that a TZID means in this message. Pure.

Rules of this file (RFC 5545 3.8.3.1 and what vendors send):
- An IANA name means IANA's rules, also when the message's VTIMEZONE says otherwise: those are frozen, laws change.
- Any other name means this message's own VTIMEZONE, if it has one.
- Without one: Windows names by CLDR (tzlocal's table), known prefixes and spellings; else nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from tzlocal.windows_tz import win_tz

from gateway.ics import NO_END, Block, Unreadable, stamp
from scheduler.recurrence import Rule, RuleRefused, count_to_last, parse_rule, wall_clocks
from scheduler.zones import UTC_ZONE, Observance, Zone, iana_names

MAX_PARTS: Final = 200  # of one VTIMEZONE; the longest real ones list every change since 1891
MAX_CHANGES: Final = 24  # by one of its rules, in a year
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?", re.ASCII)
_COPY_NUMBER = re.compile(r" \d{1,3}$", re.ASCII)  # Exchange numbers its copies: "GMT Standard Time 1"
_COUNTRIES = re.compile(r"( Time)? \([^)]*\)$", re.ASCII | re.IGNORECASE)
_DISPLAY_NAME = re.compile(r"\((?:UTC|GMT)(?:[+-]\d{1,2}:\d{2})?\)\s*(.*)", re.ASCII | re.IGNORECASE)


def resolve(tzid: str, calendar: Block) -> Zone | None:
    """The zone that `tzid` means in this VCALENDAR, or None when nobody can know."""
    name = tzid.strip().strip('"')
    iana = _iana_name(name)
    if iana is not None:
        return Zone(iana)
    for block in calendar.inner("VTIMEZONE"):
        if block.text("TZID").strip().strip('"') == name:
            zone = _defined(name, _written(block))
            if zone is not None:
                return zone
    known = _well_known(name)
    return Zone(known) if known is not None else None


def is_contradicted(zone: Zone, tzid: str, calendar: Block, wall: datetime) -> bool:
    """Whether the message's VTIMEZONE of this TZID has other rules than the IANA zone it means, around a wall clock."""
    name = tzid.strip().strip('"')
    if zone.observances or zone.name == UTC_ZONE.name:
        return False
    blocks = (one for one in calendar.inner("VTIMEZONE") if one.text("TZID").strip().strip('"') == name)
    own = next(filter(None, (_defined(name, _written(block)) for block in blocks)), None)
    walls = (wall + timedelta(days=days) for days in (0, 91, 182, 273))
    return own is not None and any(own.instant(at) != zone.instant(at) for at in walls)


@lru_cache(maxsize=1)
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in iana_names()}


@lru_cache(maxsize=1)
def _by_windows_name() -> dict[str, str]:
    return {name.lower(): zone for name, zone in win_tz.items()}


@lru_cache(maxsize=1)
def _by_city() -> dict[str, str]:
    """'amsterdam' -> 'Europe/Amsterdam', for the display names of Windows."""
    places = [name for name in sorted(iana_names()) if "/" in name and not name.startswith(("Etc/", "SystemV/"))]
    return {name.rpartition("/")[2].replace("_", " ").lower(): name for name in places}


def _iana_name(name: str) -> str | None:
    if name in iana_names():
        return name
    return _by_lower_case().get(name.lower())


def _well_known(name: str) -> str | None:
    """Windows names, prefixed names and display names to IANA."""
    plain = _COPY_NUMBER.sub("", name)
    windows = _by_windows_name().get(plain.lower())
    if windows is not None:
        return windows
    if plain.lower() in ("tzone://microsoft/utc", "z", "utc", "gmt", "(utc) coordinated universal time"):
        return UTC_ZONE.name
    if plain.startswith("/"):
        # /freeassociation.sourceforge.net/Europe/Berlin, /citadel.org/20070227_1/America/Argentina/Salta
        pieces = plain.strip("/").split("/")
        tails = ("/".join(pieces[index:]) for index in range(1, len(pieces)))
        return next(filter(None, map(_iana_name, tails)), None)
    display = _DISPLAY_NAME.fullmatch(plain)
    if display is not None:
        # "Eastern Time (US & Canada)" is "Eastern Standard Time", "Central America" is "Central America Standard Time".
        region = _COUNTRIES.sub("", display.group(1)).lower()
        cities = [city.strip().lower() for city in display.group(1).split(",")]
        found = (_by_windows_name().get(f"{region} standard time"), *map(_by_city().get, cities))
        return next(filter(None, found), None)
    return None


@dataclass(frozen=True)
class _Part:
    """A STANDARD or DAYLIGHT part as written: what a definition is known again by."""

    start: str
    offset_from: str
    offset_to: str
    rule: str
    added: tuple[str, ...]


def _written(block: Block) -> tuple[_Part, ...]:
    return tuple(
        _Part(
            part.text("DTSTART"),
            part.text("TZOFFSETFROM"),
            part.text("TZOFFSETTO"),
            part.text("RRULE"),
            tuple(one.value for one in part.all("RDATE")),
        )
        for part in block.blocks
        if part.name in ("STANDARD", "DAYLIGHT")
    )


@lru_cache(maxsize=64)
def _defined(name: str, parts: tuple[_Part, ...]) -> Zone | None:
    """The zone of a definition. Remembered by all that was written, never by its name alone."""
    if len(parts) > MAX_PARTS:
        return None
    try:
        observances = tuple(_observance(part) for part in parts)
    except (Unreadable, RuleRefused, OverflowError):
        return None  # a zone that cannot be read is no zone
    return Zone(name, observances) if observances else None


def _observance(part: _Part) -> Observance:
    offset_from, offset_to = _seconds(part.offset_from), _seconds(part.offset_to)
    onset = stamp(part.start, {}).wall
    added = tuple(stamp(piece, {}).wall for line in part.added for piece in line.split(",") if piece.strip())
    if not part.rule:
        return Observance(onset, offset_from, offset_to, None, added)
    rule = parse_rule(part.rule, _until)
    _check_changes(rule, onset)
    rule = count_to_last(rule, onset)
    if rule.until is not None:
        # UNTIL is UTC, the onsets are local in the offset before (RFC 5545 3.6.5).
        until = rule.until.replace(tzinfo=None) + timedelta(seconds=offset_from)
        rule = replace(rule, until=None, last=min(until, rule.last or until))
    return Observance(onset, offset_from, offset_to, rule, added)


def _check_changes(rule: Rule, onset: datetime) -> None:
    times = len(rule.by_yearday + rule.by_hour + rule.by_minute + rule.by_second)
    changes = wall_clocks(rule, onset, onset, onset + timedelta(days=366))
    if rule.freq != "YEARLY" or times > MAX_CHANGES or len(list(islice(changes, MAX_CHANGES + 1))) > MAX_CHANGES:
        raise RuleRefused(f"a clock that is changed more than {MAX_CHANGES} times a year")


def _until(text: str) -> datetime:
    until = stamp(text, {})
    wall = min(until.wall, NO_END)
    # Without a time or a Z it is meant to hold the change of that day; no clock is changed twice in two days.
    return (wall if until.utc else wall + timedelta(days=2)).replace(tzinfo=UTC)


def _seconds(text: str) -> int:
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        raise Unreadable(f"{text[:20]!r} is not a UTC offset")
    sign, hours, minutes, seconds = match.groups()
    total = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    if total >= 86_400:
        raise Unreadable(f"{text[:20]!r} is not a UTC offset")
    return -total if sign == "-" else total
