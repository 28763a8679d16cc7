"""The whole path on loopback: any SMTP client in, the reply out by SMTP, the POST at the platform, its callbacks."""

from __future__ import annotations

import asyncio
import json
import smtplib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

import scheduler.store
from gateway import store, store_calls
from gateway.app import Gateway
from gateway.demo import invitation
from gateway.pals import Pal, pal_id
from gateway.resolver import Resolver
from gateway.settings import Settings
from gateway.sockets import listen
from scheduler.clock import utc_now
from scheduler.joins import Join, JoinState

ANNA = "anna@invite.example.com"
PATIENCE = 20.0


def settings_for(folder: Path, **more: Any) -> Settings:
    values: dict[str, Any] = {
        "store": {"url": f"sqlite:///{folder}/gateway.db"},
        "smtp": {"port": 0},
        "http": {"port": 0},
        "relay": {"folder": folder / "replies"},
        "replies": {"hold_seconds": 0},
    }
    return Settings(**{**values, **more})


@asynccontextmanager
async def running(settings: Settings, resolver: Resolver | None = None) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings, resolver)
    with gateway.engine.begin() as connection:
        if store.find_pal(connection, ANNA) is None:
            store.add_pal(connection, Pal(pal_id(ANNA), "Anna", ANNA, "face-1"), utc_now())
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, as soon as it finds something."""

    async def keep_looking() -> Any:
        while not (found := await look()):
            await asyncio.sleep(0.02)
        return found

    return await asyncio.wait_for(keep_looking(), PATIENCE)


def send(gateway: Gateway, raw: bytes, recipient: str = ANNA) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port) as client:
        return client.sendmail("alex@acme.example", [recipient], raw)


async def joins_of(gateway: Gateway) -> list[Join]:
    def ask() -> list[Join]:
        with gateway.engine.connect() as connection:
            return scheduler.store.find_joins(connection)

    return await asyncio.to_thread(ask)


def written(gateway: Gateway) -> list[Message]:
    folder = gateway.settings.relay.folder
    return [message_from_bytes(path.read_bytes()) for path in folder.glob("*.eml")]


async def conversations(gateway: Gateway) -> list[dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{gateway.http_port}/sandbox/v2/conversations")
    return list(answer.json()["data"])


def test_from_data_to_the_post_and_the_callback(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            # 250 was said: everything is written down already.
            (join,) = await joins_of(gateway)
            (conversation,) = await until(lambda: conversations(gateway))
            assert conversation["meeting_url"] == join.url
            assert conversation["pal_id"] == join.pal_id == pal_id(ANNA)
            assert conversation["conversation_name"] == "Stand-up"
            assert join.id in conversation["callback_url"]

            async def joined() -> list[Join]:
                return [one for one in await joins_of(gateway) if one.state is JoinState.JOINED and one.conversation_id]

            (join,) = await until(joined)
            assert join.conversation_id == conversation["conversation_id"]

            async def replies() -> list[Message]:
                return written(gateway)

            (reply,) = await until(replies)
            assert reply["To"] == "alex@acme.example"
            assert reply["Subject"] == "Accepted: Stand-up"
            assert reply["Auto-Submitted"] == "auto-replied"
            calendar = next(part for part in reply.walk() if part.get_content_type() == "text/calendar")
            assert calendar.get_param("method") == "REPLY"

    asyncio.run(path())


def test_a_cancelled_call_is_ended_at_the_platform(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await until(lambda: conversations(gateway))
            cancel = raw.replace(b"METHOD:REQUEST", b"METHOD:CANCEL").replace(b"SEQUENCE:0", b"SEQUENCE:1")
            await asyncio.to_thread(send, gateway, cancel)

            async def ended() -> list[dict[str, Any]]:
                return [one for one in await conversations(gateway) if one["status"] == "ended"]

            assert len(await until(ended)) == 1

            async def cancelled() -> list[Join]:
                return [one for one in await joins_of(gateway) if one.state is JoinState.CANCELLED]

            assert len(await until(cancelled)) == 1

    asyncio.run(path())


def test_a_join_in_the_future_waits_for_its_minute(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(minutes=10, seconds=62))
            await asyncio.to_thread(send, gateway, raw)
            (join,) = await joins_of(gateway)
            assert join.state is JoinState.PLANNED
            assert join.at == join.starts - timedelta(seconds=60)
            # It is due in two seconds, by the clock's own alarm.
            await until(lambda: conversations(gateway))
            assert utc_now() >= join.at

    asyncio.run(path())


@pytest.mark.parametrize(
    ("recipient", "code", "text"),
    [
        ("nobody@invite.example.com", 550, b"5.1.1"),
        ("anna@elsewhere.example", 550, b"5.7.1"),
        ("not an address", 550, b"5.7.1"),
    ],
)
def test_unknown_recipients_are_refused(tmp_path: Path, recipient: str, code: int, text: bytes) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                await asyncio.to_thread(send, gateway, b"Subject: x\r\n\r\n", recipient)
            ((found, said),) = refused.value.recipients.values()
            assert found == code or found == 553
            assert text in said or found == 553

    asyncio.run(path())


def test_a_tagged_address_postmaster_and_an_empty_mail_are_taken(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            for recipient in ("Anna+news@INVITE.example.com", "postmaster@invite.example.com"):
                assert await asyncio.to_thread(send, gateway, b"From: a@b.example\r\n\r\nhello", recipient) == {}
            assert await joins_of(gateway) == []

    asyncio.run(path())


def test_a_store_that_is_away_means_451_and_the_mail_can_come_again(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            _, raw = invitation(ANNA, utc_now())
            tables = ("mails", "moved_away")
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {tables[0]} RENAME TO {tables[1]}")
            with pytest.raises(smtplib.SMTPDataError) as refused:
                await asyncio.to_thread(send, gateway, raw)
            assert refused.value.smtp_code == 451
            assert b"mails" not in refused.value.smtp_error
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {tables[1]} RENAME TO {tables[0]}")
            await asyncio.to_thread(send, gateway, raw)
            assert len(await joins_of(gateway)) == 1

    asyncio.run(path())


def test_the_workers_outlive_a_store_that_is_away(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE joins RENAME TO joins_away")
                connection.exec_driver_sql("ALTER TABLE outbox RENAME TO outbox_away")
            gateway.wake()
            with capture_logs() as lines:
                await until(lambda: _both_said(lines))
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE joins_away RENAME TO joins")
                connection.exec_driver_sql("ALTER TABLE outbox_away RENAME TO outbox")
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await until(lambda: conversations(gateway))

    asyncio.run(path())


async def _both_said(lines: Sequence[Any]) -> bool:
    return len([line for line in lines if line["event"] == "store away"]) >= 2


def test_what_was_planned_is_still_there_after_a_restart(tmp_path: Path) -> None:
    async def path() -> None:
        settings = settings_for(tmp_path, platform={"base_url": "http://127.0.0.1:9"})  # nobody answers there
        async with running(settings) as gateway:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)

            async def tried() -> bool:
                (join,) = await joins_of(gateway)
                return join.attempt > 0 and join.state is JoinState.PLANNED

            await until(tried)
        async with running(settings_for(tmp_path)) as gateway:
            await until(lambda: conversations(gateway))

    asyncio.run(path())


def test_callbacks_are_believed_only_on_their_signed_path(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw)
            (join,) = await joins_of(gateway)
            good = gateway.callbacks.url(join.id)
            body = {"event_type": "system.shutdown", "properties": {"shutdown_reason": "x"}}
            async with httpx.AsyncClient() as client:
                forged = await client.post(good[:-1] + ("0" if good[-1] != "0" else "1"), json=body)
                early = await client.post(good, json=body)
                noted = await client.post(good, json={"event_type": "application.transcription_ready"})
                ids = ("\x00", "\ud800", 1)
                odd = [await client.post(good, content=json.dumps({**body, "conversation_id": one})) for one in ids]
                broken = await client.post(good, content=b"not json")
                huge = await client.post(good, content=b"x" * (5 * 1024 * 1024))
                health = [
                    await client.get(f"http://127.0.0.1:{gateway.http_port}/{name}") for name in ("healthz", "readyz")
                ]
            assert (forged.status_code, early.status_code, noted.status_code) == (404, 200, 200)
            assert {one.status_code for one in odd} == {200}
            assert (broken.status_code, huge.status_code) == (400, 413)
            assert len(huge.content) < 200
            assert [one.status_code for one in health] == [200, 200]
            # It was only planned: a shutdown of a call that never began ends nothing.
            assert (await joins_of(gateway))[0].state is JoinState.PLANNED
            assert json.loads(early.text) == {"status": "noted"}

    asyncio.run(path())


def test_the_same_callback_at_once_is_heard_once(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            url, raw = gateway.callbacks.url("j1"), b'{"event_type": "system.shutdown"}'

            def post() -> int:
                return httpx.post(url, content=raw, timeout=PATIENCE).status_code

            with gateway.engine.begin() as connection:
                assert store_calls.note(connection, "j1", "system.shutdown", raw, utc_now())
                answered = asyncio.create_task(asyncio.to_thread(post))

                async def waits() -> bool:  # for this transaction
                    locks = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                    return bool(connection.exec_driver_sql(locks).scalar())

                if connection.dialect.name == "postgresql":
                    await until(waits)
            assert await answered == 200

    asyncio.run(path())


def test_connections_that_the_store_ends_are_made_anew(tmp_path: Path, store_url: str) -> None:
    if store_url.startswith("sqlite"):
        pytest.skip("SQLite has no server that could end them")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql(f"{others} AND datname = current_database()")
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await until(lambda: conversations(gateway))

    asyncio.run(path())


def test_answers_are_sent_without_delay() -> None:
    """A server that waits to fill its packets (Nagle) takes 40 ms for each answer."""

    async def nodelay() -> int:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        serve = lambda _, writer: accepted.set_result(writer)  # noqa: E731
        async with await asyncio.start_server(serve, sock=listen("127.0.0.1", 0)) as server:
            _, asking = await asyncio.open_connection(*server.sockets[0].getsockname())
            answering = await accepted
            found = int(answering.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            for writer in (asking, answering):
                writer.close()
                await writer.wait_closed()
        return found

    assert asyncio.run(nodelay()) == 1
