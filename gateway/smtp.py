"""The desk for mail: what is said to each recipient and to each mail. A door.

Rules of this file:
- A mail is examined before anything of it is kept: who sent it, and whether it may come in at all (`admission`).
- A bounce address takes mail with the null sender, and to itself alone. Who sent a bounce is not asked: a null sender
  has nothing to authenticate with, and the signature in the address says that it answers a mail of ours.
- 250 only after the commit; while the store is away 451, and the sending server keeps the mail.
- A client that goes away in DATA does not undo a commit. How it is spoken is `inbound`'s affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from structlog.contextvars import bound_contextvars

from gateway.address import Role, domain_of, normal, role_of
from gateway.admission import Admission, Refusal
from gateway.authentication import Arrived
from gateway.bounces import is_bounce_address
from gateway.domains import Domains
from gateway.figures import Figures
from gateway.inbound import answers
from gateway.inbound.dialogue import origin_of
from gateway.intake import Incoming, Intake, StoreAway, fresh_id
from gateway.returns import Returns
from gateway.senders import Origin
from scheduler.clock import utc_now

NULL_SENDER: Final = "<>"  # as aiosmtpd has it (RFC 5321 4.5.5)

log = structlog.get_logger("smtp")


class Desk:
    """aiosmtpd's handler: what is said to RCPT and DATA."""

    def __init__(
        self,
        intake: Intake,
        admission: Admission,
        domains: Domains,
        returns: Returns,
        after_commit: Callable[[], None],
        max_recipients: int,
        figures: Figures | None = None,
    ) -> None:
        self._intake = intake
        self._admission = admission
        self._domains = domains
        self._returns = returns
        self._after_commit = after_commit
        self._max_recipients = max_recipients
        self._figures = figures or Figures()
        self._under_way: set[asyncio.Task[str]] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._max_recipients:
            return answers.TOO_MANY_RECIPIENTS
        comparable = normal(address) or self._role_alone(address)
        if domain_of(comparable) not in self._domains:  # whose domains are taken is nobody else's business
            return answers.FOREIGN
        try:
            refusal = await asyncio.to_thread(self._refusal, comparable)
        except StoreAway:
            return answers.AWAY
        if refusal is not None:
            return refusal
        others = [one for one in envelope.rcpt_tos if one != comparable]
        if others and any(map(is_bounce_address, (comparable, *others))):
            return answers.ALONE
        envelope.rcpt_tos.append(comparable)
        return answers.RECIPIENT

    def _refusal(self, address: str) -> str | None:
        """Why no mail is taken for a comparable address in a domain of ours, None when it is. Raises StoreAway."""
        if is_bounce_address(address):
            # Whatever the sender: Postfix asks about a recipient as double-bounce@. A mail is refused in DATA.
            return None if self._returns.takes(address) else answers.NO_LETTER
        if role_of(address) is None and self._intake.knows(address) is None:
            return answers.NO_PAL
        return None

    def _role_alone(self, address: str) -> str:
        """The address of `postmaster`, which is taken without a domain (RFC 5321 4.5.1), else ''."""
        return f"{Role.POSTMASTER}@{self._domains.default}" if address.lower() == Role.POSTMASTER else ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        recipients = tuple(dict.fromkeys(envelope.rcpt_tos))
        sender = "" if envelope.mail_from == NULL_SENDER else envelope.mail_from or ""
        taking = asyncio.create_task(self._taken(Arrived(raw, sender, Origin(*origin_of(session))), recipients))
        self._under_way.add(taking)
        taking.add_done_callback(self._under_way.discard)
        # Shielded: a client that goes away now must not cut the commit in two.
        return await asyncio.shield(taking)

    @property
    def busy(self) -> bool:
        """Whether a mail is being written down."""
        return bool(self._under_way)

    async def finish(self, seconds: float) -> None:
        """Wait for what is being written down, also for clients that have gone."""
        if self.busy:
            await asyncio.wait(set(self._under_way), timeout=seconds)

    async def _taken(self, arrived: Arrived, recipients: tuple[str, ...]) -> str:
        """The answer to a mail, which has an id from here on, in every line about it."""
        began, mail_id = monotonic(), fresh_id("m")
        with bound_contextvars(mail=mail_id):
            answer = await self._take(mail_id, arrived, recipients)
        self._figures.answered(answer, monotonic() - began)
        return answer

    async def _take(self, mail_id: str, arrived: Arrived, recipients: tuple[str, ...]) -> str:
        if is_bounce_address(recipients[0]):
            return await self._noted(mail_id, arrived, recipients)
        for_a_pal = any(role_of(one) is None for one in recipients)
        sender = await self._admission.examine(arrived, utc_now, for_a_pal=for_a_pal)
        if isinstance(sender, Refusal):
            return sender.answer
        mail = Incoming(mail_id, arrived.raw, arrived.mail_from, recipients, arrived.origin, sender)
        refusal = await self._written_down(mail, self._intake.take)
        if refusal is not None:
            return refusal
        self._after_commit()
        for address in mail.recipients:
            if (role := role_of(address)) is not None:
                log.info("mail to the operator", mail=mail.id, role=role)
        return answers.TAKEN.format(id=mail.id)

    async def _noted(self, mail_id: str, arrived: Arrived, recipients: tuple[str, ...]) -> str:
        """The answer to a mail to a bounce address."""
        if arrived.mail_from:
            log.warning(
                "mail refused", client=arrived.origin.address, mail_from=arrived.mail_from[:200], to=recipients[0]
            )
            return answers.REPORTS_ONLY
        mail = Incoming(mail_id, arrived.raw, "", recipients, arrived.origin)
        return await self._written_down(mail, self._returns.take) or answers.NOTED.format(id=mail.id)

    async def _written_down(self, mail: Incoming, take: Callable[[Incoming, datetime], object]) -> str | None:
        """The answer when a mail could not be written down."""
        try:
            await asyncio.to_thread(take, mail, utc_now())
        except StoreAway as error:
            log.warning("mail deferred", mail=mail.id, cause=str(error))
            return answers.FULL if error.disk_full else answers.AWAY
        except Exception as error:
            log.exception("smtp fault", mail=mail.id, error=type(error).__name__)
            return answers.AWAY
        return None

    async def handle_exception(self, error: Exception) -> str:
        log.error("smtp fault", error=type(error).__name__, exc_info=error)
        return answers.AWAY
