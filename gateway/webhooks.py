"""Webhooks: which events there are, what a message says, how it is signed, and when it is sent again. Pure.

Rules of this file:
- The form is that of the Standard Webhooks specification (standardwebhooks.com, 1.0): three headers, `v1` signatures,
  secrets with the prefix `whsec_`. While a secret is being replaced, a message has a signature by each.
- A message is thin: ids, times and codes. Whoever wants more asks the API.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scheduler.happening import Happening

TEST: Final = "webhook.test"
_OF_INVITES: Final = frozenset({Happening.ACCEPTED, Happening.DECLINED})
# That an attempt is made again is no news for a program.
EVENTS: Final = tuple(
    f"{'invite' if kind in _OF_INVITES else 'join'}.{kind.value}" for kind in Happening if kind is not Happening.TRIED
)
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32  # the specification: 24 to 64
ROTATION: Final = timedelta(hours=24)  # how long a secret that was replaced still signs
# Between two attempts, as the specification proposes: three days and a few hours in all.
WAITS: Final = (
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
JITTER: Final = 0.2  # of a wait, at most


@dataclass(frozen=True)
class Secret:
    """What messages are signed with, until an instant (UTC; None: until it is replaced)."""

    value: str
    until: datetime | None = None


def event_of(kind: str) -> str | None:
    """The type of what happened (`Happening`), None for what nobody is told."""
    return next((one for one in EVENTS if one.partition(".")[2] == kind), None)


def secret_of(random: bytes) -> str:
    """A secret, of bytes that nobody can guess."""
    return PREFIX + b64encode(random).decode()


def rotated(secrets: Iterable[Secret], fresh: Secret, now: datetime) -> tuple[Secret, ...]:
    """The secrets with a new one, the newest first: those before sign for a while yet."""
    before = (Secret(one.value, min(one.until or now + ROTATION, now + ROTATION)) for one in valid(secrets, now))
    return (fresh, *before)


def valid(secrets: Iterable[Secret], now: datetime) -> tuple[Secret, ...]:
    """Those that sign at an instant (UTC)."""
    return tuple(one for one in secrets if one.until is None or one.until > now)


def body_of(event_type: str, at: datetime, data: dict[str, Any]) -> str:
    """A message as it is sent."""
    return json.dumps({"type": event_type, "timestamp": instant(at), "data": data}, separators=(",", ":"))


def instant(at: datetime) -> str:
    """An instant as messages have it (RFC 3339, UTC)."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers_of(message_id: str, now: datetime, body: str, secrets: Sequence[Secret]) -> dict[str, str]:
    """What goes with a message that is sent now (UTC), signed with each secret."""
    timestamp = str(int(now.timestamp()))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(one.value, signed)}" for one in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = b64decode(secret.removeprefix(PREFIX))
    return b64encode(hmac.digest(key, signed, "sha256")).decode()


def again_after(attempt: int, jitter: float) -> timedelta | None:
    """How long to wait after an attempt (1 = the first) that was not taken, None: it was the last. `jitter` (0 to 1)
    makes it a little longer, so that those who failed together do not come back together."""
    return WAITS[attempt - 1] * (1 + JITTER * jitter) if attempt <= len(WAITS) else None
