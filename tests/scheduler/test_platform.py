"""The client of a target against servers on loopback that answer as they are told: bytes, silence, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import scheduler.platform
from scheduler.platform import Answer, Platform, Refused
from scheduler.targets import Call

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
ASKED = Call("POST", "/v2/conversations", {"name": "Müller \ud83d"}, headers={"Idempotency-Key": "j1"})


@dataclass
class Server:
    """Answers each request with these bytes; b"": it closes the connection, None: it says nothing."""

    answer: bytes | None = OK
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                if self.answer is None:
                    await reader.read()
                elif not self.answer:
                    break
                else:
                    writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run(
    test: Callable[[Platform, Server], Coroutine[Any, Any, None]],
    server: Server | None = None,
    certificate: ssl.SSLContext | None = None,
) -> None:
    async def play() -> None:
        told = server or Server()
        listening = await asyncio.start_server(told.meet, "127.0.0.1", 0, ssl=certificate)
        port = listening.sockets[0].getsockname()[1]
        scheme = "https" if certificate else "http"
        platform = Platform(f"{scheme}://localhost:{port}/" if certificate else f"{scheme}://127.0.0.1:{port}/", "k1")
        try:
            await test(platform, told)
        finally:
            await platform.close()
            listening.close()

    asyncio.run(play())


def test_a_request_is_written_as_the_target_says_and_connections_are_kept() -> None:
    async def test(platform: Platform, server: Server) -> None:
        for _ in range(3):
            assert await platform.ask(ASKED) == Answer(200, {"a": 1}, '{"a": 1}')
        head, _, body = server.requests[0].decode().partition("\r\n\r\n")
        lines = head.lower().split("\r\n")
        assert lines[0] == "post /v2/conversations http/1.1"
        assert {"x-api-key: k1", "idempotency-key: j1", "content-type: application/json"} <= set(lines)
        assert body == r'{"name": "M\u00fcller \ud83d"}'
        assert (server.connections, len(server.requests)) == (1, 3)

    run(test)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"", "ServerDisconnectedError"),
        (b"nonsense\r\n\r\n", "ClientResponseError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{cut}", "the answer is not JSON"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "the answer has the status 302"),
        (None, "SocketTimeoutError"),
    ],
)
def test_a_request_without_an_answer_is_sent_once(
    answer: bytes | None, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler.platform, "TIMEOUT", httpx.Timeout(20, read=0.2))

    async def test(platform: Platform, server: Server) -> None:
        refused = await platform.ask(ASKED)
        assert isinstance(refused, Refused)
        assert (refused.status, refused.detail) == (None, detail)
        assert len(server.requests) == 1

    run(test, Server(answer))


def test_a_kept_connection_that_ends_with_the_next_request_does_not_send_it_twice() -> None:
    async def test(platform: Platform, server: Server) -> None:
        assert isinstance(await platform.ask(ASKED), Answer)
        server.answer = b""
        assert isinstance(await platform.ask(ASKED), Refused)
        assert len(server.requests) == 2

    run(test)


def test_an_answer_that_drips_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler.platform, "WHOLE", 0.3)

    async def test(platform: Platform, server: Server) -> None:
        assert await platform.ask(ASKED) == Refused(None, None, "TimeoutError")

    run(test, Server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"))


def test_a_certificate_has_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, certificate = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(certificate)

    async def refused(platform: Platform, server: Server) -> None:
        answer = await platform.ask(ASKED)
        assert isinstance(answer, Refused)
        assert answer.detail == "ClientConnectorCertificateError"
        assert server.requests == []

    async def taken(platform: Platform, server: Server) -> None:
        assert isinstance(await platform.ask(ASKED), Answer)

    run(refused, certificate=certificate)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    run(taken, certificate=certificate)


def test_a_proxy_of_the_environment_does_not_see_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def test(platform: Platform, server: Server) -> None:
        assert isinstance(await platform.ask(ASKED), Answer)

    run(test)
