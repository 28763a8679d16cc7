"""An organizer whose address is not ASCII is answered, where the relay can be told it (RFC 6531)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email import message_from_string, policy
from pathlib import Path

from gateway import store_outbox
from gateway.demo import invitation
from gateway.store_outbox import LetterState
from scheduler.clock import utc_now
from tests.wire.ports import ANNA
from tests.wire.test_bounces import RelayServer, only_letter
from tests.wire.test_main_path import running, send, settings_for

JUERGEN = "jürgen@acme.example"


def test_an_address_beyond_ascii_is_answered_by_a_relay_that_can_be_told_it(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        relay = RelayServer()
        server, number = await relay.open()
        via = {"host": "127.0.0.1", "port": number, "start_tls": False}
        async with running(settings_for(tmp_path, store={"url": store_url}, relay=via)) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw.replace(b"alex@acme.example", JUERGEN.encode()))
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
        server.close()
        await server.wait_closed()

    asyncio.run(path())


def test_without_a_relay_its_answer_is_a_file_like_any_other(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        settings = settings_for(tmp_path, store={"url": store_url})
        async with running(settings) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw.replace(b"alex@acme.example", JUERGEN.encode()))
            await only_letter(gateway, LetterState.SENT)
            (file,) = settings.relay.folder.glob("*.eml")
            assert f"To: {JUERGEN}\r\n".encode() in file.read_bytes()

    asyncio.run(path())
