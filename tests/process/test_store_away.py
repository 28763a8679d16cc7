"""The store is away: locked by another process, crashed and recovered under load, or only to be read.

Rules of this file:
- 451 meanwhile, within a bounded time; everything goes on by itself when the store is back, joins that are due first.
- The PostgreSQL that is crashed keeps what it has committed (fsync on).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import pytest

from scheduler.clock import JOINS_SWEEP, utc_now
from tests.conftest import not_here
from tests.postgres import Missing, Postgres, running
from tests.process.world import World, meeting, wait_for, world

LEAD: Final = timedelta(minutes=1)
BUSY: Final = 0.5  # seconds for which a writer of SQLite waits, in place of ten
SLOW: Final = 4.0  # seconds that a machine with much to do may take on top; the figures are printed
CRASHES: Final = 10 if os.environ.get("CHAOS") else 1
SENDERS: Final = 3
LEASE: Final = 8.0  # seconds; longer than PostgreSQL is away

LOCK: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds a SQLite store."""
    command = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield


def test_a_store_that_another_process_locks(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        found.environment["KILL_BUSY"] = str(BUSY)
        place = found.place()
        place.start()
        planned = meeting(1000, utc_now() + LEAD + timedelta(seconds=5))
        assert found.offer(planned).startswith("250")
        due = found.join_of(planned).at
        refused = found.running()
        with locked(tmp_path / "gateway.db"):
            assert utc_now() < due
            began = monotonic()
            assert found.offer(refused).startswith("451 4.3.0")
            answered = monotonic() - began
            began = monotonic()
            assert place.health() == 503
            told = monotonic() - began
            wait_for(lambda: utc_now() > due + JOINS_SWEEP, "the join is due")
            assert not found.platform.calls
            assert place.exit_code() is None
        free = utc_now()
        wait_for(lambda: bool(found.platform.of(planned.url)), "joined when it is let go", more=place.tail)
        joined = (found.platform.posted_at[0] - free).total_seconds()
        assert found.offer(refused).startswith("250")
        found.settle()
        found.balance().check()
        print(
            f"\nstore locked (busy time {BUSY} s): 451 after {answered:.1f} s, /readyz 503 after {told:.1f} s, "
            f"the join that was due meanwhile posted {joined:.1f} s after it was let go: 0 lost, 0 double"
        )
        # RCPT waits for the pool's one connection, and then for the lock.
        assert max(answered, told) < 2 * BUSY + SLOW
        assert joined < JOINS_SWEEP.total_seconds() + BUSY + SLOW
        assert place.health() == 200


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    """A PostgreSQL that outlives its crashes."""
    try:
        with running(is_durable=True) as server:
            yield server
    except Missing as missing:
        not_here(str(missing))


def test_postgresql_crashes_under_load(tmp_path: Path, durable: Postgres) -> None:
    with world(tmp_path, durable.store()) as found:
        found.environment["KILL_LEASE"] = str(LEASE)
        for _ in range(2):
            found.place().start()
        over = Event()

        def send() -> None:
            while not over.is_set():
                found.send(found.running())

        with ThreadPoolExecutor(SENDERS) as pool:
            senders = [pool.submit(send) for _ in range(SENDERS)]
            away = [crash(found, durable) for _ in range(CRASHES)]
            over.set()
            for one in senders:
                one.result()
        began = monotonic()
        found.settle()
        books = found.balance()
        print(
            f"\nPostgreSQL crashed {CRASHES} times under load, away {', '.join(f'{one:.1f} s' for one in away)}: "
            f"{books.mails} mails ({found.offered.total()} offers), all done {monotonic() - began:.1f} s after the "
            f"last one: 0 lost, 0 double joins, {len(books.double_replies)} double replies"
        )
        books.check()
        assert found.offered.total() > books.mails


def crash(found: World, server: Postgres) -> float:
    """Crash it when it has work, and start it again when mails were refused; for how long it was away."""
    before = len(found.platform.calls)
    wait_for(lambda: len(found.platform.calls) > before + 5, "it has work")
    began = monotonic()
    server.crash()
    try:
        for number in range(len(found.places)):
            assert found.offer(found.running(), number).startswith("451 4.3.0")
            assert found.places[number].health() == 503
    finally:
        server.start()
    for place in found.places:
        wait_for(place.is_ready, f"{place.name} is ready again", more=place.tail)
    return monotonic() - began


def test_a_postgresql_that_only_reads_is_away(tmp_path: Path, durable: Postgres) -> None:
    with world(tmp_path, durable.store()) as found:
        place = found.place()
        place.start()
        found.send(found.running())
        found.settle()
        durable.only_reads(True)
        refused = found.running()
        try:
            assert found.offer(refused).startswith("451 4.3.0")
            wait_for(lambda: place.log.read_text().count("store away") >= 3, "the workers wait", more=place.tail)
        finally:
            durable.only_reads(False)
        assert place.exit_code() is None
        assert "quarantined" not in place.log.read_text()
        found.send(refused)
        found.settle()
        found.balance().check()
        print("\nPostgreSQL that only reads: 451, and on by itself when it writes again")
