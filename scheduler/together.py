"""What several threads write at once is committed once: a flush of the disk costs the same for one as for fifty. Shell.

Rules of this file:
- Nobody waits for company: whoever comes first writes at once; who comes meanwhile is the next transaction, together.
- Whose writing fails takes nobody along: the transaction is rolled back, and each is written in one of its own.
- Where nobody knows what a commit came to (the store was lost in it), nothing is written again: each hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from threading import Event, Lock
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine

from scheduler import journal
from scheduler.database import AWAY

Asked = TypeVar("Asked")
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one of those that were written together."""

    found: T | None = None
    error: BaseException | None = None

    def result(self) -> T:
        """What was returned; raises what was raised."""
        if self.error is not None:
            raise self.error
        return cast(T, self.found)


@dataclass(frozen=True)
class Write(Generic[T]):
    """What is to be written. `order`: of one transaction the smaller are written first, so that two processes that lock
    the same rows never wait for each other."""

    write: Callable[[Connection], T]
    order: tuple[str, ...] = ()


def committed(engine: Engine, writes: Sequence[Write[T]]) -> list[Outcome[T]]:
    """Write all in one transaction, or, where one of them fails, each in one of its own; what came of each."""
    turns = sorted(range(len(writes)), key=lambda number: writes[number].order)
    outcomes, _ = _tried(engine, [writes[number].write for number in turns])
    return [outcome for _, outcome in sorted(zip(turns, outcomes, strict=True), key=itemgetter(0))]


def _tried(engine: Engine, writes: Sequence[Callable[[Connection], T]]) -> tuple[list[Outcome[T]], bool]:
    """What came of each, and whether it could begin at all: if not, another would only wait as long."""
    is_begun = is_written = False
    try:
        with engine.begin() as connection:
            is_begun = True
            with journal.at_once(connection):
                found = [write(connection) for write in writes]
            is_written = True
    except BaseException as error:  # noqa: BLE001  each raises its own
        is_lost = is_written and isinstance(error, AWAY)
        if is_begun and not is_lost and len(writes) > 1:
            return _each(engine, writes)
        return [Outcome(error=error)] * len(writes), is_begun
    return [Outcome(one) for one in found], True


def _each(engine: Engine, writes: Sequence[Callable[[Connection], T]]) -> tuple[list[Outcome[T]], bool]:
    outcomes: list[Outcome[T]] = []
    for write in writes:
        (outcome,), is_begun = _tried(engine, [write])
        if not is_begun:
            return outcomes + [outcome] * (len(writes) - len(outcomes)), False
        outcomes.append(outcome)
    return outcomes, True


class _Thread(Generic[T]):
    """What one thread wants to have written, and what came of it."""

    def __init__(self, write: Write[T]) -> None:
        self.write: Final = write
        self.called = Event()  # it is written, or its thread is the next to write
        self.outcome: Outcome[T] | None = None


class Together:
    """Writes into a store, for any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = Lock()
        self._waiting: list[_Thread[Any]] = []
        self._is_writing = False

    def run(self, write: Callable[[Connection], T], order: tuple[str, ...] = ()) -> T:
        """What `write` returned, once it is committed; raises what it raised, or what the store says.

        It may run in another thread, and a second time in another transaction. `order`: see `Write`.
        """
        one = _Thread(Write(write, order))
        with self._guard:
            self._waiting.append(one)
            is_first, self._is_writing = not self._is_writing, True
        if not is_first:
            one.called.wait()
        if one.outcome is None:
            self._write_all()
        return cast(Outcome[T], one.outcome).result()

    def _write_all(self) -> None:
        """Write what waits by now, then let the next thread write what came meanwhile."""
        with self._guard:
            group, self._waiting = self._waiting, []
        for one, outcome in zip(group, committed(self._engine, [one.write for one in group]), strict=True):
            one.outcome = outcome
        with self._guard:
            following = self._waiting[:1]
            self._is_writing = bool(following)
        for one in (*group, *following):
            one.called.set()


class Gathered(Generic[Asked, T]):
    """What several coroutines ask for at once is done in one go, in a thread; who asks meanwhile is the next go."""

    def __init__(self, do: Callable[[Sequence[Asked]], Sequence[T]]) -> None:
        self._do = do
        self._waiting: list[tuple[Asked, asyncio.Future[T]]] = []
        self._doing: asyncio.Task[None] | None = None

    async def ask(self, one: Asked) -> T:
        """What came of one. Who is cancelled does not hear of it; done it is all the same."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, future))
        if self._doing is None:
            self._doing = asyncio.create_task(self._do_all())
        return await future

    async def drained(self) -> None:
        """Return when all that was asked for is done."""
        while self._doing is not None:
            await asyncio.shield(self._doing)

    async def _do_all(self) -> None:
        """Do what waits, until nothing does. It begins once all that are due to run now have asked."""
        try:
            await self._do_each()
        finally:
            self._doing = None

    async def _do_each(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self._do, [one for one, _ in group])
            except Exception as error:  # noqa: BLE001  each raises it
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), what in zip(group, found, strict=True):
                    if not future.done():
                        future.set_result(what)
