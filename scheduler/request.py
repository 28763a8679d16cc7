"""What the platform is told of a join beyond who, where and when: the meeting's context, the call's properties. Pure.

Rules of this file:
- How much of an event leaves the house is the PAL's setting: nothing, its title, or all of it.
- What the operator set for a PAL wins over our defaults, and the platform's limits over both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from scheduler.event import Event
from scheduler.occurrences import Occurrence

CONVERSATION: Final = "conversation"  # the target of a PAL that names none
MAX_CALL: Final = timedelta(seconds=3600)  # the platform's (its "Call Duration and Timeout")
OVERRUN: Final = timedelta(minutes=15)  # meetings run over; the PAL stays that long
ABSENT: Final = timedelta(minutes=15)  # how long it waits for the first guest
LEFT: Final = timedelta(seconds=60)  # and after the last one left: somebody may only have lost the line
MAX_AGENDA: Final = 4000  # characters of a description
MAX_GUESTS: Final = 50


@dataclass(frozen=True)
class Attendant:
    """The PAL as a join needs it. `context`: none, title or full. `target`: empty for a conversation."""

    pal_id: str
    face_id: str
    context: str = "title"
    properties: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)


def request_of(attendant: Attendant, event: Event, one: Occurrence) -> dict[str, Any]:
    """The further fields of "Create Conversation" for an occurrence, and for another target what it asks for."""
    if attendant.target.get("kind", CONVERSATION) != CONVERSATION:
        return {"target": attendant.target, "organizer": event.organizer}
    request: dict[str, Any] = {"properties": _properties(attendant, one)}
    context = _context(attendant.context, event, one)
    if context:
        request["conversational_context"] = context
    return request


def _properties(attendant: Attendant, one: Occurrence) -> dict[str, Any]:
    longest = min(one.ends - one.starts + OVERRUN, MAX_CALL) if one.ends > one.starts else MAX_CALL
    defaults = {
        "max_call_duration": int(longest.total_seconds()),
        "participant_absent_timeout": int(ABSENT.total_seconds()),
        "participant_left_timeout": int(LEFT.total_seconds()),
    }
    merged = {**defaults, **attendant.properties}
    limit = merged["max_call_duration"]
    if isinstance(limit, int):
        merged["max_call_duration"] = min(limit, int(MAX_CALL.total_seconds()))
    return merged


def _context(mode: str, event: Event, one: Occurrence) -> str:
    component = one.component
    if mode == "none" or (mode == "title" and not component.summary):
        return ""
    title = f"You are in the meeting “{component.summary}”." if component.summary else "You are in a meeting."
    if mode == "title":
        return title
    zone = component.zone
    begin, end = zone.wall(one.starts), zone.wall(one.ends)
    lines = [
        title,
        f"It takes place on {begin:%A} {begin.day} {begin:%B %Y}, {begin:%H:%M} to {end:%H:%M} ({zone.name}).",
        f"Organizer: {event.organizer}." if event.organizer else "",
        f"Guests: {', '.join(component.guests[:MAX_GUESTS])}." if component.guests else "",
        f"Agenda:\n{component.description[:MAX_AGENDA]}" if component.description.strip() else "",
    ]
    return "\n".join(filter(None, lines))
