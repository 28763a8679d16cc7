"""The common words of this package: a strictly parsed URL, a link, a platform.

Pure. A URL that is not plainly what it seems is nothing: no userinfo, no other script in the host, no odd
port, no backslash, no control character, no absurd length. Nothing is repaired, nothing is fetched.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

# Four SafeLinks around a long Teams link stay below this; browsers and mail gateways give up earlier.
MAX_URL = 8192

_CLEAN = re.compile(rf"[!-;=?-\[\]-~]{{1,{MAX_URL}}}")  # printable ASCII without space, \, < and >
_URL = re.compile(
    r"(?:(https?|zoommtg|msteams)://)?([a-z0-9.-]{4,253})(?::([0-9]{1,5}))?(/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_PORTS = {"http": "80"}  # every other scheme here stands for https


@dataclass(frozen=True)
class Link:
    """One meeting link. `url` is canonical, rebuilt from parsed parts, never the text as found.
    `room` is True when it names one concrete room that a PAL could be sent to."""

    platform: str
    url: str
    room: bool


@dataclass(frozen=True)
class Parts:
    """A strictly parsed URL (RFC 3986 section 3): scheme and host in lower case, the rest as it stood."""

    scheme: str
    host: str
    path: str
    query: str
    fragment: str

    @property
    def tail(self) -> str:
        """All that follows the authority, as it stood."""
        query = f"?{self.query}" if self.query else ""
        return self.path + query + (f"#{self.fragment}" if self.fragment else "")


@dataclass(frozen=True)
class Platform:
    """One platform: which hosts are its own, and how their links are read.

    `suffixes` begin with a dot and stand for any host below; `not_hosts` are the vendor's other sites there.
    """

    name: str
    hosts: frozenset[str]
    read: Callable[[Parts], Link | None]
    suffixes: tuple[str, ...] = ()
    not_hosts: frozenset[str] = frozenset()
    schemes: frozenset[str] = frozenset({"http", "https"})

    def owns(self, parts: Parts) -> bool:
        """Exact host or explicit dot-suffix, never a substring."""
        if parts.scheme not in self.schemes or parts.host in self.not_hosts:
            return False
        return parts.host in self.hosts or parts.host.endswith(self.suffixes)


def parse(url: str) -> Parts | None:
    """One URL text, with or without a scheme -> its parts; None when it is malformed or hostile."""
    if not _CLEAN.fullmatch(url):
        return None
    if url[:9].lower() == "msteams:/" and url[9:10] != "/":
        # The app's older form has no host: msteams:/l/meetup-join/… (also in the code of teams-for-linux).
        url = "msteams://teams.microsoft.com" + url[8:]
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, host, port, path, query, fragment = (group or "" for group in found.groups())
    scheme, host = scheme.lower() or "https", host.lower()
    if port and port != _PORTS.get(scheme, "443"):
        return None
    if not _HOST.fullmatch(host) or host.startswith("xn--") or ".xn--" in host:
        return None
    return Parts(scheme, host, path, query, fragment)


def raw_param(query: str, name: str) -> str | None:
    """The first value of a query parameter as it stands, None when it is not there."""
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return None


def param(query: str, name: str) -> str | None:
    """The first value of a query parameter, percent-decoded once. A plus stays a plus (passcodes, base64)."""
    value = raw_param(query, name)
    return None if value is None else unquote(value)


def decoded(text: str) -> str:
    """Percent-decoding until nothing is left to decode, at most four times: launchers encode twice."""
    for _ in range(4):
        if "%" not in text:
            break
        text = unquote(text)
    return text


def kept(query: str, *names: str) -> str:
    """The part of a query that a canonical link keeps: `?a=…&b=…` of these names, or nothing."""
    pairs = []
    for name in names:
        value = param(query, name) or ""
        if len(value) <= 256 and value.isascii() and value.isprintable() and value.strip():
            pairs.append(f"{name}={quote(value, safe='=')}")
    return "?" + "&".join(pairs) if pairs else ""


def normal_path(path: str) -> str | None:
    """A path with one spelling of percent-encoding (RFC 3986 6.2.2); None when it hides control characters
    or steps aside with dots."""
    segments = [unquote(segment) for segment in path.split("/")]
    if not all(segment.isprintable() and segment not in (".", "..") for segment in segments):
        return None
    return "/".join(quote(segment, safe="") for segment in segments)
