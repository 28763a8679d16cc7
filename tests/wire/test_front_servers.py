"""Front servers: LMTP from a mail server of ours, PROXY headers and XCLIENT from those that are listed."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import struct
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.app import CannotStart, Gateway
from gateway.demo import invitation
from gateway.inbound.dialogue import Dialogue, Kind, origin_of
from gateway.inbound.peers import Client, group_of, normal, xclient
from scheduler.clock import utc_now
from tests.wire.ports import ANNA, BEN, DOMAIN, MAIL, Talk, port, talk
from tests.wire.test_bounces import invites_over_http
from tests.wire.test_main_path import running, settings_for

HERE: dict[str, Any] = {"proxy_from": ("127.0.0.0/8",)}
NOT_HERE: dict[str, Any] = {"proxy_from": ("192.0.2.0/24",), "xclient_from": ("192.0.2.0/24",)}
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


V4_BODY = socket.inet_aton("198.51.100.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4000, 25)
V6_BODY = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack("!HH", 4000, 25)
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:198.51.100.7") * 2 + struct.pack("!HH", 4000, 25)

# The header, and the client it names.
PROXIED = [
    (b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 25\r\n", "198.51.100.7"),
    (b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 4000 25\r\n", "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (v2(1, 0x11, V4_BODY), "198.51.100.7"),
    (v2(1, 0x21, V6_BODY), "2001:db8::7"),
    (v2(1, 0x21, MAPPED), "198.51.100.7"),
    (v2(1, 0x11, V4_BODY + b"\x04\x00\x01\x00"), "198.51.100.7"),
    (v2(0, 0x00, b""), "127.0.0.1"),
]
REFUSED = [
    b"EHLO client.example\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1\r\n",
    b"PROXY TCP4 nobody 192.0.2.1 4000 25\r\n",
    b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
    v2(1, 0x11, V4_BODY[:6]),
    v2(7, 0x11, V4_BODY),
    b"\r\n\r\n\x00\r\nQUIX\n" + b"\x21\x11\x00\x0c" + V4_BODY,
]


def session_of(here: Any) -> Any:
    """The only session there is."""
    (dialogue,) = here.edge._crowd
    assert isinstance(dialogue, Dialogue)
    return dialogue.session


@pytest.mark.parametrize(("header", "address"), PROXIED)
def test_a_listed_proxy_names_the_client(tmp_path: Path, header: bytes, address: str) -> None:
    async def path() -> None:
        async with port(tmp_path, **HERE) as here, talk(here.number, greeted=False) as client:
            await client.send(header)
            assert (await client.hear()).startswith("220 ")
            await client.begin(hello="EHLO client.example")
            assert origin_of(session_of(here)) == (address, "client.example", address)
            assert (await client.say(MAIL + b".")).startswith("250")

    asyncio.run(path())


@pytest.mark.parametrize("header", REFUSED)
def test_a_listed_proxy_that_says_something_else_is_cut_off(tmp_path: Path, header: bytes) -> None:
    async def path() -> None:
        async with port(tmp_path, **HERE) as here, talk(here.number, greeted=False) as client:
            await client.send(header)
            assert await client.is_closed()

    asyncio.run(path())


@pytest.mark.parametrize("header", [header for header, _ in PROXIED])
def test_a_stranger_names_nobody(tmp_path: Path, header: bytes) -> None:
    async def path() -> None:
        async with port(tmp_path, **NOT_HERE) as here, talk(here.number) as client:
            await client.send(header)
            assert (await client.hear()).startswith("500 5.5")
            if b"QUIT" in header:  # as a version 2 header has it, so that a mail server hangs up
                while not (answer := await client.hear()).startswith("221"):
                    assert answer.startswith("500 5.5")
                assert await client.is_closed()
            else:
                assert origin_of(session_of(here))[0] == "127.0.0.1"

    asyncio.run(path())


def test_connections_are_counted_for_the_client_not_for_the_proxy(tmp_path: Path) -> None:
    async def path() -> None:
        limits: dict[str, Any] = {**HERE, "max_connections_per_address": 1}
        async with port(tmp_path, **limits) as here:
            headers = [PROXIED[0][0], PROXIED[1][0], PROXIED[0][0]]
            answers = ["220 ", "220 ", "421 4.7.0"]
            clients = [Talk(*await asyncio.open_connection("127.0.0.1", here.number)) for _ in headers]
            for client, header, answer in zip(clients, headers, answers, strict=True):
                await client.send(header)
                assert (await client.hear()).startswith(answer)
            for client in clients:
                client.writer.close()
                await client.writer.wait_closed()

    asyncio.run(path())


def test_xclient_from_a_listed_server(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path, xclient_from=("127.0.0.1/32",)) as here, talk(here.number) as front:
            assert "XCLIENT NAME ADDR" in await front.say("EHLO front.example")
            assert (await front.say("XCLIENT")).startswith("501 5.5.4")
            assert (await front.say("XCLIENT ADDR=nobody")).startswith("501 5.5.4")
            line = "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:DB8::7 HELO=client+2Eexample PROTO=ESMTP"
            assert (await front.say(line)).startswith("220 ")
            assert (await front.say("MAIL FROM:<alex@acme.example>")).startswith("503")  # the session begins anew
            assert (await front.say("EHLO front.example")).startswith("250")
            assert origin_of(session_of(here)) == ("2001:db8::7", "client.example", "127.0.0.1")
            # The next client of the same front server.
            assert (await front.say("XCLIENT ADDR=198.51.100.9")).startswith("220 ")
            await front.begin(hello="EHLO other.example")
            assert origin_of(session_of(here)) == ("198.51.100.9", "other.example", "127.0.0.1")
            assert (await front.say(MAIL + b".")).startswith("250")
            await front.say("MAIL FROM:<alex@acme.example>")
            assert (await front.say("XCLIENT ADDR=198.51.100.9")).startswith("503 5.5.1")

    asyncio.run(path())


@pytest.mark.parametrize(
    ("words", "client"),
    [
        ("ADDR=192.0.2.1 HELO=a.example", Client("192.0.2.1", "a.example")),
        ("addr=IPv6:2001:db8::1", Client("2001:db8::1", None)),
        ("ADDR=[UNAVAILABLE] NAME=x", Client(None, None)),
        ("HELO=a+0Db", None),
        ("ADDR", None),
        ("COLOUR=red", None),
        ("", None),
    ],
)
def test_the_words_of_xclient(words: str, client: Client | None) -> None:
    assert xclient(words) == client


def test_addresses_that_are_counted_together() -> None:
    assert group_of("192.0.2.1") == "192.0.2.1"
    assert group_of("2001:db8:1:2::1") == group_of("2001:db8:1:2:ffff::9") != group_of("2001:db8:1:3::1")
    assert [normal(one) for one in ("::ffff:192.0.2.1", "fe80::1%eth0", "host")] == ["192.0.2.1", "fe80::1", ""]


def test_lmtp_answers_for_each_recipient(tmp_path: Path) -> None:
    async def path() -> None:
        async with port(tmp_path, Kind.LMTP, max_bytes=65536) as here, talk(here.number) as client:
            assert (await client.say("EHLO front.example")).startswith("500 5.5.1")
            assert (await client.say("HELO front.example")).startswith("500 5.5.1")
            assert "250-PIPELINING" in await client.say("LHLO front.example")
            for content, answer in ((MAIL, "250 2.0.0"), (MAIL + b"x" * 70_000 + b"\r\n", "552 5.3.4")):
                assert (await client.say("MAIL FROM:<>")).startswith("250")
                # One is refused at RCPT, one is named twice: an answer for each that was taken (RFC 2033 4.2).
                for recipient, taken in ((ANNA, "250"), (f"nobody@{DOMAIN}", "550"), (BEN, "250"), (ANNA, "250")):
                    assert (await client.say(f"RCPT TO:<{recipient}>")).startswith(taken)
                assert (await client.say("DATA")).startswith("354")
                await client.send(content + b".\r\n")
                assert [(await client.hear())[:9] for _ in range(3)] == [answer] * 3
                assert (await client.say("NOOP")).startswith("250 2.0.0 OK")
            (mail,) = here.mails()
            assert mail.recipients == (ANNA, BEN)

    asyncio.run(path())


def test_who_comes_by_a_unix_socket_is_listed_as_this_machine(tmp_path: Path) -> None:
    """Its client's address is not known, and may be told; what is said of a listed server is believed."""

    async def path() -> None:
        doors: dict[str, Any] = {"port": 0, "lmtp_socket": tmp_path / "lmtp", "xclient_from": ["127.0.0.1"]}
        senders = {"auth_results": "mx.example.com", "pinned_peers": ["127.0.0.1"]}
        async with running(settings_for(tmp_path, smtp=doors, senders=senders)) as gateway:
            front = Talk(*await asyncio.open_unix_connection(tmp_path / "lmtp"))
            assert (await front.hear()).startswith("220 ")
            assert "XCLIENT" in await front.say("LHLO front.example")
            assert gateway.mail is not None
            assert origin_of(session_of(SimpleNamespace(edge=gateway.mail._edge))) == ("", "front.example", "127.0.0.1")
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await front.begin(hello="LHLO front.example")
            found = b"Authentication-Results: mx.example.com; dmarc=pass header.from=acme.example\r\n"
            assert (await front.say(found + raw + b".")).startswith("250")
            (invite,) = await invites_over_http(gateway)
            assert invite["authentication"]["auth_id"] == "alex@acme.example"
            front.writer.close()
            await front.writer.wait_closed()

    asyncio.run(path())


def test_all_doors_of_a_gateway(tmp_path: Path) -> None:
    """A client of the standard library at each: SMTP, LMTP by port and by Unix socket; the mail is one mail."""
    path_of_socket = tmp_path / "lmtp"

    async def path() -> None:
        settings = settings_for(tmp_path, smtp={"port": 0, "lmtp_port": 0, "lmtp_socket": path_of_socket})
        async with running(settings) as gateway:

            def send() -> None:
                lmtp = gateway.mail_ports[Kind.LMTP]
                for client in (
                    smtplib.SMTP("127.0.0.1", gateway.smtp_port),
                    smtplib.LMTP("127.0.0.1", lmtp),
                    smtplib.LMTP(str(path_of_socket)),
                ):
                    with client:
                        assert client.sendmail("alex@acme.example", [ANNA], MAIL) == {}

            await asyncio.to_thread(send)
            with pytest.raises(CannotStart, match=r"lmtp cannot be opened .*; look at smtp\.lmtp_socket\."):
                Gateway(settings_for(tmp_path, smtp={"port": 0, "lmtp_socket": path_of_socket}))
        async with running(settings):  # the socket's file is still there, and nobody listens on it
            pass

    asyncio.run(path())
