"""Calendar text to an `Event`, the way a mail goes, and its dates in short form."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings

from gateway.binding import Bound, Links, Unbound, bind
from gateway.ics import Message, read
from gateway.itip import apply
from gateway.pals import Pal
from scheduler.event import Component, Event
from scheduler.occurrences import expand
from scheduler.zones import Zone

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAL = Pal("1", "Ada", "ada@pals.example", "face", zone="Europe/Berlin")
BERLIN = Zone("Europe/Berlin")

# The same series on every run.
FIXED = settings(derandomize=True, database=None, deadline=None)

BERLIN_START = "DTSTART;TZID=Europe/Berlin:20260302T090000"
HOUR = "DURATION:PT1H"


def vevent(*lines: str, stamp: str = "20260101T000000Z") -> str:
    return "\r\n".join(("BEGIN:VEVENT", "UID:u1", f"DTSTAMP:{stamp}", *lines, "END:VEVENT", ""))


def vcalendar(*blocks: str, method: str = "REQUEST") -> str:
    return "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", f"METHOD:{method}", "")) + "".join(
        (*blocks, "END:VCALENDAR\r\n")
    )


def vtimezone(name: str, *parts: str) -> str:
    return f"BEGIN:VTIMEZONE\r\nTZID:{name}\r\n" + "".join(parts) + "END:VTIMEZONE\r\n"


def part(kind: str, start: str, offset_from: str, offset_to: str, *lines: str) -> str:
    own = (f"BEGIN:{kind}", f"DTSTART:{start}", f"TZOFFSETFROM:{offset_from}", f"TZOFFSETTO:{offset_to}")
    return "\r\n".join((*own, *lines, f"END:{kind}", ""))


def message(text: str) -> Message:
    (only,) = read(text.encode())
    return only


def bound(text: str, pal: Pal = PAL, now: datetime = NOW) -> tuple[Component | Unbound, ...]:
    one = message(text)
    found = (bind(block, one, pal, Links(), now) for block in one.events)
    return tuple(one.component if isinstance(one, Bound) else one for one in found)


def event(*texts: str, pal: Pal = PAL) -> Event:
    """What the messages, in this order, make of an event never heard of."""
    known = Event("u1", "org@example.com")
    for text in texts:
        components = bound(text, pal)
        good = tuple(one for one in components if isinstance(one, Component))
        assert good == components, components
        known = apply(known, good).event
    return known


def series(*lines: str, tz: str = "") -> Event:
    """An event of one VEVENT."""
    return event(vcalendar(tz, vevent(*lines)))


def at(text: str) -> datetime:
    """'2026-03-02 09:00' as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts(known: Event, after: str = "2026-03-01", days: int = 31) -> list[str]:
    """The starts (UTC) in a window, as '03-02 09:00'."""
    low = at(after)
    return [f"{one.starts:%m-%d %H:%M}" for one in expand(known, low, low + timedelta(days=days))]


def spans(known: Event, after: str = "2026-03-01", days: int = 31) -> list[str]:
    """Starts and ends (UTC) in a window, as '03-02 09:00-10:00'."""
    low = at(after)
    return [f"{one.starts:%m-%d %H:%M}-{one.ends:%H:%M}" for one in expand(known, low, low + timedelta(days=days))]
