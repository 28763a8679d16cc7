"""Rows that wait for their instant, taken by one process at a time: joins, mails, callbacks. Shell.

Rules of this file:
- A table of such rows has `id`, `wake_at` (NULL: nothing is to be done), `attempt` and `owner`; one whose
  rows are forgotten in time has `forgotten_at`.
- Rows are claimed by one UPDATE with SKIP LOCKED: SQLAlchemy leaves the clause out on SQLite, where BEGIN IMMEDIATE
  does the same. What a claim writes later is fenced by owner and attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, Connection, Index, Row, Table, func, select, true, update


@dataclass(frozen=True)
class Lease:
    """Who takes rows, now (UTC), for how long, and at most how many."""

    now: datetime
    owner: str
    length: timedelta
    limit: int


class Claimed(Protocol):
    """What was claimed."""

    @property
    def id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def owner(self) -> str | None: ...


def index_waiting(table: Table) -> None:
    """Only rows that wait are in the index: the clock's question costs the same however many are settled."""
    waiting = table.c.wake_at.is_not(None)
    Index(f"{table.name}_wake", table.c.wake_at, sqlite_where=waiting, postgresql_where=waiting)


def index_kept(table: Table, at: Column[Any]) -> None:
    """Only rows that hold what people wrote, and that nothing is to be done for: what is over and not yet forgotten."""
    kept = is_kept(table)
    Index(f"{table.name}_kept", at, sqlite_where=kept, postgresql_where=kept)


def is_kept(table: Table) -> ColumnElement[bool]:
    """Of a row: whether it is at rest, and what people wrote is still in it."""
    kept: ColumnElement[bool] = table.c.forgotten_at.is_(None)
    return kept & table.c.wake_at.is_(None) if "wake_at" in table.c else kept


def take(
    connection: Connection,
    table: Table,
    lease: Lease,
    columns: Sequence[Column[Any]],
    those: ColumnElement[bool] | None = None,
    first: ColumnElement[bool] | None = None,
    **values: Any,
) -> Sequence[Row[Any]]:
    """Take rows (of `those`) whose instant has come; they are ours until the lease ends. Each claim is an attempt.

    Those for which `first` is false come before the others; among them the earliest.
    """
    due = (
        select(table.c.id)
        .where(table.c.wake_at <= lease.now, those if those is not None else true())
        .order_by(*((first,) if first is not None else ()), table.c.wake_at)
        .limit(lease.limit)
        .with_for_update(skip_locked=True)
    )
    taken = update(table).where(table.c.id.in_(due)).returning(*columns)
    ours = {"owner": lease.owner, "attempt": table.c.attempt + 1, "wake_at": lease.now + lease.length}
    return connection.execute(taken.values(**ours, **values)).all()


def give_back(connection: Connection, table: Table, claimed: Iterable[Claimed], now: datetime, **values: Any) -> None:
    """Let anybody take rows at once that are claimed by us; those that are settled by now stay so."""
    for one in claimed:
        waits = is_ours(table, one) & table.c.wake_at.is_not(None)
        connection.execute(update(table).where(waits).values(owner=None, wake_at=now, **values))


def is_ours(table: Table, claimed: Claimed) -> ColumnElement[bool]:
    """Whether nobody took the row after us."""
    return (
        (table.c.id == claimed.id)
        & table.c.owner.is_not_distinct_from(claimed.owner)
        & (table.c.attempt == claimed.attempt)
    )


def next_wake(connection: Connection, table: Table, those: ColumnElement[bool] | None = None) -> datetime | None:
    """The earliest instant at which something is to be done for a row (of `those`)."""
    waiting = select(func.min(table.c.wake_at)).where(table.c.wake_at.is_not(None))
    return connection.execute(waiting.where(those) if those is not None else waiting).scalar()
