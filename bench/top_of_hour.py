"""The top of the hour: all joins of an hour become due at one instant, and the platform takes only so many a second.

The claim and the dispatch are the product's: two dispatchers with names and clients of their own on one store on disk,
which know nothing of each other or of the limit. The platform is a process of its own; it refuses with 429 and
Retry-After. The lead is a third of the product's, and so is the number of joins that fit in. Nobody may be later than
the lead, because then the meeting begins, and nobody is sent twice. A tenth becomes due while the others wait.
"""

from __future__ import annotations

import asyncio
from contextlib import redirect_stderr
from datetime import timedelta
from io import StringIO

from bench.dispatching import dispatched, due, lateness, planned
from bench.figure import Row, percentile
from bench.loopback import loopback
from gateway.logs import configure
from scheduler.clock import utc_now

LEAD = 20.0  # seconds
RATE = 120.0  # requests a second that the platform takes, and at once
LOAD = 0.75  # of what it could take within the lead
LATER = 10  # one in so many becomes due later, in the first half of the lead
DELAY = 0.1  # seconds until the platform answers
PATIENCE = 55.0  # seconds
SOON = timedelta(seconds=1)  # from when they are written to when they are due
AT_MOST = 0.2  # refused, for each that is taken


def measure() -> list[Row]:
    """How late the last one was, how late most were, how many were refused, how fast it went."""
    top, number = utc_now() + SOON, int(RATE * LEAD * LOAD)
    later = timedelta(seconds=LEAD / 2 / number)
    orders = [due(n, top if n % LATER else top + n * later) for n in range(number)]
    with loopback(delay=DELAY, rate=RATE, burst=RATE) as there, redirect_stderr(StringIO()), planned(orders) as engine:
        configure("people")
        asyncio.run(dispatched(engine, there, PATIENCE, "one", "two"))
        late, refused = lateness(there, orders)
    last, last_later = max(late.values()), max(late[join.id] for join in orders[::LATER])
    took = max(join.at.timestamp() + late[join.id] for join in orders) - top.timestamp()
    half, most = (percentile(list(late.values()), share) for share in (0.5, 0.99))
    name = f"{number:,} joins at the top of the hour, {RATE:g} requests a second taken:"
    return [
        Row(f"{name} the latest, of the lead", last, LEAD, "s", "≤ 1", last <= LEAD),
        Row(f"{name} late, the median, of p99", half, most, "s", "to be known", True),
        Row(f"{name} the latest of those due later", last_later, last, "s", "≤ 1", last_later <= last),
        Row(f"{name} refused, of orders", refused, number, "", f"≤ {AT_MOST:g}", refused <= AT_MOST * number),
        Row(f"{name} sent a second, of what is taken", number / took, RATE, "/s", "to be known", True),
    ]
