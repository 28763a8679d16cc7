"""Forgetting: once an hour what is over long enough is emptied, a few rows at a time. A door.

Rules of this file:
- What is needed is decided in `retention`, what is left of a row in `store_retention`.
- Each step is a transaction of its own and short; mails are read between them, never within.
- Several processes may do it at once. A fault in one event keeps what it is about, and hinders no other.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Engine, Table

import scheduler.store
from gateway import store, store_retention
from gateway.binding import organizer
from gateway.promises import Heard, organizer_line, sources
from gateway.regrets import MAX_MAILS, heard_in
from gateway.retention import kept, standing
from gateway.store_retention import BY_DATE, Held
from scheduler.clock import Alarm
from scheduler.database import AWAY, empty_journal
from scheduler.joins import Policy

EVERY: Final = timedelta(hours=1)
REST: Final = 0.02  # seconds at least between two steps, so that whoever waits for the store has it

# One step at an instant (UTC): what was over at `before` is forgotten. None: nothing was left to look at.
Look = Callable[[datetime, datetime], Counter[str] | None]

log = structlog.get_logger("retention")


class Forgetting:
    """Forgets what was over `span` ago; None: nothing, ever."""

    def __init__(self, engine: Engine, span: timedelta | None, policy: Policy, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._span = span
        self._policy = policy
        self._now = now
        self._journal_is_clean = False

    async def run(self, alarm: Alarm) -> None:
        """Forget what is due now and at every ring, until cancelled."""
        while True:
            try:
                await self._round()
            except AWAY as error:
                log.warning("store away", cause=str(error.__cause__ or error))
            except Exception:
                log.exception("not forgotten")
            await alarm.wait()

    async def _round(self) -> None:
        steps = self.steps(self._now())
        while True:
            began = time.monotonic()
            # Awaited also when we are cancelled: the store is closed after us.
            step = asyncio.create_task(asyncio.to_thread(next, steps, None))
            try:
                if await asyncio.shield(step) is None:
                    return
            except asyncio.CancelledError:
                await asyncio.wait([step])
                raise
            await asyncio.sleep(max(REST, time.monotonic() - began))

    def steps(self, now: datetime) -> Iterator[Counter[str]]:
        """Forget what is due at an instant (UTC), a few rows at each step: how many of what."""
        if self._span is None:
            return
        before, done = now - self._span, Counter[str]()
        looks: list[Look] = [self._events, self._mails, *(partial(self._by_date, table) for table in BY_DATE)]
        looks.append(self._history)
        for look in looks:
            while (step := look(before, now)) is not None:
                done += step
                yield step
        if done:
            log.info("forgotten", over_since=f"{before:%Y-%m-%dT%H:%M:%SZ}", **done)
            self._journal_is_clean = False
        if not self._journal_is_clean:
            self._journal_is_clean = empty_journal(self._engine)

    def _by_date(self, table: Table, before: datetime, now: datetime) -> Counter[str] | None:
        with self._engine.begin() as connection:
            count = store_retention.forget_by_date(connection, table, before, now)
        return Counter({table.name: count}) if count else None

    def _history(self, before: datetime, _: datetime) -> Counter[str] | None:
        with self._engine.begin() as connection:
            count = store_retention.forget_history(connection, before)
        return Counter(journal=count) if count else None

    def _events(self, before: datetime, now: datetime) -> Counter[str] | None:
        done = Counter[str]()
        with self._engine.begin() as connection:
            found = store_retention.events_to_look_at(connection, before)
            for held in found:
                event, until = self._judged(held, before, now)
                if event is None:
                    store_retention.forget_event(connection, held)
                    done["events"] += 1
                else:
                    store_retention.keep_event(connection, held, event, until)
        return done if found else None

    def _judged(self, held: Held, before: datetime, now: datetime) -> tuple[Any, datetime]:
        """What is kept of an event, as it is stored (None: nothing), and until when at least."""
        if not held.has_pal:
            # It was kept as long as a removed PAL's events are; only what is being decided just now is younger.
            return (held.stored, held.heard_at) if held.heard_at > before else (None, now)
        try:
            event = scheduler.store.event_of(held.stored)
            found = kept(event, held.heard_at, before, now, self._policy)
            if found is None:
                return None, now
            same = found.event == event  # then as it is stored, and not anchored anew
            return held.stored if same else scheduler.store.event_as_stored(found.event), found.until
        except Exception:
            log.exception("event kept", pal=held.pal_id, uid=held.uid)
            return held.stored, now

    def _mails(self, before: datetime, now: datetime) -> Counter[str] | None:
        with self._engine.begin() as connection:
            found = store_retention.mails_to_look_at(connection, before)
            told = store_retention.told_of(connection, found)
        if not found:
            return None
        needed: set[str] = set()
        for held, of_event in told.values():
            speaking = self._sources(held, before)
            needed |= of_event if speaking is None else of_event & speaking
        with self._engine.begin() as connection:
            count, quarantined = store_retention.forget_mails(connection, found, needed, told, before, now)
        for mail_id, reason in quarantined:
            log.warning("quarantined mail forgotten", mail=mail_id, reason=reason)
        return Counter(mails=count)

    def _sources(self, held: Held, before: datetime) -> set[str] | None:
        """The mails that a promise for an event would be taken back from; None: all of them are kept."""
        if not held.has_pal:
            return None
        try:
            return self._read_sources(held, before)
        except AWAY:
            raise
        except Exception:
            log.exception("mails kept", pal=held.pal_id, uid=held.uid)
            return None

    def _read_sources(self, held: Held, before: datetime) -> set[str] | None:
        event = scheduler.store.event_of(held.stored)
        with self._engine.connect() as connection:
            pal = store.pal_with_id(connection, held.pal_id)
            invites = store.kept_invites(connection, held.pal_id, held.uid, MAX_MAILS)
        promises = standing(event, before, self._policy)
        if pal is None or not promises:
            return None if pal is None else set()
        mail_of = {one.id: one.mail_id for one in invites}
        by_organizer: list[str] = []

        def heard() -> Iterator[Heard]:
            for invite in invites:
                with self._engine.connect() as connection:
                    mail = store.load_mail(connection, invite.mail_id)
                for one in heard_in(mail.raw, invite, pal, event) if mail is not None else ():
                    if organizer_line(one.case.message, event) is not None:
                        by_organizer.append(invite.mail_id)
                    yield one

        found = [one for one in sources(event, promises, heard()) if one is not None]
        taken_over = any(organizer(one.heard.case.message) != event.organizer for one in found)
        return {*(mail_of[one.heard.invite_id] for one in found), *(by_organizer[:1] if taken_over else ())}
