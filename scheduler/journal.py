"""The journal: what happened to joins and invitations, a row each, written with the change itself. Shell.

Rules of this file:
- Every function works in the caller's transaction: what was rolled back did not happen.
- What happens in one transaction that several share is written in one statement (`at_once`).
- A row waits (`wake_at`) until it was told to whoever asked for it, and goes with the joins that it is about.
- What people wrote is in `detail` at most: words of the platform.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from secrets import token_hex
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    String,
    Table,
    bindparam,
    column,
    insert,
    literal_column,
    select,
    table,
)

from scheduler.database import Text, UtcDateTime, metadata
from scheduler.happening import Happening
from scheduler.joins import Join
from scheduler.leases import index_waiting

MAX_DETAIL: Final = 300  # characters
MAX_LATENESSES: Final = 10_000

journal = Table(
    "journal",
    metadata,
    Column("id", String, primary_key=True),  # in the order of time, as far as clocks agree
    Column("at", UtcDateTime, nullable=False),
    Column("pal_id", String, nullable=False),
    Column("uid", Text, nullable=False),
    Column("join_id", String),  # NULL: an invitation, or all that was planned at once
    Column("kind", String, nullable=False),  # a Happening
    Column("attempt", Integer),
    Column("detail", Text, nullable=False),  # why, for people
    Column("data", JSON(none_as_null=True)),
    Column("wake_at", UtcDateTime),  # NULL: it was told
    Column("kept_until", UtcDateTime, nullable=False),  # the last end of its joins
    Index("journal_kept", "kept_until"),
)
index_waiting(journal)
_is_of_join = journal.c.join_id.is_not(None)
Index("journal_join", journal.c.join_id, sqlite_where=_is_of_join, postgresql_where=_is_of_join)
_is_of_event = journal.c.join_id.is_(None)
Index("journal_event", journal.c.pal_id, journal.c.uid, sqlite_where=_is_of_event, postgresql_where=_is_of_event)
# A literal, for SQLite knows of a parameter nothing when it looks for an index.
_is_start = journal.c.kind == literal_column(f"'{Happening.STARTED.value}'")
Index("journal_started", journal.c.at, sqlite_where=_is_start, postgresql_where=_is_start)

_WAITING: Final = "journal"  # of a connection: what is written at the end of the transaction
_ADD: Final = insert(journal)
_numbers = count()


@dataclass(frozen=True)
class Entry:
    """What happened, at an instant (UTC). `data` by kind: planned {start}, moved {before, after, has_new_link}, tried
    {again}, started {late: seconds}, with `reason` wherever there is one; accepted and declined {invite}."""

    id: str
    at: datetime
    pal_id: str
    uid: str
    join_id: str | None
    kind: Happening
    attempt: int | None
    detail: str
    data: dict[str, Any]


def write(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows down, at once or with all others of an `at_once`."""
    fresh = list(rows)
    waiting = connection.info.get(_WAITING)
    if waiting is not None:
        waiting.extend(fresh)
    elif fresh:
        connection.execute(_ADD, fresh)


@contextmanager
def at_once(connection: Connection) -> Iterator[None]:
    """What is written within goes into the store in one statement at the end."""
    info, rows = connection.info, list[dict[str, Any]]()  # a connection that is lost meanwhile cannot be asked for it
    info[_WAITING] = rows
    try:
        yield
    finally:
        del info[_WAITING]
    write(connection, rows)


def happened(
    join: Join,
    kind: Happening,
    now: datetime,
    *,
    reason: str | None = None,
    detail: str = "",
    attempt: int | None = None,
    **data: Any,
) -> dict[str, Any]:
    """The row for what happened to a join. `reason`: its code; `detail`: more of it, for people."""
    return entry(
        join.pal_id,
        join.uid,
        kind,
        now,
        join_id=join.id,
        attempt=attempt,
        detail=detail or reason or "",
        data={**data, **({"reason": reason} if reason else {})},
        kept_until=join.until,
    )


def planned(joins: Iterable[Join], now: datetime) -> list[dict[str, Any]]:
    """The rows for joins that were planned together, one for each event."""
    events: dict[tuple[str, str], list[Join]] = {}
    for join in joins:
        events.setdefault((join.pal_id, join.uid), []).append(join)
    return [
        entry(
            pal_id,
            uid,
            Happening.PLANNED,
            now,
            data={"joins": {join.id: join.starts.isoformat() for join in found}},
            kept_until=max(join.until for join in found),
        )
        for (pal_id, uid), found in events.items()
    ]


def entry(
    pal_id: str,
    uid: str,
    kind: Happening,
    now: datetime,
    *,
    join_id: str | None = None,
    attempt: int | None = None,
    detail: str = "",
    data: dict[str, Any] | None = None,
    kept_until: datetime | None = None,
) -> dict[str, Any]:
    """A row."""
    return {
        "id": _fresh_id(now),
        "at": now,
        "pal_id": pal_id,
        "uid": uid,
        "join_id": join_id,
        "kind": kind,
        "attempt": attempt,
        "detail": detail[:MAX_DETAIL],
        "data": data or None,
        "wake_at": now,
        "kept_until": max(now, kept_until or now),
    }


def _fresh_id(now: datetime) -> str:
    """An id that sorts after those made before it, and that nobody can guess."""
    return f"h{int(now.timestamp() * 1_000_000):014x}{next(_numbers) & 0xFFFF:04x}{token_hex(6)}"


_ASKED: Final[BindParameter[Any]] = bindparam("join_ids", expanding=True)
_OF_JOINS: Final = select(journal).where(journal.c.join_id.in_(_ASKED))
# By name: the table is described in `store`, which writes here.
_joins = table("joins", column("id", String), column("pal_id", String), column("uid", Text))
_same_event = (journal.c.pal_id == _joins.c.pal_id) & (journal.c.uid == _joins.c.uid)
# Not joined: the same plan would be found once for each of its joins.
_PLANS: Final = select(journal).where(
    journal.c.id.in_(
        select(journal.c.id)
        .join(_joins, _same_event)
        .where(_joins.c.id.in_(_ASKED), journal.c.join_id.is_(None), journal.c.kind == Happening.PLANNED)
    )
)


def history_of(connection: Connection, join_ids: Collection[str]) -> dict[str, list[Entry]]:
    """What happened to some joins, in order; each of them is a key."""
    found: dict[str, list[Entry]] = {join_id: [] for join_id in join_ids}
    if not found:
        return found
    asked = {"join_ids": list(found)}
    for row in connection.execute(_PLANS, asked):
        for join_id in found.keys() & row.data["joins"].keys():
            start = row.data["joins"][join_id]
            found[join_id].append(replace(_entry(row), join_id=join_id, data={"start": start}))
    for row in connection.execute(_OF_JOINS, asked):
        found[row.join_id].append(_entry(row))
    return {join_id: sorted(entries, key=lambda one: (one.at, one.id)) for join_id, entries in found.items()}


_LATENESSES: Final = (
    select(journal.c.data)
    .where(_is_start, journal.c.at >= bindparam("since", type_=UtcDateTime))
    .order_by(journal.c.at.desc())
    .limit(MAX_LATENESSES)
)


def lateness(connection: Connection, since: datetime) -> list[float]:
    """How many seconds after their instants joins were taken by the platform since an instant (UTC), the newest first;
    of those that came back to a call only the first time."""
    found = connection.execute(_LATENESSES, {"since": since}).scalars()
    return [data["late"] for data in found if data and "late" in data]


def _entry(row: Row[Any]) -> Entry:
    values = {name: row._mapping[name] for name in Entry.__dataclass_fields__}
    return Entry(**{**values, "kind": Happening(row.kind), "data": row.data or {}})
