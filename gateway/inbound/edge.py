"""The ports that mail comes in by: opening them, and closing them without cutting a mail in two. A door."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from gateway.inbound.certificate import Certificate
from gateway.inbound.dialogue import Crowd, Dialogue, Kind
from gateway.settings import Smtp


class Edge:
    """All ports of a gateway, with one count of who is connected. `handler` says what aiosmtpd asks."""

    def __init__(self, handler: Any, domain: str, settings: Smtp, certificate: Certificate | None) -> None:
        self._handler, self._domain, self._settings = handler, domain, settings
        self._certificate = certificate
        self._crowd = Crowd(settings.max_connections, settings.max_connections_per_address)
        self._servers: list[asyncio.Server] = []

    @property
    def connected(self) -> int:
        """How many clients are connected."""
        return len(self._crowd)

    async def open(self, kind: Kind, sock: socket.socket) -> None:
        """Answer on a bound socket."""
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        self._servers.append(await create(lambda: self._dialogue(kind), sock=sock))

    def stop(self) -> None:
        """Take nobody in any more, and part from those who wait; mails under way come to their end."""
        for server in self._servers:
            server.close()
        self._crowd.is_closed = True
        for one in self._crowd:
            one.stop()

    async def close(self, seconds: float) -> None:
        """Stop, and give mails under way so long."""
        self.stop()
        await asyncio.sleep(0)  # who was let in a moment ago
        talks = [one.talk for one in self._crowd]
        if talks:
            await asyncio.wait(talks, timeout=seconds)
        for one in self._crowd:
            one.give_up()
        await asyncio.gather(*talks, return_exceptions=True)

    def _dialogue(self, kind: Kind) -> Dialogue:
        return Dialogue(self._handler, self._domain, kind, self._settings, self._crowd, self._certificate)
