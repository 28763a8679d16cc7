"""Puts the parts together: the only file that knows all of them. Shell.

Rules of this file: start from the store outwards, stop from the doors inwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any, Final

import structlog
import uvicorn
from aiosmtpd.smtp import SMTP
from sqlalchemy import Engine

from gateway import smtp, store
from gateway.admission import Admission
from gateway.api.conversations import Conversations
from gateway.api.house import House
from gateway.api.mirror import Mirror
from gateway.authentication import Require
from gateway.config import PREFIX, Settings, Smtp
from gateway.feed import Feeds
from gateway.forwarding import Forwarding
from gateway.inbound.certificate import BadCertificate, Certificate
from gateway.inbound.dialogue import Kind
from gateway.inbound.edge import Edge, listen_unix
from gateway.intake import Intake
from gateway.logs import configure
from gateway.outbox import Outbox, Via
from gateway.readers import Readers
from gateway.resolver import DnsResolver, Resolver
from gateway.sandbox import Sandbox
from gateway.sink import Sink
from gateway.web import Callbacks, make_app
from scheduler.clock import Clock, utc_now
from scheduler.database import connect
from scheduler.dispatch import Dispatcher
from scheduler.platform import Platform
from scheduler.request import CONVERSATION
from scheduler.targets import targets
from scheduler.zone_data import iana_version

MAX_THREADS: Final = 64  # mails and requests that wait for a reader or the store
STOP_WITHIN: Final = 10.0  # seconds for requests that are under way

log = structlog.get_logger("gateway")


class CannotStart(Exception):
    """The gateway cannot start; the message is one sentence that says the mend."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def open_store(url: str) -> Engine:
    """A migrated store, its folder made when it is a file."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = connect(url)
    store.migrate(engine)
    return engine


class Gateway:
    """One running gateway. `smtp_port`, `http_port` and `mail_ports` are those that are open."""

    def __init__(self, settings: Settings, resolver: Resolver | None = None) -> None:
        self.settings = settings
        certificate = _certificate(settings.smtp)
        senders = settings.senders
        self.admission = Admission(
            resolver or DnsResolver(), senders.sender_auth, settings.trust(), senders.dns_seconds
        )
        self.engine = open_store(settings.store.url)
        with self.engine.begin() as connection:
            secret = store.secret(connection, "callbacks", token_bytes(32))
            feeds = store.secret(connection, "calendars", token_bytes(32))
            planned_anew = store.follow_zone_data(connection, iana_version(), utc_now())
        if planned_anew:
            log.info("time-zone data changed, joins are planned anew", events=planned_anew)
        self._mail_sockets = _mail_sockets(settings.smtp)
        self._http_socket = _listen("http.port", settings.http.host, settings.http.port)
        named = [(kind, sock) for kind, sock in self._mail_sockets if sock.family != socket.AF_UNIX]
        self.mail_ports = {kind: sock.getsockname()[1] for kind, sock in named}
        self.smtp_port = self.mail_ports[Kind.SMTP]
        self.http_port = self._http_socket.getsockname()[1]
        here = f"http://{settings.http.host}:{self.http_port}"
        self.callbacks = Callbacks(secret, settings.http.public_url or here)
        self._feeds = Feeds(feeds, settings.http.public_url or here)
        self.platforms = _platforms(settings, f"{here}/sandbox")
        self._clock = Clock()
        self._joins, self._replies, self._told = (self._clock.alarm(one) for one in ("joins", "replies", "callbacks"))
        owner = f"{socket.gethostname()}-{token_hex(4)}"
        scheduling = settings.scheduling()
        self._dispatcher = Dispatcher(self.engine, self.platforms, self.callbacks.url, utc_now, owner, scheduling)
        self._forwarding = Forwarding(self.engine, settings.callbacks.private_networks, utc_now, owner)
        self.readers = Readers(settings.limits(), settings.desk())
        hold = timedelta(seconds=settings.replies.hold_seconds)
        self.intake = Intake(self.engine, settings.desk(), hold, self.readers.read)
        self._desk = smtp.Desk(
            self.intake, self.admission, settings.mail_domains(), self.wake, settings.smtp.max_recipients
        )
        self._edge = Edge(self._desk, settings.domain, settings.smtp, certificate)
        self._sinks: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._workers: list[Dispatcher | Outbox | Forwarding] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = self._make_http()

    def _make_http(self) -> Server:
        links, platform = self.settings.desk().links, self.platforms[CONVERSATION]
        house = House(
            engine=self.engine,
            domains=self.settings.mail_domains(),
            feeds=self._feeds,
            mirror=Mirror(self.engine, platform if self.settings.platform.mirror_pals else None),
            kinds=frozenset(self.platforms),
            policy=self.settings.scheduling(),
            wake=self._wake_from_thread,
        )
        app = make_app(house, self.callbacks)
        app.include_router(Conversations(self.engine, self._dispatcher, platform, links).router)
        if not self.settings.platform.base_url:
            app.include_router(Sandbox().router)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5)
        return Server(config)

    def close_sockets(self) -> None:
        """Let go of the ports of a gateway that is not started."""
        for sock in (self._http_socket, *(sock for _, sock in self._mail_sockets)):
            sock.close()

    async def start(self) -> None:
        """Open the doors and begin to work."""
        self._loop = asyncio.get_running_loop()
        # A mail that is slow to read has a thread to wait in and takes none from the others.
        self._loop.set_default_executor(ThreadPoolExecutor(MAX_THREADS))
        self.readers.start()
        self._tasks.append(asyncio.create_task(self._http.serve(sockets=[self._http_socket])))
        for kind, sock in self._mail_sockets:
            await self._edge.open(kind, sock)
        via = await self._relay()
        self._clock.start()
        outbox = Outbox(self.engine, via, utc_now, self._dispatcher.owner)
        self._workers = [self._dispatcher, outbox, self._forwarding]
        self._tasks.append(asyncio.create_task(self._dispatcher.run(self._joins)))
        self._tasks.append(asyncio.create_task(outbox.run(self._replies)))
        self._tasks.append(asyncio.create_task(self._forwarding.run(self._told)))
        log.info("gateway ready", smtp=self.smtp_port, http=self.http_port, store=self.settings.store.url)
        if self.settings.senders.sender_auth is Require.OFF:
            log.warning("SENDERS ARE NOT VERIFIED (sender_auth=off): whoever writes a From header is believed")

    async def _relay(self) -> Via:
        """The relay of the settings, or a local one that writes into a folder."""
        relay = self.settings.relay
        if relay.host:
            return Via(relay.host, relay.port, relay.username, relay.password, relay.start_tls)
        sink = Sink(relay.folder)
        local = smtp.listen("127.0.0.1", 0)
        make = lambda: SMTP(sink, ident="PAL gateway sink", hostname="localhost")  # noqa: E731
        self._sinks.append(await asyncio.get_running_loop().create_server(make, sock=local))
        log.warning(f"no relay is set (relay.host): replies are written to {relay.folder}/")
        return Via("127.0.0.1", local.getsockname()[1])

    def wake(self) -> None:
        """Look at once for what is due; called after something was committed."""
        for alarm in (self._joins, self._replies, self._told):
            alarm.ring()

    def _wake_from_thread(self) -> None:
        # Alarms are the loop's: rung from a thread they would be heard at the next sweep only.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.wake)

    async def failed(self) -> None:
        """Return when a part has ended that should never end; its fault is raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Close the doors, finish what is under way, close the store."""
        await self._edge.close(STOP_WITHIN / 2)
        await self._desk.finish(STOP_WITHIN / 2)
        for sink in self._sinks:
            sink.close()
        self._clock.stop()
        http, *loops = self._tasks
        for task in loops:
            task.cancel()
        # HTTP goes on meanwhile: the platform's callbacks, and the sandbox itself, are asked by what is under way.
        await asyncio.gather(*(worker.finish(STOP_WITHIN / 2) for worker in self._workers))
        self._http.should_exit = True
        await asyncio.wait([http], timeout=STOP_WITHIN / 2)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for platform in self.platforms.values():
            await platform.close()
        self.readers.close()
        self.engine.dispose()
        log.info("gateway stopped")


def _platforms(settings: Settings, sandbox: str) -> dict[str, Platform]:
    """A client for each target that has an address; for a trial, without the first one, the sandbox is all of them."""
    known = {kind: (one.base_url, one.api_key) for kind, one in settings.targets.items()}
    platform = settings.platform
    if platform.base_url:
        known[CONVERSATION] = (platform.base_url, platform.api_key)
    else:
        known = dict.fromkeys(targets(), (sandbox, platform.api_key)) | known
    return {kind: Platform(base_url, api_key, kind) for kind, (base_url, api_key) in known.items()}


def _certificate(settings: Smtp) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_certificate, settings.tls_key)
    except BadCertificate as error:
        raise CannotStart(str(error)) from error


def _mail_sockets(settings: Smtp) -> list[tuple[Kind, socket.socket]]:
    ports = {Kind.SMTP: ("smtp.port", settings.port)}
    if settings.tls_port is not None:
        ports[Kind.SMTPS] = ("smtp.tls_port", settings.tls_port)
    if settings.lmtp_port is not None:
        ports[Kind.LMTP] = ("smtp.lmtp_port", settings.lmtp_port)
    with contextlib.ExitStack() as opened:
        found = [
            (kind, opened.enter_context(_listen(name, settings.host, port))) for kind, (name, port) in ports.items()
        ]
        if settings.lmtp_socket is not None:
            found.append((Kind.LMTP, opened.enter_context(_listen_unix(settings.lmtp_socket))))
        opened.pop_all()
    return found


def _listen(name: str, host: str, port: int) -> socket.socket:
    """A bound socket; `name` is the setting of its port."""
    try:
        return smtp.listen(host, port)
    except OSError as error:
        variable = PREFIX + name.replace(".", "__").upper()
        raise CannotStart(
            f"{host}:{port} cannot be opened ({error.strerror}); set {name} or {variable} to a free one."
        ) from error


def _listen_unix(path: Path) -> socket.socket:
    try:
        return listen_unix(path)
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened ({error.strerror}); look at smtp.lmtp_socket.") from error


async def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    gateway = Gateway(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await gateway.start()
    await until_stopped(gateway, stopped)


async def until_stopped(gateway: Gateway, stopped: asyncio.Event) -> None:
    """Wait for the signal, or for a part that fails, then stop."""
    waiting = asyncio.create_task(stopped.wait())
    failing = asyncio.create_task(gateway.failed())
    try:
        done, _ = await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()
        failing.cancel()
        await gateway.stop()


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotStart."""
    configure(settings.log)
    asyncio.run(run(settings))
