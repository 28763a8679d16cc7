"""Joins that are due, and dispatchers as they run in gateways, until every join is in its call."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine

import scheduler.store
from bench.loopback import Loopback
from gateway import store
from gateway.threads import Threads
from scheduler.clock import JOINS_SWEEP, Clock, utc_now
from scheduler.database import connect
from scheduler.dispatch import Dispatcher
from scheduler.joins import Join, Policy
from scheduler.platform import Platform
from scheduler.request import CONVERSATION

LOOK = 0.5  # seconds between two looks whether all are in
CALLBACK = "http://here/{}"


def due(number: int, at: datetime) -> Join:
    """The `number`-th join, of a PAL and a room of its own, due at an instant: one lead before its meeting."""
    starts, url = at + Policy().lead, f"https://meet.google.com/{number}"
    until = starts + timedelta(hours=1)
    return Join(
        f"j{number:05}", f"p{number}", "face-1", f"u{number}", starts, starts, until, at, until, url, "Stand-up",
        wake_at=at, request={"conversational_context": "You are in the meeting “Stand-up”."},
    )  # fmt: skip


@contextmanager
def planned(joins: Sequence[Join]) -> Iterator[Engine]:
    """A store on disk with these joins in it."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        engine = connect(f"sqlite:///{folder}/gateway.db")
        store.migrate(engine)
        with engine.begin() as connection:
            scheduler.store.save_joins(connection, joins, (), now=utc_now())
        yield engine
        engine.dispose()


async def dispatched(engine: Engine, there: Loopback, patience: float, *owners: str) -> None:
    """Run a dispatcher for each name until every join is in its call, but not longer than so many seconds."""
    asyncio.get_running_loop().set_default_executor(Threads())
    clock, platforms = Clock(), [Platform(there.url, "key") for _ in owners]
    dispatchers = [
        Dispatcher(engine, {CONVERSATION: platform}, CALLBACK.format, utc_now, owner, Policy())
        for platform, owner in zip(platforms, owners, strict=True)
    ]
    clock.start()
    running = [asyncio.create_task(one.run(clock.alarm(one.owner, JOINS_SWEEP))) for one in dispatchers]
    async with asyncio.timeout(patience):
        while await asyncio.to_thread(_waits, engine):
            await asyncio.sleep(LOOK)
    for one in dispatchers:
        one.stop()
    await asyncio.gather(*running, *(one.finish() for one in dispatchers))
    clock.stop()
    for platform in platforms:
        await platform.close()


def _waits(engine: Engine) -> bool:
    """Whether a join is not in its call yet."""
    with engine.connect() as connection:
        return bool(scheduler.store.find_joins(connection, states=("planned", "claimed"), limit=1))


def lateness(there: Loopback, joins: Sequence[Join]) -> tuple[dict[str, float], int]:
    """How many seconds after its instant each was posted, by its id, and how many requests were refused; each was
    posted once."""
    posted = there.posted()
    taken = {url.removeprefix(CALLBACK.format("")): at for url, at in posted.taken}
    assert len(posted.taken) == len(taken)
    assert taken.keys() == {join.id for join in joins}
    offset = utc_now().timestamp() - time.monotonic()
    return {join.id: taken[join.id] + offset - join.at.timestamp() for join in joins}, len(posted.refused)
