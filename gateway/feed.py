"""What a PAL attends, as a calendar that other programs subscribe to (RFC 5545, RFC 7986), and its token. Pure.

Rules of this file:
- The same joins are the same bytes: nothing in it depends on when it is asked for.
- Nothing that came from outside can add a content line: text is escaped, and every line folded, by icalendar.
- A token is made, never kept: it opens one PAL's feed until that PAL's number is another.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from icalendar import vText
from icalendar.parser import Contentline

from gateway.address import domain_of
from gateway.pals import Pal
from gateway.reply import PRODID, clean
from scheduler.joins import Join

BACK: Final = timedelta(days=7)  # how long what was attended stays in it
MAX_ENTRIES: Final = 1000
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


def calendar_of(pal: Pal, joins: Sequence[Join], changed: Mapping[str, datetime], made_at: datetime) -> bytes:
    """The feed of a PAL. `changed`: when each UID was last changed, as far as that is known; `made_at`: the PAL was."""
    name = _text(clean(pal.name))
    lines = ["BEGIN:VCALENDAR", f"PRODID:{PRODID}", "VERSION:2.0", "CALSCALE:GREGORIAN"]
    lines += [f"NAME:{name}", f"X-WR-CALNAME:{name}"]
    lines += [f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}", f"X-PUBLISHED-TTL:{REFRESH}"]
    for join in joins:
        lines += _entry(join, domain_of(pal.address), changed.get(join.uid), made_at)
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


def _text(value: str) -> str:
    """A TEXT value (RFC 5545 3.3.11)."""
    return vText(value).to_ical().decode()


def _instant(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y%m%dT%H%M%SZ}"
