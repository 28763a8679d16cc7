"""HTTP to addresses that strangers name: callbacks. A door.

Rules of this file:
- The address that is connected to is the one that was checked: the name is looked up once, here.
- Private, loopback and other special networks are refused, unless the operator names them. No redirect is followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx

from gateway import __version__

Network = IPv4Network | IPv6Network
TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
RESOLVE_WITHIN: Final = 5.0  # seconds
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291 2.5.5.1
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215


@dataclass(frozen=True)
class Posted:
    """What came of a POST: the HTTP status (None: no answer), and why not, for people. `is_final`: never again."""

    status: int | None
    error: str = ""
    is_final: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether the other side took it."""
        return self.status is not None and 200 <= self.status < 300


def is_reachable(address: IPv4Address | IPv6Address, private: Sequence[Network]) -> bool:
    """Whether an address may be connected to: one of the Internet, or of the operator's own networks."""
    address = _embedded(address) or address
    if any(address in network for network in private if network.version == address.version):
        return True
    return address.is_global and not address.is_multicast and address not in _NAT64_LOCAL


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):  # :: and ::1 are none of them
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def address_fault(url: str, private: Sequence[Network]) -> str | None:
    """Why nothing is ever sent to a URL, whose host is written as an address (also as `0` or `127.1`): it may not be
    connected to. None: it may, or the host is a name, which is looked up each time."""
    host = urlsplit(url).hostname or ""
    address = _written(host)
    if address is None or is_reachable(address, private):
        return None
    return f"{host} is no address on the Internet, nor in callbacks.private_networks."


def _written(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, as getaddrinfo would read it."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


async def post(url: str, body: bytes, headers: dict[str, str], private: Sequence[Network]) -> Posted:
    """POST a body to somebody's address."""
    target = httpx.URL(url)
    try:
        async with asyncio.timeout(RESOLVE_WITHIN):
            found = await _addresses(target)
    except (OSError, UnicodeError, TimeoutError) as error:
        return Posted(None, f"{target.host} cannot be looked up ({type(error).__name__})")
    good = [one for one in found if is_reachable(one, private)]
    if not good:
        return Posted(
            None, f"{target.host} is at no address on the Internet (callbacks.private_networks)", is_final=True
        )
    try:
        return await _send(target, good[0], body, headers)
    except httpx.HTTPError as error:
        return Posted(None, type(error).__name__)


async def _addresses(target: httpx.URL) -> list[IPv4Address | IPv6Address]:
    port = target.port or (443 if target.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(one[4][0]).partition("%")[0]) for one in found]


async def _send(target: httpx.URL, address: IPv4Address | IPv6Address, body: bytes, headers: dict[str, str]) -> Posted:
    """Connect to the address, and speak to the name: its certificate is the name's."""
    host = target.netloc.decode("ascii")
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, follow_redirects=False) as client:
        request = client.build_request(
            "POST",
            target.copy_with(host=str(address)),
            content=body,
            headers={"User-Agent": f"pal-gateway/{__version__}", **headers, "Host": host},
            extensions={"sni_hostname": target.host},
        )
        # The answer's body is nobody's business, and may be endless.
        response = await client.send(request, stream=True)
        await response.aclose()
    error = "" if response.is_success else f"answered {response.status_code}"
    return Posted(response.status_code, error, is_final=response.status_code == httpx.codes.GONE)
