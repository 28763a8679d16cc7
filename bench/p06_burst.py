"""P6: 2,000 joins due at one instant, and a platform that answers after 100 ms: when the last one is posted.

The peer is bare aiohttp with 100 connections, which posts the same bodies and remembers nothing. Ours is the
dispatcher as it runs in a gateway, with a store on disk: claimed and committed, looked up, posted, written down. The
platform is a process of its own and says when it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import redirect_stderr
from datetime import timedelta
from io import StringIO
from statistics import median

import aiohttp

from bench.dispatching import CALLBACK, dispatched, due, lateness, planned
from bench.figure import Row, hottest
from bench.loopback import Loopback, loopback
from gateway.logs import configure
from scheduler.clock import utc_now
from scheduler.joins import Join
from scheduler.request import CONVERSATION
from scheduler.targets import targets

GOAL = 1.5
JOINS = 2000
CONNECTIONS = 100  # of the peer
DELAY = 0.1  # seconds until the platform answers
TURNS = 5
PATIENCE = 60.0  # seconds for a turn
SOON = timedelta(seconds=1)  # from when they are written to when they are due


def measure() -> list[Row]:
    """One row: both sides in turns, the medians."""
    with loopback(delay=DELAY) as there, redirect_stderr(StringIO()):
        configure("people")  # a line for each join, as in a gateway
        took = [(ours(there), bare(there)) for _ in range(TURNS)]
        ours_, other = (median(side) for side in zip(*took, strict=True))
        where = "" if ours_ <= GOAL * other else hottest(lambda: ours(there), calls=1)
    name = f"P6 {JOINS:,} joins due at one instant: the last one posted"
    return [Row(name, ours_, other, "s", f"≤ {GOAL:g} × bare aiohttp", not where, where)]


def ours(there: Loopback) -> float:
    """Seconds from the instant to the last order of the dispatcher."""
    orders = [due(number, utc_now() + SOON) for number in range(JOINS)]
    with planned(orders) as engine:
        asyncio.run(dispatched(engine, there, PATIENCE, "bench"))
    return max(lateness(there, orders)[0].values())


def bare(there: Loopback) -> float:
    """The same of an aiohttp client that posts as fast as it can."""
    orders = [due(number, utc_now()) for number in range(JOINS)]
    asyncio.run(_posted(there.url, orders))
    return max(lateness(there, orders)[0].values())


async def _posted(url: str, orders: Sequence[Join]) -> None:
    target, waiting = targets()[CONVERSATION], iter(orders)
    headers = target.headers("key")

    async def post(session: aiohttp.ClientSession) -> None:
        for join in waiting:
            call = target.start(join, CALLBACK.format(join.id))
            asked = session.post(url + call.path, json=call.body, headers={**headers, **call.headers})
            async with asked as answer:
                assert answer.status == 200
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(post(session) for _ in range(CONNECTIONS)))
