"""HTTP in: the platform's callbacks and the health of this process. A door.

Rules of this file: a callback is believed because its path is signed by us; anything else about it is only data.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

import scheduler.store
from scheduler.joins import JoinState

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


def make_app(engine: Engine, callbacks: Callbacks, on_callback: Callable[[], None]) -> FastAPI:
    """The HTTP application; `on_callback` is called after one was written down."""
    # /docs would load its assets from public hosts.
    app = FastAPI(title="PAL gateway", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        def ask() -> None:
            with engine.connect() as connection:
                connection.execute(select(1))

        try:
            await asyncio.to_thread(ask)
        except SQLAlchemyError as error:
            raise HTTPException(503, "The store does not answer.") from error
        return {"status": "ready"}

    @app.post("/v2/callbacks/{join_id}/{signature}")
    async def callback(join_id: str, signature: str, body: dict[str, Any]) -> dict[str, str]:
        if not callbacks.is_signed(join_id, signature):
            raise HTTPException(404, "There is no such join.")
        state = OBSERVED.get(str(body.get("event_type")))
        if state is None:
            return {"status": "noted"}
        properties = body.get("properties")
        reason = str(properties.get("shutdown_reason", ""))[:200] if isinstance(properties, dict) else ""

        def write() -> bool:
            with engine.begin() as connection:
                return scheduler.store.observe(connection, join_id, state, reason or None)

        if await asyncio.to_thread(write):
            log.info(f"join {state}", join=join_id, **({"reason": reason} if reason else {}))
            on_callback()
        return {"status": "noted"}

    return app
