"""`pal-gateway serve` in processes of their own, which share a store, as on one machine or on many.

Rules of this file:
- What a process says is read as it comes, so that nobody blocks on a full pipe; it is at hand as `lines`.
- Every wait is for something that can be seen, and ends.
"""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway import store
from gateway.pals import Pal, pal_id
from gateway.settings import PREFIX
from scheduler.clock import utc_now
from scheduler.database import connect

ANNA: Final = "anna@invite.example.com"
PATIENCE: Final = 60.0  # seconds; six that start at once on a busy machine take half of it

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not within {seconds} s: {look}"
        time.sleep(0.01)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Process:
    """A gateway that runs, and what it has logged so far."""

    popen: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)  # what is no log line: a traceback

    def read(self) -> None:
        for line in self.popen.stderr or ():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.other.append(line)

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event."""
        return [line for line in list(self.lines) if line["event"] == event]

    def ready(self) -> dict[str, Any]:
        """Its ready line, once it is there."""
        return until(lambda: self.said("gateway ready") or self._ended())[0]

    def _ended(self) -> list[dict[str, Any]]:
        assert self.popen.poll() is None, (self.popen.returncode, self.lines, self.other)
        return []

    def stop(self, number: int = signal.SIGTERM, seconds: float = PATIENCE) -> int:
        """Signal it, and wait; the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(seconds)


@contextmanager
def serving(url: str, folder: Path, roles: str = "", **values: Any) -> Iterator[Process]:
    """`pal-gateway serve` on a store; `values` are settings, as in the environment."""
    known = {"STORE__URL": url, "SMTP__PORT": 0, "HTTP__PORT": 0, "LOG": "json", "REPLIES__HOLD_SECONDS": 0}
    known |= {"RELAY__FOLDER": folder / "replies", "SENDERS__SENDER_AUTH": "off"}
    environment = {**os.environ, **{PREFIX + name: str(value) for name, value in {**known, **values}.items()}}
    command = [
        sys.executable,
        "-W",
        "always::ResourceWarning",
        "-m",
        "gateway",
        "serve",
        *(["--role", roles] if roles else []),
    ]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as popen:
        process = Process(popen)
        reading = threading.Thread(target=process.read)
        reading.start()
        try:
            yield process
        finally:
            if popen.poll() is None:
                popen.kill()
            popen.wait(PATIENCE)
            reading.join(PATIENCE)


def add_anna(url: str) -> None:
    """A migrated store in which Anna can be invited."""
    engine = connect(url)
    store.migrate(engine)
    with engine.begin() as connection:
        store.add_pal(connection, Pal(pal_id(ANNA), "Anna", ANNA, "face-1"), utc_now())
    engine.dispose()


def send(port: int, raw: bytes, recipient: str = ANNA) -> None:
    """A mail, by SMTP; returns when 250 was said."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("alex@acme.example", [recipient], raw)
