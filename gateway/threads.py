"""The threads that wait for a reader or for the store. Shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

MAX_THREADS: Final = 64  # mails and requests that wait


class Threads(ThreadPoolExecutor):
    """An event loop's threads. Who awaits one may be cancelled, it itself cannot: `finish` waits for it."""

    def __init__(self) -> None:
        super().__init__(MAX_THREADS)
        self._under_way: set[Future[Any]] = set()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it in a thread."""
        found = super().submit(work, *args, **kwargs)
        self._under_way.add(found)
        found.add_done_callback(self._under_way.discard)
        return found

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, but not longer than so many seconds."""
        ends = (asyncio.wrap_future(one) for one in tuple(self._under_way))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), seconds)
