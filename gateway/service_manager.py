"""Tells a service manager (systemd, Type=notify) that the gateway is ready, lives, and is stopping. Shell.

Rules of this file:
- One datagram for each word, to the socket that NOTIFY_SOCKET names (sd_notify(3)); without one nothing is sent.
- Whoever listens is not needed for our work: a word that cannot be sent is logged and forgotten.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Final

import structlog

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"
OFTEN: Final = 3  # so many times within the seconds of the watchdog it is told, so that one word may come late

log = structlog.get_logger("gateway")


class ServiceManager:
    """Whoever started us, by its socket and the seconds after which it takes our silence for death (None: never)."""

    def __init__(self, address: str = "", silence: float | None = None) -> None:
        self._address = address
        self._silence = silence

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> ServiceManager:
        """The one that the environment names, which may be none. WATCHDOG_USEC counts for WATCHDOG_PID only."""
        address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        is_watched = is_ours and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1_000_000 if is_watched else None)

    def tell(self, word: str) -> None:
        """Send one assignment, as READY=1."""
        if not self._address:
            return
        # A leading @ stands for the NUL byte of a name that is in no file system (unix(7)).
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.connect(name)
                sending.send(word.encode())
        except OSError as error:
            log.warning("the service manager cannot be told", word=word, why=error.strerror or str(error))

    async def keep_telling(self) -> None:
        """Say that we live, again and again, as long as the loop turns; that is all a watchdog's restart can mend."""
        while self._address and self._silence is not None:
            self.tell(ALIVE)
            await asyncio.sleep(self._silence / OFTEN)
