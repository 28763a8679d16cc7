"""What a PAL attends and declined, as a calendar that others subscribe to (RFC 5545, RFC 7986), and its token. Pure.

Rules of this file:
- The same joins are the same bytes: nothing in it depends on when it is asked for.
- What was declined stands in it as a meeting that takes place without the PAL: `Declined: ` before its title, and free
  time (TRANSP). Nothing else is shown by all: Google leaves out what is STATUS:CANCELLED, Apple and Outlook show it as
  a meeting that was called off, and an ATTENDEE with PARTSTAT is nobody's own in a calendar that one subscribes to.
- Nothing that came from outside can add a content line: text is escaped, and every line folded, by icalendar.
- A token is made, never kept: it opens one PAL's feed until that PAL's number is another.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

from icalendar import vText
from icalendar.parser import Contentline

from gateway.address import domain_of
from gateway.pals import Pal
from gateway.reply import PRODID, clean
from gateway.verdict import TO_ORGANIZER, Reason
from gateway.wording import declined as declined_sentence
from scheduler.event import Event
from scheduler.joins import Join
from scheduler.occurrences import Occurrence, expand

BACK: Final = timedelta(days=7)  # how long what was attended stays in it
MAX_ENTRIES: Final = 1000
AHEAD: Final = timedelta(days=60)  # how far what was declined is shown; joins are written down as far (joining)
MAX_DECLINED: Final = 200  # dates, of which
MAX_OF_EVENT: Final = 50  # are of one event
MAX_EVENTS: Final = 50  # that were declined last
DECLINED: Final = "Declined"
MAX_TITLE: Final = 1000  # characters
REFRESH: Final = "PT15M"  # how often it is worth asking


@dataclass(frozen=True)
class Feeds:
    """Makes and knows the addresses of feeds. `secret` is the installation's, `public_url` where HTTP reaches us."""

    secret: bytes
    public_url: str

    def url(self, pal_id: str, number: int) -> str:
        """The address of a PAL's feed while its number is this one."""
        return f"{self.public_url.rstrip('/')}/v2/pals/{pal_id}/calendar.ics?token={self._token(pal_id, number)}"

    def is_open(self, pal_id: str, number: int, token: str) -> bool:
        """Whether a token opens it."""
        return hmac.compare_digest(self._token(pal_id, number).encode(), token.encode("utf-8", "surrogatepass"))

    def _token(self, pal_id: str, number: int) -> str:
        return hmac.new(self.secret, f"{pal_id} {number}".encode(), "sha256").hexdigest()[:40]


@dataclass(frozen=True)
class Declined:
    """A date that a PAL declined: why, in words for people ('': that is not known any more), and when it did (UTC).
    `key` is the same for the same date, however often it is declined."""

    key: str
    date: Occurrence
    why: str
    at: datetime


def why_declined(reason: str | None, platform: str | None, pal: Pal) -> str:
    """What the organizer was told, '' for what is told to nobody."""
    known = Reason(reason) if reason in list(Reason) else None
    return declined_sentence(known, pal.name, platform) if known is not None and known in TO_ORGANIZER else ""


def declined_dates(event: Event, why: str, at: datetime, now: datetime) -> list[Declined]:
    """The dates of an event that stand declined, from BACK before an instant (UTC) until AHEAD of it."""
    is_one = event.master is not None and not (event.master.rules or event.master.added)
    found = [one for one in expand(event, now - BACK, now + AHEAD) if event.answer(one.recurrence_id) == "DECLINED"]
    return [Declined(_key(event.uid, None if is_one else one), one, why, at) for one in found[:MAX_OF_EVENT]]


def _key(uid: str, one: Occurrence | None) -> str:
    named = f"{uid}\n{one.recurrence_id.isoformat() if one is not None else ''}"
    return "d" + blake2b(named.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def calendar_of(
    pal: Pal,
    joins: Sequence[Join],
    changed: Mapping[str, datetime],
    made_at: datetime,
    declined: Sequence[Declined] = (),
) -> bytes:
    """The feed of a PAL. `changed`: when each UID was last changed, as far as that is known; `made_at`: the PAL was."""
    name = _text(clean(pal.name))
    lines = ["BEGIN:VCALENDAR", f"PRODID:{PRODID}", "VERSION:2.0", "CALSCALE:GREGORIAN"]
    lines += [f"NAME:{name}", f"X-WR-CALNAME:{name}"]
    lines += [f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}", f"X-PUBLISHED-TTL:{REFRESH}"]
    for join in joins:
        lines += _entry(join, domain_of(pal.address), changed.get(join.uid), made_at)
    for one in sorted(declined, key=lambda one: (one.date.starts, one.key))[:MAX_DECLINED]:
        lines += _declined_entry(one, domain_of(pal.address))
    lines.append("END:VCALENDAR")
    return b"".join(Contentline(line).to_ical() + b"\r\n" for line in lines)


def _entry(join: Join, domain: str, changed_at: datetime | None, made_at: datetime) -> list[str]:
    # An event that ends as it starts has the time that the PAL waits in it.
    ends = join.ends if join.ends > join.starts else join.until
    url = clean(join.url)
    return [
        "BEGIN:VEVENT",
        f"UID:{join.id}@{domain}",
        # Without a METHOD it is when the entry was last revised (RFC 5545 3.8.7.2).
        f"DTSTAMP:{_instant(changed_at or made_at)}",
        *([f"LAST-MODIFIED:{_instant(changed_at)}"] if changed_at else []),
        f"DTSTART:{_instant(join.starts)}",
        f"DTEND:{_instant(ends)}",
        f"SUMMARY:{_text(clean(join.name)[:MAX_TITLE] or 'Meeting')}",
        f"LOCATION:{_text(url)}",
        f"URL:{url}",
        "STATUS:CONFIRMED",
        "END:VEVENT",
    ]


def _declined_entry(one: Declined, domain: str) -> list[str]:
    title = clean(one.date.component.summary)[:MAX_TITLE] or "Meeting"
    return [
        "BEGIN:VEVENT",
        f"UID:{one.key}@{domain}",
        f"DTSTAMP:{_instant(one.at)}",
        f"LAST-MODIFIED:{_instant(one.at)}",
        *_times(one.date),
        f"SUMMARY:{_text(f'{DECLINED}: {title}')}",
        *([f"DESCRIPTION:{_text(one.why)}"] if one.why else []),
        f"CATEGORIES:{DECLINED}",
        "STATUS:CONFIRMED",  # it takes place all the same
        "TRANSP:TRANSPARENT",
        "X-MICROSOFT-CDO-BUSYSTATUS:FREE",  # Outlook does not look at TRANSP
        "END:VEVENT",
    ]


def _times(one: Occurrence) -> list[str]:
    if one.component.all_day:
        zone = one.component.zone
        first, last = zone.wall(one.starts), max(zone.wall(one.ends), zone.wall(one.starts) + timedelta(days=1))
        return [f"DTSTART;VALUE=DATE:{first:%Y%m%d}", f"DTEND;VALUE=DATE:{last:%Y%m%d}"]
    ends = [f"DTEND:{_instant(one.ends)}"] if one.ends > one.starts else []  # RFC 5545 3.8.2.2: later than DTSTART
    return [f"DTSTART:{_instant(one.starts)}", *ends]


def _text(value: str) -> str:
    """A TEXT value (RFC 5545 3.3.11)."""
    return vText(value).to_ical().decode()


def _instant(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y%m%dT%H%M%SZ}"
