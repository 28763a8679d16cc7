"""The gate to one target: so many requests at once, as often as it takes them, those before others that are. Shell.

Rules of this file:
- Nobody is refused here, only kept waiting; how often the target may be asked is said by its `Pace`.
- Among those who wait the smallest rank goes first, of one rank whoever came first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from scheduler.platform import Platform


class Gate:
    """`places`: how many may be beyond it at once."""

    def __init__(self, platform: Platform, places: int) -> None:
        self._platform = platform
        self._places = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def passed(self, rank: int) -> AsyncIterator[None]:
        """Wait until it is one's turn; there is room for another at the end."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), turn))
        self._let_pass()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._places += 1
                self._let_pass()

    def _let_pass(self) -> None:
        """Let as many pass as may; the next ones when it is time."""
        while self._waiting and self._places:
            wait = self._platform.pace.next_at - (at := monotonic())
            if wait > 0:
                self._look_again(wait)
                return
            _, _, turn = heappop(self._waiting)
            if not turn.cancelled():
                self._places -= 1
                self._platform.pace = self._platform.pace.sent(at)
                turn.set_result(None)

    def _look_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._let_pass)
