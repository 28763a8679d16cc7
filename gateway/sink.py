"""A mail server that writes what it gets into a folder: where replies go while no relay is set. A door."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from gateway.sockets import listen


class Sink:
    """aiosmtpd's handler, and its port. `folder` is made when the first mail comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._talks: set[_Talk] = set()

    async def open(self) -> int:
        """Listen on a free port of this machine; its number."""
        local = listen("127.0.0.1", 0)
        self._server = await asyncio.get_running_loop().create_server(lambda: _Talk(self, self._talks), sock=local)
        return int(local.getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and part from who is still connected."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)  # who was let in a moment ago
        while self._talks:
            for talk in self._talks:
                talk.transport.abort()
            await asyncio.sleep(0)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        name = _name(content)
        try:
            await asyncio.to_thread(self._write, name, content)
        except OSError as error:  # a disk that is full may have room again
            return f"452 4.3.1 {self._folder} cannot be written: {error.strerror}"
        return f"250 2.0.0 Written as {name}"

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{name}.partial"
        try:
            partial.write_bytes(content)
            partial.replace(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)


class _Talk(SMTP):
    """A connection, which stands among the others until it is over."""

    transport: Any  # aiosmtpd's, as long as a client is there

    def __init__(self, sink: Sink, talks: set[_Talk]) -> None:
        super().__init__(sink, ident="PAL gateway sink", hostname="localhost", enable_SMTPUTF8=True)
        self._talks = talks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is open."""
        super().connection_made(transport)
        self._talks.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: it is over."""
        super().connection_lost(error)
        self._talks.discard(self)


def _name(content: bytes) -> str:
    """The local part of our own Message-ID."""
    for line in content.split(b"\r\n"):
        if line.lower().startswith(b"message-id:"):
            local = line.partition(b"<")[2].partition(b"@")[0].decode("ascii", "replace")
            return "".join(char for char in local if char.isalnum()) + ".eml"
    return "without-message-id.eml"
