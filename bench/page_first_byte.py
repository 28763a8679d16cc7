"""The page's first byte with many joins in the store, beside the same with few: as a browser asks, one after the other.

Rules of this file:
- Three gateways serve, one on each store, and are asked in turns; each asks on a connection that stays open.
- The goal is beside a store of as many joins as fill what a page shows at once, so that both answers are of one length;
  beside a hundred, with which pages are shorter, too, is a figure.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx
from sqlalchemy import Connection, bindparam, select, update

from bench.figure import Row
from bench.planned import MAIL_TABLES, TABLES, Names, copied
from gateway import store
from gateway.intake import fresh_id
from gateway.keys import Key, digest
from gateway.pals import DEFAULT_ACCOUNT, Pal, pal_id
from scheduler.clock import utc_now
from scheduler.database import connect
from tests.process.processes import serving

GOAL = 1.5
MANY, FULL, FEW = 100_000, 1000, 100
TURNS = 30
WARM = 4
SECOND = timedelta(seconds=1)
OTHER = "lonely"  # an account that owns one PAL among all the others', with no invitation


@dataclass
class Side:
    """A gateway, somebody who is signed in, and how long each page took."""

    client: httpx.Client
    lonely: httpx.Client
    pages: dict[str, str]
    took: dict[str, list[float]] = field(default_factory=dict)

    def ask(self, name: str, turn: int) -> None:
        """Ask for a page, and note the seconds to the first byte."""
        client = self.lonely if name.startswith("another's") else self.client
        begun = perf_counter()
        with client.stream("GET", self.pages[name]) as answer:
            rest = answer.iter_raw()
            next(rest)
            seconds = perf_counter() - begun
            assert answer.status_code == 200, answer.status_code
            for _ in rest:
                pass
        if turn >= WARM:
            self.took.setdefault(name, []).append(seconds)


def measure() -> list[Row]:
    """Two rows for each page: beside a store that fills it, and beside one that does not."""
    with ExitStack() as stack:
        sides = [_side(stack, number) for number in (MANY, FULL, FEW)]
        for turn in range(WARM + TURNS):
            for name in sides[0].pages:
                for side in sides:
                    side.ask(name, turn)
        return [row for name in sides[0].pages for row in _rows(name, *sides)]


def _rows(name: str, many: Side, full: Side, few: Side) -> list[Row]:
    ours, of_full, of_few = (1000 * median(side.took[name]) for side in (many, full, few))
    title = f"first byte of {name}: {MANY:,} | "
    return [
        Row(f"{title}{FULL:,} joins", ours, of_full, "ms", f"≤ {GOAL:g} ×", ours <= GOAL * of_full),
        Row(f"{title}{FEW:,} joins", ours, of_few, "ms", "to be known", True),
    ]


def _side(stack: ExitStack, number: int) -> Side:
    """A gateway on a store with so many joins, that of its middle PAL being asked for."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    url = copied(number, folder, (*TABLES, *MAIL_TABLES))
    keys = {account: fresh_id("pg_") for account in (DEFAULT_ACCOUNT, OTHER)}
    engine, now = connect(url), utc_now()
    with engine.begin() as connection:
        for account, secret in keys.items():
            store.add_key(connection, Key(fresh_id("k"), account, digest(secret), created_at=now))
        alone = Pal(pal_id("alone@invite.example.com"), "Alone", "alone@invite.example.com", "face", account=OTHER)
        store.add_pal(connection, alone, now)
        _let_come_one_by_one(connection, now)
        pal = pal_id(Names(number // 20).address)
        (invite, *_) = store.find_invites(connection, pal_id=pal, verdict=None, confirmations=False, limit=1)
    engine.dispose()
    http = serving_http(stack, url, folder)
    owner, lonely = (_signed_in(stack, http, secret) for secret in keys.values())
    pages = {
        "/": "/",
        "/invitations": "/invitations",
        "/week": f"/week?pal={pal}",
        "a story": f"/invitations/{invite.id}",
        "/health": "/health",
        "another's /": "/",
        "another's /invitations": "/invitations",
    }
    return Side(owner, lonely, pages)


def _let_come_one_by_one(connection: Connection, now: datetime) -> None:
    """Give each decision an instant of its own, ten seconds apart; the patterns were all decided at one."""
    every = connection.execute(select(store.invites.c.id)).scalars().all()
    changed = update(store.invites).where(store.invites.c.id == bindparam("one")).values(decided_at=bindparam("at"))
    connection.execute(changed, [{"one": one, "at": now - 10 * place * SECOND} for place, one in enumerate(every)])


def serving_http(stack: ExitStack, url: str, folder: Path) -> int:
    """The port of HTTP of a gateway on a store."""
    return int(stack.enter_context(serving(url, folder)).ready()["http"])


def _signed_in(stack: ExitStack, port: int, secret: str) -> httpx.Client:
    client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30))
    assert client.post("/sign-in", data={"key": secret, "back": "/"}).status_code == 303
    return client
