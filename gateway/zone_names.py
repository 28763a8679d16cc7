"""The zone that a TZID means in this message. Pure.

Rules of this file (RFC 5545 3.8.3.1 and what vendors send):
- An IANA name means IANA's rules, also when the message's VTIMEZONE says otherwise: those are frozen, laws change.
- Any other name means this message's own VTIMEZONE, if it has one.
- Without one: Windows names by CLDR (tzlocal's table), known prefixes and spellings; else nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from tzlocal.windows_tz import win_tz

from gateway.ics import Block, Unreadable, stamp, stamps
from scheduler.recurrence import RuleRefused, count_to_last, parse_rule
from scheduler.zones import UTC_ZONE, Observance, Zone, iana_names

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?", re.ASCII)
_COPY_NUMBER = re.compile(r" \d{1,3}$", re.ASCII)  # Exchange numbers its copies: "GMT Standard Time 1"
_DISPLAY_NAME = re.compile(r"\((?:UTC|GMT)(?:[+-]\d{1,2}:\d{2})?\)\s*(.*)", re.ASCII | re.IGNORECASE)


def resolve(tzid: str, calendar: Block) -> Zone | None:
    """The zone that `tzid` means in this VCALENDAR, or None when nobody can know."""
    name = tzid.strip().strip('"')
    iana = _iana_name(name)
    if iana is not None:
        return Zone(iana)
    for block in calendar.inner("VTIMEZONE"):
        if block.text("TZID").strip().strip('"') == name:
            zone = _defined(name, block)
            if zone is not None:
                return zone
    known = _well_known(name)
    return Zone(known) if known is not None else None


@lru_cache(maxsize=1)
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in iana_names()}


@lru_cache(maxsize=1)
def _by_city() -> dict[str, str]:
    """'amsterdam' -> 'Europe/Amsterdam', for the display names of Windows."""
    cities = {name.rpartition("/")[2].replace("_", " ").lower(): name for name in iana_names() if "/" in name}
    return {city: name for city, name in cities.items() if not name.startswith(("Etc/", "SystemV/"))}


def _iana_name(name: str) -> str | None:
    if name in iana_names():
        return name
    return _by_lower_case().get(name.lower())


def _well_known(name: str) -> str | None:
    """Windows names, prefixed names and display names to IANA."""
    plain = _COPY_NUMBER.sub("", name)
    windows = {key.lower(): zone for key, zone in win_tz.items()}.get(plain.lower())
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
        cities = (city.strip().lower() for city in display.group(1).split(","))
        return next(filter(None, map(_by_city().get, cities)), None)
    return None


def _defined(name: str, block: Block) -> Zone | None:
    observances = []
    try:
        for part in block.blocks:
            if part.name in ("STANDARD", "DAYLIGHT"):
                observances.append(_observance(part))
    except (Unreadable, RuleRefused):
        return None  # a zone that cannot be read is no zone
    return Zone(name, tuple(observances)) if observances else None


def _observance(block: Block) -> Observance:
    offset_from, offset_to = _seconds(block.text("TZOFFSETFROM")), _seconds(block.text("TZOFFSETTO"))
    start = block.first("DTSTART")
    if start is None:
        raise Unreadable("a VTIMEZONE part has no DTSTART")
    onset = stamp(start.value, {}).wall
    rule = block.first("RRULE")
    added = tuple(one.wall for line in block.all("RDATE") for one, _ in stamps(line))
    if rule is None:
        return Observance(onset, offset_from, offset_to, None, added)
    parsed = count_to_last(parse_rule(rule.value, _until(offset_from)), onset)
    if parsed.until is not None:
        # UNTIL is UTC, the onsets are local in the offset before (RFC 5545 3.6.5).
        last = parsed.until.replace(tzinfo=None) + timedelta(seconds=offset_from)
        parsed = replace(parsed, until=None, last=last)
    return Observance(onset, offset_from, offset_to, parsed, added)


def _until(offset: int) -> Callable[[str], datetime]:
    def read(text: str) -> datetime:
        until = stamp(text, {})
        utc = until.wall if until.utc else until.wall - timedelta(seconds=offset)
        return utc.replace(tzinfo=UTC)

    return read


def _seconds(text: str) -> int:
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        raise Unreadable(f"{text[:20]!r} is not a UTC offset")
    sign, hours, minutes, seconds = match.groups()
    total = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    if total >= 86_400:
        raise Unreadable(f"{text[:20]!r} is not a UTC offset")
    return -total if sign == "-" else total
