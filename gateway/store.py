"""PALs, mails, decisions and the outbox in the database: all SQL of this room, and the schema's migrations. Shell.

Rules of this file:
- Every function works in the caller's transaction; only `migrate` opens its own.
- A mail is kept raw with what was decided on it, so that `explain` can tell and a fault of ours can be played again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

import scheduler.store  # noqa: F401  its tables belong to the same metadata
from gateway.pals import Pal
from gateway.reply import Reply
from scheduler.database import UtcDateTime, metadata

HEAD: Final = "0001"  # the newest migration; a test compares it with the files
_MIGRATION_LOCK: Final = 0x50414C31  # one process migrates, the others wait ("PAL1")

pals = Table(
    "pals",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", String, nullable=False, unique=True),
    Column("face_id", String, nullable=False),
    Column("allowlist", JSON, nullable=False),
    Column("zone", String),
    Column("created_at", UtcDateTime, nullable=False),
)

mails = Table(
    "mails",
    metadata,
    Column("id", String, primary_key=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("mail_from", Text, nullable=False),
    Column("recipients", JSON, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Index("mails_received", "received_at"),
)

invites = Table(
    "invites",
    metadata,
    Column("id", String, primary_key=True),
    Column("mail_id", String, ForeignKey("mails.id"), nullable=False),
    Column("pal_id", String, nullable=False),
    Column("uid", Text),
    Column("sender", Text, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String),
    Column("platform", String),
    Column("allowed_by", Text),
    Column("detail", Text, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Index("invites_event", "pal_id", "uid"),
    Index("invites_mail", "mail_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),  # the local part of its Message-ID
    Column("key", Text, nullable=False, unique=True),
    Column("invite_id", String, ForeignKey("invites.id")),
    Column("pal_id", String, nullable=False),
    Column("uid", Text, nullable=False),
    Column("recurrence_id", UtcDateTime),
    Column("partstat", String, nullable=False),
    Column("sender", String, nullable=False),
    Column("recipient", String, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # queued, sent, superseded, failed
    Column("created_at", UtcDateTime, nullable=False),
    Column("wake_at", UtcDateTime),  # when to send; NULL: never again
    Column("attempt", Integer, nullable=False),
    Column("owner", String),
    Column("error", Text),
    Index("outbox_event", "pal_id", "uid"),
)
Index(
    "outbox_wake",
    outbox.c.wake_at,
    sqlite_where=outbox.c.wake_at.is_not(None),
    postgresql_where=outbox.c.wake_at.is_not(None),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class MailRow:
    """A mail as it is kept."""

    id: str
    received_at: datetime
    mail_from: str
    recipients: tuple[str, ...]
    message_id: str
    raw: bytes


@dataclass(frozen=True)
class InviteRow:
    """What was decided on one message of a mail for one PAL."""

    id: str
    mail_id: str
    pal_id: str
    uid: str | None
    sender: str
    verdict: str
    reason: str | None
    platform: str | None
    allowed_by: str | None
    detail: str
    decided_at: datetime


@dataclass(frozen=True)
class Letter:
    """A mail that waits in the outbox, claimed by us."""

    id: str
    sender: str
    recipient: str
    partstat: str
    raw: bytes
    created_at: datetime
    attempt: int
    owner: str | None


def migrate(engine: Engine) -> None:
    """Bring the schema to HEAD, under a lock, so that several processes may start at once."""
    if _at_head(engine):
        return
    # Imported late: Alembic costs most of a second, and a schema at HEAD does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _at_head(engine: Engine) -> bool:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found == HEAD


def create_throwaway(engine: Engine) -> None:
    """The same schema at once, for a store that nobody keeps."""
    metadata.create_all(engine)


def add_pal(connection: Connection, pal: Pal, now: datetime) -> None:
    """Write a new PAL; IntegrityError when its address or id is taken."""
    connection.execute(
        insert(pals).values(
            id=pal.id,
            name=pal.name,
            address=pal.address,
            face_id=pal.face_id,
            allowlist=list(pal.allowlist),
            zone=pal.zone,
            created_at=now,
        )
    )


def find_pal(connection: Connection, address: str) -> Pal | None:
    """The PAL with a comparable address (no +tag)."""
    row = connection.execute(select(pals).where(pals.c.address == address)).first()
    return _pal(row) if row is not None else None


def all_pals(connection: Connection) -> list[Pal]:
    """Every PAL, by address."""
    return [_pal(row) for row in connection.execute(select(pals).order_by(pals.c.address))]


def remove_pal(connection: Connection, pal_id: str) -> None:
    """Forget a PAL; its joins are the scheduler's to cancel."""
    connection.execute(delete(pals).where(pals.c.id == pal_id))


def _pal(row: Row[Any]) -> Pal:
    return Pal(row.id, row.name, row.address, row.face_id, tuple(row.allowlist), row.zone)


def save_mail(connection: Connection, mail: MailRow) -> None:
    """Keep a mail as it came."""
    connection.execute(insert(mails).values({**vars(mail), "recipients": list(mail.recipients)}))


def save_invite(connection: Connection, invite: InviteRow) -> None:
    """Keep what was decided on it."""
    connection.execute(insert(invites).values(vars(invite)))


def queue_reply(
    connection: Connection,
    reply: Reply,
    *,
    letter_id: str,
    raw: bytes,
    pal_id: str,
    invite_id: str,
    now: datetime,
    hold: timedelta,
) -> bool:
    """Put an answer into the outbox, in place of one to the same date that still waits. False: it was there already."""
    if connection.execute(select(outbox.c.id).where(outbox.c.key == reply.key)).first() is not None:
        return False
    same_date = outbox.c.recurrence_id == reply.recurrence_id
    if reply.recurrence_id is None:
        same_date = outbox.c.recurrence_id.is_(None)
    connection.execute(
        update(outbox)
        .where(outbox.c.pal_id == pal_id, outbox.c.uid == reply.uid, same_date)
        .where(outbox.c.state == "queued", outbox.c.attempt == 0)
        .values(state="superseded", wake_at=None)
    )
    connection.execute(
        insert(outbox).values(
            id=letter_id,
            key=reply.key,
            invite_id=invite_id,
            pal_id=pal_id,
            uid=reply.uid,
            recurrence_id=reply.recurrence_id,
            partstat=reply.partstat,
            sender=reply.sender,
            recipient=reply.to,
            raw=raw,
            state="queued",
            created_at=now,
            wake_at=now + hold,
            attempt=0,
        )
    )
    return True


def claim_letters(connection: Connection, now: datetime, owner: str, lease: timedelta, limit: int) -> list[Letter]:
    """Take up to `limit` mails that are to be sent; they are ours until now + lease."""
    due = (
        select(outbox.c.id)
        .where(outbox.c.wake_at <= now)
        .order_by(outbox.c.wake_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(outbox)
        .where(outbox.c.id.in_(due))
        .values(owner=owner, attempt=outbox.c.attempt + 1, wake_at=now + lease)
        .returning(*(outbox.c[name] for name in Letter.__dataclass_fields__))
    )
    return [Letter(**row._mapping) for row in connection.execute(taken)]


def settle_letter(
    connection: Connection, letter: Letter, *, state: str, wake_at: datetime | None = None, error: str | None = None
) -> bool:
    """Write what came of sending; False when it is no longer ours."""
    changed = connection.execute(
        update(outbox)
        .where(outbox.c.id == letter.id, outbox.c.owner == letter.owner, outbox.c.attempt == letter.attempt)
        .values(state=state, wake_at=wake_at, error=error)
    )
    return changed.rowcount == 1


def letter_by_key(connection: Connection, key: str) -> bytes:
    """The whole mail of an answer that was queued."""
    return bytes(connection.execute(select(outbox.c.raw).where(outbox.c.key == key)).scalar_one())


def letters_of(connection: Connection, uid: str, state: str) -> list[str]:
    """Ids of the answers to an event that are in a state."""
    query = select(outbox.c.id).where(outbox.c.uid == uid, outbox.c.state == state).order_by(outbox.c.created_at)
    return list(connection.execute(query).scalars())


def next_letter(connection: Connection) -> datetime | None:
    """The earliest instant at which a mail is to be sent."""
    return connection.execute(select(func.min(outbox.c.wake_at)).where(outbox.c.wake_at.is_not(None))).scalar()


def secret(connection: Connection, name: str, fresh: bytes) -> bytes:
    """A secret of this installation, `fresh` if it had none yet."""
    known = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    if known is not None:
        return bytes(known)
    connection.execute(insert(secrets).values(name=name, value=fresh))
    return fresh
