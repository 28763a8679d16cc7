"""How long a good mail waits for its 250 while hostile mail pours in, and without it, at one gateway.

The gateway is the real one, in a process of its own, by SMTP. The good mails are new invitations to a weekly series,
one after the other; the hostile ones, on connections of their own, keep a reader busy until its limit.
Quiet and stormy stretches take turns.
"""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

from bench.figure import Row, percentile

GOAL = 50.0  # milliseconds that hostile mail may add
STRETCH = 4.0  # seconds
TURNS = 4
STORM = 4  # connections that send hostile mail
PAUSE = 0.02  # seconds between good mails
ANNA = "anna@invite.example.com"
SAMPLE = Path(__file__).parent.parent / "samples" / "google" / "06-series.eml"


def bomb(lines: int) -> bytes:
    """A mail with a part whose header is all of it: with a million lines the standard library works for seconds."""
    return b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n" + b"a: b\r\n" * lines


BOMB = bomb(500_000)


def measure() -> list[Row]:
    """The median and the 99th percentile of both."""
    with tempfile.TemporaryDirectory() as folder, _gateway(Path(folder)) as port:
        numbers = count()
        _good(port, 2.0, numbers)  # warm
        quiet: list[float] = []
        stormy: list[float] = []
        for _ in range(TURNS):
            quiet += _good(port, STRETCH, numbers)
            with _storm(port):
                stormy += _good(port, STRETCH, numbers)
            sleep(1)
    rows = []
    for name, share in (("median", 0.5), ("p99", 0.99)):
        ours, other = percentile(stormy, share) * 1000, percentile(quiet, share) * 1000
        rows.append(
            Row(
                f"good mail while hostile mail pours in: {name}",
                ours,
                other,
                "ms",
                "≤ 50 ms more",
                ours - other <= GOAL,
            )
        )
    return rows


@contextmanager
def _gateway(folder: Path) -> Iterator[int]:
    """A gateway with the PAL that is invited; its SMTP port."""
    environment = {
        **os.environ,
        "GATEWAY_STORE__URL": f"sqlite:///{folder}/gateway.db",
        "GATEWAY_SMTP__PORT": "0",
        "GATEWAY_HTTP__PORT": "0",
        "GATEWAY_RELAY__FOLDER": str(folder / "replies"),
    }
    command = [sys.executable, "-m", "gateway"]
    subprocess.run([*command, "pals", "add", ANNA], env=environment, check=True, stdout=subprocess.DEVNULL)
    with (folder / "log").open("wb") as log:
        serving = subprocess.Popen([*command, "serve"], env=environment, stdout=log, stderr=log)
        try:
            yield _port(folder / "log")
        finally:
            serving.terminate()
            serving.wait()


def _port(log: Path) -> int:
    deadline = monotonic() + 30
    while monotonic() < deadline:
        found = re.search(r"gateway ready.*smtp=\D*(\d+)", log.read_text("utf-8", "replace"))
        if found:
            return int(found[1])
        sleep(0.05)
    raise RuntimeError(log.read_text("utf-8", "replace"))


def _good(port: int, seconds: float, numbers: Iterator[int]) -> list[float]:
    """Send good mails for so long; how long each took from DATA to its 250."""
    template, took = SAMPLE.read_bytes(), []
    end = monotonic() + seconds
    with smtplib.SMTP("127.0.0.1", port) as client:
        while monotonic() < end:
            raw = re.sub(rb"UID:[^\r\n]*", b"UID:good-%d" % next(numbers), template)
            begun = monotonic()
            client.sendmail("alex@acme.example", [ANNA], raw)
            took.append(monotonic() - begun)
            sleep(PAUSE)
    return took


@contextmanager
def _storm(port: int) -> Iterator[None]:
    """Hostile mail on connections of its own."""
    over = Event()
    threads = [Thread(target=_pour, args=(port, over)) for _ in range(STORM)]
    for thread in threads:
        thread.start()
    sleep(0.5)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _pour(port: int, over: Event) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        while not over.is_set():
            client.sendmail("eve@evil.example", [ANNA], BOMB)
