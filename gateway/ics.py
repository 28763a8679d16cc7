"""Calendar bytes to the messages in them: syntax and values, no meaning. Pure.

Rules of this file:
- icalendar splits the content lines (RFC 5545 3.1); the component tree and the values are read here, because
  icalendar's own values resolve TZIDs through a cache that outlives the message and break on what vendors send.
- Liberal in form (BOM, LF, blank lines, folds inside a character, doubled properties: the first one counts),
  strict in size and structure: what is cut off or ambiguous is refused whole, with a reason.
- Nothing is resolved: a date-time keeps its wall clock and its TZID as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from icalendar.parser import Contentline, Contentlines, unescape_backslash

from scheduler.event import Length

MAX_BYTES: Final = 512 * 1024  # a Google invitation is 3 kB, a year of overrides 300 kB
MAX_COMPONENTS: Final = 1000
MAX_LINES: Final = 20_000
MAX_UID: Final = 1000  # bytes; RFC 7986 5.3 asks for 255, and PostgreSQL indexes no more than 2,700
NO_END: Final = datetime(9999, 12, 1)  # an UNTIL past this stands for "never"; there is no calendar after it

_FOLD: Final = re.compile(rb"(?:\r\n|\r|\n)[ \t]")
_DATE: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})?(Z)?)?", re.ASCII | re.IGNORECASE)
_DURATION: Final = re.compile(
    r"([+-]?)P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,8})S)?)?", re.ASCII | re.I
)
# A person's name with quotes inside, which a guest wrote and no sender escaped, must not lose the meeting.
_BROKEN: Final = re.compile(r"(ATTENDEE|ORGANIZER)(;.*):(mailto:\S*)", re.IGNORECASE)
_PLAIN: Final = re.compile(r"([A-Za-z0-9-]+):(.*)", re.DOTALL)  # a line without parameters
# A line whose parameters hold nothing that is escaped, listed or spaced: as good as all others that are sent.
_WORD: Final = r'[^\s";:,=\\^%]+'
_CLEAR: Final = re.compile(
    rf'([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+=(?:"[^"\\^%,\s]+"|{_WORD}(?: {_WORD})*))+):(.*)', re.DOTALL
)
_PARAMETER: Final = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"(?=[;:]|$)|[^;]*)')


class Unreadable(ValueError):
    """The calendar part cannot be read; the message says why, for people."""


@dataclass(frozen=True)
class Stamp:
    """A DATE or DATE-TIME as written: naive wall clock, and what it was said to be in."""

    wall: datetime
    tzid: str | None = None
    utc: bool = False
    date_only: bool = False


@dataclass(frozen=True)
class Property:
    """One content line: upper-case name, upper-case parameter names, raw value, and the line itself."""

    name: str
    params: dict[str, str]
    value: str
    line: str

    @property
    def text(self) -> str:
        """The value as TEXT, backslashes undone (RFC 5545 3.3.11)."""
        return str(unescape_backslash(self.value))


@dataclass
class Block:
    """A component (BEGIN … END) with its properties and inner components, in order."""

    name: str
    properties: list[Property] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Property]:
        return (one for one in self.properties if one.name == name)

    def first(self, name: str) -> Property | None:
        return next(self.all(name), None)

    def text(self, name: str) -> str:
        found = self.first(name)
        return found.text if found is not None else ""

    def inner(self, name: str) -> list[Block]:
        return [block for block in self.blocks if block.name == name]

    def lines(self) -> Iterator[str]:
        """The component as content lines, unfolded."""
        yield f"BEGIN:{self.name}"
        yield from (one.line for one in self.properties)
        for block in self.blocks:
            yield from block.lines()
        yield f"END:{self.name}"


@dataclass(frozen=True)
class Message:
    """The VEVENTs of one UID in one VCALENDAR: what iTIP calls a message (RFC 5546 1.4). `notes` are for `explain`."""

    uid: str
    method: str | None
    events: tuple[Block, ...]
    calendar: Block
    notes: tuple[str, ...] = ()


def read(data: bytes) -> tuple[Message, ...]:
    """Calendar bytes (UTF-8, or whatever was decoded to it) to messages, one per VCALENDAR and UID.

    Raises Unreadable.
    """
    messages = []
    for calendar in _calendars(data):
        methods = {one.value.strip().upper() for one in calendar.all("METHOD")}
        if len(list(calendar.all("METHOD"))) > 1:
            raise Unreadable("METHOD stands more than once")
        by_uid: dict[str, list[Block]] = {}
        for event in calendar.inner("VEVENT"):
            uid = event.text("UID").strip()
            if not uid:
                raise Unreadable("an event has no UID")
            if len(uid.encode()) > MAX_UID:
                raise Unreadable(f"an event's UID is longer than {MAX_UID} bytes")
            by_uid.setdefault(uid, []).append(event)
        method = next(iter(methods), None) or None
        messages += [Message(uid, method, tuple(events), calendar) for uid, events in by_uid.items()]
    return tuple(messages)


def _calendars(data: bytes) -> list[Block]:
    if len(data) > MAX_BYTES:
        raise Unreadable(f"the calendar part is larger than {MAX_BYTES // 1024} kB")
    root = Block("")
    stack = [root]
    components = 0
    for line in _lines(data):
        if len(stack) == 1 and not line.upper().startswith(("BEGIN:", "END:")):
            continue  # what a mailing list puts under a calendar, say
        name, params, value = _split(line)
        if name == "BEGIN":
            components += 1
            if components > MAX_COMPONENTS:
                raise Unreadable(f"more than {MAX_COMPONENTS} components")
            block = Block(value.strip().upper())
            stack[-1].blocks.append(block)
            stack.append(block)
        elif name == "END":
            _close(stack, value.strip().upper())
        elif len(stack) > 1:
            stack[-1].properties.append(Property(name, params, value, line))
    if len(stack) > 1:
        raise Unreadable(f"the calendar part is cut off inside {stack[-1].name}")
    calendars = root.inner("VCALENDAR")
    if not calendars:
        raise Unreadable("there is no VCALENDAR in it")
    return calendars


def _close(stack: list[Block], name: str) -> None:
    if len(stack) == 1 or stack[-1].name != name:
        raise Unreadable(f"END:{name[:20]} without its BEGIN")
    stack.pop()


def _lines(data: bytes) -> Iterator[str]:
    # Unfolded as bytes: a fold may stand inside a character.
    text = decode(_FOLD.sub(b"", data))
    # A NUL is in no calendar (RFC 5545 3.1), and PostgreSQL cannot keep one.
    lines = Contentlines.from_ical(text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""))
    if len(lines) > MAX_LINES:
        raise Unreadable(f"more than {MAX_LINES} lines")
    return (str(line) for line in lines if line.strip())


def decode(data: bytes) -> str:
    """Bytes to text: by BOM, else UTF-8, else Latin-1 (what is called UTF-8 and is not, usually is)."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


Parts = tuple[str, dict[str, str], str]  # name, parameters by upper-case name, value


def _split(line: str) -> Parts:
    plain = _PLAIN.fullmatch(line)
    if plain is not None:  # half of all lines, in a tenth of the time
        return plain[1].upper(), {}, plain[2]
    name, flat, value = _clear(line) or _parsed(line)
    if "TZID" in flat and "://" in line:
        # TZID=tzone://Microsoft/Utc without the quotes that its colon needs; no date has a colon in it.
        rest, colon, value = value.rpartition(":")
        flat["TZID"] += colon + rest
    return name.upper(), flat, value


def _clear(line: str) -> Parts | None:
    clear = _CLEAR.fullmatch(line)
    if clear is None:
        return None
    found = [(key.upper(), text.strip('"')) for key, text in _PARAMETER.findall(clear[2])]
    params = dict(found)
    return (clear[1], params, clear[3]) if len(params) == len(found) else None


def _parsed(line: str) -> Parts:
    try:
        name, params, value = Contentline(line).raw_parts()
    except ValueError as error:
        match = _BROKEN.fullmatch(line)
        if match is None:
            raise Unreadable(f"the line {line[:40]!r} is not NAME:VALUE") from error
        return match[1], {key.upper(): text.strip('"') for key, text in _PARAMETER.findall(match[2])}, match[3]
    return name, {key.upper(): one if isinstance(one, str) else ",".join(one) for key, one in params.items()}, value


def stamp(value: str, params: dict[str, str]) -> Stamp:
    """A DATE or DATE-TIME value. Raises Unreadable for what is no date, such as 30 February."""
    match = _DATE.fullmatch(value.strip())
    if match is None:
        raise Unreadable(f"{value[:30]!r} is not a date")
    year, month, day, hour, minute, second, utc = match.groups()
    try:
        wall = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), min(int(second or 0), 59))
    except ValueError as error:
        raise Unreadable(f"{value[:30]!r} is not a date") from error
    tzid = params.get("TZID", "").strip().strip('"') or None
    return Stamp(wall, None if utc else tzid, bool(utc), hour is None)


def stamps(one: Property) -> Iterator[tuple[Stamp, str]]:
    """The dates of an EXDATE or RDATE, each with what follows the slash of a PERIOD, or ''."""
    for piece in one.value.split(","):
        if piece.strip():
            start, _, rest = piece.partition("/")
            yield stamp(start, one.params), rest.strip()


def duration(text: str) -> Length:
    """A DURATION value: days and weeks on the calendar, hours and less exact (RFC 5545 3.3.6). Raises Unreadable."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or text.strip().upper().endswith(("P", "T")):
        raise Unreadable(f"{text[:30]!r} is not a duration")
    sign, *numbers = match.groups()
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in numbers)
    if sign == "-":
        return Length()
    length = Length(weeks * 7 + days, hours * 3600 + minutes * 60 + seconds)
    if timedelta(days=length.days, seconds=length.seconds) > timedelta(days=366):
        raise Unreadable("an event lasts longer than a year")
    return length
