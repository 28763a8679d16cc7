"""P6: 2,000 joins due at one instant, and a platform that answers after 100 ms: when the last one is posted.

The peer is bare aiohttp with 100 connections, which posts the same bodies and remembers nothing. Ours is the
dispatcher as it runs in a gateway, with a store on disk: claimed and committed, looked up, posted, written down. The
platform is a process of its own and says when it was asked.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from datetime import datetime, timedelta
from io import StringIO
from statistics import median

import aiohttp
from sqlalchemy import Engine

import scheduler.store
from bench.figure import Row, hottest
from bench.loopback import Loopback, loopback
from gateway import store
from gateway.logs import configure
from gateway.threads import Threads
from scheduler.clock import JOINS_SWEEP, Clock, utc_now
from scheduler.database import connect
from scheduler.dispatch import Dispatcher
from scheduler.joins import Join, Policy
from scheduler.platform import Platform
from scheduler.request import CONVERSATION
from scheduler.targets import targets

GOAL = 1.5
JOINS = 2000
CONNECTIONS = 100  # of the peer
DELAY = 0.1  # seconds until the platform answers
TURNS = 3
PATIENCE = 60.0  # seconds for a turn
SOON = timedelta(seconds=0.3)  # from when all is ready to when they are due


def measure() -> list[Row]:
    """One row: both sides in turns, the medians."""
    with loopback(delay=DELAY) as there, redirect_stderr(StringIO()):
        configure("people")  # a line for each join, as in a gateway
        took = [(ours(there), bare(there)) for _ in range(TURNS)]
        ours_, other = (median(side) for side in zip(*took, strict=True))
        where = "" if ours_ <= GOAL * other else hottest(lambda: ours(there), calls=1)
    name = f"{JOINS:,} joins due at one instant: the last one posted"
    return [Row(name, ours_, other, "s", f"≤ {GOAL:g} × bare aiohttp", not where, where)]


def ours(there: Loopback) -> float:
    """Seconds from the instant to the last order of the dispatcher."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        engine = connect(f"sqlite:///{folder}/gateway.db")
        store.migrate(engine)
        due_at = utc_now() + SOON
        orders = made(due_at)
        with engine.begin() as connection:
            scheduler.store.save_joins(connection, orders, ())
        asyncio.run(_dispatched(engine, there))
        engine.dispose()
    return _seconds(there, orders, due_at)


def bare(there: Loopback) -> float:
    """The same of an aiohttp client that posts as fast as it can."""
    orders = made(utc_now())
    since = utc_now()
    asyncio.run(_posted(there.url, orders))
    return _seconds(there, orders, since)


def made(at: datetime) -> list[Join]:
    """Joins of PALs and rooms of their own, due at an instant."""
    until = at + timedelta(hours=1)
    return [
        Join(
            f"j{n:05}", f"p{n}", "face-1", f"u{n}", at, at, until, at, until, f"https://meet.google.com/{n}",
            "Stand-up", wake_at=at, request={"conversational_context": "You are in the meeting “Stand-up”."},
        )
        for n in range(JOINS)
    ]  # fmt: skip


async def _dispatched(engine: Engine, there: Loopback) -> None:
    """Run a dispatcher, as a gateway does, until nothing is due any more."""
    threads = Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    platform, clock = Platform(there.url, "key"), Clock()
    dispatcher = Dispatcher(engine, {CONVERSATION: platform}, "http://here/{}".format, utc_now, "bench", Policy())
    clock.start()
    running = asyncio.create_task(dispatcher.run(clock.alarm("joins", JOINS_SWEEP)))
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(_waits, engine):
            await asyncio.sleep(0.5)
    dispatcher.stop()
    await running
    clock.stop()
    await dispatcher.finish()
    await platform.close()


def _waits(engine: Engine) -> bool:
    """Whether a join is not in its call yet."""
    with engine.connect() as connection:
        return bool(scheduler.store.find_joins(connection, states=("planned", "claimed"), limit=1))


async def _posted(url: str, orders: Sequence[Join]) -> None:
    target, waiting = targets()[CONVERSATION], iter(orders)
    headers = target.headers("key")

    async def post(session: aiohttp.ClientSession) -> None:
        for join in waiting:
            call = target.start(join, f"http://here/{join.id}")
            asked = session.post(url + call.path, json=call.body, headers={**headers, **call.headers})
            async with asked as answer:
                assert answer.status == 200
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(post(session) for _ in range(CONNECTIONS)))


def _seconds(there: Loopback, orders: Sequence[Join], since: datetime) -> float:
    """From an instant to the last order; each was posted once."""
    taken = there.posted().taken
    assert sorted(url for url, _ in taken) == [f"http://here/{join.id}" for join in orders]
    monotonic_since = time.monotonic() - (utc_now() - since).total_seconds()
    return max(at for _, at in taken) - monotonic_since
