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


def accepted(event: Event, component: Component, pal_name: str, now: datetime, policy: Policy) -> str:
    """When the PAL comes: to the one date of an override, or to the next date of a series and how many follow."""
    if component.recurrence_id is not None and not component.this_and_future:
        return _joining(pal_name, _only(component), now, policy)
    first = ahead(event, now, policy)
    if first is None:
        return f"{pal_name} has accepted."
    sentence = _joining(pal_name, first, now, policy)
    following = _following(event, first)
    return f"{sentence[:-1]}, and {following}." if following else sentence


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


def _is_endless(rule: Rule, by: datetime) -> bool:
    if rule.until is not None:
        return rule.until > by
    return rule.last is None or rule.last > by.replace(tzinfo=None)


def _following(event: Event, first: Occurrence) -> str:
    """'3 more dates until 4 May 2026', 'every later date of the series', or ''."""
    if event.master is None or not (event.master.rules or event.master.added or event.overrides):
        return ""
    if any(_is_endless(rule, first.starts + _COUNTED_AHEAD) for rule in event.master.rules):
        return "every later date of the series"
    later = [one for one in expand(event, first.starts, first.starts + _COUNTED_AHEAD) if one.starts > first.starts]
    if not later:
        return ""
    last = later[-1].component.zone.wall(later[-1].starts)
    dates = "1 more date on" if len(later) == 1 else f"{len(later)} more dates until"
    return f"{dates} {last.day} {last:%B %Y}"
