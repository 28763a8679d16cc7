"""Zoom: recognised by its links and its app scheme.

Pure. Of a link only host, meeting number and pwd or tk are kept. A start link and the web client's link of a
meeting become its join link. The calendar file of a meeting (…/ics?icsToken=…) is not a meeting link.
"""

import re

from gateway.platforms.parts import Link, Parts, Platform, kept, param

NAME = "zoom"

_ID = re.compile(r"[0-9]{9,11}|[0-9]{13}")  # 9 to 11 are documented, 13 was seen
# /wc/ID/join: from memory and confirmed by public redirector scripts, which send /j/ID there.
_JOIN = re.compile(r"/(?:[js]|wc/join)/([0-9]{9,13})|/wc/([0-9]{9,13})/join")
_WEBINAR = re.compile(r"/w/([0-9]{9,13})")
_PERSONAL = re.compile(r"/my/[A-Za-z0-9._-]{2,64}")
_REGISTER = re.compile(r"/meeting/register/[A-Za-z0-9_-]{1,128}")
_EVENT = re.compile(r"/ejl/[A-Za-z0-9_~.-]{1,512}")


def read(parts: Parts) -> Link | None:
    """A URL of Zoom's hosts, or zoommtg://HOST/join?confno=ID -> its link."""
    path = parts.path.removesuffix("/")
    if parts.scheme == "zoommtg":
        number = param(parts.query, "confno") if path == "/join" else None
        return _meeting(parts, number or "")
    if found := _JOIN.fullmatch(path):
        return _meeting(parts, found[1] or found[2])
    if found := _WEBINAR.fullmatch(path):
        return _webinar(parts, found[1])
    return _page(parts, path)


def _meeting(parts: Parts, number: str) -> Link | None:
    if not _ID.fullmatch(number):
        return None
    return Link(NAME, f"https://{parts.host}/j/{number}{kept(parts.query, 'pwd')}", room=True)


def _webinar(parts: Parts, number: str) -> Link | None:
    if not _ID.fullmatch(number):
        return None
    return Link(NAME, f"https://{parts.host}/w/{number}{kept(parts.query, 'tk', 'pwd')}", room=True)


def _page(parts: Parts, path: str) -> Link | None:
    if _PERSONAL.fullmatch(path):
        return Link(NAME, f"https://{parts.host}{path}{kept(parts.query, 'pwd')}", room=True)
    if _REGISTER.fullmatch(path) or (parts.host == "events.zoom.us" and _EVENT.fullmatch(path)):
        return Link(NAME, f"https://{parts.host}{path}", room=False)  # a form or a lobby, not yet a room
    return None


_DOMAINS = ("zoom.us", "zoom.com", "zoomgov.com", "zoom-x.de", "zoom.com.cn")

PLATFORM = Platform(
    NAME,
    frozenset(_DOMAINS),
    read,
    suffixes=tuple(f".{domain}" for domain in _DOMAINS),  # us02web.zoom.us, company.zoomgov.com
    schemes=frozenset({"http", "https", "zoommtg"}),
)
