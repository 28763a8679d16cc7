"""E-mail addresses as calendars write them. Pure.

Rules of this file: addresses are compared in lower case, ASCII only; a domain in another script is compared as its
A-label. A non-ASCII letter is never lowered: the Kelvin sign would become a plain k.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

_SPECIAL: Final = frozenset('()<>[]:;@\\,"')  # RFC 5322 3.2.3; quoted local parts are not worth their tricks
_DOMAIN: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


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
