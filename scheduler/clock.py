"""The alarm clock: APScheduler rings, and nothing more. Shell.

Rules of this file:
- No job carries work or state: the tables say what is due. A lost ring costs one sweep, never a join.
- The date job is punctual, the sweep is robust: it is a timer of the loop, which is monotonic, for a job's next time is
  one of the wall clock, which may be stepped back behind it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler

SWEEP: Final = timedelta(seconds=2)  # how late something may be after the wall clock was stepped
JOINS_SWEEP: Final = timedelta(seconds=1)  # the same for a join


def utc_now() -> datetime:
    """The instant, UTC. The only place that asks the machine's clock."""
    return datetime.now(UTC)


class Clock:
    """Owns the scheduler; hands out one `Alarm` per worker."""

    def __init__(self) -> None:
        # misfire_grace_time None: a late ring is still a ring; the default would drop it after one second.
        # max_instances: two rings at once are two rings, not a warning about a skipped job.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 100}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def alarm(self, name: str, sweep: timedelta = SWEEP) -> Alarm:
        """An alarm that rings at the instants it is set to, and every `sweep`."""
        return Alarm(self._scheduler, name, sweep)

    def start(self) -> None:
        """Begin to ring; needs a running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Ring no more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


class Alarm:
    """Wakes one worker."""

    def __init__(self, scheduler: AsyncIOScheduler, name: str, sweep: timedelta) -> None:
        self._scheduler = scheduler
        self._name = name
        self._sweep = sweep.total_seconds()
        self._rung = asyncio.Event()

    async def _ring(self) -> None:
        # A coroutine, so that APScheduler runs it in the loop and not in a thread of its pool.
        self.ring()

    def ring(self) -> None:
        """Ring now."""
        self._rung.set()

    def set(self, at: datetime | None) -> None:
        """Ring at an instant (UTC), in place of the one set before; None: only the sweep rings."""
        if at is not None:
            self._scheduler.add_job(self._ring, "date", run_date=at, id=self._name, replace_existing=True)
        elif self._scheduler.get_job(self._name) is not None:
            self._scheduler.remove_job(self._name)

    async def wait(self) -> None:
        """Return at the next ring, or after `sweep`; at once if it rang since the last call."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._sweep):
                await self._rung.wait()
        self._rung.clear()
