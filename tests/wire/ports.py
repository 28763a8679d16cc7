"""A real edge on loopback, with its desk and its store, and a client that speaks line by line."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from gateway import smtp, sockets, store
from gateway.admission import Admission
from gateway.authentication import Require
from gateway.bounces import Bounces
from gateway.domains import Domains
from gateway.inbound.certificate import Certificate
from gateway.inbound.dialogue import Kind
from gateway.inbound.edge import Edge
from gateway.intake import Intake
from gateway.pals import Pal, pal_id
from gateway.resolver import DnsResolver
from gateway.returns import Returns
from gateway.settings import PREFIX, Settings, Smtp
from scheduler.clock import utc_now
from scheduler.database import connect

DOMAIN = "invite.example.com"
ANNA = f"anna@{DOMAIN}"
BEN = f"ben@{DOMAIN}"
BOUNCES = Bounces(b"a secret")
MAIL = b"From: alex@acme.example\r\nSubject: hello\r\n\r\nA line.\r\n"


@dataclass
class Port:
    """An open port, and what is behind it."""

    number: int
    edge: Edge
    desk: smtp.Desk
    engine: Engine

    def mails(self) -> list[store.MailRow]:
        with self.engine.connect() as connection:
            return store.find_mails(connection, None, 100)


@asynccontextmanager
async def port(folder: Path, kind: Kind = Kind.SMTP, *, url: str = "", **values: Any) -> AsyncIterator[Port]:
    """A port of a kind, with settings of [smtp]; two PALs are known to its store (of a URL, or a file in `folder`)."""
    settings = Smtp(**values)
    engine = connect(url or f"sqlite:///{folder}/edge.db")
    store.create_throwaway(engine)
    with engine.begin() as connection:
        for address in (ANNA, BEN):
            if store.find_pal(connection, address) is None:
                store.add_pal(connection, Pal(pal_id(address), "A PAL", address, "face-1"), utc_now())
    admission = Admission(DnsResolver(), Require.OFF)  # the port is tested here, not who sent it
    intake, returns = Intake(engine, Settings().desk()), Returns(engine, BOUNCES)
    desk = smtp.Desk(intake, admission, Domains(DOMAIN), returns, lambda: None, settings.max_recipients)
    certificate = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_certificate, settings.tls_key)
    edge = Edge(desk, DOMAIN, settings, certificate)
    sock = sockets.listen("127.0.0.1", 0)
    await edge.open(kind, sock)
    try:
        yield Port(sock.getsockname()[1], edge, desk, engine)
    finally:
        await edge.close(5)
        await desk.finish(5)
        engine.dispose()


class Talk:
    """A client that says a line and hears the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self) -> str:
        """One answer, its lines joined by \\n; '' when the connection was closed instead."""
        lines = []
        while True:
            try:
                line = (await self.reader.readline()).decode()
            except ConnectionError:
                line = ""
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        """Send a line, and hear."""
        await self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.hear()

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass  # the other side has closed; what it said before is still there to be heard

    async def begin(
        self, *recipients: str, hello: str = "EHLO client.example", sender: str = "alex@acme.example"
    ) -> None:
        """Everything up to DATA, which is answered 354."""
        for line in (hello, f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in recipients or (ANNA,))):
            assert (await self.say(line)).startswith("250"), line
        assert (await self.say("DATA")).startswith("354")

    async def is_closed(self) -> bool:
        """Whether the other side closes now, having said no more."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def talk(number: int, *, greeted: bool = True, tls: ssl.SSLContext | None = None) -> AsyncIterator[Talk]:
    """A connection to a port, its greeting heard."""
    found = Talk(*await asyncio.open_connection("127.0.0.1", number, ssl=tls, server_hostname=DOMAIN if tls else None))
    try:
        if greeted:
            assert (await found.hear()).startswith("220 ")
        yield found
    finally:
        found.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await found.writer.wait_closed()


@dataclass
class Served:
    """A gateway in a process of its own: its id, its SMTP port, and all that it has logged once it has ended."""

    process: int
    number: int
    log: str


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """`pal-gateway serve`, on free ports."""
    values = {"STORE__URL": f"sqlite:///{folder}/g.db", "SMTP__PORT": "0", "HTTP__PORT": "0", "LOG": "json"}
    values["RELAY__FOLDER"] = str(folder / "replies")
    environment = {**os.environ, **{PREFIX + name: value for name, value in values.items()}}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        ready: dict[str, Any] = {}
        while ready.get("event") != "gateway ready":
            ready = json.loads(process.stderr.readline())
        served = Served(process.pid, ready["smtp"], "")
        try:
            yield served
        finally:
            process.terminate()
            served.log = process.communicate(timeout=20)[1]
