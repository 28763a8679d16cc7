"""Mails a second that are decided on and committed, beside aiosmtpd that throws them away; nobody is authenticated.

A gateway as it is installed, with its readers, its precheck, its quotas and SQLite that flushes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from bench.figure import Row, hottest
from bench.p14_mail_cpu import taking
from bench.servers import Client, add_pals, discarding, gateway

GOAL = 0.5
STRETCH = 3.0  # seconds
TURNS = 3


def measure() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        add_pals(f"sqlite:///{folder}/gateway.db")
        with discarding(folder) as other, gateway(folder) as ours:
            rates = in_turns(ours, other)
    met = rates[0] / rates[1] >= GOAL
    where = ""
    if not met:
        with taking() as take:
            where = hottest(take, 100)
    return [Row("P1 mails/s, 20 connections | aiosmtpd that discards", *rates, "/s", f"≥ {GOAL}", met, where)]


def in_turns(ours: int, other: int, client: Client | None = None) -> tuple[float, float]:
    """Mails a second at two ports, in turns, the medians after one turn to warm up."""
    client = client or Client()
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        for side, port in enumerate((ours, other)):
            rate = client.pour(port, STRETCH if turn else 1.0, again=side == 1).rate
            if turn:
                rates[side].append(rate)
    return median(rates[0]), median(rates[1])
