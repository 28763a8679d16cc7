"""Mail to a bounce address: kept, and what it says of the reply written down. A door.

Rules of this file:
- Nothing of it reaches `decide`: it is for no PAL, plans no join, counts for nobody and is never answered.
- Its bytes are read where all bytes from outside are read, by a reader; what cannot be read is kept all the same.
- When `take` returns, it is committed; when it raises StoreAway, nothing is, and the sender keeps the mail.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Engine

from gateway import store, store_outbox
from gateway.bounces import Bounces
from gateway.figures import Figures
from gateway.intake import Incoming, StoreAway
from gateway.reading import Reading, read_report_here
from gateway.senders import Sender
from gateway.verdict import Reason
from scheduler.database import AWAY

ReadReport = Callable[[bytes, datetime], Reading]  # a mail's bytes, the instant (UTC)

log = structlog.get_logger("replies")


class Returns:
    """What comes back. `bounces` knows our addresses, `read` reads a mail to one of them."""

    def __init__(
        self,
        engine: Engine,
        bounces: Bounces,
        read: ReadReport = read_report_here,
        figures: Figures | None = None,
    ) -> None:
        self._engine = engine
        self._bounces = bounces
        self._read = read
        self._figures = figures or Figures()

    def takes(self, address: str) -> bool:
        """Whether a comparable address was made for a reply that is kept, and has room. Raises StoreAway."""
        letter_id = self._bounces.letter_of(address)
        if letter_id is None:
            return False
        try:
            with self._engine.connect() as connection:
                return store_outbox.takes_reports(connection, letter_id)
        except AWAY as error:
            raise StoreAway(error) from error

    def take(self, mail: Incoming, now: datetime) -> None:
        """Keep a mail to one bounce address that `takes` took, and note what it says. Raises StoreAway."""
        (address,) = mail.recipients
        letter_id = self._bounces.letter_of(address) or ""
        reading = self._safely_read(mail, now)
        kept = store.MailRow(mail.id, now, mail.mail_from, mail.recipients, reading.message_id, mail.raw)
        try:
            with self._engine.begin() as connection:
                store.save_mail(connection, kept)
                returned = store_outbox.note_report(connection, letter_id, reading.report, now)
        except AWAY as error:
            raise StoreAway(error) from error
        if returned:
            self._figures.replied("undeliverable")
        said = reading.report.line if reading.report is not None else reading.detail
        say = log.warning if returned else log.info
        say("reply undeliverable" if returned else "reply reported on", reply=letter_id, mail=mail.id, said=said)

    def _safely_read(self, mail: Incoming, now: datetime) -> Reading:
        try:
            return self._read(mail.raw, now)
        except Exception as error:
            log.exception("report not read", mail=mail.id)
            return Reading((), Sender(""), fault=Reason.ERROR, detail=f"{type(error).__name__}: {error}"[:500])
