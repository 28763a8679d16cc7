"""The sentences an organizer reads. Pure.

Rules of this file: one sentence where one is enough, in the organizer's words: the title, the event's own zone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.verdict import PLATFORM_NAMES, TO_ORGANIZER, Reason
from scheduler.event import Component, Event
from scheduler.joins import Policy, ahead
from scheduler.occurrences import Occurrence, expand
from scheduler.recurrence import Rule
from scheduler.zones import Zone

_COUNTED_AHEAD = timedelta(days=3660)  # a series that goes on longer is called endless
_LOOK_AHEAD = (timedelta(days=40), timedelta(days=400), _COUNTED_AHEAD)


def accepted(event: Event, component: Component, pal_name: str, now: datetime, policy: Policy) -> str:
    """When the PAL comes: to the one date of an override, or to the next date of a series and how many follow."""
    if component.recurrence_id is not None and not component.this_and_future:
        return _joining(pal_name, _only(component), now, policy)
    coming = _coming(event, component, now, policy)
    if not coming:
        return f"{pal_name} has accepted."
    sentence = _joining(pal_name, coming[0], now, policy)
    following = _following(event, coming)
    return f"{sentence[:-1]}, and {following}." if following else sentence


def _coming(event: Event, component: Component, now: datetime, policy: Policy) -> list[Occurrence]:
    """The dates that the PAL will join: of the series, or from a THISANDFUTURE override on."""
    first = ahead(event, now, policy)
    if first is None:
        return []
    since = component.recurrence_id
    found: list[Occurrence] = []
    # Of an endless series two dates are enough to say so.
    for reach in _LOOK_AHEAD if _goes_on(event, first.starts) else (_COUNTED_AHEAD,):
        dates = expand(event, first.starts, first.starts + reach)
        found = [one for one in dates if one.component.url and (since is None or one.recurrence_id >= since)]
        if len(found) > 1:
            break
    return found


def declined(reason: Reason, pal_name: str, platform: str | None) -> str:
    """Why not, and the mend."""
    known = PLATFORM_NAMES.get(platform or "", "meeting")
    return TO_ORGANIZER[reason].format(pal=pal_name, platform=known)


def _only(component: Component) -> Occurrence:
    starts = component.zone.instant(component.start)
    return Occurrence(starts, starts, component.length.end(component.start, component.zone), component)


def _joining(pal_name: str, one: Occurrence, now: datetime, policy: Policy) -> str:
    if one.starts - policy.lead <= now:
        return f"{pal_name} is joining now."
    return f"{pal_name} will join {_when(one.starts - policy.lead, one.component.zone)}."


def _when(instant: datetime, zone: Zone) -> str:
    wall = zone.wall(instant)
    clock = f"{wall:%H:%M} UTC" if zone.name == "UTC" else f"{wall:%H:%M} ({_zone_name(zone)})"
    return f"at {clock} on {wall:%A} {wall.day} {wall:%B %Y}"


def _zone_name(zone: Zone) -> str:
    return zone.name if zone.observances else zone.name.replace("_", " ") + " time"


def _goes_on(event: Event, since: datetime) -> bool:
    rules = event.master.rules if event.master is not None else ()
    return any(_is_endless(rule, since + _COUNTED_AHEAD) for rule in rules)


def _is_endless(rule: Rule, by: datetime) -> bool:
    if rule.until is not None:
        return rule.until > by
    return rule.last is None or rule.last > by.replace(tzinfo=None)


def _following(event: Event, coming: list[Occurrence]) -> str:
    """'3 more dates until 4 May 2026', 'every later date of the series', or ''."""
    first, *later = coming
    later = [one for one in later if one.starts > first.starts]
    if not later:
        return ""
    if _goes_on(event, first.starts):
        return "every later date of the series"
    last = later[-1].component.zone.wall(later[-1].starts)
    dates = "1 more date on" if len(later) == 1 else f"{len(later)} more dates until"
    return f"{dates} {last.day} {last:%B %Y}"
