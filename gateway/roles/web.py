"""The role http: the API, the platform's callbacks, and the sandbox where no platform is set; and the port that a
process without it may have for figures and health. Shell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from datetime import datetime
from functools import partial

import uvicorn
from fastapi import FastAPI

from gateway import quarantine
from gateway.api import faults
from gateway.api.conversations import Conversations
from gateway.api.house import House
from gateway.api.mirror import Mirror
from gateway.feed import Feeds
from gateway.intake import Played
from gateway.page import pages
from gateway.page.session import Sessions
from gateway.roles import Shared
from gateway.sandbox import Sandbox
from gateway.web import Callbacks, make_app
from scheduler.request import CONVERSATION


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpPort:
    """Answers HTTP on a bound socket."""

    def __init__(self, sock: socket.socket, app: FastAPI) -> None:
        self._socket = sock
        self.port: int = sock.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = Server(config)
        self._serving: asyncio.Task[None] | None = None

    def let_go(self) -> None:
        """Close the port of a role that is not started."""
        self._socket.close()

    def start(self) -> asyncio.Task[None]:
        """Begin to answer; the task that does."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self._serving

    async def finish(self, seconds: float) -> None:
        """Take no request any more, and give those under way so long."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = seconds / 2  # type: ignore[assignment]  # any number of seconds
        self._server.should_exit = True
        _, late = await asyncio.wait([self._serving], timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _play_again(shared: Shared, mail_id: str, now: datetime) -> list[Played] | str:
    with quarantine.desk_of(shared.engine, shared.settings) as intake:
        checks = quarantine.checks_senders(shared.settings)
        return quarantine.play_again(shared.engine, intake, mail_id, now, checks=checks)


class WebRole(HttpPort):
    """Answers the page, the API and the platform's callbacks."""

    def __init__(
        self, shared: Shared, sock: socket.socket, callbacks: Callbacks, feeds: Feeds, sessions: Sessions
    ) -> None:
        super().__init__(sock, _app(shared, callbacks, feeds, sessions))


class WatchPort(HttpPort):
    """Answers who watches this process, and nobody else."""

    def __init__(self, shared: Shared, sock: socket.socket) -> None:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        faults.install(app)
        app.include_router(shared.watch.router)
        super().__init__(sock, app)


def _app(shared: Shared, callbacks: Callbacks, feeds: Feeds, sessions: Sessions) -> FastAPI:
    settings, platform = shared.settings, shared.platforms[CONVERSATION]
    house = House(
        engine=shared.engine,
        domains=settings.mail_domains(),
        feeds=feeds,
        mirror=Mirror(shared.engine, platform if settings.platform.mirror_pals else None),
        kinds=frozenset(shared.platforms),
        policy=settings.scheduling(),
        private=settings.callbacks.private_networks,
        play_again=partial(_play_again, shared),
        wake=shared.wake,
    )
    app = make_app(house, callbacks, shared.figures.fates)
    app.include_router(shared.watch.router)
    app.include_router(Conversations(shared.engine, shared.dispatcher, platform, settings.desk().links).router)
    pages.install(app, house, sessions, shared.platforms)
    if not settings.platform.base_url:
        app.include_router(Sandbox().router)
    return app
