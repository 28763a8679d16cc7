"""From a mail's bytes to what is written down: gather, decide, write, in one transaction. A door.

Rules of this file:
- When `take` returns, the decision is committed; when it raises StoreAway, nothing is, and the sender keeps the mail.
- A fault of ours never blocks the queue: the mail is kept aside with its bytes (quarantined) and played again later.
- Nothing is decided here (`decide`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import count
from secrets import token_hex
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

import scheduler.store
from gateway import store
from gateway.address import domain_of, normal, without_tag
from gateway.binding import organizer, own_attendee
from gateway.decide import Case, Decision, Desk, decide
from gateway.figures import Figures
from gateway.ics import Message
from gateway.pals import Pal
from gateway.quotas import Inviter, Load, inviter_of, is_invitation
from gateway.reading import Reading, read_file, read_here
from gateway.reply import Reply, render
from gateway.senders import Origin, Sender
from gateway.store_outbox import unheard
from gateway.store_quotas import load_of
from gateway.verdict import Reason, Verdict
from scheduler import journal
from scheduler.database import AWAY, beside_writers, is_disk_full
from scheduler.event import Event
from scheduler.fates import named
from scheduler.happening import Happening
from scheduler.joins import Join, refill_at
from scheduler.together import Together

TOO_MANY: Final = "no answer goes to {organizer}: it was sent {count} within an hour (replies.hourly_per_organizer)"
TRIES: Final = 3  # two mails about one new event at once: the second finds it written and decides again
ASIDE: Final = (Reason.ERROR, Reason.TOO_COSTLY)  # not the sender's fault for certain

_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")

Read = Callable[[bytes, datetime, int], Reading]  # a mail's bytes, the instant (UTC), how many recipients

log = structlog.get_logger("mails")


class StoreAway(Exception):
    """The store cannot write now, or (`disk_full`) has no room; the mail is to be offered again."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(getattr(cause, "orig", cause)))
        self.disk_full = is_disk_full(cause)


@dataclass(frozen=True)
class Incoming:
    """A mail as it came; `recipients` are comparable addresses, `id` is ours.

    `sender` is who the door says sent it, None where nobody checked.
    """

    id: str
    raw: bytes
    mail_from: str
    recipients: tuple[str, ...]
    origin: Origin = field(default_factory=Origin)
    sender: Sender | None = None


@dataclass(frozen=True)
class Played:
    """What was decided on one message for one PAL. `uid` None: there was no event in it."""

    pal: Pal
    uid: str | None
    decision: Decision


@dataclass(frozen=True)
class Held:
    """What is known of an event: the event itself (None: nothing yet), and its joins."""

    event: Event | None = None
    joins: tuple[Join, ...] = ()


class Intake:
    """The desk with its store. `hold`: how long a reply waits for a later edit to replace it; `read`: how mails are;
    `log_subjects`: whether log lines name what the mails are called."""

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        hold: timedelta = timedelta(),
        read: Read = read_here,
        *,
        figures: Figures | None = None,
        log_subjects: bool = False,
    ) -> None:
        self._lookups = beside_writers(engine)
        self._together = Together(engine)
        self._read = read
        self._desk = desk
        self._hold = hold
        self._figures = figures or Figures()
        self._log_subjects = log_subjects

    def knows(self, address: str) -> Pal | None:
        """The PAL that a comparable address reaches, +tag or not. Raises StoreAway."""
        try:
            with self._lookups.connect() as connection:
                return store.find_pal(connection, without_tag(address))
        except AWAY as error:
            raise StoreAway(error) from error

    def take(self, mail: Incoming, now: datetime) -> list[Played]:
        """Decide on a mail for each of its PALs, at an instant (UTC), and commit. Raises StoreAway."""
        return self._safely(mail, lambda raw: self._read(raw, now, len(mail.recipients)), None, now)

    def take_file(self, data: bytes, pals: Sequence[Pal], now: datetime) -> list[Played]:
        """The same for a bare calendar file, which counts as sent by its organizer to those of `pals` it names."""
        recipients = tuple(pal.address for pal in pals)
        return self._safely(Incoming(fresh_id("m"), data, "", recipients), read_file, pals, now)

    def _safely(
        self,
        mail: Incoming,
        read_it: Callable[[bytes], Reading],
        named: Sequence[Pal] | None,
        now: datetime,
    ) -> list[Played]:
        """Read and write; a fault of ours sets the mail aside instead."""
        try:
            return self._write(mail, read_it(mail.raw).sent_by(mail.sender), named, now)
        except StoreAway:
            raise
        except Exception as error:
            log.exception("mail quarantined", mail=mail.id)
            fault = Reading(
                (), mail.sender or Sender(""), fault=Reason.ERROR, detail=f"{type(error).__name__}: {error}"[:500]
            )
            return self._write(mail, fault, named, now)

    def take_again(self, mail: Incoming, now: datetime, *, is_file: bool = False) -> list[Played] | str:
        """Decide at an instant (UTC) on a mail that is kept aside, for the PALs that it is kept aside for, and commit:
        what is kept becomes what was decided. A sentence when it stays aside. Raises StoreAway."""
        try:
            reading = read_file(mail.raw) if is_file else self._read(mail.raw, now, len(mail.recipients))
            sender = mail.sender
            if sender is not None and not sender.claimed:
                sender = replace(sender, claimed=reading.sender.claimed)
            reading = reading.sent_by(sender)
            if reading.fault in ASIDE:
                return f"{mail.id} stays aside: {reading.detail}."
            return self._committed(
                mail, reading, lambda connection: self._play_again(connection, mail, reading, now, is_file=is_file)
            )
        except StoreAway:
            raise
        except Exception as error:
            log.exception("mail stays aside", mail=mail.id)
            return f"{mail.id} stays aside: {type(error).__name__}: {error}."

    def _write(self, mail: Incoming, reading: Reading, named: Sequence[Pal] | None, now: datetime) -> list[Played]:
        def write(connection: Connection) -> list[Played]:
            pals = named if named is not None else self._recipients(connection, mail.recipients)
            store.save_mail(
                connection, store.MailRow(mail.id, now, mail.mail_from, mail.recipients, reading.message_id, mail.raw)
            )
            played = self._decided(connection, mail, reading, pals, now, is_file=named is not None)
            names = (f"{mail.id}-{number}" for number in count())
            return [self._keep(connection, mail, reading, one, next(names), now) for one in played]

        return self._committed(mail, reading, write)

    def _committed(self, mail: Incoming, reading: Reading, write: Callable[[Connection], list[Played]]) -> list[Played]:
        """Write, together with what else comes in just now, then say what was decided."""
        order = (*mail.recipients, *(message.uid for message in reading.messages))
        for attempt in range(TRIES):
            try:
                played = self._together.run(write, order)
                break
            except IntegrityError as error:
                if attempt == TRIES - 1:
                    raise StoreAway(error) from error
            except AWAY as error:
                raise StoreAway(error) from error
        for one in played:
            self._figures.decided(one.decision.verdict, one.decision.reason)
            _say(mail, reading, one, with_subject=self._log_subjects)
        return played

    def _play_again(
        self, connection: Connection, mail: Incoming, reading: Reading, now: datetime, *, is_file: bool
    ) -> list[Played]:
        aside = {one.pal_id: one.id for one in store.set_aside(connection, mail.id, locked=True)}
        found = (store.pal_with_id(connection, pal_id, locked=True) for pal_id in aside)
        pals = [pal for pal in found if pal is not None and pal.address]
        played = self._decided(connection, mail, reading, pals, now, is_file=is_file)
        own = {one.pal.id: aside[one.pal.id] for one in played}
        store.remove_invites(connection, own.values())
        store.name_mail(connection, mail.id, reading.message_id)
        taken = {*aside.values(), *store.invite_ids(connection, mail.id)}
        free = (name for number in count() if (name := f"{mail.id}-{number}") not in taken)
        return [
            self._keep(connection, mail, reading, one, own.pop(one.pal.id, "") or next(free), now) for one in played
        ]

    def _recipients(self, connection: Connection, addresses: Iterable[str]) -> list[Pal]:
        found = (store.find_pal(connection, without_tag(address), locked=True) for address in addresses)
        return list({pal.id: pal for pal in found if pal is not None}.values())

    def _decided(
        self,
        connection: Connection,
        mail: Incoming,
        reading: Reading,
        pals: Sequence[Pal],
        now: datetime,
        *,
        is_file: bool,
    ) -> list[Played]:
        """Decide on every message for every PAL; events and joins are written, decisions and replies not yet."""
        if reading.fault is not None:
            verdict = Verdict.QUARANTINED if reading.fault in ASIDE else Verdict.IGNORED
            decision = Decision(verdict, reading.fault, detail=reading.detail)
            return [Played(pal, None, decision) for pal in pals]
        return [
            Played(pal, message.uid, self._one(connection, mail, reading, message, pal, now))
            for message in reading.messages
            for pal in (addressed(message, pals) if is_file else pals)
        ]

    def _one(
        self, connection: Connection, mail: Incoming, reading: Reading, message: Message, pal: Pal, now: datetime
    ) -> Decision:
        known = scheduler.store.load_event(connection, pal.id, message.uid)
        joins = scheduler.store.load_joins(connection, pal.id, message.uid)
        case = case_of(connection, mail.recipients, reading, message, pal, Held(known, joins), self._desk, now)
        decision = decided(case, self._desk, now)
        if decision.event is not None:
            refill = refill_at(decision.event, now, self._desk.scheduling)
            scheduler.store.save_event(connection, pal.attendant, decision.event, refill, is_new=known is None)
            scheduler.store.save_joins(connection, decision.joins, joins, now=now)
        return decision

    def _keep(
        self, connection: Connection, mail: Incoming, reading: Reading, one: Played, invite_id: str, now: datetime
    ) -> Played:
        """Write a decision down, and its replies as far as they go out."""
        one = within_rate(connection, one, self._desk, now)
        decision = one.decision
        counted = decision.event if decision.is_counted else None
        store.save_invite(
            connection,
            store.InviteRow(
                id=invite_id,
                mail_id=mail.id,
                pal_id=one.pal.id,
                uid=one.uid,
                sender=reading.sender.shown,
                verdict=decision.verdict,
                reason=decision.reason,
                platform=decision.platform,
                allowed_by=decision.allowed_by,
                detail="; ".join(filter(None, (decision.detail, *decision.notes))),
                link_candidates=[vars(link) for link in decision.seen],
                authentication=reading.sender.as_json() if reading.sender.checked else None,
                confirmation=reading.confirmation.as_json() if reading.confirmation else None,
                inviter=counted.inviter if counted else None,
                inviter_domain=counted.inviter_domain if counted else None,
                decided_at=now,
            ),
        )
        if decision.verdict in (Verdict.ACCEPTED, Verdict.DECLINED) and one.uid is not None:
            kind, data = Happening(decision.verdict), {"invite": invite_id}
            row = journal.entry(one.pal.id, one.uid, kind, now, detail=decision.reason or "", data=data)
            journal.write(connection, [row])
        for date in decision.gone:
            store.withdraw_replies(connection, one.pal.id, one.uid or "", date)
        for reply in decision.replies:
            queue(connection, one.pal, reply, invite_id, now, self._hold)
        return one


def case_of(
    connection: Connection,
    recipients: Sequence[str],
    reading: Reading,
    message: Message,
    pal: Pal,
    held: Held,
    desk: Desk,
    now: datetime,
) -> Case:
    """One message for one PAL with all that counts in the decision; `recipients` are those of the envelope."""
    known, sender = held.event, reading.sender
    if sender.is_file:
        sender = replace(sender, address=organizer(message))
    reached_at = next((one for one in recipients if pal.is_called(one)), "")
    load = _load(connection, message, sender, pal, known, desk, now)
    lost = unheard(connection, pal.id, message.uid) if known is not None else frozenset()
    return Case(message, sender, pal, known, held.joins, reading.message_id, reading.body, reached_at, load, lost)


def decided(case: Case, desk: Desk, now: datetime) -> Decision:
    """The decision, with what was noticed when the message was read."""
    decision = decide(case, desk, now)
    return replace(decision, notes=(*case.message.notes, *decision.notes))


def _load(
    connection: Connection,
    message: Message,
    sender: Sender,
    pal: Pal,
    known: Event | None,
    desk: Desk,
    now: datetime,
) -> Load:
    """What counts against the quotas already, where the message may make it more."""
    if message.method not in ("REQUEST", "ADD"):
        return Load()
    is_new = is_invitation(known)
    inviter = inviter_of(sender)
    if known is not None and known.inviter is not None and not is_new:
        inviter = Inviter(known.inviter, known.inviter_domain)
    return load_of(connection, pal.id, inviter, desk.quotas, now, is_new=is_new)


def within_rate(connection: Connection, one: Played, desk: Desk, now: datetime) -> Played:
    """Without the answers that would be too many for one organizer: somebody may be using us to write to them."""
    kept, notes, sent = list[Reply](), dict[str, None](), dict[str, int]()
    for reply in one.decision.replies:
        organizer = without_tag(normal(reply.to))  # one mailbox, whatever tags it is written with
        if organizer not in sent:
            sent[organizer] = store.replies_to(connection, organizer, now - timedelta(hours=1))
        if sent[organizer] < desk.hourly_per_organizer:
            kept.append(reply)
            sent[organizer] += 1
        else:
            notes[TOO_MANY.format(organizer=organizer, count=sent[organizer])] = None
    if not notes:
        return one
    decision = replace(one.decision, replies=tuple(kept), notes=(*one.decision.notes, *notes))
    return replace(one, decision=decision)


def queue(connection: Connection, pal: Pal, reply: Reply, invite_id: str, now: datetime, hold: timedelta) -> bool:
    """Put a PAL's answer to an invitation into the outbox, to be sent after `hold`; False when it need not go out."""
    letter_id = letter_id_of(reply.key)
    return store.queue_reply(
        connection,
        reply,
        letter_id=letter_id,
        raw=render(reply, f"<{letter_id}@{domain_of(pal.address)}>", now),
        pal_id=pal.id,
        invite_id=invite_id,
        now=now,
        hold=hold,
    )


def fresh_id(kind: str) -> str:
    """An id that nobody can guess or meet again."""
    return kind + token_hex(10)


def _unquoted(decision: Decision) -> str:
    """What a log line says of why, without what it quotes of the mail; `explain` has all of it."""
    if decision.reason is Reason.ERROR:  # the words of an exception may be anything
        return decision.detail.partition(":")[0]
    return _QUOTED.sub("…", decision.detail)


def letter_id_of(key: str) -> str:
    """The same answer has the same Message-ID, however often it is made."""
    return "r" + blake2b(key.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def addressed(message: Message, pals: Sequence[Pal]) -> list[Pal]:
    """The PALs that are attendees of a file's event, or the only one there is."""
    invited = [pal for pal in pals if any(own_attendee(event, pal) for event in message.events)]
    return invited if invited or len(pals) != 1 else list(pals)


def _say(mail: Incoming, reading: Reading, one: Played, *, with_subject: bool) -> None:
    decision = one.decision
    facts = {
        "reason": decision.reason,
        "detail": _unquoted(decision),
        "sender": reading.sender.shown,
        "rule": reading.sender.rule,
        "joins": len(decision.joins),
        "join_ids": named([join.id for join in decision.joins]),
        "replies": len(decision.replies),
        "reply_ids": named([letter_id_of(reply.key) for reply in decision.replies]),
        "subject": reading.subject if with_subject else "",
    }
    log.info(
        f"mail {decision.verdict}",
        mail=mail.id,
        pal=one.pal.address,
        uid=one.uid,
        **{key: str(value) for key, value in facts.items() if value},
    )
