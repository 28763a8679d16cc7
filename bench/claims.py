"""How many joins a second can be claimed, in batches as the dispatcher takes them, each committed.

On SQLite where a million are planned, beside ten thousand; on PostgreSQL, which flushes as in earnest, by four
processes beside one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from secrets import token_hex
from statistics import median
from time import monotonic

import scheduler.store
from bench.figure import Row
from bench.planned import MANY, copied, fill_postgres, let_be_due
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.dispatch import LEASE
from scheduler.worker import BATCH
from tests.postgres import running

DUE = 1000  # joins of a turn
TURNS = 5
SOME = 10_000  # joins
ON_POSTGRES = 50_000
WORKERS = 4


def measure() -> list[Row]:
    """Joins a second, a row for each store."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(running(is_durable=True)).store()
        fill_postgres(url, ON_POSTGRES)
        pool = stack.enter_context(ProcessPoolExecutor(WORKERS, get_context("spawn")))
        many, some = (partial(_here, copied(number, folder)) for number in (MANY, SOME))
        four, one = (partial(_in_processes, pool, url, number) for number in (WORKERS, 1))
        return [
            _row("joins claimed a second, SQLite: 1,000,000 | 10,000 planned", many, some),
            _row(f"joins claimed a second, PostgreSQL: {WORKERS} processes | 1", four, one),
        ]


def _row(name: str, ours: Callable[[], float], other: Callable[[], float]) -> Row:
    """Both in turns; the first of each is left out."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for side, call in enumerate((ours, other)):
            took[side].append(call())
    return Row(name, median(took[0][1:]), median(took[1][1:]), "/s", "to be known", True)


def _here(url: str) -> float:
    let_be_due(url, DUE, utc_now(), timedelta())
    begun = monotonic()
    return _claimed(url) / (monotonic() - begun)


def _in_processes(pool: ProcessPoolExecutor, url: str, number: int) -> float:
    list(pool.map(_claimed, [url] * WORKERS))  # all are awake then
    let_be_due(url, DUE, utc_now(), timedelta())
    begun = monotonic()
    return sum(pool.map(_claimed, [url] * number)) / (monotonic() - begun)


def _claimed(url: str) -> int:
    """Claim all that is due; how many that were."""
    engine, owner, done, found = connect(url), token_hex(4), 0, -1
    while found:
        with engine.begin() as connection:
            found = len(scheduler.store.claim(connection, utc_now(), owner, LEASE, BATCH))
        done += found
    engine.dispose()
    return done
