"""Conversations over HTTP: join a call now, and what the platform says of calls. A door.

Rules of this file:
- With a `meeting_url` the join is written down and carried out by the dispatcher, like one that was planned; without,
  the request goes on to the platform as it is. Either way the answer is the platform's.
- Our key opens the platform, so an account reaches only what is its own (404 for the rest), and what the platform
  says against our key is no fault of the caller's (502).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

import scheduler.store
from gateway import store, store_calls
from gateway.api import faults
from gateway.api.auth import Asking
from gateway.api.forms import JsonBody, Paged, Schema, described, page, page_of, refusals
from gateway.binding import Links
from gateway.documents import Fault, from_legacy
from gateway.intake import fresh_id
from gateway.keys import Key
from gateway.orders import Order, join_of, order_of
from gateway.pals import Pal
from gateway.store import Page
from gateway.store_calls import Begun, Owned
from scheduler.clock import utc_now
from scheduler.dispatch import LEASE, Dispatcher
from scheduler.joins import LIVE, Join
from scheduler.platform import Answer, Platform, Refused
from scheduler.targets import Call
from scheduler.targets.conversation import NEWEST

PATH: Final = "/v2/conversations"
_OBJECT: Final[Schema] = {"type": "object", "additionalProperties": True}
_BODY: Final[Schema] = {
    "type": "object",
    "description": "Further fields go on to the platform. `persona_id` and `replica_id` are taken, too.",
    "properties": {
        "meeting_url": {"type": "string", "description": "The call to join now; without it the request is passed on."},
        "pal_id": {"type": "string"},
        "face_id": {"type": "string", "description": "In place of the PAL's own face."},
        "conversation_name": {"type": "string"},
        "conversational_context": {"type": "string"},
        "callback_url": {"type": "string", "description": "What the platform says of the call is passed on to it."},
        "properties": {"type": "object"},
    },
}
_PLATFORM: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "Any other status is the platform's own answer.",
        "content": {"application/json": {"schema": {}}},
    }
}

IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="The same key within a day is the same request.")
]


class Conversations:
    """The routes of conversations."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, platform: Platform, links: Links) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._platform = platform
        self._links = links
        self.router = APIRouter(prefix=PATH, tags=["conversations"])
        self._add("", "POST", self.create, described(_OBJECT, _BODY), 400, 404, 409, 413, 422)
        self._add("", "GET", self.list, described(page_of(_OBJECT)), 400)
        self._add("/{conversation_id}", "GET", self.get, described(_OBJECT), 404)
        self._add("/{conversation_id}", "DELETE", self.delete, described(_OBJECT), 404)
        self._add("/{conversation_id}/end", "POST", self.end, described(_OBJECT), 404)

    def _add(self, path: str, method: str, route: Any, told: dict[str, Any], *statuses: int) -> None:
        documented = {**refusals(401, 403, 502, 503, 504, *statuses), **_PLATFORM}
        self.router.add_api_route(
            path, route, methods=[method], response_model=None, responses=documented, openapi_extra=told
        )

    async def create(self, key: Asking, body: JsonBody, idempotency_key: IdempotencyKey = None) -> Response:
        """Join the call behind `meeting_url` now, or begin any other conversation."""
        if not isinstance(body, dict):
            raise faults.invalid([Fault("", "The body must be a JSON object.")])
        asked = from_legacy(body)
        order = order_of(asked, self._links) if asked.get("meeting_url") is not None else None
        if isinstance(order, list):
            raise faults.invalid(order)
        begun = _begun(key, body, idempotency_key, order.callback_url if order is not None else "")
        written = await asyncio.to_thread(self._write, begun, asked.get("pal_id"), order)
        if isinstance(written, Begun):
            return await self._again(begun, written)
        if written is None:
            return await self._pass_on(begun, body)
        answer = await self._dispatcher.order(written)
        if isinstance(answer, str):  # the PAL sits in that room already
            answer = await self._platform.ask(Call("GET", _path(answer)))
        return await self._answered(begun, answer)

    def _write(self, begun: Begun, pal_id: Any, order: Order | None) -> Join | Begun | None:
        """Write a request down: the join to carry out, None for any other, or what its key began before."""
        try:
            with self._engine.begin() as connection:
                known = self._known(connection, begun)
                if known is not None:
                    return known
                pal = _pal(connection, begun.account, pal_id)
                store_calls.begin(connection, begun)
                if order is None:
                    return None
                join = join_of(order, pal, begun.id, begun.created_at, self._dispatcher.owner, LEASE)
                scheduler.store.add_order(connection, join, begun.created_at)
                return join
        except IntegrityError as error:  # two requests with one key at once
            raise _under_way() from error

    def _known(self, connection: Connection, begun: Begun) -> Begun | None:
        """What the request's key began before, if that came to something, or still may."""
        if begun.key is None:
            return None
        known = store_calls.begun_with(connection, begun.account, begun.key, begun.created_at)
        join = scheduler.store.get_join(connection, known.id) if known is not None else None
        if known is None or join is None or join.conversation_id is not None or join.state in LIVE:
            return known
        store_calls.refused(connection, known.id)
        return None

    async def _again(self, begun: Begun, known: Begun) -> Response:
        """The same key again: the same answer."""
        if known.digest != begun.digest:
            raise faults.Refused(422, "This Idempotency-Key was used for another request.")
        if known.answer is None:
            raise _under_way()
        return JSONResponse(known.answer)

    async def _pass_on(self, begun: Begun, body: dict[str, Any]) -> Response:
        answer = await self._platform.ask(Call("POST", PATH, body, headers={"Idempotency-Key": begun.id}))
        if isinstance(answer, Answer) and answer.is_success and _conversation_id(answer.body) is None:
            answer = Refused(None, None, "the answer does not name what was started")
        return await self._answered(begun, answer, ours=False)

    async def _answered(self, begun: Begun, answer: Answer | Refused, *, ours: bool = True) -> Response:
        """Keep what came of a request, and answer it. `ours`: the callback URL it names is ours."""
        taken = isinstance(answer, Answer) and answer.is_success
        shown = _shown(answer.body, begun.callback_url) if ours else answer.body

        def write() -> None:
            with self._engine.begin() as connection:
                if taken:
                    store_calls.answered(connection, begun.id, _conversation_id(shown), shown)
                else:
                    store_calls.refused(connection, begun.id)

        await asyncio.to_thread(write)
        return _said(answer, shown)

    async def list(self, key: Asking, paging: Paged) -> Response:
        """The account's conversations, the newest first: those it began, and those that its PALs were invited to."""

        def read() -> Page[Owned]:
            with self._engine.connect() as connection:
                return store_calls.account_conversations(connection, key.account, paging.after, paging.limit)

        found = await asyncio.to_thread(read)
        known = await self._described(found.rows) if found.rows else {}
        # What the platform has forgotten is no conversation any more.
        rows = tuple(_shown(known[one.id], one.callback_url) for one in found.rows if one.id in known)
        return JSONResponse(page(Page(rows, found.total, found.next), lambda row: row))

    async def _described(self, rows: Sequence[Owned]) -> dict[str, dict[str, Any]]:
        """What the platform says of conversations: most stand in its own list, the others are asked for."""
        newest = await self._platform.ask(Call("GET", PATH, params={"limit": NEWEST}))
        if isinstance(newest, Refused) or not newest.is_success:
            raise faults.of_platform(newest)
        listed = newest.body.get("data") if isinstance(newest.body, dict) else newest.body
        told = [one for one in listed or () if isinstance(one, dict)]
        known = {str(one.get("conversation_id")): one for one in told}
        missing = [one.id for one in rows if one.id not in known]
        answers = await asyncio.gather(*(self._platform.ask(Call("GET", _path(one))) for one in missing))
        for one, answer in zip(missing, answers, strict=True):
            if isinstance(answer, Answer) and answer.is_success and isinstance(answer.body, dict):
                known[one] = answer.body
        return known

    async def get(
        self, key: Asking, conversation_id: str, verbose: Annotated[bool, Query(description="Events, too.")] = False
    ) -> Response:
        """One conversation."""
        owned = await self._owned(key, conversation_id)
        params = {"verbose": "true"} if verbose else {}
        answer = await self._platform.ask(Call("GET", _path(owned.id), params=params))
        return _said(answer, _shown(answer.body, owned.callback_url))

    async def end(self, key: Asking, conversation_id: str) -> Response:
        """End a conversation; the PAL does not come back to it."""
        return await self._over(key, conversation_id, "POST", "/end", "ended-over-the-api")

    async def delete(self, key: Asking, conversation_id: str) -> Response:
        """Delete a conversation, and what the platform keeps of it."""
        return await self._over(key, conversation_id, "DELETE", "", "deleted-over-the-api")

    async def _over(self, key: Key, conversation_id: str, method: str, more: str, reason: str) -> Response:
        owned = await self._owned(key, conversation_id)
        answer = await self._platform.ask(Call(method, _path(owned.id) + more))

        def write() -> None:
            now = utc_now()
            with self._engine.begin() as connection:
                over = scheduler.store.call_is_over(connection, owned.id, reason, now)
            self._dispatcher.fates.moved(over, reason, now)

        if isinstance(answer, Answer) and answer.is_success:
            await asyncio.to_thread(write)
        return _said(answer, answer.body)

    async def _owned(self, key: Key, conversation_id: str) -> Owned:
        def read() -> Owned | None:
            with self._engine.connect() as connection:
                return store_calls.owned(connection, key.account, conversation_id)

        # Ids are plain: what cannot be one is not asked for (PostgreSQL takes no NUL).
        is_plain = conversation_id.isascii() and conversation_id.isprintable()
        found = await asyncio.to_thread(read) if is_plain else None
        if found is None:
            raise faults.Refused(404, "There is no such conversation.")
        return found


def _under_way() -> faults.Refused:
    return faults.Refused(409, "The request with this Idempotency-Key is still under way; ask again.")


def _begun(key: Key, body: dict[str, Any], idempotency_key: str | None, callback_url: str) -> Begun:
    said = json.dumps(body, sort_keys=True)
    digest = sha256(said.encode()).hexdigest()
    return Begun(fresh_id("j"), key.account, idempotency_key, digest, callback_url, utc_now())


def _pal(connection: Connection, account: str, pal_id: Any) -> Pal | None:
    """The PAL that is to come, None when only the platform can know it. Another account's is refused."""
    found = store.pal_with_id(connection, pal_id) if isinstance(pal_id, str) and pal_id.isprintable() else None
    if found is not None and found.account != account:
        raise faults.Refused(404, "There is no such PAL.")
    return found


def _path(conversation_id: str) -> str:
    return f"{PATH}/{quote(conversation_id, safe='')}"


def _shown(said: Any, callback_url: str) -> Any:
    """What the platform says, with the caller's own callback URL in place of ours."""
    return {**said, "callback_url": callback_url} if isinstance(said, dict) and "callback_url" in said else said


def _conversation_id(said: Any) -> str | None:
    found = said.get("conversation_id") if isinstance(said, dict) else None
    return found if isinstance(found, str) else None


def _said(answer: Answer | Refused, shown: Any) -> Response:
    """The platform's answer as ours. Raises faults.Refused where it has none for the caller."""
    status = answer.status
    is_success = status is not None and 200 <= status < 300
    if status is None or status in (401, 403) or (answer.body is None and not is_success):
        raise faults.of_platform(answer)
    wait = {"Retry-After": str(int(answer.retry_after.total_seconds()))} if answer.retry_after is not None else {}
    # An empty success (204) has a body here, as described.
    return JSONResponse({} if shown is None else shown, 200 if shown is None else status, headers=wait)
