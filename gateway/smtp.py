"""SMTP in: the envelope to the intake, its outcome to an SMTP answer. A door.

Rules of this file:
- 250 only after the commit; while the store is away 451, and the sending server keeps the mail.
- An answer never carries an exception's text. A client that goes away in DATA does not undo a commit.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from gateway.address import domain_of, normal
from gateway.domains import Domains
from gateway.intake import Incoming, Intake, StoreAway, fresh_id
from scheduler.clock import utc_now

MAX_RECIPIENTS: Final = 100
COMMAND_TIMEOUT: Final = 300  # seconds; RFC 5321 4.5.3.2
ROLES: Final = ("postmaster", "abuse")  # RFC 2142: taken for every domain

AWAY: Final = "451 4.3.0 The gateway cannot write this down now; please send it again later"
FULL: Final = "452 4.3.1 The gateway has no room now; please send it again later"

log = structlog.get_logger("smtp")


class Desk:
    """aiosmtpd's handler: what is said to RCPT and DATA."""

    def __init__(self, intake: Intake, domains: Domains, after_commit: Callable[[], None]) -> None:
        self._intake = intake
        self._domains = domains
        self._after_commit = after_commit

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        comparable = normal(address)
        if domain_of(comparable) not in self._domains:  # whose domains are taken is nobody else's business
            return "550 5.7.1 This gateway takes no mail for that domain"
        if comparable.partition("@")[0] not in ROLES:
            try:
                pal = await asyncio.to_thread(self._intake.knows, comparable)
            except StoreAway:
                return AWAY
            if pal is None:
                return "550 5.1.1 No PAL has this address"
        envelope.rcpt_tos.append(comparable)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        recipients = tuple(dict.fromkeys(envelope.rcpt_tos))
        mail = Incoming(fresh_id("m"), raw, envelope.mail_from or "", recipients)
        # Shielded: a client that goes away now must not cut the commit in two.
        return await asyncio.shield(self._take(mail))

    async def _take(self, mail: Incoming) -> str:
        try:
            await asyncio.to_thread(self._intake.take, mail, utc_now())
        except StoreAway as error:
            log.warning("mail deferred", mail=mail.id, cause=str(error))
            return FULL if error.disk_full else AWAY
        self._after_commit()
        return f"250 2.0.0 Decided and written down as {mail.id}"

    async def handle_exception(self, error: Exception) -> str:
        log.error("smtp fault", error=repr(error))
        return AWAY


def factory(desk: Desk, domain: str, max_bytes: int) -> Any:
    """A protocol factory for `loop.create_server`."""

    def make() -> SMTP:
        return SMTP(
            desk,
            data_size_limit=max_bytes,
            hostname=domain,
            ident="PAL gateway",
            timeout=COMMAND_TIMEOUT,
            enable_SMTPUTF8=True,
        )

    return make


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0: any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Its protocol is named: asyncio sends without delay (TCP_NODELAY) only where it is, and each answer waited 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(128)
    except OSError:
        found.close()
        raise
    found.setblocking(False)
    return found
