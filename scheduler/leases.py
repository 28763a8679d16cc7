"""Rows that wait for their instant, taken by one process at a time: joins, mails, callbacks. Shell.

Rules of this file:
- A table of such rows has `id`, `wake_at` (NULL: nothing is to be done), `attempt` and `owner`; one whose
  rows are forgotten in time has `forgotten_at`.
- Rows are claimed by one UPDATE with SKIP LOCKED: SQLAlchemy leaves the clause out on SQLite, where BEGIN IMMEDIATE
  does the same. What a claim writes later is fenced by owner and attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    bindparam,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate


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
) -> Sequence[Row[Any]]:
    """Take rows (of `those`) whose instant has come, the earliest first; they are ours until the lease ends. Each claim
    is an attempt."""
    return connection.execute(taking(table, columns, those), lease_values(lease)).all()


def taking(
    table: Table, columns: Sequence[Column[Any]], those: ColumnElement[bool] | None = None, **values: Any
) -> ReturningUpdate[Any]:
    """The statement that takes rows, for who makes it once: its parameters are `lease_values`."""
    due = (
        select(table.c.id)
        .where(table.c.wake_at <= bindparam("lease_now", type_=table.c.wake_at.type))
        .where(those if those is not None else true())
        .order_by(table.c.wake_at)
        .limit(bindparam("lease_limit", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    mine = {
        "owner": bindparam("lease_owner", type_=table.c.owner.type),
        "attempt": table.c.attempt + 1,
        "wake_at": bindparam("lease_until", type_=table.c.wake_at.type),
    }
    return update(table).where(table.c.id.in_(due)).returning(*columns).values({**mine, **values})


def lease_values(lease: Lease) -> dict[str, Any]:
    """The parameters of `taking`."""
    return {
        "lease_now": lease.now,
        "lease_limit": lease.limit,
        "lease_owner": lease.owner,
        "lease_until": lease.now + lease.length,
    }


def give_back(connection: Connection, table: Table, claimed: Iterable[Claimed], now: datetime, **values: Any) -> None:
    """Let anybody take rows at once that are claimed by us; those that are settled by now stay so."""
    waits = is_ours(table) & table.c.wake_at.is_not(None)
    freed = update(table).where(waits).values(owner=None, wake_at=now, **values)
    for one in claimed:
        connection.execute(freed, held_values(one))


def is_ours(table: Table) -> ColumnElement[bool]:
    """Whether nobody took the row after us; its parameters are `held_values`."""
    return (
        (table.c.id == bindparam("held_id", type_=table.c.id.type))
        & table.c.owner.is_not_distinct_from(bindparam("held_owner", type_=table.c.owner.type))
        & (table.c.attempt == bindparam("held_attempt", type_=table.c.attempt.type))
    )


def held_values(claimed: Claimed) -> dict[str, Any]:
    """The parameters of `is_ours`."""
    return {"held_id": claimed.id, "held_owner": claimed.owner, "held_attempt": claimed.attempt}


def next_wake(
    connection: Connection,
    table: Table,
    those: ColumnElement[bool] | None = None,
    values: Mapping[str, Any] | None = None,
) -> datetime | None:
    """The earliest instant at which something is to be done for a row (of `those`, with their `values`)."""
    # Not min(): where rows are left out, SQLite would look at all that wait.
    waiting = select(table.c.wake_at).where(table.c.wake_at.is_not(None), those if those is not None else true())
    return connection.execute(waiting.order_by(table.c.wake_at).limit(1), values).scalar()
