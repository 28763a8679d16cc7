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

from sqlalchemy import ColumnElement, Connection, Select, exists, func, literal_column, or_, select

from gateway.store import InviteRow, Mark, invites, is_aside, mails, outbox, pals
from gateway.store_calls import callbacks
from gateway.store_webhooks import deliveries
from scheduler.joins import SETTLED, Join, JoinState
from scheduler.leases import is_kept
from scheduler.store import events, find_rows, has_been_tried, joins, waits_again

PAST: Final = timedelta(hours=24)  # how long the timeline looks back
AHEAD: Final = timedelta(days=8)  # and ahead
AGAIN: Final = timedelta(minutes=2)  # who leaves a call tries so long at most until the next try
MOMENT: Final = timedelta(hours=1)  # how long after its start a join may still be one that is to come
FEW_PALS: Final = 100
LATELY: Final = timedelta(hours=24)  # what "lately" is on the page of health
# Literals, for SQLite knows of a parameter nothing when it looks for an index of those rows only.
_is_in_a_call: Final = joins.c.state.in_(
    [literal_column(f"'{one.value}'") for one in (JoinState.CLAIMED, JoinState.STARTED, JoinState.JOINED)]
)
_WANTED: Final = sorted(set(JoinState) - {JoinState.CANCELLED})
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


def _is_mine(connection: Connection, column: Any, account: str, pal_id: str | None) -> ColumnElement[bool]:
    """Whether a row is of an account's PALs. Of few PALs the rows are looked for PAL by PAL, so that an account with
    little does not walk past all that others have; of many, the next row is soon one of theirs."""
    if pal_id is not None:
        return _is_of(column, account, pal_id)
    few = connection.execute(select(pals.c.id).where(pals.c.account == account).limit(FEW_PALS + 1)).scalars().all()
    return column.in_(few) if len(few) <= FEW_PALS else _is_of(column, account, None)


def around(connection: Connection, account: str, pal_id: str | None, now: datetime, limit: int) -> Around:
    """The joins of an account's PALs, or of one, at an instant (UTC)."""
    mine = select(joins).where(_is_mine(connection, joins.c.pal_id, account, pal_id))
    sitting = mine.where(_is_in_a_call)
    leaving = mine.where(joins.c.state == JoinState.LEAVING, joins.c.wake_at <= now + AGAIN)
    # What is due, and what is tried again, by when it waits for; not by its start, before which all lies.
    waiting = mine.where(joins.c.state == JoinState.PLANNED, joins.c.at <= now, joins.c.starts > now - PAST)
    overdue = waiting.where(joins.c.wake_at.is_not(None), joins.c.wake_at <= now, ~has_been_tried)
    again = waiting.where(waits_again, joins.c.wake_at <= now + AHEAD)
    coming = mine.where(joins.c.starts > now - MOMENT, joins.c.starts < now + AHEAD)
    coming = coming.where(joins.c.state == JoinState.PLANNED, joins.c.at > now)
    # Only what is at rest is in this index, so what is planned for the next day is not walked past.
    past = mine.where(is_kept(joins), joins.c.until > now - PAST, joins.c.until <= now + PAST)
    past = past.where(joins.c.state.in_(_OVER))
    # In the order of their index: by their starts, SQLite would rather walk all that was ever planned.
    going = find_rows(connection, sitting.order_by(joins.c.pal_id, joins.c.url).limit(4 * limit))
    going += find_rows(connection, leaving.order_by(joins.c.wake_at, joins.c.id).limit(limit))
    late = find_rows(connection, overdue.order_by(joins.c.wake_at, joins.c.id).limit(limit))
    late += find_rows(connection, again.order_by(joins.c.wake_at, joins.c.id).limit(limit))
    over = find_rows(connection, past.order_by(joins.c.until.desc(), joins.c.id).limit(limit))
    return Around(
        sorted([*going, *late], key=lambda join: (join.starts, join.id))[:limit],
        find_rows(connection, coming.order_by(joins.c.starts, joins.c.id).limit(limit)),
        sorted(over, key=lambda join: join.starts, reverse=True),
    )


def between(
    connection: Connection, account: str, pal_id: str, since: datetime, before: datetime, limit: int
) -> list[Join]:
    """The joins of a PAL that begin between two instants (UTC), the cancelled ones left out."""
    # By PAL and state, so that the week of all others is not walked past.
    query = select(joins).where(_is_of(joins.c.pal_id, account, pal_id), joins.c.state.in_(_WANTED))
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
    query = select(invites).where(_is_mine(connection, invites.c.pal_id, wanted.account, wanted.pal_id))
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


@dataclass(frozen=True)
class PalName:
    """A PAL, by its address ('': it has none) and its name."""

    id: str
    address: str
    name: str


def newest_pals(connection: Connection, account: str, limit: int) -> list[PalName]:
    """The newest PALs of an account that can be invited, by address."""
    query = select(pals.c.id, pals.c.address, pals.c.name)
    query = query.where(pals.c.account == account, pals.c.address.is_not(None))
    newest = connection.execute(query.order_by(pals.c.created_at.desc()).limit(limit))  # as its index has them
    return sorted((PalName(*row) for row in newest), key=lambda pal: pal.address)


def called(connection: Connection, pal_ids: Collection[str]) -> dict[str, str]:
    """What some PALs are called, by their ids: the address, or the name of one that has none."""
    query = select(pals.c.id, pals.c.address, pals.c.name).where(pals.c.id.in_(sorted(pal_ids)))
    return {row.id: row.address or row.name for row in connection.execute(query)} if pal_ids else {}


def titles(connection: Connection, named: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The titles of events, by PAL and UID."""
    if not named:
        return {}
    query = select(events.c.pal_id, events.c.uid, _title().label("title"))
    # Not a list of pairs: SQLite would hold each event of the store against it.
    of = [(events.c.pal_id == pal_id) & (events.c.uid == uid) for pal_id, uid in sorted(named)]
    rows = connection.execute(query.where(or_(*of)))
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
MOST_LETTERS: Final = 1000


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
    """What became of the answers that were made in the last day, and of those that wait; at most MOST_LETTERS of each,
    for a row of them is read past the letter itself."""
    made = select(outbox.c.state, outbox.c.settled_at, outbox.c.created_at, outbox.c.error)
    at_rest = made.where(is_kept(outbox), outbox.c.created_at > now - LATELY).order_by(outbox.c.created_at.desc())
    waiting = made.where(outbox.c.wake_at.is_not(None)).order_by(outbox.c.wake_at)
    letters, took, said = Counter[str](), list[datetime](), list[tuple[datetime, str]]()
    for some in (at_rest.limit(MOST_LETTERS).subquery(), waiting.limit(MOST_LETTERS).subquery()):
        by_state = select(some.c.state, func.count().label("number"), func.max(some.c.settled_at).label("last"))
        for row in connection.execute(by_state.group_by(some.c.state)):
            letters[row.state] += row.number
            took += [row.last] if row.state == "sent" and row.last else []
        troubled = select(some).where(some.c.error.is_not(None), some.c.error != "")
        for row in connection.execute(troubled.order_by(some.c.created_at.desc()).limit(1)):
            said.append((row.settled_at or row.created_at, str(row.error)))
    return Lately(dict(letters), max(took, default=None), max(said, default=None))


def joins_lately(connection: Connection, now: datetime) -> dict[str, int]:
    """What became of the joins that began in the last day, by state; at most MOST of them are counted."""
    recent = select(joins.c.state).where(joins.c.starts > now - LATELY, joins.c.starts <= now)
    return dict(Counter(connection.execute(recent.order_by(joins.c.starts.desc()).limit(MOST)).scalars()))


def last_refusal(connection: Connection, now: datetime) -> Join | None:
    """The join that failed last, of those that began in the last day."""
    query = select(joins).where(is_kept(joins), joins.c.until > now - LATELY, joins.c.until <= now + AHEAD)
    query = query.where(joins.c.state == JoinState.FAILED).order_by(joins.c.until.desc()).limit(1)
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
