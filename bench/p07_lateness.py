"""How late a join is sent where a million are planned, and where a thousand are: one becomes due each 100 ms.

Two gateways as they are installed, each with its store, run beside each other, their joins due in turns, 50 ms apart.
Lateness is from the join's instant to the platform's reading of the POST.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from bench.figure import Row, percentile
from bench.planned import FEW, MANY, copied, let_be_due
from scheduler.clock import utc_now
from tests.process.outside import Platform, platform
from tests.process.processes import serving
from tests.process.world import wait_for

GOAL = 1.5
LATEST = 50.0  # milliseconds
DUE = 250  # joins of each store
EVERY = timedelta(milliseconds=100)
SOON = timedelta(seconds=4)  # so that each gateway has heard of them


def measure() -> list[Row]:
    """The 99th percentile, and the median."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = stack.enter_context(platform())
        there.tells = False
        urls = copied(MANY, folder), copied(FEW, folder)
        settings = {"PLATFORM__BASE_URL": there.url, "PLATFORM__API_KEY": "key"}
        for gateway in [stack.enter_context(serving(url, folder, **settings)) for url in urls]:
            gateway.ready()
        first = utc_now() + SOON
        due = [let_be_due(url, DUE, first + EVERY / 2 * turn, EVERY) for turn, url in enumerate(urls)]
        wait_for(lambda: len(there.calls) >= 2 * DUE, "all joins are sent", 60)
        many, few = (_lateness(there, one) for one in due)
    ours, other = percentile(many, 0.99), percentile(few, 0.99)
    is_met = ours <= GOAL * other and ours < LATEST
    return [
        Row("P7 lateness of a join p99: 1,000,000 | 1,000 planned", ours, other, "ms", "≤ 1.5 ×, < 50 ms", is_met),
        Row("   the median of the same", median(many), median(few), "ms", "to be known", True),
    ]


def _lateness(there: Platform, due: dict[str, datetime]) -> list[float]:
    """Milliseconds of each of these joins."""
    posted = {call["meeting_url"]: at for call, at in zip(there.calls, there.posted_at, strict=True)}
    return [(posted[url] - at).total_seconds() * 1000 for url, at in due.items()]
