"""Servers in processes of their own, and the client that pours mail into them.

The client keeps its connections open, as a large sender does, and says one command after the other. It is the same for
all servers, and shares the machine with them.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, cycle
from pathlib import Path
from time import monotonic, sleep

from bench.mails import PALS, invitation, organizer, pal
from gateway import store
from gateway.pals import Pal
from scheduler.clock import utc_now
from scheduler.database import connect

START = 60.0  # seconds that a server may take until it answers
CONNECTIONS = 20
MOST = 1500  # mails a second that are made before a stretch

# aiosmtpd as it comes: whatever is sent is taken and thrown away.
DISCARD = """
import asyncio, sys
from aiosmtpd.smtp import SMTP
class Discard:
    async def handle_DATA(self, server, session, envelope):
        return "250 OK"
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Discard(), enable_SMTPUTF8=True), "127.0.0.1", 0)
    print("gateway ready smtp=%d" % server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def add_pals(url: str) -> None:
    """A new store at a URL with the PALs that `mails.invitation` invites."""
    engine = connect(url)
    store.migrate(engine)
    with engine.begin() as connection:
        for number in range(PALS):
            store.add_pal(connection, Pal(f"p-{number}", "Anna", pal(number), "face-1"), utc_now())
    engine.dispose()


@contextmanager
def discarding(folder: Path) -> Iterator[int]:
    """Bare aiosmtpd; its port."""
    with _started([sys.executable, "-c", DISCARD], folder / "discard.log", {}) as port:
        yield port


@contextmanager
def gateway(folder: Path, url: str = "", *, command: tuple[str, ...] = (), **settings: str) -> Iterator[int]:
    """A gateway as it is installed, on a store with PALs; its SMTP port.

    `settings`: by the names of their environment variables. `command`: another program than `pal-gateway serve`.
    """
    folder.mkdir(exist_ok=True)
    url = url or f"sqlite:///{folder}/gateway.db"
    if not command:
        command = (sys.executable, "-m", "gateway", "serve")
    named = {
        "STORE__URL": url,
        "SMTP__PORT": "0",
        "HTTP__PORT": "0",
        "RELAY__FOLDER": str(folder / "replies"),
        "REPLIES__HOLD_SECONDS": "600",  # sending them is another figure
        "SENDERS__SENDER_AUTH": "off",
        "LOG": "json",
        **settings,
    }
    environment = {name if name == "LD_PRELOAD" else f"GATEWAY_{name}": value for name, value in named.items()}
    with _started([*command], folder / f"gateway-{monotonic()}.log", environment) as port:
        yield port


@contextmanager
def _started(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[int]:
    with log.open("wb") as out:
        server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        yield _port(server, log)
    finally:
        server.terminate()
        server.wait(30)


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    until = monotonic() + START
    while monotonic() < until and server.poll() is None:
        found = re.search(r'gateway ready.*?smtp"?[=:]\D*?(\d+)|"smtp": (\d+).*gateway ready', log.read_text("utf-8"))
        if found:
            return int(found[1] or found[2])
        sleep(0.02)
    raise RuntimeError(log.read_text("utf-8", "replace")[-2000:])


@dataclass
class Poured:
    """What was sent in a stretch: how many mails got 250 in how many seconds, and how long each waited for it after
    its last byte (seconds)."""

    seconds: float
    waits: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Mails a second."""
        return len(self.waits) / self.seconds


Mail = tuple[str, str, bytes]  # the sender, the recipient, the bytes
Made = Callable[[int], Mail]  # of a number


def of_tomorrow(number: int) -> Mail:
    """One more invitation to a meeting of tomorrow."""
    return organizer(number), pal(number), invitation(number, TOMORROW)


TOMORROW = utc_now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)


class Client:
    """Connections to servers. The mails of a stretch are made before it begins, as many as `most` a second; their
    numbers begin with `first`."""

    def __init__(
        self, make: Made = of_tomorrow, connections: int = CONNECTIONS, most: int = MOST, first: int = 0
    ) -> None:
        self._make, self._connections, self._most = make, connections, most
        self._numbers = count(first)
        self._ready: list[Mail] = []

    def pour(self, port: int, seconds: float, *, every: float = 0.0, again: bool = False) -> Poured:
        """Send mails for so long over all connections; `every`: not more than one in so many seconds, all together.

        `again`: the server does not mind the same mail twice.
        """
        most = int(seconds / every) + 1 if every else int(seconds * self._most)
        while len(self._ready) < most:
            self._ready.append(self._make(next(self._numbers)))
        mails = cycle(self._ready) if again else iter(self._ready)
        if not again:
            self._ready = []
        return asyncio.run(self._pour(port, seconds, every, mails))

    async def _pour(self, port: int, seconds: float, every: float, mails: Iterator[Mail]) -> Poured:
        lines = [await _Line.to(port) for _ in range(self._connections)]
        begun = monotonic()
        until = begun + seconds
        poured = Poured(seconds)
        turn = count()

        async def send(line: _Line) -> None:
            while monotonic() < until:
                if every:
                    at = begun + next(turn) * every
                    if at >= until:
                        return
                    await asyncio.sleep(at - monotonic())
                poured.waits.append(await line.send(*next(mails)))

        await asyncio.gather(*map(send, lines))
        poured.seconds = monotonic() - begun
        for line in lines:
            line.close()
        return poured


class _Line:
    """One SMTP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> _Line:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = cls(reader, writer)
        await line._hears(b"220")
        await line._say(b"EHLO bench.example")
        return line

    async def send(self, sender: str, recipient: str, raw: bytes) -> float:
        """One mail; how long its 250 took after its last byte, in seconds."""
        await self._say(f"MAIL FROM:<{sender}>".encode())
        await self._say(f"RCPT TO:<{recipient}>".encode())
        await self._say(b"DATA", b"354")
        self._writer.write(raw)
        await self._writer.drain()
        begun = monotonic()
        await self._say(b"\r\n.")
        return monotonic() - begun

    async def _say(self, command: bytes, answer: bytes = b"250") -> None:
        self._writer.write(command + b"\r\n")
        await self._hears(answer)

    async def _hears(self, code: bytes) -> None:
        while True:
            line = await self._reader.readline()
            if not line.startswith(code):
                raise RuntimeError(f"the server said {line!r}")
            if line[3:4] != b"-":
                return

    def close(self) -> None:
        self._writer.close()
