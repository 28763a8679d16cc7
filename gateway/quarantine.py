"""Mails that were kept aside, by a fault of ours or as too costly: played again at the desk, or forgotten. A door.

Rules of this file:
- Who sent a mail is what was found when it came: keys and DNS records change, and nobody is asked again. A mail that
  came while senders were not checked speaks for nobody once they are.
- It is decided on as of now: what is over by now is declined as over, and never accepted. A newer message about the
  same event wins, whichever is played first (`itip`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from gateway import store
from gateway.authentication import Require
from gateway.intake import Incoming, Intake, Played, Read
from gateway.readers import Readers
from gateway.replay import instant_text
from gateway.senders import Sender
from gateway.settings import Settings
from gateway.store import InviteRow, MailRow


@dataclass(frozen=True)
class Aside:
    """A mail that is kept aside, with an entry for each PAL it is for."""

    mail: MailRow
    entries: tuple[InviteRow, ...]
    addresses: tuple[str, ...]  # of the PALs, or their ids where they are gone

    def as_json(self) -> dict[str, Any]:
        """The documented form of `quarantine list --json`."""
        first = self.entries[0]
        return {
            "id": self.mail.id,
            "received_at": instant_text(self.mail.received_at),
            "mail_from": self.mail.mail_from,
            "sender": first.sender,
            "verified": bool(first.authentication and first.authentication["auth_id"]),
            "pals": list(self.addresses),
            "reason": first.reason,
            "detail": first.detail,
            "size": len(self.mail.raw),
        }


def find(connection: Connection, mail_id: str) -> Aside | None:
    """A mail that is kept aside."""
    mail, entries = store.load_mail(connection, mail_id), store.set_aside(connection, mail_id)
    if mail is None or not entries:
        return None
    pals = [store.pal_with_id(connection, one.pal_id) for one in entries]
    addresses = [pal.address if pal else one.pal_id for pal, one in zip(pals, entries, strict=True)]
    return Aside(mail, tuple(entries), tuple(addresses))


@contextmanager
def desk_of(engine: Engine, settings: Settings, read: Read | None = None) -> Iterator[Intake]:
    """The desk at which mails are played again; unless `read` says how, they are read within the limits of settings."""
    hold = timedelta(seconds=settings.replies.hold_seconds)
    if read is not None:
        yield Intake(engine, settings.desk(), hold, read)
        return
    readers = Readers(replace(settings.limits(), size=1), settings.desk())
    try:
        yield Intake(engine, settings.desk(), hold, readers.read)
    finally:
        readers.close()


def checks_senders(settings: Settings) -> bool:
    """Whether it matters now who sent a mail."""
    return settings.senders.sender_auth is not Require.OFF


def play_again(engine: Engine, intake: Intake, mail_id: str, now: datetime, *, checks: bool) -> list[Played] | str:
    """Play a mail once more at an instant (UTC), or why it stays aside. `checks`: whether senders are checked now."""
    with engine.connect() as connection:
        aside = find(connection, mail_id)
    if aside is None:
        return f"{mail_id} is not in quarantine; see pal-gateway quarantine list."
    mail = aside.mail
    sender = _sender(aside.entries[0].authentication, checks=checks)
    incoming = Incoming(mail.id, mail.raw, mail.mail_from, mail.recipients, sender=sender)
    played = intake.take_again(incoming, now, is_file=sender is None and _is_file(mail.raw))
    return played or f"{mail_id} is for no PAL that can be invited now; pal-gateway quarantine drop forgets it."


def _sender(found: Mapping[str, Any] | None, *, checks: bool) -> Sender | None:
    """Who sent it, as it was found when it came; None: nobody asked then, and nobody asks now."""
    if found is not None:
        return Sender.kept(found)
    return Sender("", checked=True) if checks else None


def _is_file(raw: bytes) -> bool:
    """Whether it is a bare calendar file, which came by the operator's hand and has no header."""
    return raw.lstrip(b"\xef\xbb\xbf\r\n\t ")[:15].upper() == b"BEGIN:VCALENDAR"
