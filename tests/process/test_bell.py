"""On PostgreSQL a process that made work wakes the scheduler of another one, well before its sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from gateway import store
from gateway.demo import invitation
from scheduler.bell import LISTENER
from scheduler.clock import SWEEP, utc_now
from scheduler.database import connect
from tests.process.processes import ANNA, Process, add_anna, send, serving, until

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine

WELL_BEFORE = SWEEP.total_seconds() / 2
_LISTENING = f"FROM pg_stat_activity WHERE application_name = '{LISTENER}'"


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    add_anna(store_url)
    engine = connect(store_url)
    yield engine
    engine.dispose()


def answered_after(engine: Engine, port: int) -> float:
    """Seconds from the 250 to an invitation until its answer was sent."""
    uid, raw = invitation(ANNA, utc_now())
    send(port, raw)
    begun = time.monotonic()

    def sent() -> list[str]:
        with engine.connect() as connection:
            return store.letters_of(connection, uid, "sent")

    until(sent)
    return time.monotonic() - begun


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)  # SQLite has the sweep only
def test_work_is_heard_of_before_the_sweep_and_also_after_the_listener_was_cut_off(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    with ExitStack() as stack:
        taking = stack.enter_context(serving(store_url, tmp_path, "smtp"))
        working = stack.enter_context(serving(store_url, tmp_path, "scheduler", HTTP__PORT=9))
        port = taking.ready()["smtp"]
        working.ready()
        # Each is sent right after the one before was answered: by sweeps alone that takes two seconds each time.
        answered_after(engine, port)
        assert max(answered_after(engine, port) for _ in range(4)) < WELL_BEFORE
        _cut_off(engine, working)
        answered_after(engine, port)
        until(lambda: _listeners(engine))
        assert max(answered_after(engine, port) for _ in range(4)) < WELL_BEFORE
        assert [one.stop() for one in (working, taking)] == [0, 0]
        assert [one.other for one in (working, taking)] == [[], []]


def _listeners(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) {_LISTENING}")).scalar_one())


def _cut_off(engine: Engine, listening: Process) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(f"SELECT pg_terminate_backend(pid) {_LISTENING}")).all() == [(True,)]
    until(lambda: listening.said("not woken by other processes for now"))
