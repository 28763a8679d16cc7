"""How many joins a store alone can have claimed in a second, and carried out, with its commits: the way of a join
without the platform, in batches as the dispatcher takes them.

On SQLite where a million are planned beside a thousand; on PostgreSQL, which flushes as in earnest, by four processes
beside one.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from secrets import token_hex
from statistics import median
from time import monotonic

from sqlalchemy import Engine

import scheduler.store
from bench.figure import Row
from bench.planned import FEW, MANY, copied, fill_postgres, let_be_due
from gateway import store_calls
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.dispatch import LEASE
from scheduler.joins import Join, JoinState
from scheduler.worker import BATCH
from tests.postgres import running

DUE = {False: 1000, True: 150}  # joins of a turn: to be claimed, to be carried out
TURNS = 4
ON_POSTGRES = 50_000  # joins
WORKERS = 4


def measure() -> list[Row]:
    """Joins a second, a row for claims and one for the whole way, on each store."""
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(running(is_durable=True)).store()
        fill_postgres(url, ON_POSTGRES)
        pool = stack.enter_context(ProcessPoolExecutor(WORKERS, get_context("spawn")))
        urls = copied(MANY, folder), copied(FEW, folder)
        for whole, what in ((False, "claimed"), (True, "carried out")):
            many, few = (partial(_here, url, whole) for url in urls)
            rows.append(_row(f"joins {what} a second, SQLite: 1,000,000 | 1,000 planned", many, few))
            four, one = (partial(_in_processes, pool, url, whole, number) for number in (WORKERS, 1))
            rows.append(_row(f"joins {what} a second, PostgreSQL: {WORKERS} | 1 processes", four, one))
    return rows


def _row(name: str, ours: partial[float], other: partial[float]) -> Row:
    """Both in turns; the first of each is left out."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for side, call in enumerate((ours, other)):
            took[side].append(call())
    ours_, other_ = (median(side[1:]) for side in took)
    return Row(name, ours_, other_, "/s", "to be known", True)


def _here(url: str, whole: bool) -> float:
    let_be_due(url, DUE[whole], utc_now(), timedelta())
    begun = monotonic()
    done = _work(url, whole)
    return done / (monotonic() - begun)


def _in_processes(pool: ProcessPoolExecutor, url: str, whole: bool, number: int) -> float:
    list(pool.map(_work, [url] * WORKERS, [whole] * WORKERS))  # they are awake, and nothing is left to do
    let_be_due(url, DUE[whole], utc_now(), timedelta())
    begun = monotonic()
    done = sum(pool.map(_work, [url] * number, [whole] * number))
    return done / (monotonic() - begun)


def _work(url: str, whole: bool) -> int:
    """Claim all that is due, and (`whole`) write of each what the dispatcher and the platform's callbacks do."""
    engine, owner, done = connect(url), token_hex(4), 0
    while True:
        with engine.begin() as connection:
            found = scheduler.store.claim(connection, utc_now(), owner, LEASE, BATCH)
        if not found:
            break
        done += len(found)
        for join in found if whole else ():
            _carry_out(engine, join)
    engine.dispose()
    return done


def _carry_out(engine: Engine, join: Join) -> None:
    now = utc_now()
    with engine.connect() as connection:
        scheduler.store.in_room(connection, join, now)
    call = f"c-{join.id}"
    with engine.begin() as connection:
        state, look = JoinState.STARTED, now + timedelta(hours=1)
        scheduler.store.settle(connection, join, state=state, conversation_id=call, wake_at=look)
    for kind, state in (("system.replica_joined", JoinState.JOINED), ("system.shutdown", JoinState.ENDED)):
        with engine.begin() as connection:
            store_calls.note(connection, join.order_id, kind, kind.encode(), now)
            scheduler.store.observe(connection, join.order_id, state, now=now, conversation_id=call)
