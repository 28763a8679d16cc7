"""API keys: who asks, from where, until when. Pure.

Rules of this file: a key is shown once and kept as its SHA-256; a leaked store gives nobody a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address, ip_network


@dataclass(frozen=True)
class Key:
    """An API key of an account. `networks` empty: from anywhere; `expires_at` None: for ever."""

    id: str
    account: str
    digest: str
    name: str = ""
    networks: tuple[str, ...] = ()
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything at this instant (UTC)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_allowed_from(self, address: str) -> bool:
        """Whether it may be used from an IP address."""
        if not self.networks:
            return True
        try:
            asking = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(asking, "ipv4_mapped", None)
        return any((mapped or asking) in ip_network(network) for network in self.networks)


def digest(key: str) -> str:
    """What is kept of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def network_fault(text: str) -> str | None:
    """Why this is no network (CIDR), None when it is one."""
    try:
        ip_network(text)
    except ValueError as error:
        return f"{text!r} is not a network: {_meant(text) or error}."
    return None


def _meant(text: str) -> str:
    """What somebody means who writes an address with a network's length."""
    try:
        return f"write {ip_network(text, strict=False)}"
    except ValueError:
        return ""
