"""HTTP to addresses that strangers name: what is connected to is what was checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from gateway.outward import Posted, address_fault, is_reachable, post

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b:1::1", "64:ff9b::7f00:1",
        "2001:db8::1", "::127.0.0.1",
    ],
)  # fmt: skip
def test_special_networks_are_refused(address: str) -> None:
    assert not is_reachable(ip_address(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "100.128.0.1"])
def test_the_internet_is_not(address: str) -> None:
    assert is_reachable(ip_address(address), ())


def test_the_operator_names_private_networks() -> None:
    assert is_reachable(ip_address("10.1.2.3"), (ip_network("10.0.0.0/8"),))
    assert is_reachable(ip_address("::ffff:10.1.2.3"), (ip_network("10.0.0.0/8"),))
    assert not is_reachable(ip_address("10.1.2.3"), (ip_network("fc00::/7"), ip_network("10.2.0.0/16")))


@pytest.mark.parametrize(
    ("host", "is_fine"),
    [
        ("127.0.0.1", True), ("127.1", True), ("0x7f.1", True), ("2130706433", True), ("[::1]", True),
        ("8.8.8.8", True),
        ("localhost", True), ("10.example", True), ("[2606:4700::1111]", True), ("0", False), ("10.0.0.1", False),
        ("0xa.1", False), ("[fe80::1%25eth0]", False), ("[::ffff:10.0.0.1]", False), ("169.254.169.254", False),
    ],
)  # fmt: skip
def test_a_host_that_is_an_address_is_looked_at_before(host: str, is_fine: bool) -> None:
    fault = address_fault(f"http://{host}:81/x", LOOPBACK)
    assert (fault is None) is is_fine, fault


class Server:
    """A raw HTTP server: it keeps what it reads and answers what it is told."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.port = 0

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        self.heard.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        try:
            await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        writer.close()

    @asynccontextmanager
    async def listening(self) -> Any:
        server = await asyncio.start_server(self.speak, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()


def with_server(server: Server, test: Callable[[Server], Awaitable[Posted]]) -> Posted:
    async def run() -> Posted:
        async with server.listening():
            return await asyncio.wait_for(test(server), 20)

    return asyncio.run(run())


def test_the_body_arrives_as_it_is_under_the_name_that_was_written() -> None:
    server = Server()
    posted = with_server(server, lambda it: post(f"http://localhost:{it.port}/a?b=c", b"{}", {"X-A": "b"}, LOOPBACK))
    assert posted == Posted(200)
    (heard,) = server.heard
    assert heard.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert f"host: localhost:{server.port}\r\n".encode() in heard.lower()
    assert b"x-a: b\r\n" in heard.lower()
    assert heard.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_no_spelling_of_a_private_address_is_connected_to(host: str) -> None:
    server = Server()
    posted = with_server(server, lambda it: post(f"http://{host}:{it.port}/", b"{}", {}, ()))
    assert posted.status is None
    assert server.heard == []


def test_the_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes between the check and the connection changes nothing."""
    answers = ["127.0.0.1", "10.255.255.1"]

    async def look_up(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0) if host == "a.example" else host, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    server = Server()
    posted = with_server(server, lambda it: post(f"http://a.example:{it.port}/", b"{}", {}, LOOPBACK))
    assert posted == Posted(200)
    assert len(answers) == 1


def test_no_redirect_is_followed() -> None:
    server = Server(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/x\r\ncontent-length: 0\r\n\r\n")
    posted = with_server(server, lambda it: post(f"http://127.0.0.1:{it.port}/", b"{}", {}, LOOPBACK))
    assert (posted.status, posted.is_taken, posted.error) == (302, False, "answered 302")
    assert len(server.heard) == 1


def test_an_endless_answer_is_not_read() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"fffff\r\n" + b"x" * 1_000_000)
    assert with_server(server, lambda it: post(f"http://127.0.0.1:{it.port}/", b"{}", {}, LOOPBACK)) == Posted(200)


def test_gone_is_final() -> None:
    server = Server(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")
    assert with_server(server, lambda it: post(f"http://127.0.0.1:{it.port}/", b"", {}, LOOPBACK)).is_final


@pytest.mark.parametrize("url", ["http://no-such-name.invalid/", "http://127.0.0.1:9/"])
def test_who_is_not_there_may_be_there_later(url: str) -> None:
    posted = asyncio.run(post(url, b"{}", {}, LOOPBACK))
    assert (posted.status, posted.is_final, bool(posted.error)) == (None, False, True)
