"""HTTP in: the API and the platform's callbacks. A door.

Rules of this file: a callback is believed because its path is signed by us; anything else about it is only data.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

import scheduler.store
from gateway import __version__, store_calls
from gateway.api import faults, forms
from gateway.api.calendars import Calendars
from gateway.api.docs import Docs
from gateway.api.forms import read_body, refusals
from gateway.api.house import House
from gateway.api.joins import Joins
from gateway.api.lists import Lists
from gateway.api.pals import Pals
from gateway.api.webhooks import Webhooks
from scheduler.clock import utc_now
from scheduler.database import beside_writers
from scheduler.fates import Fates
from scheduler.joins import JoinState
from scheduler.store import Moved

MAX_ID: Final = 200  # characters of a conversation_id
MAX_CALLBACK_BYTES: Final = 4 * 1024 * 1024  # a transcript of a long call is some 100 kB

# What the platform says, and what it makes of a join (specification, "Webhooks and Callbacks").
OBSERVED = {"system.replica_joined": JoinState.JOINED, "system.shutdown": JoinState.ENDED}


class Callbacks:
    """Makes and knows the addresses at which the platform reports on joins."""

    def __init__(self, secret: bytes, public_url: str) -> None:
        self._secret = secret
        self.public_url = public_url

    def url(self, order_id: str) -> str:
        """Where the platform reports on this order of a join."""
        return f"{self.public_url.rstrip('/')}/v2/callbacks/{order_id}/{self._sign(order_id)}"

    def is_signed(self, order_id: str, signature: str) -> bool:
        """Whether the path was made by us."""
        return hmac.compare_digest(self._sign(order_id).encode(), signature.encode())

    def _sign(self, order_id: str) -> str:
        return hmac.new(self._secret, order_id.encode(), "sha256").hexdigest()[:32]


def make_app(house: House, callbacks: Callbacks, fates: Fates | None = None) -> FastAPI:
    """The HTTP application. `fates`: where is said what platforms call back about joins."""
    # FastAPI's own pages would load their files from public hosts.
    app = FastAPI(title="PAL gateway", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.lookups = lookups = beside_writers(house.engine)
    faults.install(app)
    forms.install(app)
    for legacy in (False, True):
        app.include_router(Pals(house, legacy=legacy).router)
        app.include_router(Calendars(house, legacy=legacy).router)
    app.include_router(Lists(lookups).router)
    app.include_router(Joins(house).router)
    app.include_router(Webhooks(house).router)
    app.include_router(Docs().router)
    _add_callbacks(app, house, callbacks, fates or Fates())
    return app


def _add_callbacks(app: FastAPI, house: House, callbacks: Callbacks, fates: Fates) -> None:
    @app.post("/v2/callbacks/{order_id}/{signature}", responses=refusals(400, 404, 413))
    async def callback(order_id: str, signature: str, request: Request) -> dict[str, str]:
        if not callbacks.is_signed(order_id, signature):
            raise HTTPException(404, "There is no such join.")
        raw = await read_body(request, MAX_CALLBACK_BYTES)
        said, now = _Said.read(raw), utc_now()

        def write() -> tuple[bool, list[Moved]]:
            with house.engine.begin() as connection:
                is_new = store_calls.note(connection, order_id, said.event_type, raw, now)
                return is_new, said.observed(connection, order_id, now)

        try:
            is_new, moved = await asyncio.to_thread(write)
        except IntegrityError:  # the same callback twice at once: the other one wrote it down
            return {"status": "noted"}
        fates.moved(moved, said.reason, now)
        if is_new or moved:
            house.wake()
        return {"status": "noted"}


@dataclass(frozen=True)
class _Said:
    """What a callback says about a join; `state` None: nothing that moves it."""

    event_type: str
    state: JoinState | None
    reason: str
    conversation_id: str

    def observed(self, connection: Connection, order_id: str, now: datetime) -> list[Moved]:
        """The joins that it concerns, once that is written."""
        if self.state is None:
            return []
        about = {"reason": self.reason, "conversation_id": self.conversation_id}
        return scheduler.store.observe(connection, order_id, self.state, now=now, **about)

    @classmethod
    def read(cls, raw: bytes) -> _Said:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "The body must be a JSON object.") from error
        if not isinstance(body, dict):
            raise HTTPException(400, "The body must be a JSON object.")
        properties = body.get("properties")
        reason = _plain(properties.get("shutdown_reason", "")) if isinstance(properties, dict) else ""
        conversation_id = body.get("conversation_id")
        event_type = _plain(body.get("event_type", ""))
        return cls(
            event_type,
            OBSERVED.get(event_type),
            reason,
            conversation_id if isinstance(conversation_id, str) and len(conversation_id) <= MAX_ID else "",
        )


def _plain(said: Any) -> str:
    """The platform's words, cut, and without what cannot be shown."""
    return "".join(char for char in str(said)[:200] if char.isprintable())
