"""Conversations between an organizer and an attendee: *.txt to the iCalendar messages that are sent. Reads files.

The form of a file:
- `=== name` begins a story; a line that begins with `#` is a remark.
- `REQUEST 1` begins a message with SEQUENCE 1. `@5` after it: stamped at minute 5 (without: in the order of the story).
  `uid=x`: of another event.
- `+` begins one more VEVENT in the same message, `+ 3` one with SEQUENCE 3.
- All other lines are properties as they are sent. UID, DTSTAMP, ORGANIZER, ATTENDEE and a link come by themselves,
  half an hour where the event has a start and no end (`NO-END`: really none), and the VTIMEZONEs of zones.ics that
  the message names (`NO-VTIMEZONE`: without them; `OFFSET +0200`: their offset is that).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FIRST_STAMP: Final = datetime(2026, 1, 10, tzinfo=UTC)
_MESSAGE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<sequence>\d+)(?: @(?P<minute>\d+))?(?: uid=(?P<uid>\S+))?")
_NEXT_EVENT: Final = re.compile(r"\+(?: (?P<sequence>\d+))?")
_TZID: Final = re.compile(r'TZID="?([^":;]+)"?')


@dataclass
class _Event:
    sequence: int
    lines: list[str] = field(default_factory=list)

    def has(self, *names: str) -> bool:
        return any(re.split("[;:]", line, maxsplit=1)[0] in names for line in self.lines)


@dataclass
class _Message:
    method: str
    uid: str
    minute: int
    events: list[_Event]


@dataclass(frozen=True)
class Story:
    """A conversation: its messages as iCalendar text, in the order in which they arrive."""

    name: str
    messages: tuple[str, ...]


def stories() -> list[Story]:
    """Every story of every *.txt beside this file."""
    return [story for path in sorted(HERE.glob("*.txt")) for story in _of_file(path)]


def _of_file(path: Path) -> list[Story]:
    found = []
    for part in re.split(r"^=== ", path.read_text(), flags=re.MULTILINE)[1:]:
        name, *lines = part.splitlines()
        story = f"{path.stem}/{name.strip()}"
        uid = re.sub(r"\W+", "-", story)
        messages = tuple(_calendar(one, uid) for one in _messages(lines))
        found.append(Story(story, messages))
    return found


def _messages(lines: list[str]) -> list[_Message]:
    messages: list[_Message] = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        if begins := _MESSAGE.fullmatch(line.strip()):
            minute = int(begins["minute"] or len(messages))
            event = _Event(int(begins["sequence"]))
            messages.append(_Message(begins["method"], begins["uid"] or "", minute, [event]))
        elif begins := _NEXT_EVENT.fullmatch(line.strip()):
            events = messages[-1].events
            events.append(_Event(int(begins["sequence"] or events[-1].sequence)))
        else:
            messages[-1].events[-1].lines.append(line.strip())
    return messages


def _calendar(message: _Message, uid: str) -> str:
    events = [line for event in message.events for line in _vevent(event, message, uid)]
    lines = ["BEGIN:VCALENDAR", "PRODID:-//Acme//Calendar//EN", "VERSION:2.0", f"METHOD:{message.method}"]
    if not any(event.has("NO-VTIMEZONE") for event in message.events):
        lines += _zones(events, message)
    return "\r\n".join([*lines, *events, "END:VCALENDAR", ""])


def _zones(events: list[str], message: _Message) -> list[str]:
    named = dict.fromkeys(_TZID.findall("\n".join(events)))
    blocks = [zones()[name] for name in named if name in zones()]
    offsets = [line.split()[1] for event in message.events for line in event.lines if line.startswith("OFFSET ")]
    return [re.sub(r"[+-]\d{4}", offsets[0], block) for block in blocks] if offsets else blocks


def _vevent(event: _Event, message: _Message, uid: str) -> list[str]:
    lines = [
        "BEGIN:VEVENT",
        f"UID:{message.uid or uid}@acme.example",
        f"SEQUENCE:{event.sequence}",
        f"DTSTAMP:{FIRST_STAMP + timedelta(minutes=message.minute):%Y%m%dT%H%M%SZ}",
        "ORGANIZER;CN=Alex:mailto:alex@acme.example",
        "ATTENDEE;CN=Anna;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:anna@invite.example.com",
    ]
    if not event.has("LOCATION"):
        lines.append("LOCATION:https://meet.google.com/abc-defg-hij")
    if not event.has("SUMMARY"):
        lines.append("SUMMARY:Talk")
    if event.has("DTSTART") and not event.has("DTEND", "DURATION", "NO-END"):
        lines.append("DURATION:PT30M")
    sent = [line for line in event.lines if not line.startswith(("NO-END", "NO-VTIMEZONE", "OFFSET "))]
    return [*lines, *sent, "END:VEVENT"]


@lru_cache(maxsize=1)
def zones() -> dict[str, str]:
    """TZID to VTIMEZONE text (CRLF inside, none at the end)."""
    blocks = re.findall(r"BEGIN:VTIMEZONE.*?END:VTIMEZONE", (HERE / "zones.ics").read_text(), re.DOTALL)
    return {re.findall(r"^TZID:(.*)$", one, re.MULTILINE)[0]: "\r\n".join(one.splitlines()) for one in blocks}
