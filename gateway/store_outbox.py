"""What became of the answers in the outbox: their bounces, those that are sent again, lists. Shell.

Rules of this file:
- Every function works in the caller's transaction. Queueing and sending are in `gateway.store`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, exists, select, update

from gateway.reports import Fate, Report
from gateway.store import outbox

MAX_REPORTS: Final = 20  # mails to one bounce address that are kept; servers that tell of a delay do so some five times


class LetterState(StrEnum):
    QUEUED = "queued"  # it waits: for its time, or for the relay
    SENT = "sent"  # the relay took it
    SUPERSEDED = "superseded"  # a later answer took its place, or nobody needs it any more
    FAILED = "failed"  # the relay refused it, or was away for a day
    UNDELIVERABLE = "undeliverable"  # it came back


LOST: Final = (LetterState.FAILED, LetterState.UNDELIVERABLE)  # the organizer has not heard it


@dataclass(frozen=True)
class LetterRow:
    """An answer and what became of it. `recurrence_id` None: it is for the whole event."""

    id: str
    invite_id: str | None
    pal_id: str
    uid: str
    recurrence_id: datetime | None
    partstat: str
    recipient: str
    state: str
    created_at: datetime
    settled_at: datetime | None
    wake_at: datetime | None
    attempt: int
    error: str | None
    note: str | None


_COLUMNS: Final = tuple(outbox.c[name] for name in LetterRow.__dataclass_fields__)


def takes_reports(connection: Connection, letter_id: str) -> bool:
    """Whether a letter is kept, and not too much has come to its bounce address already."""
    known = select(outbox.c.reports).where(outbox.c.id == letter_id)
    count = connection.execute(known).scalar()
    return count is not None and count < MAX_REPORTS


def note_report(connection: Connection, letter_id: str, report: Report | None, now: datetime) -> bool:
    """Write down what came to a letter's bounce address (None: nothing that can be read); whether that changed its
    state. The same twice changes nothing."""
    query = select(outbox.c.state, outbox.c.attempt).where(outbox.c.id == letter_id).with_for_update()
    letter = connection.execute(query).first()
    if letter is None:
        return False
    returned = report is not None and _is_returned(letter.state, letter.attempt, report)
    known = report is not None and report.fate is Fate.FAILED and letter.state in LOST
    values: dict[str, Any] = {"reports": outbox.c.reports + 1}
    if report is not None and returned:
        values |= {"state": LetterState.UNDELIVERABLE, "error": report.line, "settled_at": now, "wake_at": None}
    elif report is not None and not known:
        values |= {"note": report.line}
    connection.execute(update(outbox).where(outbox.c.id == letter_id).values(values))
    return returned


def _is_returned(state: str, attempt: int, report: Report) -> bool:
    """Whether a letter is undeliverable by now. One that the relay was never offered cannot have come back; one that
    waits to be offered again may have been taken without our hearing of it."""
    was_offered = state == LetterState.SENT or (state == LetterState.QUEUED and attempt > 0)
    return report.fate is Fate.FAILED and was_offered


_ANSWERS: Final = (
    select(outbox.c.recurrence_id, outbox.c.state)
    .where(outbox.c.pal_id == bindparam("pal_id"), outbox.c.uid == bindparam("uid"))
    .where(outbox.c.state != LetterState.SUPERSEDED)
    .order_by(outbox.c.created_at)
)


def unheard(connection: Connection, pal_id: str, uid: str) -> frozenset[datetime | None]:
    """The dates of an event (None: the whole of it) whose last answer the organizer has not got, as far as we know."""
    answers = connection.execute(_ANSWERS, {"pal_id": pal_id, "uid": uid})
    last = {row.recurrence_id: row.state for row in answers}
    return frozenset(date for date, state in last.items() if state in LOST)


def answers_to(connection: Connection, invite_ids: Collection[str]) -> dict[str, list[LetterRow]]:
    """The answers to invitations, by the invitation's id, the oldest first."""
    query = select(*_COLUMNS).where(outbox.c.invite_id.in_(invite_ids)).order_by(outbox.c.created_at, outbox.c.id)
    found: dict[str, list[LetterRow]] = {}
    for row in connection.execute(query) if invite_ids else ():
        found.setdefault(row.invite_id, []).append(LetterRow(**row._mapping))
    return found


def find_letters(connection: Connection, states: Sequence[str], limit: int) -> list[LetterRow]:
    """The newest answers, with states only those that are in one of them."""
    query = select(*_COLUMNS).order_by(outbox.c.created_at.desc(), outbox.c.id).limit(limit)
    if states:
        query = query.where(outbox.c.state.in_(states))
    return [LetterRow(**row._mapping) for row in connection.execute(query)]


def find_letter(connection: Connection, letter_id: str) -> LetterRow | None:
    """The answer with an id."""
    row = connection.execute(select(*_COLUMNS).where(outbox.c.id == letter_id)).first()
    return LetterRow(**row._mapping) if row is not None else None


def queue_again(connection: Connection, letter_id: str | None, now: datetime) -> int:
    """Let an answer be sent again that its organizer has not got, or (None) all of them; how many that are.

    It is the same mail. One that a later answer has followed stays as it is: it says what was true before.
    """
    lost: list[ColumnElement[bool]] = [outbox.c.state.in_(LOST), ~_is_followed()]
    if letter_id is not None:
        lost.append(outbox.c.id == letter_id)
    again = update(outbox).where(*lost)
    return connection.execute(
        again.values(state=LetterState.QUEUED, wake_at=now, queued_at=now, settled_at=None)
    ).rowcount


def _is_followed() -> ColumnElement[bool]:
    later = outbox.alias("later")
    return exists().where(
        later.c.pal_id == outbox.c.pal_id,
        later.c.uid == outbox.c.uid,
        later.c.recurrence_id.is_not_distinct_from(outbox.c.recurrence_id),
        later.c.created_at > outbox.c.created_at,
        later.c.state != LetterState.SUPERSEDED,
    )
