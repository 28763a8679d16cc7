"""Whether a process can do its work now: for balancers, orchestrators and people who ask /readyz. Shell.

Rules of this file:
- The answer is one sentence that names what is not ready, or none.
- The store is asked each time, by one question for all who ask at once; it is written to once in FRESH seconds at most:
  SQLite has one writer, and balancers ask often.
- Nobody waits longer than PATIENCE for the answer: what does not answer by then is not ready.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from gateway import store, store_figures
from scheduler.clock import utc_now
from scheduler.database import is_disk_full, is_read_only

FRESH: Final = 3.0  # seconds for which it is believed that the store can be written to
PATIENCE: Final = 2.0  # seconds; who asks for a balancer waits a few at most
LATE: Final = 10.0  # seconds since the last look for what is due; it is looked for every second
LEAST_ROOM: Final = 1024 * 1024  # bytes: SQLite writes into old pages for a while when a disk is full

AWAY: Final = "The store does not answer."
READ_ONLY: Final = "The store cannot be written to."
FULL: Final = "The disk of the store is full."
STOPPING: Final = "This process is stopping."
MOVED: Final = "The file of the store was moved or deleted under this process; put it back, or restart."
NOT_SWEPT: Final = "The scheduler has not looked for what is due lately."


T = TypeVar("T")


class OneAtATime(Generic[T]):
    """A question that is asked in a thread, once for all who want to know at the same time."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None

    async def answer(self, seconds: float) -> T | None:
        """The answer, None when it does not come in time; raises what asking raised."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        asking = self._asking
        done, _ = await asyncio.wait({asking}, timeout=seconds)
        return asking.result() if done else None


class Readiness:
    """`swept_at`: when the scheduler of this process last looked for what is due (monotonic seconds), None: not yet;
    without one it is not asked."""

    def __init__(self, engine: Engine, swept_at: Callable[[], float | None] | None = None) -> None:
        self._engine = engine
        self._swept_at = swept_at
        self._written_at: float | None = None  # when the store was last written to for this
        self._store = OneAtATime(self._ask)
        self._file = self._identity()
        self.is_stopping = False

    async def fault(self) -> str:
        """What is not ready, '' when all is."""
        if self.is_stopping:
            return STOPPING
        of_store = await self._store.answer(PATIENCE)
        return AWAY if of_store is None else of_store or self._of_scheduler()

    def _of_scheduler(self) -> str:
        if self._swept_at is None:
            return ""
        last = self._swept_at()
        return "" if last is not None and monotonic() - last < LATE else NOT_SWEPT

    def _ask(self) -> str:
        """What is wrong with the store. Runs in a thread."""
        if self._identity() != self._file:
            return MOVED
        try:
            with self._engine.connect() as connection:
                store.ping(connection)
        except SQLAlchemyError as error:  # on SQLite a transaction begins as a writer's
            return READ_ONLY if is_read_only(error) else AWAY
        if self._written_at is not None and monotonic() - self._written_at < FRESH:
            return ""
        try:
            with self._engine.begin() as connection:
                store_figures.prove_writable(connection, utc_now())
            if self._room() < LEAST_ROOM:
                return FULL
        except IntegrityError:  # another process wrote it just now, so it can be written to
            return ""
        except (SQLAlchemyError, OSError) as error:
            return FULL if is_disk_full(error) else READ_ONLY
        self._written_at = monotonic()
        return ""

    def _path(self) -> Path | None:
        """The file of the store, as far as it is one of ours."""
        file = self._engine.url.database
        is_file = self._engine.dialect.name == "sqlite" and file and file != ":memory:"
        return Path(str(file)) if is_file else None

    def _identity(self) -> tuple[int, int] | None:
        """Which file that is: who has it open goes on writing to it, wherever it is moved."""
        path = self._path()
        try:
            found = path.stat() if path is not None else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found is not None else None

    def _room(self) -> int:
        """Bytes that are free on the disk of the store."""
        path = self._path()
        return shutil.disk_usage(path.parent).free if path is not None else LEAST_ROOM
