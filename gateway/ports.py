"""The sockets of the settings, bound before anything begins, so that a port that is taken is one sentence. Shell."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from gateway.inbound.dialogue import Kind
from gateway.settings import PREFIX, Http, Metrics, Smtp
from gateway.sockets import listen, listen_unix


class CannotStart(Exception):
    """The gateway cannot start; the message is one sentence that says the mend."""


class PortTaken(CannotStart):
    """Somebody else has a port of the settings."""


def http_socket(settings: Http) -> socket.socket:
    """The port of the API. Raises CannotStart."""
    return _listen("http.port", settings.host, settings.port)


def watch_socket(settings: Metrics) -> socket.socket | None:
    """The further port for figures and health, if there is to be one. Raises CannotStart."""
    return _listen("metrics.port", settings.host, settings.port) if settings.port is not None else None


def mail_sockets(settings: Smtp) -> list[tuple[Kind, socket.socket]]:
    """All ports that mail comes in by. Raises CannotStart."""
    ports = {Kind.SMTP: ("smtp.port", settings.port)}
    if settings.tls_port is not None:
        ports[Kind.SMTPS] = ("smtp.tls_port", settings.tls_port)
    if settings.lmtp_port is not None:
        ports[Kind.LMTP] = ("smtp.lmtp_port", settings.lmtp_port)
    with contextlib.ExitStack() as opened:
        found = [
            (kind, opened.enter_context(_listen(name, settings.host, port))) for kind, (name, port) in ports.items()
        ]
        if settings.lmtp_socket is not None:
            found.append((Kind.LMTP, opened.enter_context(_listen_unix(settings.lmtp_socket))))
        opened.pop_all()
    return found


def _listen(name: str, host: str, port: int) -> socket.socket:
    """A bound socket; `name` is the setting of its port."""
    try:
        return listen(host, port)
    except OSError as error:
        variable = PREFIX + name.replace(".", "__").upper()
        cannot = f"{host}:{port} cannot be opened ({error.strerror})"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{cannot}; set {name} or {variable} to a free one.") from error
        raise CannotStart(f"{cannot}; look at {name.partition('.')[0]}.host and {name}.") from error


def _listen_unix(path: Path) -> socket.socket:
    try:
        return listen_unix(path)
    except OSError as error:
        raise CannotStart(f"{path} cannot be opened ({error.strerror}); look at smtp.lmtp_socket.") from error
