"""Google Meet: the only platform whose rooms a PAL can join today.

Pure. A room is a code of 3-4-3 letters on exactly meet.google.com; a lookup or a nickname is known but names
a room only while somebody is in it. Sources: captured Google invitations; Workspace help on nicknames.
"""

import re

from gateway.platforms.parts import Link, Parts, Platform

NAME = "google_meet"

_CODE = re.compile(r"/(?:_meet/)?([a-z]{3}-[a-z]{4}-[a-z]{3})")
_LOOKUP = re.compile(r"/lookup/[A-Za-z0-9_-]{1,100}")
_NICKNAME = re.compile(r"/[a-z0-9][a-z0-9-]{3,38}[a-z0-9]")
# From memory and confirmed by a school's guide to nicknamed meetings (ssis.edu.vn): g.co/meet/NICKNAME.
_SHORT = re.compile(r"/meet/[A-Za-z0-9][A-Za-z0-9-]{0,59}")
# Pages of the product that look like nicknames; `new` is too short to be one.
_PAGES = frozenset({"/landing", "/about", "/calling", "/whoops", "/unsupported", "/linkredirect"})


def read(parts: Parts) -> Link | None:
    """A URL of Meet's hosts -> its link. Query and fragment (authuser, pli, hs) do not touch the room."""
    path = parts.path.removesuffix("/")
    if parts.host == "g.co":
        return _known(parts.host, path) if _SHORT.fullmatch(path) else None
    lower = path.lower()
    if code := _CODE.fullmatch(lower):
        return Link(NAME, f"https://{parts.host}/{code[1]}", room=True)
    if _LOOKUP.fullmatch(path):  # the identifier is case sensitive
        return _known(parts.host, path)
    if _NICKNAME.fullmatch(lower) and lower not in _PAGES:
        return _known(parts.host, lower)
    return None


def _known(host: str, path: str) -> Link:
    return Link(NAME, f"https://{host}{path}", room=False)


PLATFORM = Platform(NAME, frozenset({"meet.google.com", "g.co"}), read)
