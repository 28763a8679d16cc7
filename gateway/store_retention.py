"""Forgetting in the store: which rows are due, and what is left of them. All SQL of the two. Shell.

Rules of this file:
- Every function works in the caller's transaction, on a few rows: whoever waits for the store waits for milliseconds.
- `EMPTIED` is what goes; every other column stays, so that what happened can still be counted and told. SECURITY.md
  has the same table, and a test compares them.
- What is due is found by an index; `kept_until` does not depend on the setting, so that a change of it counts at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    literal,
    null,
    select,
    update,
)

from gateway.store import HAD_NO_SAY, invites, mails, outbox, pals
from gateway.store_calls import callbacks, conversations
from gateway.store_webhooks import deliveries
from gateway.verdict import Verdict
from scheduler.journal import journal
from scheduler.leases import is_kept
from scheduler.store import events, joins

MAX_ROWS: Final = 50  # of one transaction
MAX_BYTES: Final = 1024 * 1024  # of the mails and callbacks of one transaction, the last one excepted

# Of these the whole row goes.
DELETED: Final = (events, journal)

# What people wrote, by table: what stands there afterwards.
EMPTIED: Final[Mapping[Table, Mapping[str, Any]]] = {
    mails: {"mail_from": "", "recipients": [], "message_id": "", "raw": b""},
    invites: {
        "sender": "", "allowed_by": None, "detail": "", "link_candidates": [], "authentication": null(),
        "confirmation": null(), "inviter": None, "inviter_domain": None,
    },
    joins: {"url": "", "name": "", "request": {}, "room": {}, "inviter": None, "inviter_domain": None},
    outbox: {"recipient": "", "organizer": "", "raw": b"", "error": None, "note": None},
    conversations: {"key": None, "digest": "", "callback_url": "", "answer": null()},
    callbacks: {"raw": b"", "url": "", "error": None},
    deliveries: {"body": "", "error": None},
}  # fmt: skip

# What is forgotten by its own date alone.
BY_DATE: Final[Mapping[Table, ColumnElement[datetime]]] = {
    joins: joins.c.until,
    outbox: outbox.c.created_at,
    callbacks: callbacks.c.received_at,
    conversations: conversations.c.created_at,
    deliveries: deliveries.c.created_at,
}


@dataclass(frozen=True)
class Held:
    """An event of a PAL as it stands in the store. `heard_at`: the last message about it; `has_pal` False: the PAL was
    removed; `has_changed`: since it was looked at last."""

    pal_id: str
    uid: str
    stored: Any
    heard_at: datetime
    has_pal: bool
    has_changed: bool = False


Told = dict[tuple[str, str], tuple[Held, set[str]]]  # by PAL and UID: the event, and the mails that told of it


def forget_by_date(connection: Connection, table: Table, before: datetime, now: datetime) -> int:
    """Empty some rows of a table of BY_DATE that were over at `before`; how many."""
    at = BY_DATE[table]
    due = _some(connection, select(table.c.id, _size(table)).where(is_kept(table), at <= before).order_by(at))
    _empty(connection, table, table.c.id.in_(due), now)
    return len(due)


def forget_history(connection: Connection, before: datetime) -> int:
    """Delete some rows of the journal whose joins were over at `before`; how many."""
    due = select(journal.c.id).where(journal.c.kept_until <= before).order_by(journal.c.kept_until)
    ids = list(connection.execute(due.limit(MAX_ROWS).with_for_update(skip_locked=True)).scalars())
    connection.execute(delete(journal).where(journal.c.id.in_(ids)))
    return len(ids)


def _some(connection: Connection, rows: Select[Any]) -> list[str]:
    """The ids of as many of these rows (id, size) as one transaction takes, locked; who does the same takes others."""
    found: list[str] = []
    size = 0
    for row in connection.execute(rows.limit(MAX_ROWS).with_for_update(skip_locked=True)).all():
        if size > MAX_BYTES:
            break
        found.append(row.id)
        size += row.size
    return found


def _size(table: Table) -> ColumnElement[int]:
    size: ColumnElement[int] = func.length(table.c.raw) if "raw" in table.c else literal(0)
    return size.label("size")


def _empty(connection: Connection, table: Table, those: ColumnElement[bool], now: datetime) -> None:
    connection.execute(update(table).where(those).values(**EMPTIED[table], forgotten_at=now))


def events_to_look_at(connection: Connection, before: datetime) -> list[Held]:
    """Some events that have changed, or that may be over since `before`; locked."""
    found: list[Held] = []
    for those in (events.c.kept_until.is_(None), events.c.kept_until <= before):
        query = select(events).where(those).limit(MAX_ROWS).with_for_update(skip_locked=True)
        found += [_held(connection, row) for row in connection.execute(query).all()]
    return found


def _held(connection: Connection, row: Row[Any]) -> Held:
    of_event = (invites.c.pal_id == row.pal_id, invites.c.uid == row.uid)
    heard_at = connection.execute(select(func.max(invites.c.decided_at)).where(*of_event)).scalar()
    pal = connection.execute(select(pals.c.id).where(pals.c.id == row.pal_id)).first()
    never = datetime.min.replace(tzinfo=UTC)
    return Held(row.pal_id, row.uid, row.event, heard_at or never, pal is not None, row.kept_until is None)


def forget_event(connection: Connection, held: Held) -> None:
    """Delete an event; the mails that told of it are needed by it no longer."""
    connection.execute(delete(events).where(_is(held)))
    _look_again(connection, held)


def keep_event(connection: Connection, held: Held, event: Any, until: datetime) -> None:
    """Keep an event (as it is stored) until an instant at least. Of its mails a change may have made some needless."""
    values: dict[str, Any] = {"kept_until": until}
    if event != held.stored:
        values["event"] = event
    connection.execute(update(events).where(_is(held)).values(values))
    if held.has_changed:
        _look_again(connection, held)


def _is(held: Held) -> ColumnElement[bool]:
    return (events.c.pal_id == held.pal_id) & (events.c.uid == held.uid)


def _look_again(connection: Connection, held: Held) -> None:
    of_event = select(invites.c.mail_id).where(invites.c.pal_id == held.pal_id, invites.c.uid == held.uid)
    kept = update(mails).where(mails.c.id.in_(of_event), is_kept(mails), mails.c.kept_until > mails.c.received_at)
    connection.execute(kept.values(kept_until=mails.c.received_at))


def mails_to_look_at(connection: Connection, before: datetime) -> list[str]:
    """Some mails that came, or were needed for certain, until before `before`."""
    # What the release before has written.
    unseen = select(mails.c.id).where(is_kept(mails), mails.c.kept_until.is_(None)).limit(MAX_ROWS)
    connection.execute(update(mails).where(mails.c.id.in_(unseen)).values(kept_until=mails.c.received_at))
    return _some(connection, _due(before).order_by(mails.c.kept_until))


def _due(before: datetime) -> Select[Any]:
    return select(mails.c.id, _size(mails)).where(is_kept(mails), mails.c.kept_until <= before)


def told_of(connection: Connection, mail_ids: Collection[str]) -> Told:
    """The events that are held, and that some of these mails may have told of."""
    same = and_(events.c.pal_id == invites.c.pal_id, events.c.uid == invites.c.uid)
    query = select(invites.c.mail_id, events).join(events, same)
    told: Told = {}
    for row in connection.execute(
        query.where(invites.c.mail_id.in_(mail_ids), invites.c.verdict.not_in(HAD_NO_SAY))
    ).all():
        key = (row.pal_id, row.uid)
        if key not in told:
            told[key] = _held(connection, row), set()
        told[key][1].add(row.mail_id)
    return told


def forget_mails(
    connection: Connection,
    looked_at: Collection[str],
    needed: Collection[str],
    told: Told,
    before: datetime,
    now: datetime,
) -> tuple[int, list[tuple[str, str | None]]]:
    """Empty mails that were looked at, with what was decided on them, and keep those that are needed, or of whose
    events something has changed since. How many were emptied, and which of them were in quarantine, and why."""
    ids = _some(connection, _due(before).where(mails.c.id.in_(looked_at)))
    kept = set(needed)
    for key, (held, of_event) in told_of(connection, ids).items():
        if key not in told or told[key][0].stored != held.stored:
            kept |= of_event
    gone = [one for one in ids if one not in kept]
    connection.execute(update(mails).where(mails.c.id.in_([one for one in ids if one in kept])).values(kept_until=now))
    aside = select(invites.c.mail_id, invites.c.reason).where(
        invites.c.mail_id.in_(gone), invites.c.verdict == Verdict.QUARANTINED
    )
    quarantined = [(row.mail_id, row.reason) for row in connection.execute(aside)]
    _empty(connection, invites, invites.c.mail_id.in_(gone), now)
    _empty(connection, mails, mails.c.id.in_(gone), now)
    return len(gone), quarantined
