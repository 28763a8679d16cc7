"""A mail at the door: the precheck, what DNS says, who sent it; taken, refused, or to come again. A door.

Rules of this file:
- Bytes are checked before any parser sees them. What is refused leaves one log line and nothing else.
- The names are collected first and asked at once; then the pure part runs, in a thread, with all answers there.
- DNS trouble is never a decision: 451, and the sending server keeps the mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from gateway.authentication import Arrived, Require, Trust, Undecided, judge, wanted
from gateway.lookups import Question, Records
from gateway.precheck import fault_of
from gateway.resolver import Resolver
from gateway.senders import Sender

MAX_ROUNDS: Final = 15  # of questions: SPF may include ten records, one after the other (RFC 7208 4.6.4)

NOT_AUTHENTICATED: Final = "550 5.7.26 This mail is not authenticated: it needs an aligned DKIM signature or SPF"
NO_DNS: Final = "451 4.4.3 The sender cannot be verified now, DNS does not answer; please send it again later"

log = structlog.get_logger("mails")


@dataclass(frozen=True)
class Refusal:
    """A mail that is not taken: the SMTP answer."""

    answer: str


@dataclass(frozen=True)
class Admission:
    """Who is let in. `seconds`: how long DNS may take for one mail, all rounds together."""

    resolver: Resolver
    require: Require = Require.ALLOWLIST
    trust: Trust = field(default_factory=Trust)
    seconds: float = 5.0

    async def examine(self, mail: Arrived, now: Callable[[], datetime], *, for_a_pal: bool) -> Sender | Refusal | None:
        """Who sent a mail, None when senders are not checked; a refusal. Mail to postmaster needs no signature."""
        fault = fault_of(mail.raw)
        if fault is not None:
            return self._refused(mail, f"550 5.6.0 {fault}")
        if self.require is Require.OFF:
            return None
        sender = await self._sender(mail, now)
        if isinstance(sender, Undecided):
            return self._refused(mail, NO_DNS, sender.why)
        if not sender.verified and self.require is Require.REQUIRE and for_a_pal:
            return self._refused(
                mail, NOT_AUTHENTICATED, "; ".join(f"{one.check} {one.verdict}" for one in sender.chain)
            )
        return sender

    async def _sender(self, mail: Arrived, now: Callable[[], datetime]) -> Sender | Undecided:
        answers: dict[Question, Records | None] = {}
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.seconds
        for _ in range(MAX_ROUNDS):
            # In a thread: it parses what a stranger wrote, and hashes the whole of it.
            missing = await asyncio.to_thread(wanted, mail, self.trust, answers)
            if not missing:
                return await asyncio.to_thread(judge, mail, self.trust, answers, now())
            left = max(ends - loop.time(), 0.001)
            found = await asyncio.gather(*(self.resolver.answer(one, left) for one in missing))
            answers |= dict(zip(missing, found, strict=True))
        return Undecided(f"more than {MAX_ROUNDS} rounds of questions")

    def _refused(self, mail: Arrived, answer: str, why: str = "") -> Refusal:
        log.warning(
            "mail refused", client=mail.origin.address, mail_from=mail.mail_from[:200], answer=answer, cause=why[:300]
        )
        return Refusal(answer)
