"""Platforms that are one row each: hosts, the form of the path, what a canonical link keeps.

Pure. All of them are recognised only. To add one: a row in ROWS; a platform that needs more than a row gets
a file of its own and one line in the registry.
"""

import re
from dataclasses import dataclass

from gateway.platforms.parts import Link, Parts, Platform, kept, normal_path


@dataclass(frozen=True)
class Row:
    """Reads a URL whose whole path is of one form. `pages` are first path segments that are the vendor's own
    pages, `query` the parameters kept, `fragment` the form of a fragment kept."""

    name: str
    path: re.Pattern[str]
    pages: frozenset[str]
    query: tuple[str, ...]
    fragment: re.Pattern[str] | None

    def __call__(self, parts: Parts) -> Link | None:
        # Judged in its normal form: that is what the canonical link says, and it must be read the same again.
        normal = normal_path(parts.path.removesuffix("/")) or ""
        if not self.path.fullmatch(normal) or normal.split("/")[1].lower() in self.pages:
            return None
        tail = kept(parts.query, *self.query) + self._fragment(parts.fragment)
        return Link(self.name, f"https://{parts.host}{normal}{tail}", room=True)

    def _fragment(self, fragment: str) -> str:
        return f"#{fragment}" if self.fragment and self.fragment.fullmatch(fragment) else ""


def _row(
    name: str,
    hosts: str,
    path: str,
    *,
    below: str = "",
    not_hosts: str = "",
    pages: str = "",
    query: tuple[str, ...] = (),
    fragment: str = "",
) -> Platform:
    """A row in words: lists are separated by spaces; `below` names domains whose subdomains count."""
    read = Row(name, re.compile(path), frozenset(pages.split()), query, re.compile(fragment) if fragment else None)
    suffixes = tuple(f".{domain}" for domain in below.split())
    return Platform(name, frozenset(hosts.split()), read, suffixes, frozenset(not_hosts.split()))


# Room names of Jitsi may be anything; a tenant may stand before. Operators add their own hosts.
JITSI = _row(
    "jitsi",
    "meet.jit.si 8x8.vc",
    r"(?:/[A-Za-z0-9%._~-]{1,200}){1,2}",
    pages="static libs images sounds css lang",
)

ROWS = (
    JITSI,
    # ORG.whereby.com: from memory, confirmed by links in public code; the rest of the domain is the vendor's.
    _row(
        "whereby",
        "whereby.com",
        r"/[A-Za-z0-9][A-Za-z0-9-]{0,120}",
        below="whereby.com",
        not_hosts="www.whereby.com api.whereby.com docs.whereby.com help.whereby.com status.whereby.com",
        pages="information user login signup sign-up pricing blog org terms product embedded contact",
    ),
    _row("goto", "meet.goto.com", r"/[0-9]{9,12}"),
    _row("goto", "global.gotomeeting.com", r"/join/[0-9]{9,12}"),
    _row("chime", "chime.aws", r"/[0-9]{8,13}"),
    _row("ringcentral", "meetings.ringcentral.com", r"/j/[0-9]{9,13}", query=("pwd",)),
    _row("slack", "app.slack.com", r"/huddle/[A-Z0-9]{6,20}/[A-Z0-9]{6,20}"),
    # The fragment holds the key of the end-to-end encryption (proton's own web client).
    _row("proton", "meet.proton.me", r"/join/[A-Za-z0-9_-]{1,100}", fragment=r"pwd-[A-Za-z0-9_-]{1,128}"),
    _row("lark", "vc.feishu.cn vc.larksuite.com", r"/j/[0-9]{6,15}"),
    # From memory, confirmed by docs.daily.co: https://<your-domain>.daily.co/<room-name>/
    _row(
        "daily",
        "",
        r"/[A-Za-z0-9_-]{1,128}",
        below="daily.co",
        not_hosts="www.daily.co api.daily.co docs.daily.co dashboard.daily.co help.daily.co status.daily.co",
    ),
    _row("calcom", "app.cal.com", r"/video/[A-Za-z0-9_-]{6,64}"),
)
