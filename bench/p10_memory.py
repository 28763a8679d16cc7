"""The memory of a gateway that serves where a million joins are planned, and where a thousand are.

Two gateways as they are installed, each with its store. Each has forgotten what is due for it, taken some mails and
sent some joins when its process (not its readers, which know no store) is looked at.
"""

from __future__ import annotations

import re
import smtplib
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from bench.figure import Row
from bench.planned import DATES, FEW, MANY, Names, copied, invitation, let_be_due
from scheduler.clock import utc_now
from tests.process.outside import platform
from tests.process.processes import Process, serving
from tests.process.world import wait_for

GOAL = 1.2
MAILS = 20
DUE = 50  # joins
SOON = timedelta(seconds=2)
EVERY = timedelta(milliseconds=20)


def measure() -> list[Row]:
    """What is resident, and the most that was."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = stack.enter_context(platform())
        there.tells = False
        settings = {"PLATFORM__BASE_URL": there.url, "PLATFORM__API_KEY": "key"}
        running = []
        for number in (MANY, FEW):
            url = copied(number, folder)
            running.append(stack.enter_context(serving(url, folder, **settings)))
            _invite(running[-1].ready()["smtp"], number // DATES)
            let_be_due(url, DUE, utc_now() + SOON, EVERY)
        wait_for(lambda: len(there.calls) >= 2 * DUE, "all joins are sent", 60)
        many, few = map(_memory, running)
    return [
        Row(f"P10 {what}: 1,000,000 | 1,000 planned", ours, other, "MB", f"≤ {GOAL:g} ×", ours <= GOAL * other)
        for what, ours, other in zip(("resident memory", "the most of it"), many, few, strict=True)
    ]


def _invite(port: int, pals: int) -> None:
    """Invite some of so many PALs."""
    starts = utc_now() + timedelta(days=1)
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(MAILS):
            names = Names(pals // MAILS * number)
            client.sendmail(names.inviter, [names.address], invitation(names, starts, sequence=1))


def _memory(gateway: Process) -> tuple[float, float]:
    """Megabytes that are resident, and the most that were."""
    status = Path(f"/proc/{gateway.popen.pid}/status").read_text()
    now, most = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most
