"""A conversation API on loopback, in a process of its own: it answers after a while, and may take so many a second.

What it was asked is kept, with when; `Loopback.posted()` gives it. It is plain asyncio, so that it costs little of the
machine that it shares with whoever is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from time import monotonic
from typing import Any
from urllib.request import urlopen

NEWEST = 100  # conversations of one page
OFFERED = "/asked"  # where it tells what it was asked


@dataclass(frozen=True)
class Posted:
    """What it was asked: the orders that it took (callback URL and when, in monotonic seconds), and what it refused."""

    taken: list[tuple[str, float]]
    refused: list[float]


@dataclass
class Limit:
    """So many requests a second, `burst` at once; 0: any number. Who is refused may come when there is room again."""

    rate: float
    burst: float
    left: float = 0.0
    at: float = 0.0

    def refuses(self, now: float) -> bool:
        """Whether one more is too much."""
        if not self.rate:
            return False
        self.left, self.at = min(self.burst, self.left + (now - self.at) * self.rate), now
        if self.left < 1:
            return True
        self.left -= 1
        return False


@dataclass
class Book:
    """What the platform knows."""

    delay: float
    limit: Limit
    taken: list[tuple[str, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """A status and what it says."""
        now = monotonic()
        if path == OFFERED:
            told = {"taken": self.taken, "refused": self.refused}
            self.taken, self.refused = [], []
            return 200, told
        if self.limit.refuses(now):
            self.refused.append(now)
            return 429, {"message": "too many"}
        if method == "POST" and path == "/v2/conversations":
            self.taken.append((json.loads(body)["callback_url"], now))
            return 200, {"conversation_id": f"c{len(self.taken)}", "status": "active"}
        if path.startswith("/v2/conversations?"):
            known = list(enumerate(self.taken, 1))[-NEWEST:]
            return 200, {"data": [{"conversation_id": f"c{n}", "callback_url": url} for n, (url, _) in known]}
        return 200, {"status": "active"}


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request after the other, as our client writes it."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, blank, rest = self._got.partition(b"\r\n\r\n")
        if not blank:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._got = rest[length:]
        method, path, _ = lines[0].split(" ")
        status, said = self._book.answer(method, path, rest[:length])
        raw = json.dumps(said).encode()
        again = f"retry-after: {ceil(1 / self._book.limit.rate)}\r\n" if status == 429 else ""
        kind = f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n"
        answer = f"HTTP/1.1 {status} -\r\n{kind}{again}\r\n".encode() + raw
        asyncio.get_running_loop().call_later(self._book.delay, self._transport.write, answer)


@dataclass(frozen=True)
class Loopback:
    """One that runs."""

    url: str

    def posted(self) -> Posted:
        """What it was asked since this was asked last."""
        with urlopen(self.url + OFFERED) as answer:  # noqa: S310  our own, on loopback
            told = json.load(answer)
        return Posted([(url, at) for url, at in told["taken"]], told["refused"])


@contextmanager
def loopback(*, delay: float, rate: float = 0.0, burst: float = 0.0) -> Iterator[Loopback]:
    """One in a process of its own, that answers after `delay` seconds and takes `rate` requests a second."""
    options = ["--delay", str(delay), "--rate", str(rate), "--burst", str(burst)]
    command = [sys.executable, "-m", __name__, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Loopback(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.terminate()


async def _serve(book: Book) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(book), "127.0.0.1", 0, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("delay", "rate", "burst"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(Book(given.delay, Limit(given.rate, given.burst, given.burst, monotonic()))))
