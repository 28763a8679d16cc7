"""Who is at the other end of a connection, and what a front server may say of its own clients. No I/O.

Rules of this file: an address is compared in one spelling; IPv4 inside IPv6 is IPv4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from aiosmtpd.proxy_protocol import V2_CMD, ProxyData

Networks = Sequence[IPv4Network | IPv6Network]

_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 4
_ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XCLIENT_OFFER: Final = "XCLIENT " + " ".join(_ATTRIBUTES)
_NOT_KNOWN: Final = ("[UNAVAILABLE]", "[TEMPUNAVAIL]", "")


@dataclass(frozen=True)
class Client:
    """What XCLIENT says of a client; None: nothing was said."""

    address: str | None = None
    helo: str | None = None


def address_of(peername: Any) -> str:
    """The IP address of a socket's peer name; '' for a Unix socket."""
    return normal(peername[0]) if isinstance(peername, tuple) else ""


def normal(text: str) -> str:
    """The one spelling of an IP address, '' when it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def group_of(address: str) -> str:
    """Whose connections are counted together: an IPv4 address, an IPv6 network of 64 bits (one customer's)."""
    return str(ip_network((address, 64), strict=False)) if ":" in address else address


def is_among(address: str, networks: Networks) -> bool:
    """Whether an IP address is in one of the networks."""
    return bool(address) and any(ip_address(address) in network for network in networks)


def proxied(data: ProxyData) -> str | None:
    """The client's address of a PROXY header (v1 or v2); '' when it names none, None when it cannot be believed."""
    if not data.valid:
        return None
    if data.version == 2 and data.command == V2_CMD.LOCAL:
        return ""  # the proxy's own health check
    return normal(str(data.src_addr)) if data.src_addr is not None else ""


def xclient(words: str) -> Client | None:
    """What `XCLIENT` is followed by (Postfix, XCLIENT_README), None when it is malformed."""
    found: dict[str, str] = {}
    for word in words.split():
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in _ATTRIBUTES:
            return None
        found[name.upper()] = _XTEXT.sub(lambda code: chr(int(code[1], 16)), value)
    said = {name: value for name, value in found.items() if value.upper() not in _NOT_KNOWN}
    address = said.get("ADDR", "")
    plain = normal(address[5:] if address.upper().startswith("IPV6:") else address)
    if not found or (address and not plain):
        return None
    helo = said.get("HELO")
    if helo is not None and not helo.isprintable():
        return None
    return Client(plain or None, helo)
