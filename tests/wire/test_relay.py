"""Relays that are slow, and addresses that not every relay can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email import message_from_string, policy
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import pytest

from gateway import outbox, store_outbox
from gateway.app import Gateway
from gateway.demo import invitation
from gateway.store_outbox import LetterRow, LetterState
from scheduler.clock import utc_now
from tests.wire.ports import ANNA
from tests.wire.test_bounces import RelayServer, only_letter
from tests.wire.test_main_path import running, send, settings_for, until

JUERGEN = "jürgen@acme.example"


def on(relay: RelayServer, folder: Path, path: Callable[[Gateway], Awaitable[None]], **more: Any) -> None:
    """Walk a path on a gateway whose relay this is."""

    async def walk() -> None:
        server, number = await relay.open()
        via = {"host": "127.0.0.1", "port": number, "start_tls": False}
        async with server, running(settings_for(folder, relay=via, **more)) as gateway:
            await path(gateway)

    asyncio.run(walk())


async def invite(gateway: Gateway, organizer: str = "alex@acme.example") -> None:
    _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
    await asyncio.to_thread(send, gateway, raw.replace(b"alex@acme.example", organizer.encode()))


def test_an_address_beyond_ascii_is_answered_by_a_relay_that_can_be_told_it(tmp_path: Path, store_url: str) -> None:
    relay = RelayServer()

    async def path(gateway: Gateway) -> None:
        await invite(gateway, JUERGEN)
        letter = await only_letter(gateway, LetterState.FAILED)
        assert letter.error == (
            f"the relay does not offer SMTPUTF8 (RFC 6531), without which {JUERGEN} cannot be written to"
        )
        relay.offers_utf8 = True
        with gateway.engine.begin() as connection:
            assert store_outbox.queue_again(connection, letter.id, utc_now()) == 1
        gateway.wake()
        await only_letter(gateway, LetterState.SENT)
        ((_, to, mail),) = relay.given
        shown = message_from_string(mail.decode(), policy=policy.SMTPUTF8)
        assert (to, shown["To"].addresses[0].addr_spec) == (JUERGEN, JUERGEN)

    on(relay, tmp_path, path, store={"url": store_url})


def test_without_a_relay_its_answer_is_a_file_like_any_other(tmp_path: Path) -> None:
    async def path() -> None:
        settings = settings_for(tmp_path)
        async with running(settings) as gateway:
            await invite(gateway, JUERGEN)
            await only_letter(gateway, LetterState.SENT)
            (file,) = settings.relay.folder.glob("*.eml")
            assert f"To: {JUERGEN}\r\n".encode() in file.read_bytes()

    asyncio.run(path())


def test_a_relay_that_looks_into_a_mail_for_long_is_told_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "TIMEOUT", 0.5)
    relay = RelayServer(bouncing=lambda _: sleep(1.5))

    async def path(gateway: Gateway) -> None:
        await invite(gateway)
        await only_letter(gateway, LetterState.SENT)
        assert len(relay.given) == 1

    on(relay, tmp_path, path)


def test_a_relay_that_says_nothing_is_let_go_before_another_process_may_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LEASE", timedelta(seconds=4))
    over = Event()

    def say_nothing(_: str) -> None:
        over.wait(60)

    relay = RelayServer(bouncing=say_nothing)

    async def path(gateway: Gateway) -> None:
        begun = utc_now()
        await invite(gateway)

        async def tried() -> LetterRow | None:
            letter = await only_letter(gateway, LetterState.QUEUED)
            return letter if letter.error else None

        assert (await until(tried)).error == "TimeoutError: the relay did not take it within 3 s"
        assert timedelta(seconds=3) < utc_now() - begun
        over.set()
        await only_letter(gateway, LetterState.SENT)

    on(relay, tmp_path, path)
