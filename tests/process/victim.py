"""`pal-gateway serve` that kills itself (SIGKILL) or halts (SIGSTOP) at a named point, when a file asks for it.

Rules of this file:
- The product knows nothing of it: the points are put around its own functions.
- A point is a place between two steps; `POINTS` has all of them, in the order in which a mail meets them.
- What is waited for in the product for minutes is waited for in seconds here: leases, time-outs, retries.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from threading import local
from typing import Any, Final

import aiosmtplib
import httpx
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import Pool

import scheduler.database
import scheduler.platform
import scheduler.retry
import scheduler.store
from gateway import forwarding, outbox, outward, smtp, store, store_calls, store_webhooks, telling, webhooks
from gateway.admission import Admission
from gateway.app import serve
from gateway.config import load
from scheduler import dispatch

POINTS: Final = (
    "mail: received", "mail: examined", "mail: read", "mail: kept", "mail: planned", "mail: before the commit",
    "mail: committed", "mail: before the 250",
    "claim: before the commit", "claim: committed", "join: to be sent",
    "join: before the outcome is written", "join: written",
    "reply: claimed", "reply: before the relay is asked", "reply: taken by the relay", "reply: written",
    "callback: received", "callback: noted", "callback: before the commit", "callback: committed",
    "onward: claimed", "onward: taken", "onward: written",
    "webhooks: before the commit", "webhooks: committed", "webhook: claimed", "webhook: taken", "webhook: written",
)  # fmt: skip

_stage = local()


def point(name: str) -> None:
    """Die here, if the file says `name`, or halt, if it says `name, SIGSTOP`."""
    assert name in POINTS, name
    armed = Path(os.environ["KILL_AT"])
    asked, _, how = armed.read_text().partition(", ") if armed.exists() else ("", "", "")
    if asked == name:
        armed.unlink()
        os.kill(os.getpid(), signal.Signals[how or "SIGKILL"])


def around(owner: Any, name: str, *, before: str = "", after: str = "", stage: str = "") -> None:
    """Put points before and after a function (or coroutine) of the product. `stage`: what its transaction is about."""
    inner: Callable[..., Any] = getattr(owner, name)

    def enter() -> None:
        if stage:
            _stage.name = stage
        if before:
            point(before)

    @wraps(inner)
    def plain(*args: Any, **kwargs: Any) -> Any:
        enter()
        result = inner(*args, **kwargs)
        if after:
            point(after)
        return result

    @wraps(inner)
    async def waiting(*args: Any, **kwargs: Any) -> Any:
        enter()
        result = await inner(*args, **kwargs)
        if after:
            point(after)
        return result

    setattr(owner, name, waiting if asyncio.iscoroutinefunction(inner) else plain)


def _before_commit(_: Connection) -> None:
    if name := getattr(_stage, "name", ""):
        point(f"{name}: before the commit")
        _stage.name, _stage.done = "", name


def _given_back(_: Any, __: Any) -> None:
    """A connection comes back to the pool: what it was about is committed."""
    if name := getattr(_stage, "done", ""):
        _stage.done = ""
        point(f"{name}: committed")


def place_points() -> None:
    """Around the product's own functions."""
    event.listen(Engine, "commit", _before_commit)
    event.listen(Pool, "checkin", _given_back)
    around(smtp.Desk, "_take", before="mail: received", after="mail: before the 250")
    around(Admission, "examine", after="mail: examined")
    around(store, "save_mail", before="mail: read", after="mail: kept", stage="mail")
    around(scheduler.store, "save_joins", after="mail: planned")
    around(scheduler.store, "claim", stage="claim")
    around(dispatch.Dispatcher, "_enter", before="join: to be sent")
    around(dispatch.Dispatcher, "_settle", before="join: before the outcome is written", after="join: written")
    around(outbox.Outbox, "carry_out", before="reply: claimed")
    around(aiosmtplib.SMTP, "sendmail", before="reply: before the relay is asked", after="reply: taken by the relay")
    around(outbox.Outbox, "_settle", after="reply: written")
    around(store_calls, "note", before="callback: received", after="callback: noted", stage="callback")
    around(forwarding.Forwarding, "carry_out", before="onward: claimed", after="onward: written")
    around(forwarding, "post", after="onward: taken")
    around(store_webhooks, "_messages", stage="webhooks")
    around(telling.Telling, "carry_out", before="webhook: claimed", after="webhook: written")
    around(telling, "post", after="webhook: taken")


def hurry() -> None:
    """Seconds in place of minutes, in the same proportions: a lease is longer than two time-outs."""
    lease = timedelta(seconds=float(os.environ.get("KILL_LEASE", "1.5")))
    dispatch.LEASE = outbox.LEASE = forwarding.LEASE = telling.LEASE = lease  # type: ignore[misc]
    patience = lease.total_seconds() * 0.4
    scheduler.platform.TIMEOUT = outward.TIMEOUT = httpx.Timeout(patience)  # type: ignore[misc]
    scheduler.platform.WHOLE = patience  # type: ignore[misc]
    scheduler.database.BUSY_SECONDS = float(os.environ.get("KILL_BUSY", "10"))  # type: ignore[misc,assignment]
    scheduler.retry.FIRST_WAIT = timedelta(seconds=0.2)
    scheduler.retry.LONGEST_WAIT = timedelta(seconds=1)
    outbox.FIRST_WAIT = forwarding.FIRST_WAIT = timedelta(seconds=0.2)  # type: ignore[misc]
    webhooks.WAITS = (timedelta(seconds=0.2),) * len(webhooks.WAITS)  # type: ignore[misc,assignment]
    outbox.LONGEST_WAIT = forwarding.LONGEST_WAIT = timedelta(seconds=1)  # type: ignore[misc]


def run(environment: dict[str, str], log: str) -> None:
    """Serve in a process that was forked for it, with an environment of its own."""
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    place_points()
    hurry()
    serve(load(None))


if __name__ == "__main__":
    place_points()
    hurry()
    serve(load(None))
