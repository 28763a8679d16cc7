"""Asks the gateway of this machine, by its settings, whether it is ready. Shell.

Rules of this file: whatever comes, the answer is one sentence; nobody waits longer than PATIENCE.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Final

from gateway.settings import Settings
from gateway.sockets import reachable

PATIENCE: Final = 5.0  # seconds; the process itself answers within two


def readiness(settings: Settings) -> tuple[str, bool]:
    """What the gateway says, and whether it is ready."""
    of = settings.metrics
    host, port = (of.host, of.port) if of.port is not None else (settings.http.host, settings.http.port)
    host = reachable(host)
    connection = HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(10_000)
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return f"No gateway answers at {host}:{port} ({why}); metrics.port and http.port say where it should.", False
    finally:
        connection.close()
    return ("ready", True) if answer.status == 200 else (_sentence(body, answer.status), False)


def _sentence(body: bytes, status: int) -> str:
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = f"What answers there is no gateway, it says {status}."
    return "".join(char for char in str(said)[:300] if char.isprintable())
