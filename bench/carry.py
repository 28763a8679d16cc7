"""How much one process, one machine and one database carry: mails with 250 a second, joins sent a second.

Gateways as they are installed, in processes of their own, on SQLite (one) and PostgreSQL (one, two, four), beside each
other on this machine with the clients and the platform, which answers at once. The other side is one process on SQLite
in the same run. PostgreSQL flushes as it does in earnest.
"""

from __future__ import annotations

import smtplib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from time import monotonic

import scheduler.store
from bench.figure import Row
from scheduler.clock import utc_now
from scheduler.event import Component, Event, Length, Revision
from scheduler.joins import Policy, plan
from scheduler.request import Attendant
from scheduler.zones import UTC_ZONE
from tests.postgres import running
from tests.process.world import ANNA, World, meeting, room, wait_for, world

MAILS = 600
CONNECTIONS = 20
JOINS = 1000
ON = (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2), ("PostgreSQL", 4))


def measure() -> list[Row]:
    """Mails and joins a second of each."""
    found: dict[str, list[tuple[str, float]]] = {"mails": [], "joins": []}
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, running(is_durable=True) as postgres:
        for number, (kind, processes) in enumerate(ON):
            here = Path(folder) / str(number)
            here.mkdir()
            with _gateways(here, postgres.store() if kind == "PostgreSQL" else "", processes) as there:
                name = f"{kind}, {processes} process{'es' if processes > 1 else ''}"
                found["mails"].append((name, _mails(there)))
                found["joins"].append((name, _joins(there)))
    return [
        Row(f"{what} a second, {name}", figure, rows[0][1], "/s", "to be known", True)
        for what, rows in found.items()
        for name, figure in rows
    ]


@contextmanager
def _gateways(folder: Path, url: str, processes: int) -> Iterator[World]:
    with ExitStack() as stack:
        there = stack.enter_context(world(folder, url, REPLIES__HOLD_SECONDS="600", READING__READERS="2"))
        there.platform.tells = False
        for _ in range(processes):
            there.place().start()
        yield there


def _mails(there: World) -> float:
    """Invitations to meetings of tomorrow over connections that stay open."""
    numbers, starts = iter(range(MAILS)), utc_now() + timedelta(days=1)

    def send(which: int) -> None:
        with smtplib.SMTP("127.0.0.1", there.places[which % len(there.places)].smtp) as client:
            for number in numbers:
                client.sendmail("alex@acme.example", [ANNA], meeting(number, starts).raw)

    begun = monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for one in [pool.submit(send, which) for which in range(CONNECTIONS)]:
            one.result()
    return MAILS / (monotonic() - begun)


def _joins(there: World) -> float:
    """Joins in rooms of their own that are due at one instant."""
    now, rooms = utc_now(), count(10_000)
    attendant = Attendant("p-bench", "face-1")
    began = (now - timedelta(minutes=5)).replace(tzinfo=None)
    model = Component(Revision(0, now), began, UTC_ZONE, Length(seconds=3600), summary="Bench")
    with there.engine.begin() as connection:
        for number in range(JOINS):
            component = replace(model, url=room(next(rooms)))
            event = Event(f"bench-{number}", "alex@acme.example", master=component)
            scheduler.store.save_event(connection, attendant, event, None, is_new=True)
            scheduler.store.save_joins(connection, plan(event, (), attendant, now, Policy()), (), now=now)
    begun = monotonic()
    wait_for(lambda: len(there.platform.calls) >= JOINS, "all joins are sent", 120)
    return JOINS / (monotonic() - begun)
