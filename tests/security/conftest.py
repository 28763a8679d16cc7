"""Gateways with different settings on loopback, in one thread, that all ask one DNS of ours."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

import scheduler.store
from gateway import store
from gateway.app import Gateway
from gateway.pals import Pal
from gateway.store import InviteRow
from scheduler.clock import utc_now
from scheduler.joins import LIVE, Join
from tests.security.world import ACME_SERVER, Mail, Zone, world
from tests.wire.test_main_path import running, settings_for

_NUMBERS = count(1)
LOOPBACK: Final = "127.0.0.1"

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "require": {"sender_auth": "require"},
    "off": {"sender_auth": "off"},
    "trusting": {"sender_auth": "require", "arc_sealers": ["forwarder.example"], "meeting_forwards": True},
    "distrusting": {"sender_auth": "require", "google_vouching": False, "apple_vouching": False},
    "fronted": {"sender_auth": "require", "auth_results": "mx.invite.example.com", "pinned_peers": ["10.9.8.0/24"]},
    "fronted without results": {"sender_auth": "require", "pinned_peers": [ACME_SERVER]},
}


class Fronted(smtplib.SMTP):
    """A client behind a proxy that says by a PROXY header whom it speaks for."""

    def __init__(self, port: int, client: str, helo: str) -> None:
        self._client = client
        super().__init__(LOOPBACK, port, local_hostname=helo)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        found: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        family, here = ("TCP6", "::1") if ":" in self._client else ("TCP4", LOOPBACK)
        found.sendall(f"PROXY {family} {self._client} {here} 40000 25\r\n".encode())
        return found


@dataclass
class Answer:
    """What the SMTP server said to DATA, and what came of the mail."""

    code: int
    text: str
    invites: list[InviteRow]
    joins: list[Join]
    letters: list[bytes]  # all that was ever made for the outbox

    @property
    def auth_id(self) -> str | None:
        (invite,) = self.invites
        assert invite.authentication is not None
        found: str | None = invite.authentication["auth_id"]
        return found


@dataclass
class Door:
    """A gateway with its SMTP port that believes what a client says of its address."""

    gateway: Gateway

    def add_pal(self, *allowlist: str) -> str:
        """The address of a new PAL."""
        number = next(_NUMBERS)
        address = f"pal{number}@invite.example.com"
        with self.gateway.engine.begin() as connection:
            store.add_pal(connection, Pal(f"p{number}", "Anna", address, "face", allowlist), utc_now())
        return address

    def deliver(self, mail: Mail, to: str) -> Answer:
        """Say a mail to the port."""
        with Fronted(self.gateway.smtp_port, mail.client, mail.helo) as client:
            client.ehlo()
            client.mail(mail.mail_from)
            client.rcpt(to)
            code, text = client.data(mail.raw)
        return self.outcome(to, code, text.decode())

    def outcome(self, to: str, code: int = 250, text: str = "") -> Answer:
        """All that there is of a PAL."""
        with self.gateway.engine.connect() as connection:
            pal = store.find_pal(connection, to)
            assert pal is not None
            found = store.find_invites(connection, pal_id=pal.id, verdict=None, confirmations=False, limit=100)
            joins = scheduler.store.find_joins(connection, pal_id=pal.id)
            letters = connection.execute(select(store.outbox.c.raw).where(store.outbox.c.pal_id == pal.id)).scalars()
            live = [one for one in joins if one.state in LIVE]
            return Answer(code, text, found, live, [bytes(one) for one in letters])


@dataclass
class Street:
    """All gateways, and the DNS they ask."""

    zone: Zone
    doors: dict[str, Door] = field(default_factory=dict)


async def _serve(folder: Path, street: Street, ready: threading.Event, stop: asyncio.Event) -> None:
    try:
        async with AsyncExitStack() as stack:
            for name, senders in SETTINGS.items():
                (folder / name).mkdir()
                ports = {"port": 0, "proxy_from": [f"{LOOPBACK}/32"]}
                settings = settings_for(folder / name, senders=senders, smtp=ports)
                street.doors[name] = Door(await stack.enter_async_context(running(settings, street.zone)))
            ready.set()
            await stop.wait()
    finally:
        ready.set()


@pytest.fixture(scope="package")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """One set of gateways for all these tests."""
    found = Street(world())
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    folder = tmp_path_factory.mktemp("security")
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(folder, found, ready, stop),))
    thread.start()
    ready.wait(30)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
