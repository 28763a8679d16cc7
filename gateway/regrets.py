"""Takes back what was promised: finds the mails it was promised on, and puts the answers into the outbox. A door.

Rules of this file:
- What is owed, and what is said, is decided in `promises`; how an answer is queued, in `intake`.
- All in the caller's transaction. A fault in one event is logged and keeps back neither the others nor the removal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

import scheduler.store
from gateway import store
from gateway.binding import organizer
from gateway.decide import Case
from gateway.intake import queue
from gateway.pals import Pal
from gateway.promises import Heard, Promise, owed, regret, sources, taken_back
from gateway.reading import read_kept
from gateway.store import InviteRow
from gateway.verdict import Reason
from scheduler.database import AWAY
from scheduler.event import Event
from scheduler.joins import Policy

MAX_MAILS: Final = 200  # of one event that are looked into, the newest first

log = structlog.get_logger("replies")


def release(connection: Connection, pal: Pal, now: datetime, policy: Policy) -> int:
    """A PAL attends nothing any more: what it accepted is declined, what was planned for it is cancelled; how many
    joins that were. `pal` is the PAL as it was."""
    for uid in scheduler.store.uids_ahead(connection, pal.id):
        try:
            with connection.begin_nested():
                _decline_event(connection, pal, uid, now, policy)
        except AWAY:
            raise
        except Exception:
            log.exception("promise not taken back", pal=pal.address, uid=uid)
    store.withdraw_acceptances(connection, pal.id)
    return scheduler.store.forget_pal(connection, pal.id, now)


def _decline_event(connection: Connection, pal: Pal, uid: str, now: datetime, policy: Policy) -> None:
    event = scheduler.store.load_event(connection, pal.id, uid)
    promises = owed(event, now, policy) if event is not None else ()
    if event is None or not promises:
        return
    take_back(connection, pal, event, promises, Reason.PAL_REMOVED, now)
    scheduler.store.save_event(connection, pal.attendant, taken_back(event, promises), None, is_new=False)


def take_back(
    connection: Connection, pal: Pal, event: Event, promises: tuple[Promise, ...], reason: Reason, now: datetime
) -> None:
    """Tell the organizer that the PAL will not come to what it promised, and why."""
    found = sources(event, promises, _heard(connection, pal, event))
    for promise, source in zip(promises, found, strict=True):
        if source is None:
            log.warning("nobody told: the invitation is not kept", pal=pal.address, uid=event.uid)
            continue
        names = [*store.answered_as(connection, pal.id, event.uid, promise.recurrence_id), pal.address]
        reply = regret(event, promise, source, reason, names, now)
        queue(connection, pal, reply, source.heard.invite_id, now, hold=timedelta())


def _heard(connection: Connection, pal: Pal, event: Event) -> Iterator[Heard]:
    """What was said about an event, the newest first, each mail read only when it is asked for."""
    for invite, mail in store.kept_messages(connection, pal.id, event.uid, MAX_MAILS):
        yield from heard_in(mail.raw, invite, pal, event)


def heard_in(raw: bytes, invite: InviteRow, pal: Pal, event: Event) -> Iterator[Heard]:
    """What one mail said about an event, as it was decided under this entry of the journal."""
    reading = read_kept(raw)
    for message in reading.messages:
        if message.uid == event.uid:
            sender = reading.sender
            if sender.is_file:
                sender = replace(sender, address=organizer(message))
            case = Case(message, sender, pal, event, message_id=reading.message_id, body=reading.body)
            yield Heard(case, invite.decided_at, invite.id)
