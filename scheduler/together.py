"""What several threads write at once is committed once: a flush of the disk costs the same for one as for fifty. Shell.

Rules of this file:
- Nobody waits for company: whoever comes first writes at once; who comes meanwhile is the next transaction, together.
- Whose writing fails takes nobody along: the transaction is rolled back, and each is written in one of its own.
- Where nobody knows what a commit came to (the store was lost in it), nothing is written again: each hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine

from scheduler.database import AWAY

T = TypeVar("T")


class _Write(Generic[T]):
    """What one thread wants to have written, and what came of it."""

    def __init__(self, write: Callable[[Connection], T], order: tuple[str, ...]) -> None:
        self.write: Final = write
        self.order: Final = order
        self.called = Event()  # it is settled, or its thread is the next to write
        self.is_settled = False
        self.found: T | None = None
        self.error: BaseException | None = None

    def settle(self, found: T | None, error: BaseException | None = None) -> None:
        self.is_settled, self.found, self.error = True, found, error


class Together:
    """Writes into a store, for any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = Lock()
        self._waiting: list[_Write[Any]] = []
        self._is_writing = False

    def run(self, write: Callable[[Connection], T], order: tuple[str, ...] = ()) -> T:
        """What `write` returned, once it is committed; raises what it raised, or what the store says.

        It may run in another thread, and a second time in another transaction. `order`: of one transaction the smaller
        are written first, so that two processes that lock the same rows never wait for each other.
        """
        one = _Write(write, order)
        with self._guard:
            self._waiting.append(one)
            is_first, self._is_writing = not self._is_writing, True
        if not is_first:
            one.called.wait()
        if not one.is_settled:
            self._write_all()
        if one.error is not None:
            raise one.error
        return cast(T, one.found)

    def _write_all(self) -> None:
        """Write what waits by now, then let the next thread write what came meanwhile."""
        with self._guard:
            group, self._waiting = sorted(self._waiting, key=lambda one: one.order), []
        try:
            self._settle(group)
        finally:
            with self._guard:
                following = self._waiting[:1]
                self._is_writing = bool(following)
            for one in (*group, *following):
                one.called.set()

    def _settle(self, group: Sequence[_Write[Any]]) -> bool:
        """Write some in one transaction. False: it could not even begin, so that another would only wait as long."""
        is_begun = is_written = False
        try:
            with self._engine.begin() as connection:
                is_begun = True
                found = [one.write(connection) for one in group]
                is_written = True
        except BaseException as error:  # noqa: BLE001  each thread raises its own
            is_lost = is_written and isinstance(error, AWAY)
            if is_begun and not is_lost and len(group) > 1:
                return self._settle_each(group)
            for one in group:
                one.settle(None, error)
            return is_begun
        for one, what in zip(group, found, strict=True):
            one.settle(what)
        return True

    def _settle_each(self, group: Sequence[_Write[Any]]) -> bool:
        for number, one in enumerate(group):
            if not self._settle([one]):
                for other in group[number + 1 :]:
                    other.settle(None, one.error)
                return False
        return True
