"""HTTP in: the API, the platform's callbacks and the health of this process. A door.

Rules of this file: a callback is believed because its path is signed by us; anything else about it is only data.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import scheduler.store
from gateway import __version__, store
from gateway.api import faults, forms
from gateway.api.forms import refusals
from gateway.api.lists import Lists
from gateway.api.pals import Pals
from scheduler.joins import JoinState

MAX_CALLBACK_BYTES: Final = 4 * 1024 * 1024  # a transcript of a long call is some 100 kB

log = structlog.get_logger("joins")

# What the platform says, and what it makes of a join (specification, "Webhooks and Callbacks").
OBSERVED = {"system.replica_joined": JoinState.JOINED, "system.shutdown": JoinState.ENDED}


class Callbacks:
    """Makes and knows the addresses at which the platform reports on joins."""

    def __init__(self, secret: bytes, public_url: str) -> None:
        self._secret = secret
        self.public_url = public_url

    def url(self, join_id: str) -> str:
        """Where the platform reports on this join."""
        return f"{self.public_url.rstrip('/')}/v2/callbacks/{join_id}/{self._sign(join_id)}"

    def is_signed(self, join_id: str, signature: str) -> bool:
        """Whether the path was made by us."""
        return hmac.compare_digest(self._sign(join_id).encode(), signature.encode())

    def _sign(self, join_id: str) -> str:
        return hmac.new(self._secret, join_id.encode(), "sha256").hexdigest()[:32]


def make_app(engine: Engine, callbacks: Callbacks, on_callback: Callable[[], None], domain: str) -> FastAPI:
    """The HTTP application; `on_callback` is called after one was written down, `domain` is that of PALs' addresses."""
    # /docs would load its assets from public hosts.
    app = FastAPI(title="PAL gateway", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.engine = engine
    faults.install(app)
    forms.install(app)
    for resource in (Pals(engine, domain), Pals(engine, domain, legacy=True), Lists(engine)):
        app.include_router(resource.router)
    _add_health(app, engine)
    _add_callbacks(app, engine, callbacks, on_callback)
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


def _add_callbacks(app: FastAPI, engine: Engine, callbacks: Callbacks, on_callback: Callable[[], None]) -> None:
    @app.post("/v2/callbacks/{join_id}/{signature}", responses=refusals(400, 404, 413))
    async def callback(join_id: str, signature: str, request: Request) -> dict[str, str]:
        if not callbacks.is_signed(join_id, signature):
            raise HTTPException(404, "There is no such join.")
        said = _Said.read(await _body(request))
        if said.state is None:
            return {"status": "noted"}
        state, reason, conversation_id = said.state, said.reason, said.conversation_id

        def write() -> bool:
            with engine.begin() as connection:
                return scheduler.store.observe(
                    connection, join_id, state, reason=reason or None, conversation_id=conversation_id
                )

        if await asyncio.to_thread(write):
            log.info(f"join {state}", join=join_id, **({"reason": reason} if reason else {}))
            on_callback()
        return {"status": "noted"}


@dataclass(frozen=True)
class _Said:
    """What a callback says about a join; `state` None: nothing that moves it."""

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
        reason = str(properties.get("shutdown_reason", ""))[:200] if isinstance(properties, dict) else ""
        conversation_id = body.get("conversation_id")
        return cls(
            OBSERVED.get(str(body.get("event_type"))),
            "".join(char for char in reason if char.isprintable()),
            conversation_id if isinstance(conversation_id, str) else "",
        )


async def _body(request: Request) -> bytes:
    """The body, read no further than the limit."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_CALLBACK_BYTES:
            raise HTTPException(413, "The body is too large.")
    return bytes(raw)
