"""What waits in the store, for figures: all SQL of it. Shell.

Rules of this file:
- Every question is answered from an index, and looks at so many rows at most: a scrape costs the same however much is
  kept.
- Every function works in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, func, select, true

from gateway.store import invites, is_aside, outbox, secrets
from gateway.store_calls import callbacks
from gateway.store_webhooks import deliveries
from scheduler.leases import next_wake
from scheduler.store import joins

MOST: Final = 100_000  # rows that are counted; what is more is so many
OLDEST: Final = 1_000  # letters, the first to be sent, among which the oldest is looked for
WRITTEN: Final = "written-at"  # what is written to see whether the store can be written to


@dataclass(frozen=True)
class Waiting:
    """What waits at an instant. Ages in seconds, 0 where nothing waits."""

    joins_due: int
    join_overdue: float
    letters: int
    oldest_letter: float
    callbacks: int
    webhooks: int
    quarantined: int


def waiting(connection: Connection, now: datetime) -> Waiting:
    """All of it."""
    first = next_wake(connection, joins)
    return Waiting(
        joins_due=_count(connection, joins, joins.c.wake_at <= now),
        join_overdue=_age(first, now),
        letters=_count(connection, outbox),
        oldest_letter=_age(_oldest_letter(connection), now),
        callbacks=_count(connection, callbacks),
        webhooks=_count(connection, deliveries),
        quarantined=quarantined(connection),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0) if since is not None else 0.0


def _count(connection: Connection, table: Table, those: ColumnElement[bool] | None = None) -> int:
    """How many rows (of `those`) wait."""
    found = select(table.c.wake_at).where(table.c.wake_at.is_not(None), those if those is not None else true())
    return connection.execute(select(func.count()).select_from(found.limit(MOST).subquery())).scalar_one()


def _oldest_letter(connection: Connection) -> datetime | None:
    """Since when the oldest of the letters waits that are next to be sent."""
    since = func.coalesce(outbox.c.queued_at, outbox.c.created_at, type_=outbox.c.created_at.type).label("since")
    first = select(since).where(outbox.c.wake_at.is_not(None)).order_by(outbox.c.wake_at).limit(OLDEST).subquery()
    return connection.execute(select(func.min(first.c.since))).scalar()


def quarantined(connection: Connection) -> int:
    """How many mails are kept aside, each once for every PAL."""
    # In the order of the index that has those alone; otherwise SQLite would read the table.
    found = select(invites.c.id).where(is_aside).order_by(invites.c.decided_at).limit(MOST).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def prove_writable(connection: Connection, now: datetime) -> None:
    """Write one row. It raises what the store says when nothing can be written; IntegrityError when two processes do so
    for the first time at once."""
    value = now.isoformat().encode()  # another one each time: what is the same SQLite does not write
    changed = connection.execute(secrets.update().where(secrets.c.name == WRITTEN).values(value=value))
    if not changed.rowcount:
        connection.execute(secrets.insert().values(name=WRITTEN, value=value))
