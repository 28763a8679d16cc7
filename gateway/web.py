"""HTTP in: the API, the platform's callbacks and the health of this process. A door.

Rules of this file: a callback is believed because its path is signed by us; anything else about it is only data.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

import scheduler.store
from gateway import __version__, store, store_calls
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
from scheduler.joins import JoinState

MAX_ID: Final = 200  # characters of a conversation_id
MAX_CALLBACK_BYTES: Final = 4 * 1024 * 1024  # a transcript of a long call is some 100 kB

log = structlog.get_logger("joins")

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


def make_app(house: House, callbacks: Callbacks) -> FastAPI:
    """The HTTP application."""
    # FastAPI's own pages would load their files from public hosts.
    app = FastAPI(title="PAL gateway", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.engine = house.engine
    faults.install(app)
    forms.install(app)
    for legacy in (False, True):
        app.include_router(Pals(house, legacy=legacy).router)
        app.include_router(Calendars(house, legacy=legacy).router)
    app.include_router(Lists(house.engine).router)
    app.include_router(Joins(house).router)
    app.include_router(Webhooks(house).router)
    app.include_router(Docs().router)
    _add_health(app, house.engine)
    _add_callbacks(app, house, callbacks)
    return app


def _add_health(app: FastAPI, engine: Engine) -> None:

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", responses=refusals(503))
    async def readyz() -> dict[str, str]:
        def ask() -> None:
            with engine.connect() as connection:
                store.ping(connection)

        try:
            await asyncio.to_thread(ask)
        except SQLAlchemyError as error:
            raise HTTPException(503, "The store does not answer.") from error
        return {"status": "ready"}


def _add_callbacks(app: FastAPI, house: House, callbacks: Callbacks) -> None:
    @app.post("/v2/callbacks/{order_id}/{signature}", responses=refusals(400, 404, 413))
    async def callback(order_id: str, signature: str, request: Request) -> dict[str, str]:
        if not callbacks.is_signed(order_id, signature):
            raise HTTPException(404, "There is no such join.")
        raw = await read_body(request, MAX_CALLBACK_BYTES)
        said, now = _Said.read(raw), utc_now()

        def write() -> tuple[bool, bool]:
            with house.engine.begin() as connection:
                return (
                    store_calls.note(connection, order_id, said.event_type, raw, now),
                    said.state is not None
                    and scheduler.store.observe(
                        connection,
                        order_id,
                        said.state,
                        now=now,
                        reason=said.reason,
                        conversation_id=said.conversation_id,
                    ),
                )

        try:
            is_new, has_moved = await asyncio.to_thread(write)
        except IntegrityError:  # the same callback twice at once: the other one wrote it down
            return {"status": "noted"}
        if has_moved:
            log.info(f"join {said.state}", join=order_id, **({"reason": said.reason} if said.reason else {}))
        if is_new or has_moved:
            house.wake()
        return {"status": "noted"}


@dataclass(frozen=True)
class _Said:
    """What a callback says about a join; `state` None: nothing that moves it."""

    event_type: str
    state: JoinState | None
    reason: str
    conversation_id: str

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
