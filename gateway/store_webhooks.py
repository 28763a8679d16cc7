"""Webhooks in the store: the endpoints of accounts, and what is to be told to each. All SQL of the two. Shell.

Rules of this file:
- Every function works in the caller's transaction. A query that answers an account has the account in its WHERE.
- A row of the journal is told once to each endpoint of its account: the row waits until its deliveries are written, in
  the same transaction, and two deliveries of one row to one endpoint cannot be.
- An endpoint is told what happened since it was added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    String,
    Table,
    delete,
    exists,
    insert,
    select,
    true,
    update,
)

from gateway.store import Mark, Page, invites, page_of_rows, pals
from gateway.store_calls import conversations
from gateway.webhooks import SECRET_BYTES, TEST, Secret, body_of, event_of, instant, rotated, secret_of
from scheduler.database import Text, UtcDateTime, metadata
from scheduler.happening import Happening
from scheduler.journal import journal
from scheduler.leases import Lease, give_back, held_values, index_kept, index_waiting, is_ours, next_wake, take
from scheduler.store import events, joins

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),  # the types that it is told of; none: all
    Column("secrets", JSON, nullable=False),  # the newest first
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),  # since when it is told nothing; NULL: it is told
    Column("disabled_reason", Text),
    Index("webhooks_account", "account", "created_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),  # the webhook-id, the same at each attempt
    Column("webhook_id", String, nullable=False),
    Column("journal_id", String),  # NULL: a test
    Column("type", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String, nullable=False),  # queued, sent, failed
    Column("created_at", UtcDateTime, nullable=False),
    Column("wake_at", UtcDateTime),
    Column("attempt", Integer, nullable=False),
    Column("owner", String),
    Column("status", Integer),  # what was answered last; NULL: nothing
    Column("error", Text),
    Column("settled_at", UtcDateTime),
    Column("forgotten_at", UtcDateTime),
    Index("deliveries_webhook", "webhook_id", "created_at"),
    Index("deliveries_told", "webhook_id", "journal_id", unique=True),
)
index_waiting(deliveries)
index_kept(deliveries, deliveries.c.created_at)


@dataclass(frozen=True)
class Webhook:
    """An endpoint of an account. `events` empty: all of them."""

    id: str
    account: str
    url: str
    events: tuple[str, ...]
    secrets: tuple[Secret, ...]
    created_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None

    def wants(self, event_type: str) -> bool:
        """Whether it is told of a type of event."""
        return self.disabled_at is None and (not self.events or event_type in self.events)


@dataclass(frozen=True)
class Delivery:
    """A message for an endpoint, claimed by us."""

    id: str
    webhook_id: str
    type: str
    body: str
    attempt: int
    owner: str | None


@dataclass(frozen=True)
class DeliveryRow:
    """A message and what became of it."""

    id: str
    webhook_id: str
    type: str
    body: str
    state: str
    created_at: datetime
    wake_at: datetime | None
    attempt: int
    status: int | None
    error: str | None
    settled_at: datetime | None
    forgotten_at: datetime | None


# --- endpoints


def fresh_webhook(account: str, url: str, events: Iterable[str], now: datetime) -> Webhook:
    """A new endpoint with a secret of its own."""
    return Webhook("w" + token_hex(10), account, url, tuple(events), (_fresh_secret(),), now)


def with_new_secret(webhook: Webhook, now: datetime) -> Webhook:
    """An endpoint whose secret is replaced: the one before signs for a while yet."""
    return replace(webhook, secrets=rotated(webhook.secrets, _fresh_secret(), now))


def _fresh_secret() -> Secret:
    return Secret(secret_of(token_bytes(SECRET_BYTES)))


def add(connection: Connection, webhook: Webhook) -> None:
    """Write a new endpoint."""
    connection.execute(insert(webhooks).values(_values(webhook)))


def save(connection: Connection, webhook: Webhook) -> None:
    """Write an endpoint that has changed, its row locked by us."""
    connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(_values(webhook)))


def remove(connection: Connection, webhook_id: str) -> None:
    """Forget an endpoint, and what it was told."""
    connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


def disable(connection: Connection, webhook_id: str, reason: str, now: datetime) -> None:
    """Tell an endpoint nothing any more, until somebody says otherwise."""
    running = update(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
    connection.execute(running.values(disabled_at=now, disabled_reason=reason))
    drop_waiting(connection, webhook_id, reason, now)


def drop_waiting(connection: Connection, webhook_id: str, reason: str, now: datetime) -> None:
    """Give up what waits for an endpoint."""
    waiting = update(deliveries).where(deliveries.c.webhook_id == webhook_id, deliveries.c.wake_at.is_not(None))
    connection.execute(waiting.values(state="failed", wake_at=None, error=reason, settled_at=now))


def of_account(connection: Connection, account: str | None, after: Mark | None, limit: int) -> Page[Webhook]:
    """The endpoints of an account (None: of all), the newest first."""
    query = select(webhooks).where(webhooks.c.account == account if account is not None else true())
    page = page_of_rows(connection, query, webhooks.c.created_at, after, limit, newest=True)
    return Page(tuple(map(_webhook, page.rows)), page.total, page.next)


def find(connection: Connection, webhook_id: str, account: str | None = None) -> Webhook | None:
    """An endpoint (of an account), its row locked until the transaction ends."""
    if not (webhook_id.isascii() and webhook_id.isprintable()):  # PostgreSQL takes no NUL
        return None
    query = select(webhooks).where(webhooks.c.id == webhook_id)
    if account is not None:
        query = query.where(webhooks.c.account == account)
    row = connection.execute(query.with_for_update()).first()
    return _webhook(row) if row is not None else None


def _values(webhook: Webhook) -> dict[str, Any]:
    secrets = [{"value": one.value, "until": one.until.isoformat() if one.until else None} for one in webhook.secrets]
    return {**vars(webhook), "events": list(webhook.events), "secrets": secrets}


def _webhook(row: Row[Any]) -> Webhook:
    secrets = tuple(
        Secret(one["value"], datetime.fromisoformat(one["until"]) if one["until"] else None) for one in row.secrets
    )
    return Webhook(**{**row._mapping, "events": tuple(row.events), "secrets": secrets})


# --- from the journal to deliveries


def tell(connection: Connection, now: datetime, limit: int, pal_id: str | None = None) -> int:
    """Write what happened (to a PAL) and was not told yet as deliveries; how many rows of the journal that were, at
    most `limit`, or 0 where there is nobody to tell."""
    waits = journal.c.wake_at <= now
    if pal_id is not None:
        waits &= journal.c.pal_id == pal_id
    if connection.execute(select(exists().where(webhooks.c.disabled_at.is_(None)))).scalar() is not True:
        if connection.execute(select(journal.c.id).where(waits).limit(1)).first() is not None:
            connection.execute(update(journal).where(waits).values(wake_at=None))
        return 0
    query = select(journal).where(waits).order_by(journal.c.wake_at, journal.c.id).limit(limit)
    rows = connection.execute(query.with_for_update(skip_locked=True)).all()
    if rows:
        found = list(_messages(connection, rows, now))
        if found:
            connection.execute(insert(deliveries), found)
        connection.execute(update(journal).where(journal.c.id.in_([row.id for row in rows])).values(wake_at=None))
    return len(rows)


def _messages(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> Iterable[dict[str, Any]]:
    """The deliveries for rows of the journal."""
    told = [row for row in rows if event_of(row.kind) is not None]
    owners = _owners(connection, told)
    endpoints: dict[str, list[Webhook]] = {}
    wanted = webhooks.c.account.in_({account for account, _ in owners.values()}) & webhooks.c.disabled_at.is_(None)
    for row in connection.execute(select(webhooks).where(wanted)):
        endpoints.setdefault(row.account, []).append(_webhook(row))
    concerned = [row for row in told if owners.get(row.id, ("", ""))[0] in endpoints]
    about = _About.of(connection, concerned)
    for row in concerned:
        account, address = owners[row.id]
        event_type = event_of(row.kind) or ""
        body = body_of(event_type, row.at, about.data(row, address))
        for one in endpoints[account]:
            if one.wants(event_type) and one.created_at <= row.at:
                yield _delivery(one.id, event_type, body, now, row.id)


def _delivery(
    webhook_id: str, event_type: str, body: str, now: datetime, journal_id: str | None = None
) -> dict[str, Any]:
    return {
        "id": "msg_" + token_urlsafe(18), "webhook_id": webhook_id, "journal_id": journal_id, "type": event_type,
        "body": body, "state": "queued", "created_at": now, "wake_at": now, "attempt": 0,
    }  # fmt: skip


def _owners(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, tuple[str, str]]:
    """Of rows of the journal: the account, and the PAL's address ('': it has none)."""
    query = select(pals.c.id, pals.c.account, pals.c.address).where(pals.c.id.in_({row.pal_id for row in rows}))
    known = {row.id: (row.account, row.address or "") for row in connection.execute(query)}
    # Who was ordered over HTTP may be a PAL that only the platform knows: such a join is an event of its own.
    orders = {row.uid for row in rows if row.pal_id not in known}
    ordered = select(conversations.c.id, conversations.c.account).where(conversations.c.id.in_(orders))
    accounts = {row.id: (row.account, "") for row in connection.execute(ordered)} if orders else {}
    found = {row.id: known.get(row.pal_id) or accounts.get(row.uid) for row in rows}
    return {row_id: owner for row_id, owner in found.items() if owner is not None}


@dataclass(frozen=True)
class _About:
    """What messages say besides what the journal does: joins, invitations and organizers."""

    joins: Mapping[str, Row[Any]]
    invites: Mapping[str, Row[Any]]
    organizers: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, connection: Connection, rows: Sequence[Row[Any]]) -> _About:
        """All that is asked for these rows of the journal."""
        join_ids = {row.join_id for row in rows if row.join_id}
        for row in rows:
            join_ids |= (row.data or {}).get("joins", {}).keys()
        invite_ids = {row.data["invite"] for row in rows if row.data and "invite" in row.data}
        of_invites = [row for row in rows if row.data and "invite" in row.data]
        pal_ids, uids = {row.pal_id for row in of_invites}, {row.uid for row in of_invites}
        told = select(events.c.pal_id, events.c.uid, events.c.event["organizer"].as_string().label("organizer"))
        told = told.where(events.c.pal_id.in_(pal_ids), events.c.uid.in_(uids))
        decided = select(invites).where(invites.c.id.in_(invite_ids))
        return cls(
            {row.id: row for row in connection.execute(select(joins).where(joins.c.id.in_(join_ids)))},
            {row.id: row for row in connection.execute(decided)},
            {(row.pal_id, row.uid): row.organizer for row in connection.execute(told)} if uids else {},
        )

    def data(self, row: Row[Any], address: str) -> dict[str, Any]:
        """The data of a message."""
        whose = {"pal_id": row.pal_id, "address": address, "uid": row.uid}
        said = row.data or {}
        if "invite" in said:
            return {"invite_id": said["invite"], **whose, **self._invite(row)}
        if "joins" in said:
            found = (self.joins[join_id] for join_id in said["joins"] if join_id in self.joins)
            return {**whose, "joins": [_join(join, "planned") for join in found]}
        return {**whose, **self._of_join(row, said)}

    def _invite(self, row: Row[Any]) -> dict[str, Any]:
        invite = self.invites.get(row.data["invite"])
        organizer = self.organizers.get((row.pal_id, row.uid)) or (invite.sender if invite is not None else "")
        return {"verdict": row.kind, "reason": row.detail or None, "organizer": organizer}

    def _of_join(self, row: Row[Any], said: Mapping[str, Any]) -> dict[str, Any]:
        join = self.joins.get(row.join_id)
        state = row.kind if row.kind != Happening.MOVED or join is None else join.state
        told = _join(join, state) if join is not None else {"join_id": row.join_id, "state": state}
        if row.kind == Happening.MOVED:
            for name in ("start", "end"):
                told[name] = instant(datetime.fromisoformat(said["after"][name]))
            before = {name: instant(datetime.fromisoformat(one)) for name, one in said["before"].items()}
            return {**told, "before": before, "has_new_link": said["has_new_link"]}
        return {**told, "reason": said.get("reason"), "attempt": row.attempt}


def _join(join: Row[Any], state: str) -> dict[str, Any]:
    times = {"start": instant(join.starts), "end": instant(join.ends)}
    return {"join_id": join.id, **times, "url": join.url, "state": state, "conversation_id": join.conversation_id}


# --- deliveries


_DELIVERY: Final = [deliveries.c[field.name] for field in fields(Delivery)]
_DELIVERY_ROW: Final = [deliveries.c[field.name] for field in fields(DeliveryRow)]


def test(connection: Connection, webhook: Webhook, now: datetime) -> DeliveryRow:
    """Queue a message that only says that it came."""
    row = _delivery(webhook.id, TEST, body_of(TEST, now, {"webhook_id": webhook.id}), now)
    found = connection.execute(insert(deliveries).returning(*_DELIVERY_ROW), row).one()
    return DeliveryRow(**found._mapping)


def claim(
    connection: Connection, now: datetime, owner: str, lease: timedelta, limit: int, busy: Collection[str] = ()
) -> list[tuple[Delivery, Webhook | None]]:
    """Take up to `limit` messages that are due, but none for a `busy` endpoint; each with its endpoint."""
    others = deliveries.c.webhook_id.not_in(busy)
    rows = take(connection, deliveries, Lease(now, owner, lease, limit), _DELIVERY, others)
    of_rows = webhooks.c.id.in_({row.webhook_id for row in rows})
    known = {row.id: _webhook(row) for row in connection.execute(select(webhooks).where(of_rows))} if rows else {}
    return [(Delivery(**row._mapping), known.get(row.webhook_id)) for row in rows]


def give_back_deliveries(connection: Connection, claimed: Iterable[Delivery], now: datetime) -> None:
    """Let anybody send messages at once that we claimed."""
    give_back(connection, deliveries, claimed, now)


def next_delivery(connection: Connection, busy: Collection[str] = ()) -> datetime | None:
    """The earliest instant at which a message is to be sent, but to no `busy` endpoint."""
    return next_wake(connection, deliveries, deliveries.c.webhook_id.not_in(busy))


def settle(
    connection: Connection,
    delivery: Delivery,
    now: datetime,
    *,
    state: str,
    status: int | None = None,
    error: str | None = None,
    wake_at: datetime | None = None,
) -> bool:
    """Write what came of an attempt; False when it is no longer ours. What was given up meanwhile is not sent again."""
    given_up = deliveries.c.wake_at.is_(None)
    values = {"state": state, "status": status, "error": error, "wake_at": wake_at}
    ours = update(deliveries).where(is_ours(deliveries), ~given_up if state == "queued" else true())
    settled_at = None if state == "queued" else now
    changed = connection.execute(ours.values(**values, settled_at=settled_at), held_values(delivery))
    return changed.rowcount == 1


def log_of(connection: Connection, webhook_id: str, after: Mark | None, limit: int) -> Page[DeliveryRow]:
    """What an endpoint was told, the newest first."""
    query = select(*_DELIVERY_ROW).where(deliveries.c.webhook_id == webhook_id)
    page = page_of_rows(connection, query, deliveries.c.created_at, after, limit, newest=True)
    return Page(tuple(DeliveryRow(**row._mapping) for row in page.rows), page.total, page.next)


def find_delivery(connection: Connection, delivery_id: str, webhook_id: str | None = None) -> DeliveryRow | None:
    """A message (to an endpoint), its row locked until the transaction ends."""
    if not (delivery_id.isascii() and delivery_id.isprintable()):
        return None
    query = select(*_DELIVERY_ROW).where(deliveries.c.id == delivery_id)
    if webhook_id is not None:
        query = query.where(deliveries.c.webhook_id == webhook_id)
    row = connection.execute(query.with_for_update()).first()
    return DeliveryRow(**row._mapping) if row is not None else None


def queue_again(
    connection: Connection, delivery_id: str, now: datetime, webhook_id: str | None = None
) -> DeliveryRow | str | None:
    """Let a message be sent again, as it was; how it is then, why not, or None when there is none."""
    row = find_delivery(connection, delivery_id, webhook_id)
    if row is None:
        return None
    webhook = find(connection, row.webhook_id)
    if row.state == "queued":
        return f"{row.id} waits to be sent already."
    if row.forgotten_at is not None:
        return f"What {row.id} said was forgotten."
    if webhook is None or webhook.disabled_at is not None:
        return f"{row.webhook_id} is disabled; enable it first."
    again: dict[str, Any] = {"state": "queued", "wake_at": now, "attempt": 0, "settled_at": None}
    connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(again))
    return replace(row, **again)
