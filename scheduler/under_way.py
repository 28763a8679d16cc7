"""What was begun and is not waited for: one slow call keeps nobody else waiting. Shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from scheduler.database import AWAY

log = structlog.get_logger("joins")


class UnderWay:
    """At most `limit` tasks at once. `room_again` is called when one ends after there was no room."""

    def __init__(self, limit: int, room_again: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[Any]] = set()
        self.room_again = room_again

    @property
    def room(self) -> int:
        """How many more may begin."""
        return self._limit - len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it now; what it raises is logged, for what it was about is looked at again when its lease ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self, seconds: float | None = None) -> None:
        """Wait until all have ended; after `seconds` those that have not are cancelled."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        was_full = self.room <= 0
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AWAY):
            log.warning("store away", cause=str(error.__cause__ or error))
        elif error is not None:
            log.error("fault", error=repr(error))
        if was_full:
            self.room_again()
