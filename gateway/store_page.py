"""What the page asks of the store: joins around now, a week, invitations, one story, the health of all. Shell.

Rules of this file:
- Every function works in the caller's transaction, and only reads.
- A question costs the same with a million joins: it walks an index from where it begins, and stops at its limit.
- Whose a row is, is asked of each row (`_is_of`), because a list of an account's PALs would make the store sort.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, exists, func, or_, select, tuple_

from gateway.store import InviteRow, Mark, invites, is_aside, mails, outbox, pals
from gateway.store_calls import callbacks
from gateway.store_webhooks import deliveries
from scheduler.joins import SENT, SETTLED, Join, JoinState
from scheduler.leases import is_kept
from scheduler.store import events, find_rows, joins

PAST: Final = timedelta(hours=24)  # how long the timeline looks back
AHEAD: Final = timedelta(days=8)  # and ahead
LATELY: Final = timedelta(hours=24)  # what "lately" is on the page of health
_GOING: Final = sorted(SENT | {JoinState.LEAVING})
_OVER: Final = sorted(SETTLED | {JoinState.CANCELLED})


@dataclass(frozen=True)
class Around:
    """The joins around now: under way or overdue, the next ones by start, and those that are over, the last first."""

    going: list[Join]
    coming: list[Join]
    past: list[Join]


def _is_of(column: Any, account: str, pal_id: str | None) -> ColumnElement[bool]:
    owned = exists().where(pals.c.id == column, pals.c.account == account)
    return owned if pal_id is None else owned & (column == pal_id)


def around(connection: Connection, account: str, pal_id: str | None, now: datetime, limit: int) -> Around:
    """The joins of an account's PALs, or of one, at an instant (UTC)."""
    mine = select(joins).where(_is_of(joins.c.pal_id, account, pal_id))
    of_account = select(pals.c.id).where(pals.c.account == account)
    sitting = select(joins).where(joins.c.state.in_(_GOING), joins.c.pal_id.in_(of_account))
    if pal_id is not None:
        sitting = sitting.where(joins.c.pal_id == pal_id)
    overdue = mine.where(joins.c.state == JoinState.PLANNED, joins.c.wake_at.is_not(None))
    overdue = overdue.where(joins.c.at <= now, joins.c.starts > now - PAST, joins.c.starts <= now + AHEAD)
    coming = mine.where(joins.c.starts > now - PAST, joins.c.starts < now + AHEAD)
    coming = coming.where(joins.c.state == JoinState.PLANNED, joins.c.at > now)
    past = mine.where(joins.c.starts > now - PAST, joins.c.starts <= now + PAST, joins.c.state.in_(_OVER))
    going = find_rows(connection, sitting.order_by(joins.c.starts, joins.c.id).limit(limit))
    late = find_rows(connection, overdue.order_by(joins.c.starts, joins.c.id).limit(limit))
    return Around(
        sorted([*going, *late], key=lambda join: (join.starts, join.id))[:limit],
        find_rows(connection, coming.order_by(joins.c.starts, joins.c.id).limit(limit)),
        find_rows(connection, past.order_by(joins.c.starts.desc(), joins.c.id).limit(limit)),
    )


def between(
    connection: Connection, account: str, pal_id: str, since: datetime, before: datetime, limit: int
) -> list[Join]:
    """The joins of a PAL that begin between two instants (UTC), the cancelled ones left out."""
    query = select(joins).where(_is_of(joins.c.pal_id, account, pal_id), joins.c.state != JoinState.CANCELLED)
    query = query.where(joins.c.starts >= since, joins.c.starts < before)
    return find_rows(connection, query.order_by(joins.c.starts, joins.c.id).limit(limit))


@dataclass(frozen=True)
class Wanted:
    """Which invitations are wanted: all of an account's, or those of one PAL, with one verdict, with these words."""

    account: str
    pal_id: str | None = None
    verdict: str | None = None
    words: str = ""


def recent_invites(
    connection: Connection, wanted: Wanted, after: Mark | None, limit: int
) -> tuple[list[InviteRow], Mark | None]:
    """The newest invitations, and where the next ones begin (None: that were all)."""
    query = select(invites).where(_is_of(invites.c.pal_id, wanted.account, wanted.pal_id))
    if wanted.verdict is not None:
        query = query.where(invites.c.verdict == wanted.verdict)
    for word in wanted.words.split()[:5]:
        query = query.where(_says(word))
    if after is not None:
        at, last = after
        query = query.where((invites.c.decided_at < at) | ((invites.c.decided_at == at) & (invites.c.id > last)))
    newest = query.order_by(invites.c.decided_at.desc(), invites.c.id).limit(limit + 1)
    found = [InviteRow(**row._mapping) for row in connection.execute(newest)]
    shown = found[:limit]
    return shown, (shown[-1].decided_at, shown[-1].id) if len(found) > limit else None


def _says(word: str) -> ColumnElement[bool]:
    """Whether a word stands in who sent it, why it was decided so, its ids, or the title of its event."""
    title = exists().where(
        events.c.pal_id == invites.c.pal_id, events.c.uid == invites.c.uid, _title().icontains(word, autoescape=True)
    )
    columns = (invites.c.sender, invites.c.reason, invites.c.detail, invites.c.id, invites.c.uid)
    return or_(*(column.icontains(word, autoescape=True) for column in columns), title)


def _title() -> ColumnElement[str]:
    title: ColumnElement[str] = events.c.event["master"]["summary"].as_string()
    return title


def titles(connection: Connection, named: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The titles of events, by PAL and UID."""
    if not named:
        return {}
    query = select(events.c.pal_id, events.c.uid, _title().label("title"))
    rows = connection.execute(query.where(tuple_(events.c.pal_id, events.c.uid).in_(sorted(named))))
    return {(row.pal_id, row.uid): row.title for row in rows if row.title}


def one_invite(connection: Connection, account: str, invite_id: str) -> InviteRow | None:
    """A decision for one of an account's PALs."""
    query = select(invites).where(invites.c.id == invite_id, _is_of(invites.c.pal_id, account, None))
    row = connection.execute(query).first() if invite_id.isascii() and invite_id.isprintable() else None
    return InviteRow(**row._mapping) if row is not None else None


def joins_of_event(connection: Connection, pal_id: str, uid: str, now: datetime, limit: int) -> tuple[list[Join], int]:
    """The joins of an event, those around an instant (UTC) first in time, and how many there are altogether."""
    of_event = (joins.c.pal_id == pal_id) & (joins.c.uid == uid)
    total = connection.execute(select(func.count()).select_from(joins).where(of_event)).scalar_one()
    ahead = select(joins).where(of_event, joins.c.until > now).order_by(joins.c.starts, joins.c.id).limit(limit)
    before = select(joins).where(of_event, joins.c.until <= now).order_by(joins.c.starts.desc(), joins.c.id)
    coming = find_rows(connection, ahead)
    past = find_rows(connection, before.limit(max(limit - len(coming), limit // 2)))
    return sorted([*past, *coming], key=lambda join: (join.starts, join.id)), total


def other_invites(connection: Connection, pal_id: str, uid: str, limit: int) -> list[InviteRow]:
    """What else was decided about an event of a PAL, the newest first."""
    query = select(invites).where(invites.c.pal_id == pal_id, invites.c.uid == uid)
    newest = query.order_by(invites.c.decided_at.desc(), invites.c.id).limit(limit)
    return [InviteRow(**row._mapping) for row in connection.execute(newest)]


def letters_raw(connection: Connection, letter_ids: Collection[str]) -> dict[str, bytes]:
    """Answers as they are sent, by their ids."""
    query = select(outbox.c.id, outbox.c.raw).where(outbox.c.id.in_(letter_ids))
    return {row.id: bytes(row.raw) for row in connection.execute(query)} if letter_ids else {}


@dataclass(frozen=True)
class Queue:
    """What waits somewhere: how many are due (at most MOST are counted), and since when the oldest is."""

    name: str
    due: int
    oldest: datetime | None


MOST: Final = 10_000


def queues(connection: Connection, now: datetime) -> list[Queue]:
    """What is due at an instant (UTC) and not done, everywhere."""
    waiting = (
        ("joins", joins.c.wake_at),
        ("replies", outbox.c.wake_at),
        ("callbacks", callbacks.c.wake_at),
        ("webhooks", deliveries.c.wake_at),
        ("events to plan further", events.c.refill_at),
    )
    return [_queue(connection, name, column, now) for name, column in waiting]


def _queue(connection: Connection, name: str, column: Any, now: datetime) -> Queue:
    due = select(column.label("at")).where(column.is_not(None), column <= now)
    count = connection.execute(select(func.count()).select_from(due.limit(MOST).subquery())).scalar_one()
    oldest = connection.execute(due.order_by(column).limit(1)).scalar()
    return Queue(name, count, oldest)


def planned_until(connection: Connection, now: datetime, until: datetime) -> int:
    """How many joins are planned between two instants (UTC); at most MOST are counted."""
    query = select(joins.c.id).where(joins.c.wake_at > now, joins.c.wake_at <= until)
    query = query.where(joins.c.state == JoinState.PLANNED).limit(MOST)
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


@dataclass(frozen=True)
class Lately:
    """What became of answers: how many by state, when the relay took the last, and what it said last of trouble."""

    letters: dict[str, int]
    relay_took: datetime | None
    relay_said: tuple[datetime, str] | None


def letters_lately(connection: Connection, now: datetime) -> Lately:
    """What became of the answers that were made in the last day, and of those that wait; at most MOST of each."""
    made = select(outbox.c.state, outbox.c.settled_at, outbox.c.created_at, outbox.c.error)
    at_rest = made.where(is_kept(outbox), outbox.c.created_at > now - LATELY)
    waiting = made.where(outbox.c.wake_at.is_not(None)).order_by(outbox.c.wake_at).limit(MOST)
    rows = [
        *connection.execute(at_rest.order_by(outbox.c.created_at.desc()).limit(MOST)),
        *connection.execute(waiting),
    ]
    took = max((row.settled_at for row in rows if row.state == "sent" and row.settled_at), default=None)
    said = [(row.settled_at or row.created_at, str(row.error)) for row in rows if row.error]
    return Lately(dict(Counter(row.state for row in rows)), took, max(said, default=None))


def joins_lately(connection: Connection, now: datetime) -> dict[str, int]:
    """What became of the joins that began in the last day, by state; at most MOST of them are counted."""
    recent = select(joins.c.state).where(joins.c.starts > now - LATELY, joins.c.starts <= now)
    return dict(Counter(connection.execute(recent.order_by(joins.c.starts.desc()).limit(MOST)).scalars()))


def last_refusal(connection: Connection, now: datetime) -> Join | None:
    """The join that failed last, of those that began in the last day."""
    query = select(joins).where(joins.c.starts > now - LATELY, joins.c.starts <= now + AHEAD)
    query = query.where(joins.c.state == JoinState.FAILED).order_by(joins.c.starts.desc()).limit(1)
    return next(iter(find_rows(connection, query)), None)


def newest_aside(connection: Connection, limit: int) -> list[InviteRow]:
    """The decisions that are kept aside, the newest first."""
    newest = select(invites).where(is_aside).order_by(invites.c.decided_at.desc(), invites.c.id).limit(limit)
    return [InviteRow(**row._mapping) for row in connection.execute(newest)]


def mail_head(connection: Connection, mail_id: str) -> dict[str, Any]:
    """When a mail came, from and to whom, and how large it was."""
    head: Select[Any] = select(
        mails.c.received_at, mails.c.mail_from, mails.c.recipients, mails.c.message_id, func.length(mails.c.raw)
    )
    row = connection.execute(head.where(mails.c.id == mail_id)).one()
    return {**dict(row._mapping), "size": row[4]}
