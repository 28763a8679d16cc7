"""One join over HTTP: cancel it, let the PAL come now, try it again. A door.

Rules of this file: what is done, and why not, is `interventions`'; an account reaches the joins of its own PALs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from fastapi import APIRouter
from sqlalchemy import Connection

from gateway import interventions, store, store_calls
from gateway.api.auth import Asking
from gateway.api.faults import Refused
from gateway.api.forms import described, refusals, schema_of
from gateway.api.house import House
from gateway.api.lists import JoinAnswer, join_shown
from gateway.keys import Key
from scheduler.clock import utc_now
from scheduler.joins import Join

log = structlog.get_logger("joins")


class Joins:
    """The routes of one join."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.router = APIRouter(prefix="/v2/joins", tags=["joins"])
        for path, route in (("cancel", self.cancel), ("now", self.come_now), ("retry", self.retry)):
            self.router.add_api_route(
                f"/{{join_id}}/{path}",
                route,
                methods=["POST"],
                response_model=None,
                responses=refusals(401, 403, 404, 409, 503),
                openapi_extra=described(schema_of(JoinAnswer)),
            )

    def cancel(self, key: Asking, join_id: str) -> dict[str, Any]:
        """Keep the PAL away from this meeting: it is not joined, or the call is left within seconds.

        It stays so until the organizer gives the meeting another time or link, or invites anew.
        """
        return self._changed(key, join_id, interventions.cancel)

    def come_now(self, key: Asking, join_id: str) -> dict[str, Any]:
        """Let the PAL come at once, before its time; it stays until the meeting ends."""
        return self._changed(key, join_id, interventions.come_now)

    def retry(self, key: Asking, join_id: str) -> dict[str, Any]:
        """Send the PAL once more to a meeting that goes on, after a join that failed, was missed, ended or cancelled
        here."""

        def again(connection: Connection, join_id: str, now: datetime) -> Join | str:
            return interventions.retry(connection, join_id, now, self._house.policy)

        return self._changed(key, join_id, again)

    def _changed(
        self, key: Key, join_id: str, change: Callable[[Connection, str, datetime], Join | str]
    ) -> dict[str, Any]:
        with self._house.engine.begin() as connection:
            if not store.owns_join(connection, key.account, join_id):
                raise Refused(404, "There is no such join.")
            done = change(connection, join_id, utc_now())
            if isinstance(done, str):
                raise Refused(409, done)
            heard = store_calls.heard_of(connection, [done.id])
        log.info(f"join {done.state.value} by hand", join=done.id, account=key.account)
        self._house.wake()
        return join_shown(done, heard.get(done.id, []))
