"""E-mail addresses as calendars write them. Pure.

Rules of this file: addresses are compared in lower case, ASCII only; a domain in another script is compared as its
A-label. A non-ASCII letter is never lowered: the Kelvin sign would become a plain k.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

MAX_LENGTH: Final = 320  # RFC 5321 4.5.3.1: 64 of the local part, 255 of the domain
_SPECIAL: Final = frozenset('()<>[]:;@\\,"')  # RFC 5322 3.2.3; quoted local parts are not worth their tricks
_DOMAIN: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_MAILBOX: Final = re.compile(r"(?P<name>[^<>,;:]*)<(?P<angle>[^<>\s,;:]+)>|(?P<plain>[^<>\s,;:]+)")


class Role(StrEnum):
    """The operator's own addresses, taken for every domain (RFC 2142)."""

    POSTMASTER = "postmaster"
    ABUSE = "abuse"


def from_uri(value: str) -> str:
    """The comparable address of a CAL-ADDRESS (RFC 5545 3.3.3), '' when it is no mailto.

    Liberal in scheme case, percent-encoding, angle brackets and white space.
    """
    text = value.strip().strip('"')
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "mailto":
        text = unquote(rest.partition("?")[0])
    elif colon:
        return ""
    return normal(text)


def as_written(value: str) -> str:
    """The address of a CAL-ADDRESS in its own spelling: a local part may mean its case (iCloud's tokens do)."""
    comparable = from_uri(value)
    plain = unquote(value.strip().strip('"').partition(":")[2].partition("?")[0]).strip().strip("<>").strip()
    return plain if comparable and normal(plain) == comparable and plain.isascii() else comparable


def normal(address: str) -> str:
    """The comparable form of a plain address, '' when it is none."""
    text = address.strip().strip("<>").strip()
    return _normal(text) if len(text) <= MAX_LENGTH else ""


@lru_cache(maxsize=2048)  # one mail names the same few again and again
def _normal(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at or not local or any(char.isspace() or ord(char) < 33 or char in _SPECIAL for char in local):
        return ""
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    if not _DOMAIN.fullmatch(domain):
        return ""
    if local.isascii():
        local = local.lower()
    return f"{local}@{domain.lower()}"


def domain_of(address: str) -> str:
    """The domain of a comparable address."""
    return address.rpartition("@")[2]


def without_tag(address: str) -> str:
    """The address that anna+tag@example.com is delivered to: anna@example.com."""
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def role_of(address: str) -> Role | None:
    """The role that a comparable address names, +tag or not; None when it is somebody's."""
    local = without_tag(address).partition("@")[0]
    return Role(local) if local in list(Role) else None


def mailbox(value: str) -> str:
    """The comparable address of a From or Sender (unfolded) that is exactly one mailbox (RFC 5322 3.4), else ''.

    A display name that is itself another address in plain sight is not taken: parsers differ on which of both it is.
    """
    found = _MAILBOX.fullmatch((without_comments(value) or "").strip())
    if found is None:
        return ""
    address, name = normal(found["angle"] or found["plain"]), (found["name"] or "").strip()
    return address if "@" not in name or normal(name) == address else ""


def without_comments(value: str) -> str | None:
    """A structured header value without its comments, each quoted string as one `"` (RFC 5322 3.2).

    None: one of them is not closed.
    """
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\" and (depth or quoted):
            escaped = True
        elif quoted:
            quoted = char != '"'
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                return None
        elif not depth:
            quoted = char == '"'
            kept.append(char)
    return None if quoted or depth or escaped else "".join(kept)
