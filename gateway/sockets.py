"""Bound sockets, for ports and for paths. Shell."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SOCKET_MODE: Final = 0o660  # a Unix socket is for its owner and group
WAITING: Final = 128  # connections that are not let in yet


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0: any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Its protocol is named: asyncio sends without delay (TCP_NODELAY) only where it is, and each answer waited 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with _listening(found):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    return found


def listen_unix(path: Path) -> socket.socket:
    """A bound Unix socket, in place of one that nobody listens on any more. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        if path.is_socket() and asking.connect_ex(str(path)):
            path.unlink()
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _listening(found):
        found.bind(str(path))
        path.chmod(SOCKET_MODE)
    return found


@contextmanager
def _listening(found: socket.socket) -> Iterator[None]:
    """It listens afterwards, or is closed."""
    try:
        yield
        found.listen(WAITING)
        found.setblocking(False)
    except OSError:
        found.close()
        raise


def reachable(host: str) -> str:
    """Where a listener on an address is found from this machine; one on every address, on loopback."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  nothing is bound here
