"""PALs, keys, mails, decisions and the outbox: all SQL of this room, and the migrations of the schema. Shell.

Rules of this file:
- Every function works in the caller's transaction; only `migrate` opens its own.
- A mail is kept raw with what was decided on it, so that `explain` can tell and a fault of ours can be played again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    inspect,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    update,
)

import scheduler.store
from gateway.address import normal, without_tag
from gateway.documents import conferencing_of, document_of
from gateway.keys import Key
from gateway.pals import Pal
from gateway.reply import Reply
from gateway.verdict import Verdict
from scheduler.database import Text, UtcDateTime, metadata
from scheduler.joins import Join
from scheduler.leases import Lease, give_back, held_values, index_kept, index_waiting, is_ours, next_wake, take

HEAD: Final = "0003"  # the newest migration; a test compares it with the files
# Who had no say may have copied all of a message but the organizer's address.
HAD_NO_SAY: Final = (Verdict.REJECTED, Verdict.QUARANTINED)
OLDEST: Final = "0001"  # the oldest whose processes can go on beside HEAD: newer columns may be left out by who writes
OLDEST_NAME: Final = "oldest-schema"  # where that is kept, for processes of older releases that start later
_START_LOCK: Final = 0x50414C31  # of processes that start at once, one writes and the others wait ("PAL1")

pals = Table(
    "pals",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("document", JSON, nullable=False),  # the whole PAL; the columns that follow are what the desk reads of it
    Column("name", Text, nullable=False),
    Column("address", String, unique=True),  # NULL: it cannot be invited
    Column("face_id", String, nullable=False),
    Column("allowlist", JSON, nullable=False),
    Column("zone", String),
    Column("calendar_number", Integer, nullable=False),  # how often the token of its feed was changed
    Column("created_at", UtcDateTime, nullable=False),
    Index("pals_account", "account", "created_at"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
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
    Column("kept_until", UtcDateTime),  # until when it is needed for certain; NULL: until it came
    Column("forgotten_at", UtcDateTime),  # here and below: when what people wrote in the row was emptied
    Index("mails_received", "received_at"),
)
index_kept(mails, mails.c.kept_until)

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
    Column("link_candidates", JSON, nullable=False),
    Column("authentication", JSON(none_as_null=True)),  # how the sender came about; NULL: not checked
    Column("confirmation", JSON(none_as_null=True)),  # what Google's forwarding robot asks
    Column("inviter", Text),  # whom a new invitation is counted for, and the organisation that is in; NULL: for nobody
    Column("inviter_domain", Text),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("forgotten_at", UtcDateTime),
    Index("invites_event", "pal_id", "uid"),
    Index("invites_mail", "mail_id"),
    Index("invites_decided", "pal_id", "decided_at"),
    Index("invites_newest", "decided_at"),
    Index("invites_inviter", "inviter", "decided_at"),
    Index("invites_inviter_domain", "inviter_domain", "decided_at"),
)
Index(
    "invites_counted",
    invites.c.pal_id,
    invites.c.decided_at,
    invites.c.inviter,
    sqlite_where=invites.c.inviter.is_not(None),
    postgresql_where=invites.c.inviter.is_not(None),
)

# A literal, for SQLite knows of a parameter nothing when it looks for an index.
is_aside = (invites.c.verdict == literal_column(f"'{Verdict.QUARANTINED.value}'")) & invites.c.forgotten_at.is_(None)
Index("invites_aside", invites.c.decided_at, sqlite_where=is_aside, postgresql_where=is_aside)

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
    Column("anew", Boolean, nullable=False),  # the organizer waits for it, also if it is the same as the last one
    Column("sender", String, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("organizer", Text, nullable=False),  # the recipient as it is compared
    Column("raw", LargeBinary, nullable=False),
    Column("state", String, nullable=False),  # queued, sent, superseded, failed, undeliverable
    Column("created_at", UtcDateTime, nullable=False),
    Column("wake_at", UtcDateTime),  # when to send; NULL: never again
    Column("attempt", Integer, nullable=False),
    Column("owner", String),
    Column("error", Text),  # what the relay said last, or the bounce
    Column("note", Text),  # what else came to its bounce address: that it is late, or delivered
    Column("reports", Integer, nullable=False, server_default="0"),  # mails that came to its bounce address
    Column("settled_at", UtcDateTime),  # when it was sent, given up, or came back
    Column("queued_at", UtcDateTime),  # when somebody let it be sent again
    Column("forgotten_at", UtcDateTime),
    Index("outbox_event", "pal_id", "uid"),
    Index("outbox_organizer", "organizer", "created_at"),
    Index("outbox_invite", "invite_id"),
)
index_waiting(outbox)
index_kept(outbox, outbox.c.created_at)

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
    kept_until: datetime | None = None
    forgotten_at: datetime | None = None


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
    link_candidates: Sequence[Mapping[str, Any]]  # the links in it, as `SeenLink` has them
    decided_at: datetime
    authentication: dict[str, Any] | None = None
    confirmation: dict[str, str] | None = None
    inviter: str | None = None
    inviter_domain: str | None = None
    forgotten_at: datetime | None = None


@dataclass(frozen=True)
class PalRow:
    """A PAL as it is kept: what the desk reads, the whole document, when it was made, the number of its feed."""

    pal: Pal
    document: dict[str, Any]
    created_at: datetime
    calendar_number: int = 0


T = TypeVar("T")
# The last row of the page before: the instant it is sorted by, and its id.
Mark = tuple[datetime, str]


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list, how many the whole list has, and where the next page goes on (None: it is the last)."""

    rows: tuple[T, ...]
    total: int
    next: Mark | None


@dataclass(frozen=True)
class Letter:
    """A mail that waits in the outbox, claimed by us."""

    id: str
    sender: str
    recipient: str
    partstat: str
    raw: bytes
    created_at: datetime
    wake_at: datetime  # when our lease ends
    attempt: int
    owner: str | None
    queued_at: datetime | None = None
    invite_id: str | None = None

    @property
    def mail_id(self) -> str:
        """The mail that it answers, '' where that is not known."""
        return (self.invite_id or "").rpartition("-")[0]  # decisions on a mail are numbered

    @property
    def waits_since(self) -> datetime:
        """Since when it is to be sent."""
        return self.queued_at or self.created_at


class NewerSchema(Exception):
    """The store belongs to a release that this one cannot work beside; the message is one sentence with the mend."""


def migrate(engine: Engine) -> str | None:
    """Bring the schema to HEAD, under a lock, so that several processes may start at once.

    A newer schema stays as it is: its name, when we may work beside the release that made it. Raises NewerSchema.
    """
    with engine.connect() as connection:
        found = schema_of(connection)
    if found < HEAD:
        found = _upgraded(engine)
    if found == HEAD:
        return None
    with engine.connect() as connection:
        oldest = _remembered(connection, OLDEST_NAME)
    if oldest is None or oldest.decode() > HEAD:
        raise NewerSchema(f"The store has the schema {found} of a newer release, which this one ({HEAD}) cannot use.")
    return found


def _upgraded(engine: Engine) -> str:
    """Migrate, unless another process has done it meanwhile; the schema that is there then."""
    # Imported late: Alembic costs most of a second, and a schema at HEAD does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    with engine.begin() as connection:
        alone(connection)
        found = schema_of(connection)
        if found >= HEAD:
            return found
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        remember(connection, OLDEST_NAME, OLDEST.encode())
        return HEAD


def alone(connection: Connection) -> None:
    """Let no other process that starts go on before this transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _START_LOCK})


def schema_of(connection: Connection) -> str:
    """The migration that a store is at; '' for one without a schema."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def not_at_head(schema: str) -> str:
    """What is to be said of a store at another migration than ours, with the mend."""
    if schema > HEAD:
        return f"The store is of a newer release (schema {schema}, this one knows {HEAD}); install that release"
    return f"The store has schema {schema or '(none)'}, this release needs {HEAD}; run pal-gateway db upgrade"


def create_throwaway(engine: Engine) -> None:
    """The same schema at once, for a store that nobody keeps."""
    metadata.create_all(engine)


def ping(connection: Connection) -> None:
    """Ask the store anything; it raises when it does not answer."""
    connection.execute(select(1))


def add_pal(connection: Connection, pal: Pal, now: datetime, document: Mapping[str, Any] | None = None) -> None:
    """Write a new PAL; IntegrityError when its address or id is taken. Without a document it gets a plain one."""
    columns = _columns(pal, document or document_of(pal))
    connection.execute(insert(pals).values(id=pal.id, created_at=now, calendar_number=0, **columns))


def save_pal(connection: Connection, pal: Pal, document: Mapping[str, Any]) -> None:
    """Write a PAL that has changed; IntegrityError when its address is taken."""
    connection.execute(update(pals).where(pals.c.id == pal.id).values(_columns(pal, document)))


def _columns(pal: Pal, document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "account": pal.account,
        "document": dict(document),
        "name": pal.name,
        "address": pal.address or None,
        "face_id": pal.face_id,
        "allowlist": list(pal.allowlist),
        "zone": pal.zone,
    }


def account_pal(connection: Connection, account: str, pal_id: str) -> PalRow | None:
    """A PAL of an account, its row locked until the transaction ends."""
    query = select(pals).where(pals.c.id == pal_id, pals.c.account == account).with_for_update()
    row = connection.execute(query).first() if _can_be_id(pal_id) else None
    return _pal_row(row) if row is not None else None


def pal_row(connection: Connection, pal_id: str) -> PalRow | None:
    """A PAL of any account, for what is opened by other means than a key."""
    row = connection.execute(select(pals).where(pals.c.id == pal_id)).first() if _can_be_id(pal_id) else None
    return _pal_row(row) if row is not None else None


def turn_calendar(connection: Connection, pal_id: str) -> int:
    """Change the number of a PAL's feed; what it is then."""
    turned = update(pals).where(pals.c.id == pal_id).values(calendar_number=pals.c.calendar_number + 1)
    return int(connection.execute(turned.returning(pals.c.calendar_number)).scalar_one())


def _can_be_id(text: str) -> bool:
    """Ids are ours: what cannot be one is not asked for (PostgreSQL takes no NUL)."""
    return text.isascii() and text.isprintable()


def accepted_at(connection: Connection, pal_id: str, uids: Collection[str]) -> dict[str, datetime]:
    """When a message about each of these events was last accepted for a PAL; those that came by mail only."""
    last = (
        select(invites.c.uid, func.max(invites.c.decided_at).label("at"))
        .where(invites.c.pal_id == pal_id, invites.c.uid.in_(uids), invites.c.verdict == Verdict.ACCEPTED)
        .group_by(invites.c.uid)
    )
    return {row.uid: row.at for row in connection.execute(last)}


def declined_of(connection: Connection, pal_id: str, limit: int) -> dict[str, InviteRow]:
    """The last decision to decline on each of the events (by UID) that a PAL declined last, as far as that is kept."""
    said = (
        select(invites)
        .where(invites.c.pal_id == pal_id, invites.c.verdict == Verdict.DECLINED)
        .where(invites.c.uid.is_not(None), invites.c.forgotten_at.is_(None))
        .order_by(invites.c.decided_at.desc(), invites.c.id.desc())
        .limit(limit)
    )
    found: dict[str, InviteRow] = {}
    for row in connection.execute(said):
        found.setdefault(row.uid, InviteRow(**row._mapping))
    return found


def account_pals(connection: Connection, account: str, after: Mark | None, limit: int) -> Page[PalRow]:
    """The PALs of an account, the newest first."""
    query = select(pals).where(pals.c.account == account)
    page = page_of_rows(connection, query, pals.c.created_at, after, limit, newest=True)
    return Page(tuple(_pal_row(row) for row in page.rows), page.total, page.next)


def account_joins(
    connection: Connection, account: str, pal_id: str | None, states: Sequence[str], after: Mark | None, limit: int
) -> Page[Join]:
    """The joins of an account's PALs, by start."""
    table = scheduler.store.joins
    query = select(table).where(_of_account(table.c.pal_id, account, pal_id))
    if states:
        query = query.where(table.c.state.in_(states))
    page = page_of_rows(connection, query, table.c.starts, after, limit)
    found = (scheduler.store.get_join(connection, row.id) for row in page.rows)
    return Page(tuple(join for join in found if join is not None), page.total, page.next)


def owns_join(connection: Connection, account: str, join_id: str) -> bool:
    """Whether a join is one of an account's PALs'."""
    table = scheduler.store.joins
    is_owned = exists().where(pals.c.id == table.c.pal_id, pals.c.account == account)  # one PAL is looked at, not all
    query = select(table.c.id).where(table.c.id == join_id, is_owned)
    return _can_be_id(join_id) and connection.execute(query).first() is not None


def account_invites(
    connection: Connection, account: str, pal_id: str | None, verdict: str | None, after: Mark | None, limit: int
) -> Page[InviteRow]:
    """What was decided for an account's PALs, the newest first."""
    query = select(invites).where(_of_account(invites.c.pal_id, account, pal_id))
    if verdict is not None:
        query = query.where(invites.c.verdict == verdict)
    page = page_of_rows(connection, query, invites.c.decided_at, after, limit, newest=True)
    return Page(tuple(InviteRow(**row._mapping) for row in page.rows), page.total, page.next)


def find_invites(
    connection: Connection, *, pal_id: str | None, verdict: str | None, confirmations: bool, limit: int
) -> list[InviteRow]:
    """What was decided last, for every PAL or one, the newest first."""
    query = select(invites)
    if pal_id is not None:
        query = query.where(invites.c.pal_id == pal_id)
    if verdict is not None:
        query = query.where(invites.c.verdict == verdict)
    if confirmations:
        query = query.where(invites.c.confirmation.is_not(None))
    newest = query.order_by(invites.c.decided_at.desc(), invites.c.id).limit(limit)
    return [InviteRow(**row._mapping) for row in connection.execute(newest)]


def invites_named(connection: Connection, name: str) -> list[tuple[InviteRow, str]]:
    """The decision with an id, or all on the mail with it, each with the address of its PAL ('': gone)."""
    query = (
        select(invites, pals.c.address)
        .outerjoin(pals, pals.c.id == invites.c.pal_id)
        .where((invites.c.id == name) | (invites.c.mail_id == name))
        .order_by(invites.c.id)
    )
    found = []
    for row in connection.execute(query):
        values = dict(row._mapping)
        address = values.pop("address")
        found.append((InviteRow(**values), address or ""))
    return found


def _of_account(column: Column[Any], account: str, pal_id: str | None) -> ColumnElement[bool]:
    owned = select(pals.c.id).where(pals.c.account == account)
    return column.in_(owned if pal_id is None else owned.where(pals.c.id == pal_id))


def page_of_rows(
    connection: Connection,
    query: Select[Any],
    at: ColumnElement[Any],
    after: Mark | None,
    limit: int,
    *,
    newest: bool = False,
) -> Page[Row[Any]]:
    """A page of a query, sorted by an instant and then by id."""
    key = query.selected_columns["id"]
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    if after is not None:
        instant, last = after
        beyond = at < instant if newest else at > instant
        query = query.where(beyond | ((at == instant) & (key > last)))
    found = connection.execute(query.order_by(at.desc() if newest else at, key).limit(limit + 1)).all()
    rows = tuple(found[:limit])
    return Page(rows, total, (rows[-1]._mapping[at.name], rows[-1].id) if len(found) > limit else None)


def add_key(connection: Connection, key: Key) -> None:
    """Write a new key."""
    connection.execute(insert(keys).values({**vars(key), "networks": list(key.networks)}))


def find_key(connection: Connection, digest: str) -> Key | None:
    """The key with a digest."""
    row = connection.execute(select(keys).where(keys.c.digest == digest)).first()
    return _key(row) if row is not None else None


def key_with_id(connection: Connection, key_id: str) -> Key | None:
    """The key with an id."""
    row = connection.execute(select(keys).where(keys.c.id == key_id)).first()
    return _key(row) if row is not None else None


def all_keys(connection: Connection) -> list[Key]:
    """Every key, by account."""
    return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.account, keys.c.created_at))]


def revoke_key(connection: Connection, key_id: str, now: datetime) -> bool:
    """Let a key open nothing from now on; False when there is none that was not revoked before."""
    known = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
    return connection.execute(known.values(revoked_at=now)).rowcount == 1


def _key(row: Row[Any]) -> Key:
    return Key(**{**row._mapping, "networks": tuple(row.networks)})


_PAL_AT: Final = select(pals).where(pals.c.address == bindparam("address"))
_PAL_AT_LOCKED: Final = _PAL_AT.with_for_update(read=True)


def find_pal(connection: Connection, address: str, *, locked: bool = False) -> Pal | None:
    """The PAL with a comparable address (no +tag); `locked`: it stays as it is until the transaction ends."""
    row = connection.execute(_PAL_AT_LOCKED if locked else _PAL_AT, {"address": address}).first()
    return _pal(row) if row is not None else None


def pal_with_id(connection: Connection, pal_id: str, *, locked: bool = False) -> Pal | None:
    """The PAL with an id, whosever it is; `locked`: it stays as it is until the transaction ends."""
    query = select(pals).where(pals.c.id == pal_id)
    row = connection.execute(query.with_for_update(read=True) if locked else query).first()
    return _pal(row) if row is not None else None


def all_pals(connection: Connection) -> list[Pal]:
    """Every PAL that can be invited, by address."""
    invitable = select(pals).where(pals.c.address.is_not(None)).order_by(pals.c.address)
    return [_pal(row) for row in connection.execute(invitable)]


def remove_pal(connection: Connection, pal_id: str) -> None:
    """Forget a PAL; its joins are the scheduler's to cancel."""
    connection.execute(delete(pals).where(pals.c.id == pal_id))


def _pal(row: Row[Any]) -> Pal:
    layer = conferencing_of(row.document) or {}
    return Pal(
        id=row.id,
        name=row.name,
        address=row.address or "",
        face_id=row.face_id,
        allowlist=tuple(row.allowlist),
        zone=row.zone,
        context=layer.get("context") or "title",
        properties=layer.get("properties") or {},
        target=layer.get("target") or {},
        account=row.account,
    )


def _pal_row(row: Row[Any]) -> PalRow:
    return PalRow(_pal(row), row.document, row.created_at, row.calendar_number)


_ADD_MAIL: Final = insert(mails)


def save_mail(connection: Connection, mail: MailRow) -> None:
    """Keep a mail as it came."""
    kept_until = mail.kept_until or mail.received_at
    values = {**vars(mail), "recipients": list(mail.recipients), "kept_until": kept_until}
    connection.execute(_ADD_MAIL, values)


def name_mail(connection: Connection, mail_id: str, message_id: str) -> None:
    """Write down the Message-ID of a mail that could not be read when it came."""
    connection.execute(update(mails).where(mails.c.id == mail_id).values(message_id=message_id))


def find_mails(connection: Connection, role: str | None, limit: int) -> list[MailRow]:
    """The newest mails; with a role only those to it (`postmaster`), with a tag or without."""
    query = select(mails).order_by(mails.c.received_at.desc(), mails.c.id).limit(limit)
    if role is not None:
        listed = cast(mails.c.recipients, Text)
        query = query.where(listed.contains(f'"{role}@') | listed.contains(f'"{role}+'))
    return [_mail(row) for row in connection.execute(query)]


def load_mail(connection: Connection, mail_id: str) -> MailRow | None:
    """A mail as it came."""
    row = connection.execute(select(mails).where(mails.c.id == mail_id)).first()
    return _mail(row) if row is not None else None


def _mail(row: Row[Any]) -> MailRow:
    return MailRow(**{**row._mapping, "recipients": tuple(row.recipients)})


_ADD_INVITE: Final = insert(invites)


def save_invite(connection: Connection, invite: InviteRow) -> None:
    """Keep what was decided on it."""
    connection.execute(_ADD_INVITE, vars(invite))


def invite_ids(connection: Connection, mail_id: str) -> list[str]:
    """The ids of the decisions on a mail."""
    return list(connection.execute(select(invites.c.id).where(invites.c.mail_id == mail_id)).scalars())


def mails_aside(connection: Connection) -> list[str]:
    """The mails that are kept aside for some PAL, the oldest first."""
    query = (
        select(mails.c.id)
        .where(mails.c.id.in_(select(invites.c.mail_id).where(is_aside)))
        .order_by(mails.c.received_at, mails.c.id)
    )
    return list(connection.execute(query).scalars())


def set_aside(connection: Connection, mail_id: str, *, locked: bool = False) -> list[InviteRow]:
    """For whom a mail is kept aside, until it is forgotten; `locked`: until the transaction ends."""
    query = select(invites).where(invites.c.mail_id == mail_id, is_aside).order_by(invites.c.id)
    return [InviteRow(**row._mapping) for row in connection.execute(query.with_for_update() if locked else query)]


def remove_invites(connection: Connection, ids: Collection[str]) -> None:
    """Forget decisions, which nothing was answered on."""
    connection.execute(delete(invites).where(invites.c.id.in_(ids)))


def drop_aside(connection: Connection, mail_id: str) -> int:
    """Forget that a mail is kept aside, and the mail, unless something else was decided on it; for how many PALs."""
    aside = (invites.c.mail_id == mail_id) & (invites.c.verdict == Verdict.QUARANTINED)
    dropped = connection.execute(delete(invites).where(aside)).rowcount
    if dropped and not invite_ids(connection, mail_id):
        connection.execute(delete(mails).where(mails.c.id == mail_id))
    return dropped


def kept_invites(connection: Connection, pal_id: str, uid: str, limit: int) -> list[InviteRow]:
    """What was decided on the mails that may have told us of an event of a PAL, as far as they are kept, the newest
    first."""
    said = (
        select(invites)
        .where(invites.c.pal_id == pal_id, invites.c.uid == uid)
        .where(invites.c.verdict.not_in(HAD_NO_SAY), invites.c.forgotten_at.is_(None))
        .order_by(invites.c.decided_at.desc(), invites.c.id.desc())
        .limit(limit)
    )
    return [InviteRow(**row._mapping) for row in connection.execute(said)]


def kept_messages(connection: Connection, pal_id: str, uid: str, limit: int) -> Iterator[tuple[InviteRow, MailRow]]:
    """The same with their mails, one after the other."""
    for invite in kept_invites(connection, pal_id, uid, limit):
        mail = load_mail(connection, invite.mail_id)
        assert mail is not None  # noqa: S101  a foreign key
        yield invite, mail


def answered_as(connection: Connection, pal_id: str, uid: str, recurrence_id: datetime | None) -> list[str]:
    """The addresses under which a PAL has answered an event: those of this date first, then the newest."""
    of_date = outbox.c.recurrence_id.is_not_distinct_from(recurrence_id)
    query = select(outbox.c.sender).where(outbox.c.pal_id == pal_id, outbox.c.uid == uid)
    newest = query.order_by(case((of_date, 0), else_=1), outbox.c.created_at.desc())
    return list(dict.fromkeys(connection.execute(newest).scalars()))


_ADD_LETTER: Final = insert(outbox)
_LETTER_WITH_KEY: Final = select(outbox.c.id).where(outbox.c.key == bindparam("key"))
# What waits is superseded; one that is being sent now is noted by its sender.
_SUPERSEDE: Final = (
    update(outbox).where(outbox.c.state == "queued").values(state="superseded", wake_at=None).returning(outbox.c.anew)
)
_SUPERSEDE_DATE: Final = _SUPERSEDE.where(
    outbox.c.pal_id == bindparam("for_pal"),
    outbox.c.uid == bindparam("for_uid"),
    outbox.c.recurrence_id.is_not_distinct_from(bindparam("for_date", type_=outbox.c.recurrence_id.type)),
)


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
    """Put an answer into the outbox, in place of those to the same date that still wait.

    False: it need not go out, because it was there already, or says what the last one sent said and nobody asked anew.
    """
    if connection.execute(_LETTER_WITH_KEY, {"key": reply.key}).first() is not None:
        return False
    same_date = {"for_pal": pal_id, "for_uid": reply.uid, "for_date": reply.recurrence_id}
    replaced = list(connection.execute(_SUPERSEDE_DATE, same_date).scalars())
    anew = reply.anew or any(replaced)
    needed = anew or last_sent(connection, pal_id, reply.uid, reply.recurrence_id) != reply.partstat
    letter = {
        "id": letter_id,
        "key": reply.key,
        "invite_id": invite_id,
        "pal_id": pal_id,
        "uid": reply.uid,
        "recurrence_id": reply.recurrence_id,
        "partstat": reply.partstat,
        "anew": anew,
        "sender": reply.sender,
        "recipient": reply.to,
        "organizer": without_tag(normal(reply.to)),
        "raw": raw,
        "state": "queued" if needed else "superseded",
        "created_at": now,
        "wake_at": now + hold if needed else None,
        "attempt": 0,
    }
    connection.execute(_ADD_LETTER, letter)
    return needed


def would_go_out(connection: Connection, pal_id: str, reply: Reply) -> bool:
    """Whether an answer would be sent if it were queued now; nothing is written."""
    if connection.execute(_LETTER_WITH_KEY, {"key": reply.key}).first() is not None:
        return False
    return reply.anew or last_sent(connection, pal_id, reply.uid, reply.recurrence_id) != reply.partstat


def has_pals(connection: Connection) -> bool:
    """Whether anybody can be invited here at all."""
    return connection.execute(select(pals.c.id).where(pals.c.address.is_not(None)).limit(1)).first() is not None


def withdraw_replies(connection: Connection, pal_id: str, uid: str, recurrence_id: datetime | None) -> None:
    """Keep back the answers that wait for an event (None) or for one date of it: nobody waits for them any more."""
    of_date = true() if recurrence_id is None else outbox.c.recurrence_id == recurrence_id
    connection.execute(_SUPERSEDE.where(outbox.c.pal_id == pal_id, outbox.c.uid == uid, of_date))


def acceptance_waits(connection: Connection, pal_id: str, uid: str) -> datetime | None:
    """When the Accepted to a whole event is to be sent (again), None when none waits."""
    waiting = (outbox.c.pal_id == pal_id) & (outbox.c.uid == uid) & (outbox.c.state == "queued")
    whole = waiting & outbox.c.recurrence_id.is_(None) & (outbox.c.partstat == "ACCEPTED")
    return connection.execute(select(func.max(outbox.c.wake_at)).where(whole)).scalar()


def withdraw_acceptances(connection: Connection, pal_id: str) -> None:
    """Keep back every Accepted of a PAL that waits: it will not come."""
    connection.execute(_SUPERSEDE.where(outbox.c.pal_id == pal_id, outbox.c.partstat == "ACCEPTED"))


def last_sent(connection: Connection, pal_id: str, uid: str, recurrence_id: datetime | None) -> str | None:
    """The PARTSTAT that went out last for a date, or for the series if none did; None when that is not known.

    For the series of a date it is the one that waits, if one does: it will be the last when the date's goes out.
    """
    for date in dict.fromkeys((recurrence_id, None)):
        waits = (outbox.c.state == "queued") & (outbox.c.attempt == 0) & (date != recurrence_id)
        tried = (
            select(or_(outbox.c.state == "sent", waits).label("is_known"), outbox.c.partstat)
            .where(outbox.c.pal_id == pal_id, outbox.c.uid == uid, (outbox.c.attempt > 0) | waits)
            .where(outbox.c.recurrence_id.is_not_distinct_from(date))
            .order_by(outbox.c.created_at.desc())
        )
        last = connection.execute(tried).first()
        if last is not None:
            return str(last.partstat) if last.is_known else None
    return None


_REPLIES_TO: Final = (
    select(func.count())
    .select_from(outbox)
    .where(outbox.c.organizer == bindparam("organizer"), outbox.c.created_at > bindparam("since"))
    .where(outbox.c.state != "superseded")
)


def replies_to(connection: Connection, organizer: str, since: datetime) -> int:
    """How many answers to a comparable address were made since an instant, those that were replaced left out."""
    return connection.execute(_REPLIES_TO, {"organizer": organizer, "since": since}).scalar_one()


def claim_letters(connection: Connection, now: datetime, owner: str, lease: timedelta, limit: int) -> list[Letter]:
    """Take up to `limit` mails that are to be sent; they are ours until now + lease."""
    columns = [outbox.c[name] for name in Letter.__dataclass_fields__]
    return [Letter(**row._mapping) for row in take(connection, outbox, Lease(now, owner, lease, limit), columns)]


def give_back_letters(connection: Connection, letters: Iterable[Letter], now: datetime) -> None:
    """Let anybody send mails at once that we claimed."""
    give_back(connection, outbox, letters, now)


def settle_letter(
    connection: Connection,
    letter: Letter,
    *,
    state: str,
    wake_at: datetime | None = None,
    error: str | None = None,
    at: datetime | None = None,
) -> bool:
    """Write what came of sending, and when; False when it is no longer ours. One that was superseded is not tried
    again, and a bounce that was faster than the relay's answer stays."""
    dropped = (outbox.c.state == "superseded") & (literal(state) == "queued")
    bounced = outbox.c.state == "undeliverable"
    changed = connection.execute(
        update(outbox)
        .where(is_ours(outbox))
        .values(
            state=case((dropped | bounced, outbox.c.state), else_=state),
            wake_at=case((dropped | bounced, null()), else_=literal(wake_at, UtcDateTime)),
            error=case((bounced, outbox.c.error), else_=error),
            settled_at=case((bounced, outbox.c.settled_at), else_=literal(at, UtcDateTime)),
        ),
        held_values(letter),
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
    return next_wake(connection, outbox)


def remember(connection: Connection, name: str, value: bytes) -> bytes | None:
    """Keep a value of this installation; what it was before, None when there was none."""
    alone(connection)
    known = _remembered(connection, name)
    if known is None:
        connection.execute(insert(secrets).values(name=name, value=value))
    elif known != value:
        connection.execute(update(secrets).where(secrets.c.name == name).values(value=value))
    return known


def _remembered(connection: Connection, name: str) -> bytes | None:
    known = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    return bytes(known) if known is not None else None


def follow_zone_data(connection: Connection, version: str, now: datetime) -> int:
    """Let what was planned with other time-zone data be planned again; how many events that were."""
    before = remember(connection, "zone-data", version.encode())
    return scheduler.store.plan_anew(connection, now) if before not in (None, version.encode()) else 0


def secret(connection: Connection, name: str, fresh: bytes) -> bytes:
    """A secret of this installation, `fresh` if it had none yet."""
    alone(connection)
    known = _remembered(connection, name)
    if known is not None:
        return known
    connection.execute(insert(secrets).values(name=name, value=fresh))
    return fresh
