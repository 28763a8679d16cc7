"""Claims what is due and begins to carry it out, at every ring: what dispatcher and outbox have in common. Shell.

Rules of this file:
- What was begun is not waited for: one slow call keeps nobody else waiting. There is room for so many at once.
- A fault in one item, or a store that is away, ends nothing: what was claimed is looked at again when its lease ends.
- At a stop nothing stays claimed that nobody carries out: what was not begun, or can be begun again, is given back.
- What was done and cannot be written down is not done again: it is written when the store is back.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import structlog

from scheduler.clock import Alarm
from scheduler.database import AWAY
from scheduler.leases import Claimed

BATCH: Final = 50  # rows of one claim
WRITE_AGAIN: Final = 1.0  # seconds between two tries to write down what was done

Item = TypeVar("Item", bound=Claimed)
log = structlog.get_logger("worker")


class Worker(ABC, Generic[Item]):
    """Carries out what is due, at most `limit` at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._under_way: dict[asyncio.Task[None], Item] = {}
        self._alarm: Alarm | None = None
        self._is_stopping = False
        self._unwritten: dict[str, int] = {}  # what was done and is not written down: the attempt that we hold
        self._claiming = asyncio.Lock()

    @abstractmethod
    def claim(self, limit: int) -> list[Item]:
        """Take up to `limit` items that are due, committed. Runs in a thread."""

    def room(self) -> int:
        """How many items may be begun now."""
        return self._limit - len(self._under_way)

    def holds_back(self) -> bool:
        """Whether an item that is due may wait for the end of one under way."""
        return len(self._under_way) >= self._limit

    @abstractmethod
    def give_back(self, items: Sequence[Item]) -> None:
        """Let anybody take claimed items at once, committed. Runs in a thread."""

    def has_left(self, item: Item) -> bool:
        """Whether only the end of its lease may free an item under way, because something of it may be out there."""
        return False

    @abstractmethod
    async def carry_out(self, item: Item) -> None:
        """Do it, and write down what came of it."""

    @abstractmethod
    def next_due(self) -> datetime | None:
        """When the next item is due. Runs in a thread."""

    async def run(self, alarm: Alarm) -> None:
        """Begin what is due at every ring, until stopped."""
        self._alarm = alarm
        while not self._is_stopping:
            try:
                await self.begin()
                alarm.set(await asyncio.to_thread(self.next_due))
            except AWAY as error:
                _say_away(error)
            await alarm.wait()

    async def begin(self) -> int:
        """Claim what is due now and begin to carry it out, as far as there is room; how many items that were."""
        begun = 0
        while (room := min(self.room(), BATCH)) > 0:
            async with self._claiming:
                items = await self._claimed(room)
                for item in items:
                    self._carry(item)
            begun += len(items)
            if len(items) < room:
                break
        return begun

    async def _claimed(self, room: int) -> list[Item]:
        """What was claimed; what is claimed as the stop begins, or while we are cancelled, goes back."""
        if self._is_stopping:
            return []
        claiming = asyncio.ensure_future(asyncio.to_thread(self.claim, room))
        try:
            items = await asyncio.shield(claiming)
        except asyncio.CancelledError:  # a thread cannot be cancelled
            await asyncio.to_thread(self.give_back, await claiming)
            raise
        if self._is_stopping and items:
            await asyncio.to_thread(self.give_back, items)
            return []
        return items

    def stop(self) -> None:
        """Claim nothing any more; `run` returns soon."""
        self._is_stopping = True
        if self._alarm is not None:
            self._alarm.ring()

    def _carry(self, item: Item) -> None:
        if item.id in self._unwritten:  # our own lease ran out while the store was away
            self._unwritten[item.id] = item.attempt
            return
        task = asyncio.create_task(self.carry_out(item))
        self._under_way[task] = item
        task.add_done_callback(self._ended)

    async def written(self, item: Item, write: Callable[[int], bool]) -> bool:
        """Write down what came of an item, by the attempt that holds it, in a thread; while the store is away, again
        and again. False: it is no longer ours."""
        try:
            return await asyncio.to_thread(write, item.attempt)
        except AWAY as error:
            _say_away(error)
        self._unwritten[item.id] = item.attempt
        try:
            while True:
                await asyncio.sleep(WRITE_AGAIN)
                with suppress(*AWAY):
                    async with self._claiming:  # between a claim and our hearing of it, its attempt is not known here
                        return await asyncio.to_thread(write, self._unwritten[item.id])
        finally:
            del self._unwritten[item.id]

    async def finish(self, seconds: float | None = None) -> None:
        """Wait for what is under way; after `seconds` it is cut off, and goes back if nothing of it has left."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(set(self._under_way), timeout=seconds)
        cut = [self._under_way[task] for task in late]
        items = [item for item in cut if item.id not in self._unwritten and not self.has_left(item)]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if items:
            try:
                await asyncio.to_thread(self.give_back, items)
            except AWAY as error:
                _say_away(error)

    async def work(self) -> int:
        """Do all that is due now, and wait for it; how many items that were."""
        done = 0
        while begun := await self.begin():
            await self.finish()
            done += begun
        return done

    def _ended(self, task: asyncio.Task[Any]) -> None:
        held_back = self.holds_back()
        del self._under_way[task]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AWAY):
            _say_away(error)
        elif error is not None:
            log.error("fault", error=repr(error))
        if held_back and self._alarm is not None:
            self._alarm.ring()


def _say_away(error: BaseException) -> None:
    log.warning("store away", cause=str(error.__cause__ or error))
