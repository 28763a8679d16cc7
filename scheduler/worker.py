"""Claims what is due and begins to carry it out, at every ring: what dispatcher and outbox have in common. Shell.

Rules of this file:
- What was begun is not waited for: one slow call keeps nobody else waiting. There is room for so many at once.
- What came of several is written down in one transaction, each fenced for itself.
- A fault in one item, or a store that is away, ends nothing: what was claimed is looked at again when its lease ends.
- At a stop nothing stays claimed that nobody carries out: what was not begun, or can be begun again, is given back.
- What was done and cannot be written down is not done again: it is written when the store is back. What is still under
  way here when its lease ends (the clock was stepped, the store was away) is not begun a second time beside it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from scheduler.clock import Alarm
from scheduler.database import AWAY
from scheduler.leases import Claimed
from scheduler.together import Gathered, Outcome, Write, committed

BATCH: Final = 50  # rows of one claim
BREATH: Final = 0.02  # seconds in which more come to their end, so that their places are taken in one claim
WRITE_AGAIN: Final = 1.0  # seconds between two tries to write down what was done

Item = TypeVar("Item", bound=Claimed)
log = structlog.get_logger("worker")


class Worker(ABC, Generic[Item]):
    """Carries out what is due, at most `limit` at once."""

    def __init__(self, limit: int, engine: Engine) -> None:
        self._limit = limit
        self._engine = engine
        self._commits: Gathered[Write[bool], Outcome[bool]] = Gathered(partial(committed, engine))
        self._under_way: dict[str, tuple[Item, asyncio.Task[None]]] = {}
        self._alarm: Alarm | None = None
        self._is_stopping = False
        self._done: set[str] = set()  # done, and not written down yet
        self._anew: dict[str, Item] = {}  # claimed again while it is under way here
        self._claiming = asyncio.Lock()
        self.swept_at: float | None = None  # when it has last looked for what is due (monotonic seconds)
        self.is_behind = False  # the last claim left something that has to be done before what may be claimed is known

    @abstractmethod
    def claim(self, limit: int) -> list[Item]:
        """Take up to `limit` items that are due, committed. Runs in a thread."""

    def under_way(self) -> list[Item]:
        """What was begun and takes room: nobody knows yet what comes of it."""
        return [item for item, _ in self._under_way.values() if item.id not in self._done]

    def room(self) -> int:
        """How many items may be begun now."""
        return self._limit - len(self.under_way())

    def is_full(self) -> bool:
        """Whether nothing more can be begun before something under way comes to its end."""
        return self.room() <= 0

    def holds_back(self) -> bool:
        """Whether an item that is due may wait for the end of one under way."""
        return self.room() <= 0

    @abstractmethod
    def give_back(self, items: Sequence[Item]) -> None:
        """Let anybody take claimed items at once, committed. Runs in a thread."""

    def order_of(self, item: Item) -> tuple[str, ...]:
        """In which order items are written down together; others that lock several rows do it in the same."""
        return (item.id,)

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
                if not self.is_full():
                    alarm.set(await asyncio.to_thread(self.next_due))
            except AWAY as error:
                _say_away(error)
            was_full = self.is_full()
            if was_full:  # whoever has no room has nothing to look for
                self.swept_at = monotonic()
            await alarm.wait()
            if was_full:
                await asyncio.sleep(BREATH)

    async def begin(self) -> int:
        """Claim what is due now and begin to carry it out, as far as there is room; how many items that were."""
        begun = 0
        while (room := min(self.room(), BATCH)) > 0:
            async with self._claiming:
                items = await self._claimed(room)
                for item in items:
                    self._carry(item)
            begun += len(items)
            self.swept_at = monotonic()
            if (len(items) < room and not self.is_behind) or self.is_full():
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
            await self._returned(await claiming)
            raise
        return await self._returned(items) if self._is_stopping else items

    async def _returned(self, items: Sequence[Item]) -> list[Item]:
        """Nothing: these go back, but for what is under way here all the same."""
        free = [item for item in items if item.id not in self._under_way]
        if free:
            await asyncio.to_thread(self.give_back, free)
        return []

    def stop(self) -> None:
        """Claim nothing any more; `run` returns soon."""
        self._is_stopping = True
        if self._alarm is not None:
            self._alarm.ring()

    def _carry(self, item: Item) -> None:
        if item.id in self._under_way:
            self._anew[item.id] = item
            return
        task = asyncio.create_task(self.carry_out(item))
        self._under_way[item.id] = item, task
        task.add_done_callback(lambda task: self._ended(item.id, task))

    async def written(self, item: Item, write: Callable[[Connection, int], bool]) -> bool:
        """Write down what came of an item, by the attempt that holds it, in a transaction that others may share; while
        the store is away, again and again. False: it is no longer ours."""
        held_back = self.holds_back()
        self._done.add(item.id)
        if held_back and self._alarm is not None:
            self._alarm.ring()
        try:
            return await self._written(item, write)
        finally:
            self._done.discard(item.id)

    async def _written(self, item: Item, write: Callable[[Connection, int], bool]) -> bool:
        attempt, is_away = item.attempt, False
        while True:
            try:
                outcome = await self._commits.ask(Write(partial(_by, write, attempt), self.order_of(item)))
                if outcome.result():
                    return True
                is_away = False
            except AWAY as error:
                if not is_away:
                    _say_away(error)
                is_away = True
                await asyncio.sleep(WRITE_AGAIN)
            async with self._claiming:  # a claim that is committed is heard of
                anew = self._anew.pop(item.id, None)
            if anew is not None:
                attempt = anew.attempt
            elif not is_away:
                return False

    async def finish(self, seconds: float | None = None) -> None:
        """Wait for what is under way; after `seconds` it is cut off, and goes back if nothing of it has left."""
        if not self._under_way:
            return
        _, late = await asyncio.wait({task for _, task in self._under_way.values()}, timeout=seconds)
        cut = [item for item, task in self._under_way.values() if task in late]
        items = [item for item in cut if item.id not in self._done and not self.has_left(item)]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        with suppress(TimeoutError):  # what was done and waits for the store is still written down
            async with asyncio.timeout(seconds / 4 if seconds is not None else None):
                await self._commits.drained()
        if items:
            try:
                await asyncio.to_thread(self.give_back, items)
            except AWAY as error:
                _say_away(error)

    async def work(self) -> int:
        """Do all that is due now, and wait for it; how many items that were."""
        done = 0
        while (begun := await self.begin()) or self._under_way:
            await self.finish()
            done += begun
        return done

    def _ended(self, item_id: str, task: asyncio.Task[Any]) -> None:
        held_back = self.holds_back()
        del self._under_way[item_id]
        anew = self._anew.pop(item_id, None)
        if anew is not None and not self._is_stopping:
            self._carry(anew)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AWAY):
            _say_away(error)
        elif error is not None:
            log.error("fault", item=item_id, error=type(error).__name__, exc_info=error)
        if held_back and self._alarm is not None:
            self._alarm.ring()


def _by(write: Callable[[Connection, int], bool], attempt: int, connection: Connection) -> bool:
    return write(connection, attempt)


def _say_away(error: BaseException) -> None:
    log.warning("store away", cause=str(error.__cause__ or error))
