"""Mails a second that two processes take on one PostgreSQL, beside one process; PostgreSQL flushes as in earnest.

The processes, their readers, PostgreSQL and the client share the cores of this machine, so that two processes have two
cores to themselves only where there are more.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from threading import Thread

from bench.figure import Row
from bench.servers import Client, Poured, add_pals, gateway
from tests.postgres import running

GOAL = 1.6
STRETCH = 3.0  # seconds
TURNS = 3


def measure() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name, running(is_durable=True) as postgres:
        url = postgres.store()
        add_pals(url)
        folder = Path(name)
        with gateway(folder / "a", url) as first, gateway(folder / "b", url) as second:
            clients = [Client(first=side * 500_000, connections=10) for side in range(2)]
            alone, both = [], []
            for turn in range(TURNS + 1):
                one = _rate(clients[:1], [first])
                two = _rate(clients, [first, second])
                if turn:
                    alone.append(one)
                    both.append(two)
    ours, other = median(both), median(alone)
    met = ours / other >= GOAL
    where = (
        f"{os.cpu_count()} cores for two processes with their readers, PostgreSQL and the client: while one process\n"
        "takes mail, all of them are busy already"
    )
    name = "P11 mails/s on PostgreSQL, two processes | one process"
    return [Row(name, ours, other, "/s", f"≥ {GOAL} on 2 free cores", met, "" if met else where)]


def _rate(clients: list[Client], ports: list[int]) -> float:
    """What all of them send at once; a client has a thread, and so an event loop, of its own."""
    found: list[Poured] = []
    threads = [
        Thread(target=lambda client=client, port=port: found.append(client.pour(port, STRETCH)))
        for client, port in zip(clients, ports, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(one.rate for one in found)
