"""A gateway that runs on loopback, in a thread of its own, and clients of accounts that are nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest

from gateway import store
from gateway.app import Gateway
from gateway.intake import fresh_id
from gateway.keys import Key, digest
from gateway.settings import Settings
from scheduler.clock import utc_now
from tests.conftest import STORES, empty_store
from tests.wire.test_main_path import running, settings_for

_NUMBERS = count(1)

ClientFor = Callable[..., httpx.Client]

# Account -> its own domain.
WHITE_LABEL = {"acme": "meet.acme.com", "acme-staging": "meet.acme.com", "books": "Bücher.example"}


@dataclass
class Running:
    """A gateway that serves until `stopped`."""

    gateway: Gateway
    clients: list[httpx.Client] = field(default_factory=list)

    def key(self, account: str, **more: Any) -> str:
        """A new key of an account."""
        secret = fresh_id("pg_")
        values = {"id": fresh_id("k"), "account": account, "digest": digest(secret), "created_at": utc_now(), **more}
        with self.gateway.engine.begin() as connection:
            store.add_key(connection, Key(**values))
        return secret

    def client(self, key: str | None) -> httpx.Client:
        """A client that asks with a key."""
        headers = {"x-api-key": key} if key is not None else {}
        url = f"http://127.0.0.1:{self.gateway.http_port}"
        self.clients.append(httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20))
        return self.clients[-1]


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """A gateway in a thread of its own."""
    started: list[Running] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        try:
            async with running(settings) as gateway:
                started.append(Running(gateway))
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield started[0]
    finally:
        for client in started[0].clients:
            client.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@pytest.fixture(scope="package", params=STORES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway on each store for all tests of the API, and no longer: others measure what their process spends."""
    folder = tmp_path_factory.mktemp("api")
    url, trusting = empty_store(request.param, request, folder), {"sender_auth": "off"}  # they sign nothing
    with serving(settings_for(folder, store={"url": url}, domains=WHITE_LABEL, senders=trusting)) as found:
        yield found


@pytest.fixture
def account() -> str:
    """The name of an account that no other test has."""
    return f"account-{next(_NUMBERS)}"


@pytest.fixture
def api(served: Running, account: str) -> httpx.Client:
    """A client of this test's account."""
    return served.client(served.key(account))


@pytest.fixture
def other(served: Running, account: str) -> httpx.Client:
    """A client of another account."""
    return served.client(served.key(f"{account}-other"))


@pytest.fixture
def name() -> str:
    """A username that no other test has."""
    return f"ada-{next(_NUMBERS)}"
