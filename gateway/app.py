"""Puts the parts together: the only file that knows all of them. Shell.

Rules of this file: start from the store outwards, stop from the doors inwards. What a role is made of: `gateway.roles`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Final

import structlog
from sqlalchemy import Engine, make_url

from gateway import store
from gateway.authentication import Require
from gateway.bounces import Bounces
from gateway.feed import Feeds
from gateway.figures import Figures
from gateway.inbound.dialogue import Kind
from gateway.logs import configure
from gateway.page.session import Sessions
from gateway.ports import CannotStart, http_socket, watch_socket
from gateway.readiness import Readiness
from gateway.resolver import DnsResolver, Resolver
from gateway.roles import Shared
from gateway.roles.mail import MailRole
from gateway.roles.web import Server, WatchPort, WebRole
from gateway.roles.work import WorkRole
from gateway.service_manager import READY, STOPPING, ServiceManager
from gateway.settings import Settings
from gateway.threads import Threads
from gateway.watch import Watch
from gateway.web import Callbacks
from scheduler.bell import Bell
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.dispatch import Dispatcher
from scheduler.platform import Platform
from scheduler.request import CONVERSATION
from scheduler.targets import targets
from scheduler.zone_data import iana_version

__all__ = ["CannotStart", "Gateway", "Server", "open_store", "run", "serve", "until_stopped"]

INNER_SHARE: Final = 0.7  # of the time for a stop: for mails and joins under way; then come HTTP and the store
STOPS: Final = (signal.SIGINT, signal.SIGTERM)
OVERTIME: Final = 1.0  # seconds after which a stop that hangs is no stop any more

log = structlog.get_logger("gateway")


def open_store(url: str) -> Engine:
    """A migrated store, its folder made when it is a file. Raises CannotStart."""
    if url.startswith("sqlite:///"):
        folder = Path(url.removeprefix("sqlite:///")).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStart(f"{folder} cannot be made ({error.strerror}); look at store.url.") from error
    engine = connect(url)
    try:
        newer = store.migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    if newer is not None:
        log.warning("the store has the schema of a newer release, which goes on beside this one", schema=newer)
    return engine


class Gateway:
    """One running gateway, in the roles of its settings. A port of a role that it has not is 0."""

    def __init__(self, settings: Settings, resolver: Resolver | None = None) -> None:
        self.settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = Threads()
        self._loop: asyncio.AbstractEventLoop | None = None
        with ExitStack() as undone:  # what is open already when something cannot be
            self.engine = open_store(settings.store.url)
            undone.callback(self.engine.dispose)
            http = http_socket(settings.http) if "http" in settings.roles else None
            if http is not None:
                undone.callback(http.close)
            watched = watch_socket(settings.metrics)
            if watched is not None:
                undone.callback(watched.close)
            self._make_roles(http, watched, resolver or DnsResolver())
            undone.pop_all()
        self.mail_ports = self.mail.ports if self.mail is not None else {}
        self.smtp_port = self.mail_ports.get(Kind.SMTP, 0)

    def _make_roles(self, http: socket.socket | None, watched: socket.socket | None, resolver: Resolver) -> None:
        settings, roles = self.settings, self.settings.roles
        with self.engine.begin() as connection:
            secret = store.secret(connection, "callbacks", token_bytes(32))
            feeds = store.secret(connection, "calendars", token_bytes(32))
            bounces = store.secret(connection, "bounces", token_bytes(32))
            sessions = store.secret(connection, "sessions", token_bytes(32))
        self.http_port: int = http.getsockname()[1] if http is not None else 0
        here = f"http://{settings.http.host}:{self.http_port or _port_elsewhere(settings)}"
        public = settings.http.public_url or here
        self.callbacks = Callbacks(secret, public)
        self.platforms = _platforms(settings, f"{here}/sandbox")
        owner = f"{socket.gethostname()}-{token_hex(4)}"
        figures = Figures(titles=settings.log_subjects)
        url, policy = self.callbacks.url, settings.scheduling()
        dispatcher = Dispatcher(self.engine, self.platforms, url, utc_now, owner, policy, fates=figures.fates)
        self._bell = Bell(self.engine, owner)
        self.bounces = Bounces(bounces)
        readiness = Readiness(self.engine, (lambda: dispatcher.swept_at) if "scheduler" in roles else None)
        self.watch = Watch(settings.metrics, self.engine, self.platforms, roles, figures, readiness)
        shared = Shared(
            settings, self.engine, self.platforms, dispatcher, self.bounces, self._bell, figures, self.watch, self.wake
        )
        self.mail = MailRole(shared, resolver) if "smtp" in roles else None
        tokens = (self.callbacks, Feeds(feeds, public), Sessions(sessions))
        self._web = WebRole(shared, http, *tokens) if http is not None else None
        self._watched = WatchPort(shared, watched) if watched is not None else None
        self.watch_port: int = self._watched.port if self._watched is not None else 0
        self.work = WorkRole(shared) if "scheduler" in roles else None
        if self.work is not None:
            self._follow_zone_data()

    def close_sockets(self) -> None:
        """Let go of the ports of a gateway that is not started."""
        for role in (self._web, self._watched, self.mail):
            if role is not None:
                role.let_go()

    async def start(self) -> None:
        """Open the doors and begin to work."""
        self._loop = asyncio.get_running_loop()
        # A mail that is slow to read has a thread to wait in and takes none from the others.
        self._loop.set_default_executor(self._threads)
        self._tasks += [port.start() for port in (self._web, self._watched) if port is not None]
        if self.mail is not None:
            await self.mail.start()
        if self.work is not None:
            self._tasks += await self.work.start()
        self._say_ready()

    def _follow_zone_data(self) -> None:
        with self.engine.begin() as connection:
            planned_anew = store.follow_zone_data(connection, iana_version(), utc_now())
        if planned_anew:
            log.info("time-zone data changed, joins are planned anew", events=planned_anew)

    def _say_ready(self) -> None:
        ports = {"smtp": self.smtp_port, "http": self.http_port}
        watched = {"metrics": self.watch_port} if self.watch_port else {}
        store_name = make_url(self.settings.store.url).render_as_string(hide_password=True)
        opened = {name: port for name, port in ports.items() if name in self.settings.roles}
        log.info("gateway ready", **opened, **watched, roles=",".join(self.settings.roles), store=store_name)
        if self.mail is not None and self.settings.senders.sender_auth is Require.OFF:
            log.warning("SENDERS ARE NOT VERIFIED (sender_auth=off): whoever writes a From header is believed")

    def wake(self) -> None:
        """Look at once for what is due; called, from any thread, after something was committed."""
        # Alarms are the loop's: rung from a thread they would be heard at the next sweep only.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        if self.work is not None:
            self.work.wake()
        self._bell.ring()

    async def failed(self) -> None:
        """Return when a part has ended that should never end; its fault is raised."""
        if not self._tasks:  # a port alone has no task that could end
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Take nothing new, finish what is under way, close the store; within the seconds of the setting."""
        now = asyncio.get_running_loop().time
        end = now() + self.settings.stop_seconds
        self.watch.take_no_more()
        inner = [role for role in (self.mail, self.work) if role is not None]
        for role in inner:
            role.take_no_more()
        # HTTP goes on meanwhile: the platform's callbacks, and the sandbox itself, are asked by what is under way.
        await asyncio.gather(*(role.finish((end - now()) * INNER_SHARE) for role in inner))
        outer = [port for port in (self._web, self._watched) if port is not None]
        await asyncio.gather(*(port.finish((end - now()) / 2) for port in outer))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bell.finish()
        for platform in self.platforms.values():
            await platform.close()
        await self._threads.finish(end - now())
        self.engine.dispose()
        log.info("gateway stopped")


def _port_elsewhere(settings: Settings) -> int:
    """The HTTP port of the process that has it. Raises CannotStart where it cannot be known."""
    unknown = settings.http.port == 0 and "scheduler" in settings.roles
    if unknown and not (settings.http.public_url and settings.platform.base_url):
        raise CannotStart("A scheduler without the role http needs the http.port of the process that has it, not 0.")
    return settings.http.port


def _platforms(settings: Settings, sandbox: str) -> dict[str, Platform]:
    """A client for each target that has an address; for a trial, without the first one, the sandbox is all of them."""
    known = {kind: (one.base_url, one.api_key) for kind, one in settings.targets.items()}
    platform = settings.platform
    if platform.base_url:
        known[CONVERSATION] = (platform.base_url, platform.api_key)
    else:
        known = dict.fromkeys(targets(), (sandbox, platform.api_key)) | known
    return {kind: Platform(base_url, api_key, kind) for kind, (base_url, api_key) in known.items()}


async def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    manager = ServiceManager.of()
    gateway = Gateway(settings)
    stopped = heeded(settings.stop_seconds)
    await gateway.start()
    manager.tell(READY)
    living = asyncio.create_task(manager.keep_telling())
    # What is there by now stays; to look through it for garbage, now and then, would halt everybody for 0.2 s.
    gc.freeze()
    await until_stopped(gateway, stopped, partial(manager.tell, STOPPING))
    living.cancel()


def heeded(seconds: float) -> asyncio.Event:
    """Set at the first SIGINT or SIGTERM. A second one ends the process at once, and so does a stop that hangs."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        for number in STOPS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        # The kernel's timer: a thread that waits for the store keeps neither us nor the interpreter's end waiting.
        signal.setitimer(signal.ITIMER_REAL, seconds + OVERTIME)
        stopped.set()

    for number in STOPS:
        loop.add_signal_handler(number, stop)
    return stopped


async def until_stopped(gateway: Gateway, stopped: asyncio.Event, stopping: Callable[[], None] = lambda: None) -> None:
    """Wait for the signal, or for a part that fails, then say that we are stopping, and stop."""
    waiting = asyncio.create_task(stopped.wait())
    failing = asyncio.create_task(gateway.failed())
    try:
        done, _ = await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()
        failing.cancel()
        stopping()
        await gateway.stop()


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotStart."""
    configure(settings.log)
    asyncio.run(run(settings))
