"""Replies out: what waits in the outbox, through the relay, with retries. A door.

Rules of this file:
- What a join broke is told first: it is made into a mail here, because here somebody looks every few seconds.
- Claimed and committed before it is sent, written down after; the Message-ID of an answer never changes.
- A relay that is down keeps nothing back for good: we try for a day. A relay that refuses a mail for good is final.
- A mail leaves with a bounce address of its own (`bounces`), so that it is known when it does not arrive, or with the
  null sender. Either way nothing that comes back can start a loop (RFC 3834 3.3): what comes to it causes no mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import aiosmtplib
import structlog
from sqlalchemy import Connection, Engine

from gateway import store
from gateway.address import domain_of
from gateway.bounces import Bounces
from gateway.decide import Desk
from gateway.figures import Figures
from gateway.regrets import tell_of_broken
from gateway.store import Letter
from scheduler.worker import Worker

MAX_UNDER_WAY: Final = 20  # connections to the relay at once
LEASE: Final = timedelta(seconds=120)
TIMEOUT: Final = 30.0  # seconds for one step until the relay is ready for a mail
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=15)
KEEP_TRYING: Final = timedelta(hours=24)

log = structlog.get_logger("replies")


@dataclass(frozen=True)
class Via:
    """The relay."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    start_tls: bool = False


class Unsayable(ValueError):
    """An address that the relay cannot be told; its text is for the operator."""


class Outbox(Worker[Letter]):
    """Sends what waits. `bounces` makes the envelope senders; None: it is the null sender."""

    def __init__(
        self,
        engine: Engine,
        via: Via,
        now: Callable[[], datetime],
        owner: str,
        bounces: Bounces | None = None,
        hourly_per_organizer: int = Desk.hourly_per_organizer,
        figures: Figures | None = None,
    ) -> None:
        super().__init__(MAX_UNDER_WAY, engine)
        self._bounces = bounces
        self._via = via
        self._now = now
        self._owner = owner
        self._hourly = hourly_per_organizer
        self._figures = figures or Figures()

    def claim(self, limit: int) -> list[Letter]:
        tell_of_broken(self._engine, self._now(), self._hourly)
        with self._engine.begin() as connection:
            return store.claim_letters(connection, self._now(), self._owner, LEASE, limit)

    def give_back(self, items: Sequence[Letter]) -> None:
        # Also one that may have left: nobody can look, and who gets it twice sees one Message-ID.
        with self._engine.begin() as connection:
            store.give_back_letters(connection, items, self._now())

    def next_due(self) -> datetime | None:
        with self._engine.connect() as connection:
            return store.next_letter(connection)

    async def carry_out(self, letter: Letter) -> None:
        relay = aiosmtplib.SMTP(
            hostname=self._via.host,
            port=self._via.port,
            # Not the machine's, for which a name server would be asked, and which may be slow to answer. SPF looks at
            # this one where the sender is null (RFC 7208 2.4).
            local_hostname=domain_of(letter.sender),
            username=self._via.username or None,
            password=self._via.password or None,
            start_tls=self._via.start_tls,
            timeout=TIMEOUT,
        )
        try:
            async with relay:
                left = letter.wake_at - self._now()
                if left < LEASE / 4:  # we were halted, and another process may have it
                    raise TimeoutError("the lease is over")
                await self._hand_over(relay, letter, (left - LEASE / 8).total_seconds())
        except Exception as error:  # noqa: BLE001  whatever it is, the mail is not lost and the next one goes out
            await self._failed(letter, error)
        else:
            await self._settle(letter, "sent")

    async def _hand_over(self, relay: aiosmtplib.SMTP, letter: Letter, seconds: float) -> None:
        """A relay may look into a mail for long, and is waited for as long as nobody else may send it, too."""
        sender = self._envelope_sender(letter)
        try:
            async with asyncio.timeout(seconds):
                options = await _options(relay, letter.recipient)
                await relay.sendmail(sender, [letter.recipient], letter.raw, mail_options=options, timeout=None)
        except TimeoutError as error:
            raise TimeoutError(f"the relay did not take it within {seconds:.0f} s") from error

    def _envelope_sender(self, letter: Letter) -> str:
        return self._bounces.address(letter.id, domain_of(letter.sender)) if self._bounces is not None else ""

    async def _failed(self, letter: Letter, error: Exception) -> None:
        text = (str(error) if isinstance(error, Unsayable) else f"{type(error).__name__}: {error}")[:300]
        again = self._now() + min(FIRST_WAIT * 2 ** min(letter.attempt - 1, 10), LONGEST_WAIT)
        if _is_final(error) or again > letter.waits_since + KEEP_TRYING:
            await self._settle(letter, "failed", error=text)
        else:
            await self._settle(letter, "queued", wake_at=again, error=text)

    async def _settle(
        self, letter: Letter, state: str, *, wake_at: datetime | None = None, error: str | None = None
    ) -> None:
        at = self._now() if state != "queued" else None

        def write(connection: Connection, attempt: int) -> bool:
            held = replace(letter, attempt=attempt)
            return store.settle_letter(connection, held, state=state, wake_at=wake_at, error=error, at=at)

        ours = await self.written(letter, write)
        self._figures.replied({"queued": "retried"}.get(state, state) if ours else "lost")
        fate = {"queued": "not taken"}.get(state, state) if ours else "lost to another"
        again = wake_at.strftime("%H:%M:%SZ") if wake_at else ""
        more = {"mail": letter.mail_id, "again": again, "error": error}
        say = log.info if state == "sent" else log.warning
        facts = {key: value for key, value in more.items() if value}
        say(f"reply {fate}", reply=letter.id, partstat=letter.partstat, to=letter.recipient, **facts)


async def _options(relay: aiosmtplib.SMTP, recipient: str) -> list[str]:
    """What a mail to an address asks of a relay beyond RFC 5321. Raises Unsayable."""
    if recipient.isascii():
        return []
    await relay.ehlo()
    if not relay.supports_extension("smtputf8"):
        raise Unsayable(f"the relay does not offer SMTPUTF8 (RFC 6531), without which {recipient} cannot be written to")
    return ["SMTPUTF8", "BODY=8BITMIME"]


def _is_final(error: Exception) -> bool:
    """Whether the relay said no for good (5yz), or the mail cannot be sent by anybody."""
    if isinstance(error, ValueError):
        return True  # an address that SMTP cannot say
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500
