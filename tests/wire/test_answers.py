"""What a mail client is told, answer by answer, and where each limit is."""

from __future__ import annotations

import asyncio
import smtplib
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import store
from gateway.inbound import dialogue
from tests.wire.ports import ANNA, BEN, DOMAIN, MAIL, Port, Talk, port, serving, talk

EHLO = ("EHLO client.example", "250-")
FROM = ("MAIL FROM:<alex@acme.example>", "250 2.0.0")
TO = (f"RCPT TO:<{ANNA}>", "250 2.1.5")

DIALOGUES: dict[str, list[tuple[str, str]]] = {
    "hello": [("HELO client.example", f"250 {DOMAIN}"), ("HELO", "501 5.5.4"), ("EHLO", "501 5.5.4")],
    "small commands": [("NOOP", "250 2.0.0"), ("RSET", "250 2.0.0"), ("HELP", "214 2.0.0"), ("QUIT", "221 2.0.0")],
    "not known": [("XYZZY", "500 5.5.1 There is no such command here"), ("EXPN list", "500 5.5.1"), ("", "500 5.5.2")],
    "no logins": [EHLO, ("AUTH PLAIN AGEAYg==", "500 5.5.1")],
    "no PROXY header from a stranger": [("PROXY TCP4 192.0.2.1 192.0.2.2 1 2", "500 5.5.1")],
    "no XCLIENT from a stranger": [EHLO, ("XCLIENT ADDR=192.0.2.1", "550 5.7.1")],
    "no TLS without a certificate": [EHLO, ("STARTTLS", "454 4.7.0")],
    "out of order": [
        ("MAIL FROM:<alex@acme.example>", "503 5.5.1"),
        EHLO,
        (f"RCPT TO:<{ANNA}>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        FROM,
        ("MAIL FROM:<other@acme.example>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
    ],
    "nobody is looked up": [
        EHLO,
        (f"VRFY {ANNA}", "252 2.5.0 Nobody is looked up here; send the mail"),
        (f"VRFY nobody@{DOMAIN}", "252 2.5.0 Nobody is looked up here; send the mail"),
        ("VRFY", "501 5.5.4"),
    ],
    "size": [
        EHLO,
        ("MAIL FROM:<alex@acme.example> SIZE=70000", "552 5.3.4"),
        ("MAIL FROM:<alex@acme.example> SIZE=60000 BODY=8BITMIME", "250 2.0.0"),
    ],
    "parameters": [
        EHLO,
        ("MAIL FROM:<alex@acme.example> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<alex@acme.example> BODY=MAGIC", "501 5.5.4"),
        ("MAIL FROM:<alex@acme.example> RET=HDRS", "555 5.5.4"),
        ("MAIL TO:<alex@acme.example>", "501 5.5.4"),
        ("MAIL FROM:<alex@@acme.example>", "553 5.1.3"),
        ("MAIL FROM:<\udcff@acme.example>", "501 5.5.4"),
        ("MAIL FROM:<al\0ex@acme.example>", "501 5.5.4"),
        ("MAIL FROM:<älex@acme.example> SMTPUTF8", "250 2.0.0"),
    ],
    "recipients": [
        EHLO,
        ("MAIL FROM:<>", "250 2.0.0"),
        (f"RCPT TO:<nobody@{DOMAIN}>", "550 5.1.1 No PAL has this address"),
        ("RCPT TO:<anna@elsewhere.example>", "550 5.7.1 This gateway takes no mail for that domain"),
        (f"RCPT TO:<Anna+tag@{DOMAIN.upper()}>", "250 2.1.5"),
        (f"RCPT TO:<postmaster@{DOMAIN}>", "250 2.1.5"),
        (f"RCPT TO:<Abuse@{DOMAIN}>", "250 2.1.5"),
        (f"RCPT TO:<{BEN}>", "452 4.5.3"),
        ("DATA now", "501 5.5.4"),
        ("DATA", "354 "),
    ],
    "postmaster alone": [
        EHLO,
        ("MAIL FROM:<>", "250 2.0.0"),
        ("RCPT TO:<Postmaster>", "250 2.1.5"),
        ("RCPT TO:<anna>", "550 5.7.1"),
    ],
    "a line that is too long": [("NOOP " + "x" * 1500, "500 5.5.2"), ("NOOP", "250 2.0.0")],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_dialogue(tmp_path: Path, name: str) -> None:
    async def path() -> None:
        async with port(tmp_path, max_bytes=65536, max_recipients=3) as here, talk(here.number) as client:
            for line, answer in DIALOGUES[name]:
                heard = await client.say(line.encode("utf-8", "surrogateescape"))
                assert heard.startswith(answer), (line, heard)

    asyncio.run(path())


def test_what_is_offered(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path, max_bytes=65536) as here, talk(here.number) as client:
            offered = (await client.say("EHLO client.example")).split("\n")
            assert offered == [
                f"250-{DOMAIN}",
                "250-PIPELINING",
                "250-8BITMIME",
                "250-SMTPUTF8",
                "250-ENHANCEDSTATUSCODES",
                "250 SIZE 65536",
            ]

    asyncio.run(path())


def test_a_pipeline_is_answered_in_order_and_a_mail_keeps_its_dots(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path) as here, talk(here.number) as client:
            await client.send(f"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<{ANNA}>\r\nDATA\r\n".encode())
            answers = [await client.hear() for _ in range(4)]
            assert [one[:3] for one in answers] == ["250", "250", "250", "354"]
            await client.send(MAIL + b"..one\r\n...\r\nQUIT\r\n.\r\nRSET\r\nQUIT\r\n")
            assert [(await client.hear())[:9] for _ in range(3)] == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]
            (mail,) = here.mails()
            assert mail.raw == MAIL + b".one\r\n..\r\nQUIT\r\n"
            assert mail.mail_from == ""

    asyncio.run(path())


@pytest.mark.parametrize(
    ("size", "answer"),
    [(65536, "250 2.0.0"), (65537, "552 5.3.4"), (78000, "552 5.3.4"), (500_000, "421 4.3.4")],
)
def test_size_in_the_stream(tmp_path: Path, size: int, answer: str) -> None:
    async def path() -> None:
        async with port(tmp_path, max_bytes=65536) as here, talk(here.number) as client:
            await client.begin()
            line = b"x" * 70 + b"\r\n"
            await client.send((MAIL + line * (size // len(line)))[: size - 2] + b"\r\n.\r\n")
            assert (await client.hear()).startswith(answer)
            if answer.startswith("421"):
                assert await client.is_closed()
            else:
                assert (await client.say("NOOP")).startswith("250")
            assert len(here.mails()) == answer.startswith("250")

    asyncio.run(path())


def test_a_long_line_is_taken_and_a_very_long_one_refused(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path) as here, talk(here.number) as client:
            for length, answer in ((100_000, "250 2.0.0"), (3_000_000, "554 5.6.0")):
                await client.begin()
                await client.send(MAIL + b"x" * length + b"\r\n.\r\n")
                assert (await client.hear()).startswith(answer)

    asyncio.run(path())


async def end_of(client: Talk) -> str:
    """The last word, after which the connection is closed."""
    word = await asyncio.wait_for(client.hear(), 10)
    assert await client.is_closed()
    return word


@pytest.mark.parametrize(
    ("values", "lines", "answer"),
    [
        ({"command_seconds": 0.2}, [], "421 4.4.2 Nothing was said"),
        ({"command_seconds": 0.2}, ["EHLO c", "NOOP"], "421 4.4.2 Nothing was said"),
        (
            {"data_seconds": 0.2},
            ["EHLO c", "MAIL FROM:<>", f"RCPT TO:<{ANNA}>", "DATA", "x"],
            "421 4.4.2 The mail took",
        ),
        ({"connection_seconds": 0.3}, ["EHLO c"], "421 4.4.2 The connection has lasted"),
        ({"max_commands": 10}, ["NOOP"] * 11, "421 4.7.0 Too many commands;"),
        ({"max_refused": 2}, ["MAIL", "RCPT", "DATA"], "421 4.7.0 Too many commands that were refused"),
        ({}, ["A", "B", "C", "D", "E"], "421 4.7.0 Too many commands that were refused"),
    ],
)
def test_a_connection_has_an_end(tmp_path: Path, values: dict[str, Any], lines: list[str], answer: str) -> None:
    async def path() -> None:
        async with port(tmp_path, **values) as here, talk(here.number) as client:
            await client.send("".join(line + "\r\n" for line in lines).encode())
            heard = [await client.hear()]
            while not heard[-1].startswith("421"):
                heard.append(await asyncio.wait_for(client.hear(), 10))
            assert heard[-1].startswith(answer)
            assert await client.is_closed()
            assert len(heard) <= max(len(lines), 1) + 1

    asyncio.run(path())


def test_a_trickle_does_not_keep_a_connection(tmp_path: Path) -> None:
    """A byte now and then resets no timer: each of the three ends is reached."""

    async def path() -> None:
        async with port(tmp_path, command_seconds=0.4) as here, talk(here.number) as client:

            async def trickle() -> None:
                while True:
                    await client.send(b"N")
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            assert (await end_of(client)).startswith("421 4.4.2")
            trickling.cancel()

    asyncio.run(path())


def test_refusals_are_forgotten_when_a_mail_was_taken(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path, max_refused=3) as here, talk(here.number) as client:
            for _ in range(3):
                for _ in range(3):
                    assert (await client.say("MAIL")).startswith("50")
                await client.begin()
                assert (await client.say(MAIL + b".")).startswith("250")
            assert len(here.mails()) == 3

    asyncio.run(path())


def test_connections_in_all_and_from_one_address(tmp_path: Path) -> None:
    async def path() -> None:
        limits: dict[str, Any] = {"max_connections": 4, "max_connections_per_address": 3}
        async with port(tmp_path, **limits) as here, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(talk(here.number)) for _ in range(3)]
            async with talk(here.number, greeted=False) as fourth:
                assert (await end_of(fourth)).startswith("421 4.7.0 Too many connections from your address")
            # Room is there again as soon as one has gone.
            assert (await clients[0].say("QUIT")).startswith("221")
            assert await clients[0].is_closed()
            await stack.enter_async_context(talk(here.number))

    asyncio.run(path())


def test_connections_in_all(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path, max_connections=2) as here, AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(talk(here.number))
            async with talk(here.number, greeted=False) as third:
                assert (await end_of(third)).startswith("421 4.7.0 Too many connections;")

    asyncio.run(path())


def test_a_client_that_does_not_listen_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers fill the buffers, its last word never goes out; its place is free again all the same."""

    monkeypatch.setattr(dialogue, "LINGER_SECONDS", 0.2)

    async def path() -> None:
        async with port(tmp_path, max_connections=1, command_seconds=0.5, max_commands=10**9) as here:
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", here.number))

            async def chatter() -> None:
                while True:
                    await loop.sock_sendall(deaf, b"HELP\r\n" * 1000)

            chattering = asyncio.create_task(chatter())
            while not here.edge.connected:
                await asyncio.sleep(0.01)

            assert here.edge.connected == 1
            await asyncio.wait_for(gone(here), 10)
            async with talk(here.number):
                pass
            chattering.cancel()
            deaf.close()

    asyncio.run(path())


def test_a_fault_of_ours_is_451_without_its_text(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path) as here, talk(here.number) as client:
            await client.begin()
            here.engine.dispose()
            with here.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE mails RENAME TO moved_away")
            with capture_logs():
                answer = await client.say(MAIL + b".")
            assert answer == "451 4.3.0 The gateway cannot write this down now; please send it again later"
            with here.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE pals RENAME TO also_away")
            with capture_logs():
                assert await client.say("MAIL FROM:<>") == "250 2.0.0 OK"
                assert (await client.say(f"RCPT TO:<{ANNA}>")).startswith("451 4.3.0 The gateway cannot")

    asyncio.run(path())


async def gone(here: Port) -> None:
    """Wait until nobody is connected."""
    while here.edge.connected:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_goes_away_in_data_does_not_cut_a_commit_in_two(tmp_path: Path, how: str) -> None:
    async def path() -> None:
        async with port(tmp_path) as here:
            async with talk(here.number) as client:
                await client.begin()
                with here.engine.begin() as lock:
                    lock.exec_driver_sql("UPDATE pals SET name = name")  # the commit has to wait
                    await client.send(MAIL + b".\r\n")
                    while not here.desk.busy:
                        await asyncio.sleep(0.01)
                    client.writer.transport.abort() if how == "reset" else client.writer.close()
                    await gone(here)
            await here.desk.finish(10)
            (mail,) = here.mails()
            assert mail.raw == MAIL

    asyncio.run(path())


@pytest.mark.parametrize(
    ("limit", "then"), [("connection_seconds", "421 4.4.2 The conn"), ("data_seconds", "250 2.0.0")]
)
def test_a_mail_that_is_being_written_down_is_answered_first(tmp_path: Path, limit: str, then: str) -> None:
    values: dict[str, Any] = {limit: 0.5}

    async def path() -> None:
        async with port(tmp_path, **values) as here, talk(here.number) as client:
            await client.begin()
            with here.engine.begin() as lock:
                lock.exec_driver_sql("UPDATE pals SET name = name")  # the commit has to wait
                await client.send(MAIL + b".\r\n")
                await asyncio.sleep(1)
            assert (await client.hear()).startswith("250 2.0.0")
            assert (await client.say("NOOP")).startswith(then)
            assert len(here.mails()) == 1

    asyncio.run(path())


def test_stopping_lets_a_mail_come_to_its_end_and_parts_from_the_others(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path) as here, talk(here.number) as busy, talk(here.number) as idle:
            await busy.begin()
            await busy.send(MAIL)
            closing = asyncio.create_task(here.edge.close(10))
            assert (await end_of(idle)).startswith("421 4.3.2")
            assert not closing.done()
            assert (await busy.say(".")).startswith("250 2.0.0")
            assert (await end_of(busy)).startswith("421 4.3.2")
            await closing
            assert len(here.mails()) == 1
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", here.number)

    asyncio.run(path())


def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path) as here, talk(here.number) as slow:
            await slow.begin()
            await slow.send(MAIL)
            await asyncio.wait_for(here.edge.close(0.2), 5)
            assert (await end_of(slow)).startswith("421 4.3.2")
            assert len(here.mails()) == 0

    asyncio.run(path())


def test_mail_to_the_operator_is_kept_and_said_in_one_line(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with port(tmp_path, url=store_url) as here, talk(here.number) as client:
            await client.begin(f"postmaster@{DOMAIN}", sender="")
            with capture_logs() as lines:
                assert (await client.say(MAIL + b".")).startswith("250 2.0.0")
            (mail,) = here.mails()
            assert [line for line in lines if line["event"] == "mail to the operator"] == [
                {"event": "mail to the operator", "log_level": "info", "mail": mail.id, "role": "postmaster"}
            ]
            with here.engine.connect() as connection:
                assert [one.id for one in store.find_mails(connection, "postmaster", 10)] == [mail.id]
                assert store.find_mails(connection, "abuse", 10) == []

    asyncio.run(path())


def test_commands_are_not_logged(tmp_path: Path) -> None:
    with serving(tmp_path) as served, smtplib.SMTP("127.0.0.1", served.number) as client:
        for line in ("EHLO hidden.example", "XHIDDEN word", "MAIL FROM:<hidden@acme.example>", "VRFY hidden"):
            client.docmd(line)
    assert "gateway stopped" in served.log
    assert "hidden" not in served.log.lower()
