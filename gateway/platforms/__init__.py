"""From the fields of an invitation to its meeting link.

Pure. A link is rebuilt from its parts, never passed on as found; nothing is ever fetched to find out.
To add a platform: a row in others.py, or a file of its own and one line in PLATFORMS.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.platforms import google_meet, others, teams, webex, zoom
from gateway.platforms.parts import Link, Parts, Platform, parse
from gateway.platforms.text import Cut, cut
from gateway.platforms.wrappers import unwrap

__all__ = ["BODY", "FIELDS", "PLATFORMS", "Candidate", "Cut", "Link", "candidates", "choose", "classify", "cut"]

PLATFORMS: tuple[Platform, ...] = (
    google_meet.PLATFORM,
    zoom.PLATFORM,
    teams.PLATFORM,
    webex.PLATFORM,
    *others.ROWS,
)

BODY = "BODY"  # the mail's own text
# Best first. X-GOOGLE-CONFERENCE may hold another platform's link (add-on events), so it is read like the
# rest; CONFERENCE is RFC 7986 section 5.11; X-ALT-DESC is Outlook's HTML.
FIELDS = (
    "X-GOOGLE-CONFERENCE",
    "CONFERENCE",
    "X-MICROSOFT-SKYPETEAMSMEETINGURL",
    "X-MICROSOFT-ONLINEMEETINGEXTERNALLINK",
    "X-MICROSOFT-ONLINEMEETINGCONFLINK",
    "X-MICROSOFT-SKYPETEAMSPROPERTIES",
    "LOCATION",
    "URL",
    "DESCRIPTION",
    "X-ALT-DESC",
    BODY,
)
MAX_DEPTH = 4  # wrappers around wrappers: more is no mail gateway's doing

_NO_HOSTS: frozenset[str] = frozenset()
_TEAMS_FIELDS = frozenset({"X-MICROSOFT-ONLINEMEETINGCONFLINK", "X-MICROSOFT-SKYPETEAMSPROPERTIES"})
_TEXT_FIELDS = frozenset({"DESCRIPTION", "X-ALT-DESC", BODY})


@dataclass(frozen=True)
class Candidate:
    """A link together with the field that held it, kept for `explain`."""

    field: str
    link: Link


def classify(url: str, *, jitsi_hosts: frozenset[str] = _NO_HOSTS) -> Link | None:
    """One URL text, already cut out, with or without a scheme -> its link; None when it is not a meeting
    link or is hostile. At most MAX_DEPTH wrappers are undone. `jitsi_hosts`: the operator's, lower case."""
    for _ in range(MAX_DEPTH + 1):
        parts = parse(url)
        if parts is None:
            return None
        inside = unwrap(parts)
        if inside is None:
            return _recognise(parts, jitsi_hosts)
        url = inside
    return None


def candidates(
    fields: Iterable[tuple[str, str]], body: tuple[Cut, ...] = (), *, jitsi_hosts: frozenset[str] = _NO_HOSTS
) -> tuple[Candidate, ...]:
    """(name, text) pairs in any order, unfolded and unescaped, and what was cut out of the mail's own text -> every
    link with its field: best field first, then order of appearance, the same link of the same field once. Fields not
    in FIELDS are ignored."""
    texts: dict[str, list[str]] = {name: [] for name in FIELDS}
    for name, value in fields:
        texts.get(name.upper(), []).append(value)
    joined = {name: "\n".join(values) for name, values in texts.items()}
    return tuple(
        Candidate(name, link)
        for name, value in joined.items()
        for link in _links(name, value, (*cut(value), *body) if name == BODY else cut(value), jitsi_hosts)
    )


def choose(found: tuple[Candidate, ...], joinable: frozenset[str]) -> Candidate | None:
    """The candidate to act on: a joinable one (its platform in `joinable`, a concrete room) beats a
    recognised one wherever it stands; among equals the first."""
    rooms = (one for one in found if one.link.room and one.link.platform in joinable)
    return next(rooms, found[0] if found else None)


def _recognise(parts: Parts, jitsi_hosts: frozenset[str]) -> Link | None:
    for platform in PLATFORMS:
        if platform.owns(parts):
            return platform.read(parts)
    if parts.host in jitsi_hosts and parts.scheme in others.JITSI.schemes:
        return others.JITSI.read(parts)
    return None


def _links(name: str, value: str, pieces: tuple[Cut, ...], jitsi_hosts: frozenset[str]) -> Iterable[Link]:
    found: dict[Link, bool] = {}  # link -> whether Google's block holds it
    for piece in pieces:
        link = classify(piece.url, jitsi_hosts=jitsi_hosts)
        if link is not None:
            found[link] = found.get(link, False) or piece.in_block
    if name in _TEAMS_FIELDS and (link := teams.property_link(value)):
        found.setdefault(link, False)
    return _ranked(found) if name in _TEXT_FIELDS else found


def _ranked(found: dict[Link, bool]) -> list[Link]:
    """Among the links of one platform in one text: Google's own block before a pasted Meet link, the
    canonical Teams link (it stands last) before the short one (it stands first). Others stay in place."""
    order = list(found)
    for platform in (google_meet.NAME, teams.NAME):
        slots = [n for n, link in enumerate(order) if link.platform == platform]
        best = sorted((order[n] for n in slots), key=lambda link: not _is_vendors_own(link, found[link]))
        for slot, link in zip(slots, best, strict=True):
            order[slot] = link
    return order


def _is_vendors_own(link: Link, in_block: bool) -> bool:
    return in_block or (link.platform == teams.NAME and "/l/meetup-join/" in link.url)
