"""Takes back what was promised: finds the mails it was promised on, and puts the answers into the outbox. A door.

Rules of this file:
- What is owed, and what is said, is decided in `promises`; how an answer is queued, in `intake`.
- A removal is all in the caller's transaction. What a join broke is told in one transaction for each event, so that it
  is told once, however many processes look for it.
- A fault in one event is logged and keeps back neither the others nor the removal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

import scheduler.store
from gateway import store, store_webhooks
from gateway.address import normal, without_tag
from gateway.binding import organizer
from gateway.decide import Case
from gateway.intake import TOO_MANY, queue
from gateway.pals import Pal
from gateway.promises import Broken, Heard, Promise, broken, broken_off, owed, regret, sources, taken_back
from gateway.reading import read_kept
from gateway.reply import Reply
from gateway.store import InviteRow
from gateway.verdict import Reason
from scheduler.database import AWAY
from scheduler.event import Event
from scheduler.joins import Policy

MAX_MAILS: Final = 200  # of one event that are looked into, the newest first
AT_ONCE: Final = 20  # events whose broken joins are told of before the outbox goes on
AFTER: Final = timedelta(seconds=1)  # the Accepted to the series, which is to come first

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
    cancelled = scheduler.store.forget_pal(connection, pal.id, now)
    while store_webhooks.tell(connection, now, AT_ONCE, pal.id):  # later nobody knows whose it was
        pass
    return cancelled


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
    for reply, invite_id in _regrets(connection, pal, event, promises, reason, now):
        queue(connection, pal, reply, invite_id, now, hold=timedelta())


def _regrets(
    connection: Connection, pal: Pal, event: Event, promises: tuple[Promise, ...], reason: Reason, now: datetime
) -> Iterator[tuple[Reply, str]]:
    """The answers that take promises back, each with the entry of the journal that it goes with."""
    found = sources(event, promises, _heard(connection, pal, event))
    for promise, source in zip(promises, found, strict=True):
        if source is None:
            log.warning("nobody told: the invitation is not kept", pal=pal.address, uid=event.uid)
            continue
        names = [*store.answered_as(connection, pal.id, event.uid, promise.recurrence_id), pal.address]
        yield regret(event, promise, source, reason, names, now), source.heard.invite_id


def tell_of_broken(engine: Engine, now: datetime, hourly: int) -> None:
    """Tell the organizers of joins that came to nothing. `hourly`: answers that one of them is sent in an hour."""
    with engine.begin() as connection:
        waiting = scheduler.store.broken_events(connection, now, AT_ONCE)
    for pal_id, uid in waiting:
        try:
            with engine.begin() as connection:
                _tell_of_event(connection, pal_id, uid, now, hourly)
        except AWAY:
            raise
        except Exception:
            log.exception("nobody told of a broken promise", pal=pal_id, uid=uid)
            with engine.begin() as connection:
                scheduler.store.note_told(connection, pal_id, uid)


def _tell_of_event(connection: Connection, pal_id: str, uid: str, now: datetime, hourly: int) -> None:
    # Locked in the order of all: PAL, event, joins. Who waited here finds nothing left to tell.
    pal = store.pal_with_id(connection, pal_id, locked=True)
    event = scheduler.store.load_event(connection, pal_id, uid)
    joins = scheduler.store.load_joins(connection, pal_id, uid)
    said = broken(event, joins, now) if event is not None else None
    if event is None or pal is None or not pal.address or said is None:
        if any(one.broken_at is not None for one in joins):
            log.info("nobody told: over for long, or no promise", pal=pal_id, uid=uid)
        scheduler.store.note_told(connection, pal_id, uid)
        return
    waits = store.acceptance_waits(connection, pal_id, uid)
    if waits is not None and said.promise.recurrence_id is not None:
        # After it, or the organizer's calendar would take the series' answer for that of the date.
        scheduler.store.note_told(connection, pal_id, uid, max(waits, now) + AFTER)
        return
    scheduler.store.note_told(connection, pal_id, uid)
    if _tell(connection, pal, event, said, now, hourly):
        scheduler.store.save_answers(connection, pal_id, broken_off(event, said.promise))


def _tell(connection: Connection, pal: Pal, event: Event, said: Broken, now: datetime, hourly: int) -> bool:
    """Queue the one answer; False when it cannot go out."""
    for reply, invite_id in _regrets(connection, pal, event, (said.promise,), said.reason, now):
        organizer_ = without_tag(normal(reply.to))
        count = store.replies_to(connection, organizer_, now - timedelta(hours=1))
        if count >= hourly:
            log.warning(TOO_MANY.format(organizer=organizer_, count=count), pal=pal.address, uid=event.uid)
            return False
        # Once for this join, and also where a Declined was the last word before the organizer asked again.
        reply = replace(reply, key=f"{reply.key}\n{said.join.id}", anew=True)
        log.info("promise broken", pal=pal.address, uid=event.uid, join=said.join.id, reason=said.reason.value)
        return queue(connection, pal, reply, invite_id, now, hold=timedelta())
    return False


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
