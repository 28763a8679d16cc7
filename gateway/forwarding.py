"""Callbacks onward: what the platform says of a call, to the caller who began it. A door.

Rules of this file:
- Claimed and committed before it is sent, written down after; `Webhook-Id` is the same however often it is sent.
- The bytes are the platform's own.
- An address that hangs takes its share of the room, and keeps the callbacks to others waiting no longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from gateway import store_calls
from gateway.figures import Figures
from gateway.outward import Network, Posted, post
from gateway.store_calls import Callback
from scheduler.worker import Worker

MAX_UNDER_WAY: Final = 20
SHARE: Final = 5  # of one address
LEASE: Final = timedelta(seconds=60)  # longer than the time-outs of one POST
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(hours=1)
KEEP_TRYING: Final = timedelta(hours=24)

log = structlog.get_logger("callbacks")


class Forwarding(Worker[Callback]):
    """Passes on what waits. `private`: the operator's own networks that may be reached."""

    def __init__(
        self,
        engine: Engine,
        private: Sequence[Network],
        now: Callable[[], datetime],
        owner: str,
        figures: Figures | None = None,
    ) -> None:
        super().__init__(MAX_UNDER_WAY, engine)
        self._private = private
        self._now = now
        self._owner = owner
        self._figures = figures or Figures()
        self._busy: frozenset[str] = frozenset()  # addresses that have their share under way

    def room(self) -> int:
        under_way = Counter(one.url for one in self.under_way())
        self._busy = frozenset(url for url, number in under_way.items() if number >= SHARE)
        return min(super().room(), SHARE)

    def holds_back(self) -> bool:
        return super().holds_back() or bool(self._busy)

    def claim(self, limit: int) -> list[Callback]:
        with self._engine.begin() as connection:
            return store_calls.claim_callbacks(connection, self._now(), self._owner, LEASE, limit, self._busy)

    def give_back(self, items: Sequence[Callback]) -> None:
        # Also one that may have left: who gets it twice sees one Webhook-Id.
        with self._engine.begin() as connection:
            store_calls.give_back_callbacks(connection, items, self._now())

    def next_due(self) -> datetime | None:
        with self._engine.connect() as connection:
            return store_calls.next_callback(connection, self._busy)

    async def carry_out(self, callback: Callback) -> None:
        headers = {"Content-Type": "application/json", "Webhook-Id": callback.id}
        posted = await post(callback.url, callback.raw, headers, self._private)
        again = self._now() + min(FIRST_WAIT * 2 ** min(callback.attempt - 1, 10), LONGEST_WAIT)
        if posted.is_taken:
            await self._settle(callback, "sent", posted)
        elif posted.is_final or again > callback.received_at + KEEP_TRYING:
            await self._settle(callback, "failed", posted)
        else:
            await self._settle(callback, "queued", posted, again)

    async def _settle(self, callback: Callback, state: str, posted: Posted, wake_at: datetime | None = None) -> None:
        def write(connection: Connection, attempt: int) -> bool:
            held, error = replace(callback, attempt=attempt), posted.error or None
            return store_calls.settle_callback(connection, held, state=state, wake_at=wake_at, error=error)

        ours = await self.written(callback, write)
        self._figures.passed_on({"queued": "retried"}.get(state, state) if ours else "lost")
        fate = {"sent": "passed on", "queued": "not taken", "failed": "given up"}[state] if ours else "lost to another"
        say = log.info if state == "sent" else log.warning
        more = {"error": posted.error} if posted.error else {}
        say(f"callback {fate}", join=callback.join_id, event_type=callback.event_type, **more)
