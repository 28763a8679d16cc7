"""DNS, asked and remembered. Shell.

Rules of this file:
- An answer lives as long as its TTL says, and the number of answers is bounded; trouble is not remembered.
- "There is no such name" is an answer. A time-out, a SERVFAIL, no resolver at all: trouble, which decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver
import structlog

from gateway.lookups import Question, Records

CACHED: Final = 2000  # answers
MAX_UNDER_WAY: Final = 100  # questions at once

log = structlog.get_logger("dns")


class Resolver(Protocol):
    """Who answers questions: records, () when there are none, None when that cannot be said in time."""

    async def answer(self, question: Question, seconds: float) -> Records | None: ...


class DnsResolver:
    """The resolver of the system's configuration, or of the name servers given."""

    def __init__(self, servers: Iterable[str] = (), port: int = 53) -> None:
        self._servers = list(servers)
        self._port = port
        self._cache = dns.resolver.LRUCache(CACHED)
        self._free = asyncio.Semaphore(MAX_UNDER_WAY)
        self._found: dns.asyncresolver.Resolver | None = None

    async def answer(self, question: Question, seconds: float) -> Records | None:
        try:
            async with asyncio.timeout(seconds), self._free:
                found = await self._resolver().resolve(question.name, question.kind, lifetime=seconds, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError, TimeoutError) as error:
            log.warning("dns trouble", name=question.name, kind=question.kind, cause=type(error).__name__)
            return None
        return tuple(_value(one, question.kind) for one in found)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made when it is first needed: a machine without a configured resolver can still take mail of its own."""
        if self._found is None:
            made = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                made.nameservers, made.port = list(self._servers), self._port
            made.cache = self._cache
            self._found = made
        return self._found


def _value(record: Any, kind: str) -> Any:
    """A record as `Records` has it."""
    if kind == "TXT":
        return b"".join(record.strings)
    if kind == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True)
    return record.target.to_text(omit_final_dot=True) if kind == "PTR" else record.address
