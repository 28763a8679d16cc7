"""Webex: recognised by a site's personal rooms, its scheduled meetings and the free plan's join page.

Pure. SITE.webex.com is the customer's own; of a query only the number of the meeting is kept.
"""

import re

from gateway.platforms.parts import Link, Parts, Platform, kept, normal_path

NAME = "webex"

_PERSONAL = re.compile(r"/(?:meet|join)/[A-Za-z0-9._~%-]{1,100}")
_SCHEDULED = re.compile(r"/[A-Za-z0-9._-]{1,100}/j\.php")
_COLLAB = "/collabs/meetings/join"


def read(parts: Parts) -> Link | None:
    """A URL below webex.com -> its link."""
    path = normal_path(parts.path.removesuffix("/")) or ""
    if _PERSONAL.fullmatch(path):
        return _link(parts.host, path, "")
    if _SCHEDULED.fullmatch(path) and (number := kept(parts.query, "MTID")):
        return _link(parts.host, path, number)
    if parts.host == "meetings.webex.com" and path == _COLLAB and (number := kept(parts.query, "uuid")):
        return _link(parts.host, path, number)
    return None


def _link(host: str, path: str, query: str) -> Link:
    return Link(NAME, f"https://{host}{path}{query}", room=True)


PLATFORM = Platform(NAME, frozenset(), read, suffixes=(".webex.com",))
