"""Webhooks out: what the journal says, to the endpoints of the account, with retries over days. A door.

Rules of this file:
- First the journal: its rows that wait become deliveries, in one transaction for many, and wait no more.
- Claimed and committed before it is sent, written down after; the webhook-id is the same however often it is sent.
- An endpoint that hangs takes its share of the room, one that failed last a single place, so nobody waits for another.
- 410 says that the endpoint is gone: it is disabled, and what waits for it is given up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import random
from typing import Final

import httpx
import structlog
from sqlalchemy import Connection, Engine

from gateway import store_webhooks
from gateway.outward import Network, Posted, post
from gateway.store_webhooks import Delivery, Webhook
from gateway.webhooks import again_after, headers_of, valid
from scheduler.worker import Worker

MAX_UNDER_WAY: Final = 100
SHARE: Final = 5  # of one endpoint
LONGEST: Final = 30.0  # seconds of one POST, whatever is said meanwhile
LEASE: Final = timedelta(seconds=60)
ROWS: Final = 200  # of the journal in one transaction
ROUNDS: Final = 10  # of them before what is due is sent
REMEMBERED: Final = 10_000  # endpoints that failed last
GONE: Final = "it answered 410 Gone"

log = structlog.get_logger("webhooks")


@dataclass(frozen=True)
class Message:
    """A delivery with its endpoint as it was when it was claimed (None: it was removed)."""

    delivery: Delivery
    webhook: Webhook | None

    @property
    def id(self) -> str:
        return self.delivery.id

    @property
    def attempt(self) -> int:
        return self.delivery.attempt

    @property
    def owner(self) -> str | None:
        return self.delivery.owner


class Telling(Worker[Message]):
    """Tells endpoints what happened. `private`: the operator's own networks that may be reached."""

    def __init__(
        self,
        engine: Engine,
        private: Sequence[Network],
        now: Callable[[], datetime],
        owner: str,
        jitter: Callable[[], float] = random,
    ) -> None:
        super().__init__(MAX_UNDER_WAY, engine)
        self._private = private
        self._now = now
        self._owner = owner
        self._jitter = jitter
        self._failing: set[str] = set()  # endpoints whose last message was not taken
        self._busy: frozenset[str] = frozenset()  # endpoints that have their share under way

    def room(self) -> int:
        under_way = Counter(one.delivery.webhook_id for one in self.under_way())
        self._busy = frozenset(one for one, number in under_way.items() if number >= self._share(one))
        return min(super().room(), SHARE)

    def _share(self, webhook_id: str) -> int:
        return 1 if webhook_id in self._failing else SHARE

    def holds_back(self) -> bool:
        return super().holds_back() or bool(self._busy)

    def claim(self, limit: int) -> list[Message]:
        self._tell()
        with self._engine.begin() as connection:
            found = store_webhooks.claim(connection, self._now(), self._owner, LEASE, limit, self._busy)
        return [Message(delivery, webhook) for delivery, webhook in found]

    def _tell(self) -> None:
        """Let what happened wait for its endpoints."""
        for _ in range(ROUNDS):
            with self._engine.begin() as connection:
                if store_webhooks.tell(connection, self._now(), ROWS) < ROWS:
                    return

    def give_back(self, items: Sequence[Message]) -> None:
        # Also one that may have left: who gets it twice sees one webhook-id.
        with self._engine.begin() as connection:
            store_webhooks.give_back_deliveries(connection, [one.delivery for one in items], self._now())

    def next_due(self) -> datetime | None:
        with self._engine.connect() as connection:
            return store_webhooks.next_delivery(connection, self._busy)

    async def carry_out(self, message: Message) -> None:
        delivery, webhook = message.delivery, message.webhook
        if webhook is None or webhook.disabled_at is not None:
            await self._settle(message, "failed", Posted(None, "the endpoint is disabled"))
            return
        now = self._now()
        headers = headers_of(delivery.id, now, delivery.body, valid(webhook.secrets, now))
        posted = await self._post(webhook.url, delivery.body, headers)
        self._remember(webhook.id, posted)
        wait = again_after(delivery.attempt, self._jitter())
        if posted.is_taken:
            await self._settle(message, "sent", posted)
        elif posted.is_final or wait is None:
            await self._settle(message, "failed", posted)
        else:
            await self._settle(message, "queued", posted, self._now() + wait)

    async def _post(self, url: str, body: str, headers: dict[str, str]) -> Posted:
        """As `outward.post`; who answers byte by byte is not waited for to the end."""
        try:
            async with asyncio.timeout(LONGEST):
                return await post(url, body.encode(), headers, self._private)
        except TimeoutError:
            return Posted(None, "no answer in time")

    def _remember(self, webhook_id: str, posted: Posted) -> None:
        if posted.is_taken:
            self._failing.discard(webhook_id)
        elif len(self._failing) < REMEMBERED:
            self._failing.add(webhook_id)

    async def _settle(self, message: Message, state: str, posted: Posted, wake_at: datetime | None = None) -> None:
        now, delivery = self._now(), message.delivery
        is_gone = posted.status == httpx.codes.GONE

        def write(connection: Connection, attempt: int) -> bool:
            if is_gone:  # the endpoint before its messages, as everywhere
                store_webhooks.find(connection, delivery.webhook_id)
            held, error = replace(delivery, attempt=attempt), posted.error or None
            ours = store_webhooks.settle(
                connection, held, now, state=state, status=posted.status, error=error, wake_at=wake_at
            )
            if ours and is_gone:
                store_webhooks.disable(connection, delivery.webhook_id, GONE, now)
            return ours

        ours = await self.written(message, write)
        fate = {"sent": "delivered", "queued": "not taken", "failed": "given up"}[state] if ours else "lost to another"
        say = log.info if state == "sent" else log.warning
        more = {"error": posted.error} if posted.error else {}
        say(f"webhook {fate}", webhook=delivery.webhook_id, delivery=delivery.id, type=delivery.type, **more)
