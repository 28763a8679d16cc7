"""The connection to the store: SQLite by default, PostgreSQL by URL, one code path for both. Shell.

Rules of this file:
- SQLite: WAL, synchronous=FULL (250 means committed, also when the power goes), and every transaction begins
  IMMEDIATE: the driver's default mode loses updates silently.
- SQLite: what is deleted or emptied is written over with zeros (secure_delete), so that the file has forgotten it, too.
- An instant is stored as UTC and comes back aware; a naive datetime is refused.
- What others wrote is stored as `Text`: PostgreSQL takes no NUL, and neither store half of a surrogate pair.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy
from sqlalchemy import DateTime, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.engine import Connection, Dialect, ExceptionContext
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.types import TypeDecorator

BUSY_SECONDS: Final = 10  # how long a SQLite writer waits for another before it answers "locked"
DISK_FULL: Final = "53100"  # of PostgreSQL's SQLSTATEs (its manual, appendix A)
READ_ONLY: Final = "25006"
DEADLOCK: Final = "40P01"
_KINDS: Final = {("sqlite", "pysqlite"), ("postgresql", "psycopg")}  # of stores, each with its driver
_WAL_TRIES: Final = 50  # two processes that switch to WAL at once: one is told "locked" and asks again

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

# Both rooms describe their tables in it, so one migration history holds them all.
metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """SQLite's own way (what `impl` would write) takes three times as long, and a join has eight of them."""
        return _written if dialect.name == "sqlite" else _aware

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return _read if dialect.name == "sqlite" else _in_utc


def _aware(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return value


def _written(value: datetime | None) -> str | None:
    value = _aware(value)
    return value.astimezone(UTC).isoformat(" ", "microseconds")[:26] if value is not None else None


def _read(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if value is not None else None


def _in_utc(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value is not None else None


class Text(TypeDecorator[str]):
    """A str of any characters; those that a store does not take become U+FFFD."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):  # nearly all, at once
            return value
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)


def check(url: str) -> None:
    """Raise ArgumentError unless a URL names a store of a kind that is known here; nobody is asked."""
    try:
        dialect = make_url(url).get_dialect()
    except (ValueError, ModuleNotFoundError) as error:  # a port, an IPv6 address, a driver
        raise ArgumentError(str(error)) from error
    if (dialect.name, dialect.driver) not in _KINDS:
        raise ArgumentError(f"{dialect.name} by {dialect.driver} is no store")


def connect(url: str) -> Engine:
    """An engine for a store URL: `sqlite:///PATH`, `sqlite://` (in memory), `postgresql://…`. Raises ArgumentError."""
    check(url)
    if not url.startswith("sqlite"):
        engine = create_engine(url, pool_pre_ping=True)
        event.listen(engine, "handle_error", _no_longer_writable)
        return engine
    engine = create_engine(
        url,
        # isolation_level None: the driver begins nothing by itself, `_begin_immediate` does.
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
        # One connection: writers of this process wait for each other in the pool, and not in SQLite's busy loop.
        # It also is what keeps a store in memory alive.
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reading(url: str) -> Engine:
    """An engine whose transactions see the store as it was at their first question, and hold up no writer."""
    check(url)
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="REPEATABLE READ")
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None})
    event.listen(engine, "begin", _begin_reading)
    return engine


def beside_writers(engine: Engine) -> Engine:
    """An engine for short questions about the same store, which wait for no writer of this process."""
    url = engine.url
    if engine.dialect.name != "sqlite" or url.database in (None, "", ":memory:"):
        return engine
    beside = create_engine(
        url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None}
    )
    event.listen(beside, "begin", _begin_reading)
    event.listen(engine, "engine_disposed", lambda _: beside.dispose())
    return beside


def _on_connect(connection: Any, _: ConnectionPoolEntry) -> None:
    for attempt in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if attempt == _WAL_TRIES - 1:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")


def _begin_reading(connection: Connection) -> None:
    # Not IMMEDIATE: with WAL who only reads and who writes do not wait for each other.
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def empty_journal(engine: Engine) -> bool:
    """SQLite: write the journal (WAL) back into the file and empty it, because old versions of pages stand in it; False
    when somebody reads just now. PostgreSQL sees to it by itself."""
    if engine.dialect.name != "sqlite":
        return True
    raw = engine.raw_connection()  # outside of any transaction
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA busy_timeout=0")  # who reads is not waited for
        try:
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        return not busy
    finally:
        raw.close()


def _no_longer_writable(context: ExceptionContext) -> OperationalError | None:
    """A server that only reads (a standby, or what was the primary) is away; the next connection may find another."""
    if getattr(context.original_exception, "sqlstate", None) != READ_ONLY:
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, context.parameters, context.original_exception)


# What the store says when it cannot write now; anything else is a fault of ours.
AWAY: Final = (OperationalError, InterfaceError, PoolTimeout)


def is_deadlock(error: BaseException) -> bool:
    """Whether two waited for each other's rows, and this one was chosen to let the other go first."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) == DEADLOCK


def is_read_only(error: BaseException) -> bool:
    """Whether the store answers and takes no writing."""
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None) == READ_ONLY or "readonly database" in str(original)


def is_disk_full(error: BaseException) -> bool:
    """Whether the store could not write because there is no room."""
    original = getattr(error, "orig", error)
    # SQLite has no words of other languages, PostgreSQL has.
    return getattr(original, "sqlstate", None) == DISK_FULL or "disk is full" in str(original)
