"""Conversations that accounts began over HTTP, and what platforms called back about: all SQL of the two. Shell.

Rules of this file:
- Every function works in the caller's transaction.
- An account's conversations are those it began, and those its PALs' joins led to.
- A callback is the same when its bytes are the same: a platform that tries again is heard once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    func,
    insert,
    null,
    or_,
    select,
    union_all,
    update,
)

from gateway.store import Mark, Page, page_of_rows, pals
from scheduler.database import Text, UtcDateTime, metadata
from scheduler.joins import order_parts
from scheduler.leases import Lease, give_back, held_values, index_kept, index_waiting, is_ours, next_wake, take
from scheduler.store import joins

KEPT_KEYS: Final = timedelta(hours=24)  # how long the same Idempotency-Key is the same request

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),  # that of the join, where there is one
    Column("account", String, nullable=False),
    Column("key", Text),  # the caller's Idempotency-Key while it counts
    Column("digest", String, nullable=False),  # of the request, so that a key is not used for another one
    Column("callback_url", Text, nullable=False),
    Column("conversation_id", Text),
    Column("answer", JSON),  # what was answered to it
    Column("created_at", UtcDateTime, nullable=False),
    Column("forgotten_at", UtcDateTime),  # here and below: when what people wrote in the row was emptied
    Index("conversations_key", "account", "key", unique=True),
    Index("conversations_account", "account", "created_at"),
    Index("conversations_conversation", "conversation_id"),
)
index_kept(conversations, conversations.c.created_at)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", String, primary_key=True),
    Column("join_id", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("url", Text, nullable=False),  # where it is passed on to, '' when nowhere
    Column("state", String, nullable=False),  # noted, queued, sent, failed
    Column("wake_at", UtcDateTime),
    Column("attempt", Integer, nullable=False),
    Column("owner", String),
    Column("error", Text),
    Column("forgotten_at", UtcDateTime),
    Index("callbacks_join", "join_id", "received_at"),
)
index_waiting(callbacks)
index_kept(callbacks, callbacks.c.received_at)


@dataclass(frozen=True)
class Begun:
    """A conversation that an account began; `answer` None: it has not been answered yet."""

    id: str
    account: str
    key: str | None
    digest: str
    callback_url: str
    created_at: datetime
    conversation_id: str | None = None
    answer: Any = None
    forgotten_at: datetime | None = None


@dataclass(frozen=True)
class Owned:
    """A conversation of an account: when it began, and where the caller wants to hear of it ('': nowhere)."""

    id: str
    at: datetime
    callback_url: str


@dataclass(frozen=True)
class Callback:
    """A callback that is to be passed on, claimed by us."""

    id: str
    join_id: str
    event_type: str
    raw: bytes
    received_at: datetime
    url: str
    attempt: int
    owner: str | None


def begin(connection: Connection, row: Begun) -> None:
    """Write that a conversation is being begun; IntegrityError when its key is in use."""
    connection.execute(insert(conversations).values(vars(row)))


def begun_with(connection: Connection, account: str, key: str, now: datetime) -> Begun | None:
    """What an account began with an Idempotency-Key; a key that is too old is given free."""
    mine = (conversations.c.account == account) & (conversations.c.key == key)
    old = mine & (conversations.c.created_at < now - KEPT_KEYS)
    connection.execute(update(conversations).where(old).values(key=None))
    row = connection.execute(select(conversations).where(mine)).first()
    return Begun(**row._mapping) if row is not None else None


def answered(connection: Connection, begun_id: str, conversation_id: str | None, answer: Any) -> None:
    """Keep what was answered."""
    row = update(conversations).where(conversations.c.id == begun_id)
    connection.execute(row.values(conversation_id=conversation_id, answer=answer))


def refused(connection: Connection, begun_id: str) -> None:
    """It came to nothing: its key can be used again."""
    connection.execute(update(conversations).where(conversations.c.id == begun_id).values(key=None))


def owned(connection: Connection, account: str, conversation_id: str) -> Owned | None:
    """A conversation, if it is the account's."""
    row = connection.execute(_of_account(account, conversation_id)).first()
    return Owned(**row._mapping) if row is not None else None


def account_conversations(connection: Connection, account: str, after: Mark | None, limit: int) -> Page[Owned]:
    """The conversations of an account, the newest first."""
    query = _of_account(account).subquery()
    page = page_of_rows(connection, select(query), query.c.at, after, limit, newest=True)
    return Page(tuple(Owned(**row._mapping) for row in page.rows), page.total, page.next)


def _of_account(account: str, conversation_id: str | None = None) -> Select[Any]:
    """The conversations of an account, or the one with an id, if it is the account's."""
    directly = select(
        conversations.c.conversation_id.label("id"),
        conversations.c.created_at.label("at"),
        conversations.c.callback_url,
    ).where(conversations.c.account == account, conversations.c.conversation_id.is_not(None))
    called = select(joins.c.conversation_id, joins.c.at, null()).where(joins.c.conversation_id.is_not(None))
    # Two questions, for with an "or" PostgreSQL would read all joins.
    by_pals = called.where(joins.c.pal_id.in_(select(pals.c.id).where(pals.c.account == account)))
    by_orders = called.where(joins.c.id.in_(select(conversations.c.id).where(conversations.c.account == account)))
    if conversation_id is not None:
        directly = directly.where(conversations.c.conversation_id == conversation_id)
        by_pals, by_orders = (one.where(joins.c.conversation_id == conversation_id) for one in (by_pals, by_orders))
    every = union_all(directly, by_pals, by_orders).subquery()
    return select(
        every.c.id,
        func.min(every.c.at).label("at"),
        func.coalesce(func.max(every.c.callback_url), "").label("callback_url"),
    ).group_by(every.c.id)


def note(connection: Connection, order_id: str, event_type: str, raw: bytes, now: datetime) -> bool:
    """Keep a callback on each join that is in that call, and queue it once for each caller's address.

    False: it was heard before.
    """
    join_id, _ = order_parts(order_id)
    call = select(joins.c.conversation_id).where(joins.c.id == join_id).scalar_subquery()
    concerned = (
        select(joins.c.id, conversations.c.callback_url)
        .select_from(joins.outerjoin(conversations, conversations.c.id == joins.c.id))
        .where(or_(joins.c.id == join_id, joins.c.conversation_id == call))
        .order_by(joins.c.at, joins.c.id)
    )
    told: set[str] = set()
    rows = []
    for row in connection.execute(concerned):
        url = row.callback_url or ""
        rows.append(_noted(row.id, event_type, raw, "" if url in told else url, now))
        told.add(url)
    rows = rows or [_noted(join_id, event_type, raw, "", now)]
    known = select(callbacks.c.id).where(callbacks.c.id.in_([row["id"] for row in rows]))
    heard = set(connection.execute(known).scalars())
    fresh = [row for row in rows if row["id"] not in heard]
    if fresh:
        connection.execute(insert(callbacks), fresh)
    return bool(fresh)


def _noted(join_id: str, event_type: str, raw: bytes, url: str, now: datetime) -> dict[str, Any]:
    digest = blake2b(f"{join_id}\n".encode() + raw, digest_size=16)
    return {
        "id": digest.hexdigest(),
        "join_id": join_id,
        "event_type": event_type,
        "raw": raw,
        "received_at": now,
        "url": url,
        "state": "queued" if url else "noted",
        "wake_at": now if url else None,
        "attempt": 0,
    }


def heard_of(connection: Connection, join_ids: Iterable[str]) -> dict[str, list[tuple[str, datetime]]]:
    """What was called back about joins: (event type, instant), in order."""
    query = select(callbacks.c.join_id, callbacks.c.event_type, callbacks.c.received_at).where(
        callbacks.c.join_id.in_(list(join_ids))
    )
    heard: dict[str, list[tuple[str, datetime]]] = {}
    for row in connection.execute(query.order_by(callbacks.c.received_at)):
        heard.setdefault(row.join_id, []).append((row.event_type, row.received_at))
    return heard


def claim_callbacks(
    connection: Connection, now: datetime, owner: str, lease: timedelta, limit: int, busy: Collection[str] = ()
) -> list[Callback]:
    """Take up to `limit` callbacks that are to be passed on, but to no `busy` address; ours until now + lease."""
    columns = [callbacks.c[name] for name in Callback.__dataclass_fields__]
    rows = take(connection, callbacks, Lease(now, owner, lease, limit), columns, callbacks.c.url.not_in(busy))
    return [Callback(**row._mapping) for row in rows]


def give_back_callbacks(connection: Connection, claimed: Iterable[Callback], now: datetime) -> None:
    """Let anybody pass callbacks on at once that we claimed."""
    give_back(connection, callbacks, claimed, now)


def settle_callback(
    connection: Connection, callback: Callback, *, state: str, wake_at: datetime | None = None, error: str | None = None
) -> bool:
    """Write what came of passing it on; False when it is no longer ours."""
    changed = connection.execute(
        update(callbacks).where(is_ours(callbacks)).values(state=state, wake_at=wake_at, error=error),
        held_values(callback),
    )
    return changed.rowcount == 1


def next_callback(connection: Connection, busy: Collection[str] = ()) -> datetime | None:
    """The earliest instant at which a callback is to be passed on, but to no `busy` address."""
    return next_wake(connection, callbacks, callbacks.c.url.not_in(busy))
