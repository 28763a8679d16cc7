"""Stores with so many planned joins: the rows that our own code wrote for some invitations, written many times over.

Rules of this file:
- What a pattern holds came through the desk itself (intake, forgetting); what is written over and over are its rows,
  each time with another PAL, event, mail, room and inviter. A store is what a running gateway would have made.
- Each PAL has one series of ten dates within the horizon, 40 % of them at the full hour and 25 % at the half. The first
  are due tomorrow, so that nothing becomes due while something is measured.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, bindparam, select, text, update
from structlog.testing import capture_logs

import gateway.app  # noqa: F401  every table
from gateway import store
from gateway.forgetting import Forgetting
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal, pal_id
from gateway.settings import Settings
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.joins import JoinState
from scheduler.store import joins
from tests.process.world import room

MANY: Final = 1_000_000  # joins
FEW: Final = 1000
DATES: Final = 10  # joins of an event
DOMAIN: Final = "invite.example.com"
SAMPLE: Final = Path(__file__).parent.parent / "samples" / "google" / "06-series.eml"

PATTERNS: Final = 60
MINUTES: Final = (0, 30, 0, 15, 0, 30, 0, 45, 0, 30, 0, 10, 0, 30, 0, 20, 15, 30, 50, 5)  # 40 % at :00, 25 % at :30
TABLES: Final = ("pals", "events", "joins")
MAIL_TABLES: Final = ("mails", "invites", "outbox")  # 8 kB for each event, which no question about joins reads

LEAD: Final = timedelta(minutes=1)  # what becomes due while something is measured
LENGTH: Final = timedelta(hours=1)

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Names:
    """What differs from one PAL's rows to another's."""

    number: int

    @property
    def address(self) -> str:
        return f"pal{self.number:08}@{DOMAIN}"

    @property
    def uid(self) -> str:
        return f"0sk3n6v9bq1e{self.number:08}@google.com"

    @property
    def inviter(self) -> str:
        """Ten events are one person's, a hundred those of one organization."""
        return f"alex{self.number // 10:07}@org{self.number // 100:06}.example"

    @property
    def link(self) -> str:
        return room(self.number)

    @property
    def name(self) -> str:
        return f"PAL {self.number:08}"

    def parts(self) -> tuple[str, ...]:
        """The strings that rows contain: ids first, for addresses are in nothing else."""
        mail, letter = (blake2b(f"{one}{self.number}".encode(), digest_size=12).hexdigest() for one in "mr")
        ids = pal_id(self.address), f"m{mail[:20]}", f"r{letter}"
        return *ids, self.address, self.uid, self.link, self.inviter, self.inviter.partition("@")[2], self.name


def invitation(names: Names, starts: datetime, sequence: int = 0) -> bytes:
    """An invitation as Google sends it, to a series that has a date every six days for years to come."""
    raw = SAMPLE.read_text("utf-8")
    event = re.compile(r"DTSTART;TZID=.*?BYDAY=MO\r?\n", re.DOTALL)
    lines = f"DTSTART:{starts:%Y%m%dT%H%M%SZ}\nDTEND:{starts + timedelta(hours=1):%Y%m%dT%H%M%SZ}\n"
    raw = event.sub(f"{lines}RRULE:FREQ=DAILY;INTERVAL=6\n", raw)
    unfolded = raw.replace("anna@invite.example.\n com", "anna@invite.example.com")
    for before, after in (
        ("anna@invite.example.com", names.address),
        ("0sk3n6v9bq1e8f5g2h7j4m0pta@google.com", names.uid),
        ("https://meet.google.com/pyb-ndcu-hhc", names.link),
        ("alex@acme.example", names.inviter),
        ("20260227T141500Z", f"{utc_now():%Y%m%dT%H%M%SZ}"),
        ("SEQUENCE:0", f"SEQUENCE:{sequence}"),
    ):
        unfolded = unfolded.replace(before, after)
    return unfolded.replace("\r\n", "\n").replace("\n", "\r\n").encode()


@dataclass(frozen=True)
class Form:
    """A row as the driver of SQLite gives it: what is the same in all, what is one of the parts, what contains some."""

    values: Values
    whole: list[tuple[int, int]]  # column, part
    within: list[tuple[int, str]]  # column, format string

    @classmethod
    def of(cls, values: Values, parts: tuple[str, ...]) -> Form:
        whole, within = [], []
        for column, value in enumerate(values):
            if value in parts:
                whole.append((column, parts.index(value)))
            elif isinstance(value, str) and any(part in value for part in parts):
                form = value.replace("{", "{{").replace("}", "}}")
                for number, part in enumerate(parts):
                    form = form.replace(part, f"{{{number}}}")
                within.append((column, form))
        return cls(values, whole, within)

    def row(self, parts: tuple[str, ...]) -> list[Any]:
        """The row with other parts."""
        values = list(self.values)
        for column, part in self.whole:
            values[column] = parts[part]
        for column, form in self.within:
            values[column] = form.format(*parts)
        return values


@dataclass(frozen=True)
class Patterns:
    """Rows for any number of PALs. `columns`: of each table; `made`: the rows of each pattern by table."""

    columns: dict[str, list[str]]
    made: list[dict[str, list[Form]]]

    def rows(self, table: str, number: int) -> Iterator[list[Any]]:
        """The rows of a table in a store with so many joins."""
        for one in range(number // DATES):
            parts = Names(one).parts()
            for place, form in enumerate(self.made[one % PATTERNS][table]):
                values = form.row(parts)
                if table == "joins":
                    values[0] = f"j{blake2b(b'%d-%d' % (one, place), digest_size=10).hexdigest()}"
                yield values


@cache
def patterns() -> Patterns:
    """What the desk writes for invitations to series that begin at the hours of tomorrow and the five days after it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.db"
        engine = connect(f"sqlite:///{file}")
        store.migrate(engine)
        names = [Names(90_000_000 + number) for number in range(PATTERNS)]
        with capture_logs():
            _invite(engine, names)
        with closing(sqlite3.connect(file)) as raw:
            every = (*TABLES, *MAIL_TABLES)
            columns = {table: [row[1] for row in raw.execute(f"PRAGMA table_info({table})")] for table in every}
            made = [_pattern(raw, one) for one in names]
        engine.dispose()
    return Patterns(columns, made)


def _invite(engine: Engine, names: list[Names]) -> None:
    """Have all of them invited and answered, and looked at by those who forget."""
    settings = Settings()
    intake, now = Intake(engine, settings.desk()), utc_now()
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    for number, one in enumerate(names):
        with engine.begin() as connection:
            store.add_pal(connection, Pal(pal_id(one.address), one.name, one.address, "face-1"), now)
        starts = tomorrow + timedelta(days=number % 6, hours=8 + number // 6 % 10, minutes=MINUTES[number % 20])
        mail = Incoming(fresh_id("m"), invitation(one, starts), one.inviter, (one.address,))
        (played,) = intake.take(mail, now)
        assert len(played.decision.joins) == DATES, played
    with engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET state = 'sent', wake_at = NULL, attempt = 1"))
    for _ in Forgetting(engine, settings.retention.span, settings.scheduling(), utc_now).steps(now):
        pass


def _pattern(raw: sqlite3.Connection, names: Names) -> dict[str, list[Form]]:
    pal, _, _, *others = names.parts()
    (mail,) = raw.execute("SELECT mail_id FROM invites WHERE pal_id = ?", (pal,)).fetchone()
    (letter,) = raw.execute("SELECT id FROM outbox WHERE pal_id = ?", (pal,)).fetchone()
    parts = (pal, mail, letter, *others)
    key = {"pals": ("id", pal), "mails": ("id", mail)}
    found = {}
    for table in (*TABLES, *MAIL_TABLES):
        column, value = key.get(table, ("pal_id", pal))
        rows = raw.execute(f"SELECT * FROM {table} WHERE {column} = ? ORDER BY 1", (value,)).fetchall()  # noqa: S608
        found[table] = [Form.of(row, parts) for row in rows]
    return found


_rooms: Final = count(1_000_000_000)
_folder: Final = TemporaryDirectory(prefix="planned-")  # gone at the end of the run


@cache
def filled(number: int, tables: tuple[str, ...] = TABLES) -> Path:
    """A SQLite store with so many joins, made once in a run; whoever changes it takes a copy."""
    file = Path(_folder.name) / f"{number}-{len(tables)}.db"
    engine = connect(f"sqlite:///{file}")
    store.migrate(engine)
    engine.dispose()
    with closing(sqlite3.connect(file, isolation_level=None)) as raw:
        for pragma in ("synchronous=OFF", "journal_mode=OFF", "cache_size=-500000", "temp_store=MEMORY", "threads=2"):
            raw.execute(f"PRAGMA {pragma}")
        # In this order an index is sorted once and not grown a million times.
        indexes = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        for name, _ in indexes:
            raw.execute(f"DROP INDEX {name}")
        raw.execute("BEGIN")
        for table in tables:
            places = ", ".join("?" for _ in patterns().columns[table])
            raw.executemany(f"INSERT INTO {table} VALUES ({places})", patterns().rows(table, number))  # noqa: S608
        raw.execute("COMMIT")
        for _, sql in indexes:
            raw.execute(sql)
        raw.execute("PRAGMA journal_mode=WAL")
    return file


def copied(number: int, folder: Path, tables: tuple[str, ...] = TABLES) -> str:
    """The URL of a SQLite store with so many joins, in a folder, to do with as one likes."""
    file = folder / f"{number}.db"
    shutil.copyfile(filled(number, tables), file)
    return f"sqlite:///{file}"


def fill_postgres(url: str, number: int, tables: tuple[str, ...] = TABLES) -> None:
    """Make the same store on PostgreSQL, at the URL of an empty one."""
    engine = connect(url)
    store.migrate(engine)
    engine.dispose()
    schema = re.search(r"search_path%3D(\w+)", url)
    assert schema is not None, url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TimeZone TO 'UTC'")
        found = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint)",
            (schema[1],),
        ).fetchall()
        for name, _ in found:
            connection.execute(f"DROP INDEX {name}".encode())
        for table in tables:
            columns = ", ".join(f'"{one}"' for one in patterns().columns[table])
            with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                for row in patterns().rows(table, number):
                    copy.write_row(row)
        for _, definition in found:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE")


def let_be_due(url: str, number: int, first: datetime, every: timedelta) -> dict[str, datetime]:
    """Let so many joins of a store become due one after the other, each in a room of its own: when, by its link."""
    engine, due = connect(url), dict[str, datetime]()
    changed = update(joins).where(joins.c.id == bindparam("one"))
    with engine.begin() as connection:
        # Ids are random, so these lie all over the store.
        planned = select(joins.c.id).where(joins.c.state == JoinState.PLANNED).order_by(joins.c.id).limit(number)
        for one in connection.execute(planned).scalars().all():
            at, link = first + len(due) * every, room(next(_rooms))
            due[link] = at
            times = {"at": at, "wake_at": at, "starts": at + LEAD, "ends": at + LENGTH, "until": at + LENGTH}
            connection.execute(changed, {"one": one, **times, "url": link})
    engine.dispose()
    return due
