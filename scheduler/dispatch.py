"""Carrying joins out: claim, send, write the outcome. Shell.

Rules of this file:
- The attempt is committed before the request leaves, the outcome after. Whoever finds an attempt without an outcome
  looks at the platform first and sends again only what is not there: late beats double.
- What an answer means is decided in `retry`, which rows are due in the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import Connection, Engine

from scheduler import store
from scheduler.joins import Join, JoinState, Policy, plan, refill_at
from scheduler.platform import Platform, Refused, Started
from scheduler.retry import Again, after_failure
from scheduler.worker import Worker

MAX_UNDER_WAY: Final = 100  # requests at once; the platform's clients have as many connections
LEASE: Final = timedelta(seconds=60)  # longer than two time-outs of the platform
REFILLS: Final = 100  # events of one transaction

log = structlog.get_logger("joins")


def plan_further(connection: Connection, now: datetime, policy: Policy, limit: int) -> int:
    """Plan the joins of up to `limit` events that are due for it; how many events that were."""
    events = store.events_to_refill(connection, now, limit)
    for attendant, event in events:
        existing = store.load_joins(connection, attendant.pal_id, event.uid)
        store.save_joins(connection, plan(event, existing, attendant, now, policy), existing)
        store.save_event(connection, attendant, event, refill_at(event, now, policy))
    return len(events)


class Dispatcher(Worker[Join]):
    """Sends what is due. `callback_url` makes the address at which the platform reports on a join."""

    def __init__(
        self,
        engine: Engine,
        platform: Platform,
        callback_url: Callable[[str], str],
        now: Callable[[], datetime],
        owner: str,
        policy: Policy,
    ) -> None:
        super().__init__(MAX_UNDER_WAY)
        self._engine = engine
        self._platform = platform
        self._callback_url = callback_url
        self._now = now
        self._owner = owner
        self._policy = policy
        self._rooms: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def claim(self, limit: int) -> list[Join]:
        now = self._now()
        with self._engine.begin() as connection:
            while plan_further(connection, now, self._policy, REFILLS) == REFILLS:
                pass
            return store.claim(connection, now, self._owner, LEASE, limit)

    def next_due(self) -> datetime | None:
        with self._engine.begin() as connection:
            return store.next_wake(connection)

    async def carry_out(self, join: Join) -> None:
        if join.state is JoinState.LEAVING:
            await self._leave(join)
        elif self._now() >= join.until:
            await self._settle(join, JoinState.MISSED, reason="ended-before-we-could-join")
        else:
            # One PAL is in one room once, however many invitations to it there are.
            async with self._rooms.setdefault((join.pal_id, join.url), asyncio.Lock()):
                await self._enter(join)

    async def _enter(self, join: Join) -> None:
        def ask() -> tuple[str, JoinState] | None:
            with self._engine.connect() as connection:
                return store.companion(connection, join)

        shared = await asyncio.to_thread(ask)
        if shared is None:
            await self._send(join)
        else:
            conversation_id, state = shared
            await self._settle(join, state, conversation_id=conversation_id)

    async def _send(self, join: Join) -> None:
        callback_url = self._callback_url(join.id)
        # A second attempt may follow one whose answer was lost.
        found = await self._platform.find(callback_url) if join.attempt > 1 else None
        answer = found if found is not None else await self._platform.start(join, callback_url)
        if isinstance(answer, Started):
            await self._settle(join, JoinState.STARTED, conversation_id=answer.conversation_id)
            return
        verdict = after_failure(
            status=answer.status,
            retry_after=answer.retry_after,
            attempt=join.attempt,
            now=self._now(),
            until=join.until,
        )
        if isinstance(verdict, Again):
            await self._settle(join, JoinState.PLANNED, wake_at=verdict.at, detail=answer.detail)
        else:
            await self._settle(join, JoinState.FAILED, reason=verdict.reason, detail=answer.detail)

    async def _leave(self, join: Join) -> None:
        conversation_id = join.conversation_id
        answer: Started | Refused | None = None
        if conversation_id is None:
            answer = await self._platform.find(self._callback_url(join.id))
            conversation_id = answer.conversation_id if isinstance(answer, Started) else None
        if conversation_id is not None and not await asyncio.to_thread(self._is_shared, join):
            answer = await self._platform.end(conversation_id)
        if isinstance(answer, Refused) and self._now() < join.until:
            await self._settle(join, JoinState.LEAVING, wake_at=self._now() + LEASE / 4, detail=answer.detail)
        else:
            await self._settle(join, JoinState.CANCELLED, conversation_id=conversation_id)

    def _is_shared(self, join: Join) -> bool:
        with self._engine.connect() as connection:
            return store.is_shared(connection, join)

    async def _settle(
        self, join: Join, state: JoinState, *, wake_at: datetime | None = None, detail: str = "", **values: Any
    ) -> None:
        def write() -> bool:
            with self._engine.begin() as connection:
                return store.settle(connection, join, state=state, wake_at=wake_at, **values)

        ours = await asyncio.to_thread(write)
        again = state is JoinState.PLANNED
        say = log.warning if again or state in (JoinState.FAILED, JoinState.MISSED) else log.info
        more = {**values, "again": wake_at.strftime("%H:%M:%SZ") if wake_at else "", "detail": detail}
        say(
            f"join {'not taken' if again else state.value}" if ours else "join lost to another",
            join=join.id,
            pal=join.pal_id,
            url=join.url,
            starts=join.starts.strftime("%Y-%m-%dT%H:%M:%SZ"),
            late=round((self._now() - join.at).total_seconds(), 2),
            **{key: value for key, value in more.items() if value},
        )
