"""Is the store whole, and does somebody work on it: what is looked at, and the mend for each. Shell.

Rules of this file: nothing is changed; what is tried to be written is rolled back. A finding is a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, delete, exists, func, insert, select, text
from sqlalchemy.exc import DatabaseError

from gateway import store
from gateway.store_calls import callbacks, conversations
from gateway.store_webhooks import deliveries
from scheduler.database import metadata
from scheduler.joins import LIVE
from scheduler.journal import journal
from scheduler.store import events, joins

OVERDUE: Final = timedelta(minutes=2)  # a lease is one minute, the sweep two seconds
_PROBE: Final = "db-check"
_PROBE_BYTES: Final = 64 * 1024  # more than what a store has set aside


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is as it should be, what was found, and otherwise the mend."""

    check: str
    is_good: bool
    found: str
    mend: str = ""


def findings(snapshots: Engine, engine: Engine, now: datetime) -> Iterator[Finding]:
    """All that is found at an instant (UTC); without the schema of this release nothing else is looked at.

    `snapshots` (`database.reading`) holds up no writer, however long the looking takes; `engine` is the usual one.
    """
    with snapshots.connect() as connection:
        schema = store.schema_of(connection)
        if schema != store.HEAD:
            found, _, mend = store.not_at_head(schema).partition("; ")
            yield Finding("schema", False, found, mend)
            return
        yield Finding("schema", True, schema)
        yield _integrity(connection)
        for table in metadata.sorted_tables:
            yield Finding(f"rows of {table.name}", True, str(_count(connection, select(table))))
        yield from _orphans(connection)
        yield from _waiting(connection, now)
    yield written(engine)


def _count(connection: Connection, query: Select[Any]) -> int:
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _integrity(connection: Connection) -> Finding:
    """SQLite looks at its file; PostgreSQL has checksums of its own, and reads every row for the counts."""
    if connection.dialect.name != "sqlite":
        return Finding("integrity", True, "read by PostgreSQL")
    said = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check(5)"))]
    said += [f"a row of {row[0]} without its {row[2]}" for row in connection.execute(text("PRAGMA foreign_key_check"))]
    mend = "stop the gateway, keep a copy of the file, and import the last export into a new store"
    return Finding("integrity", said == ["ok"], "; ".join(said[:5]), "" if said == ["ok"] else mend)


def written(engine: Engine) -> Finding:
    """Whether a row can be written and committed, for which a full disk has no room; it is taken out again."""
    try:
        with engine.begin() as connection:
            connection.execute(insert(store.secrets).values(name=_PROBE, value=bytes(_PROBE_BYTES)))
        with engine.begin() as connection:
            connection.execute(delete(store.secrets).where(store.secrets.c.name == _PROBE))
    except DatabaseError as error:
        mend = "look at the disk, the file's owner, and the rights of the user in store.url"
        return Finding("writing", False, str(error.orig).strip(), mend)
    return Finding("writing", True, "can be written")


def _orphans(connection: Connection) -> Iterator[Finding]:
    """Rows whose other half is gone."""
    by_hand = "something else has written to the store; import the last export into a new one"
    without_mail = ~exists().where(store.mails.c.id == store.invites.c.mail_id)
    without_invite = store.outbox.c.invite_id.is_not(None) & ~exists().where(
        store.invites.c.id == store.outbox.c.invite_id
    )
    # Who was ordered over HTTP may be a PAL that only the platform knows.
    ordered = exists().where(conversations.c.id == joins.c.id)
    gone = ~exists().where(store.pals.c.id == joins.c.pal_id) & joins.c.state.in_(sorted(LIVE)) & ~ordered
    lost = ~exists().where(events.c.pal_id == joins.c.pal_id, events.c.uid == joins.c.uid)
    lost &= joins.c.state.in_(sorted(LIVE)) & ~ordered
    for what, query, mend in (
        ("decisions without their mail", select(store.invites.c.id).where(without_mail), by_hand),
        ("replies without their decision", select(store.outbox.c.id).where(without_invite), by_hand),
        ("joins ahead of a PAL that is gone", select(joins.c.id).where(gone), "pal-gateway joins cancel ID"),
        ("joins ahead without their event", select(joins.c.id).where(lost), "pal-gateway joins cancel ID"),
    ):
        ids = connection.execute(query.order_by(query.selected_columns[0]).limit(3)).scalars().all()
        yield Finding(what, not ids, ", ".join(ids) + (", …" if len(ids) == 3 else "") or "none", mend if ids else "")


def _waiting(connection: Connection, now: datetime) -> Iterator[Finding]:
    """What is to be done, and what should have been done by now."""
    for what, column in (
        ("joins", joins.c.wake_at),
        ("events to plan further", events.c.refill_at),
        ("replies", store.outbox.c.wake_at),
        ("callbacks", callbacks.c.wake_at),
        ("what happened", journal.c.wake_at),
        ("webhooks", deliveries.c.wake_at),
    ):
        waiting = select(column).where(column.is_not(None))
        overdue = _count(connection, waiting.where(column < now - OVERDUE))
        mend = "is the gateway running? pal-gateway serve; it does at once what is overdue" if overdue else ""
        yield Finding(f"{what} waiting", not overdue, f"{_count(connection, waiting)}, {overdue} of them overdue", mend)
