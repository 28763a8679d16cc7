"""What requests and answers of the API have in common: bodies, pages, and how OpenAPI tells of them. A door.

Rules of this file:
- A body is read no further than its limit, after the key was looked at; what it says is checked as one document, so
  that every fault is named at once. Its schema stands in `openapi_extra`.
- A list is sorted by an instant and an id; a cursor is the last row's, so that rows may come and go between pages.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import store
from gateway.api.auth import Asking
from gateway.api.faults import Refused, invalid
from gateway.documents import LEGACY_NAMES, MAX_DOCUMENT_BYTES, Fault, read_json
from gateway.store import Mark, Page, PalRow, T

Schema = dict[str, Any]


class NamedFault(BaseModel):
    """One thing that is wrong, and where."""

    field: str
    message: str


class FaultAnswer(BaseModel):
    """The form of every fault."""

    message: str
    errors: list[NamedFault]


_REFUSALS: Final = {
    400: "Something in the request is wrong; `errors` names all of it.",
    401: "No key, or one that opens nothing.",
    403: "The key may not be used from this address.",
    404: "There is no such thing, or it is another account's.",
    409: "The same or another change of the thing is under way, or it is in no state for it.",
    413: "The body is too large.",
    422: "The Idempotency-Key was used for another request.",
    502: "The platform does not answer, or not to the gateway's key.",
    504: "The platform does not answer in time.",
    503: "The store cannot be used now.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The faults that a route documents."""
    return {status: {"model": FaultAnswer, "description": _REFUSALS[status]} for status in statuses}


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit (bytes). Raises Refused."""
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > limit:
                raise Refused(413, f"A body has at most {limit // 1024} kB here.")
    except ClientDisconnect as error:
        raise Refused(400, "The body did not come to its end.") from error
    return bytes(raw)


async def _json_body(request: Request, key: Asking) -> Any:
    said = read_json(await read_body(request, MAX_DOCUMENT_BYTES))
    if isinstance(said, Fault):
        raise invalid([said])
    return said


JsonBody = Annotated[Any, Depends(_json_body)]


@dataclass(frozen=True)
class Paging:
    """Which page of a list is asked for."""

    limit: int
    after: Mark | None


def _paging(
    limit: Annotated[int, Query(ge=1, le=100, description="How many rows a page has.")] = 50,
    cursor: Annotated[str | None, Query(max_length=300, description="`next_cursor` of the page before.")] = None,
) -> Paging:
    return Paging(limit, mark_of(cursor) if cursor is not None else None)


Paged = Annotated[Paging, Depends(_paging)]


def known_pal(connection: Connection, account: str, pal_id: str) -> PalRow:
    """A PAL of an account, its row locked. Raises Refused."""
    row = store.account_pal(connection, account, pal_id)
    if row is None:
        raise Refused(404, "There is no such PAL.")
    return row


def page(found: Page[T], shown: Callable[[T], Mapping[str, Any]]) -> dict[str, Any]:
    """A page as it is answered."""
    return {
        "data": [shown(row) for row in found.rows],
        "total_count": found.total,
        "next_cursor": cursor_of(found.next) if found.next is not None else None,
    }


def cursor_of(mark: Mark) -> str:
    """Where the next page begins, as it is asked for."""
    instant, last = mark
    return urlsafe_b64encode(f"{instant.astimezone(UTC).isoformat()} {last}".encode()).decode().rstrip("=")


def mark_of(cursor: str) -> Mark:
    """The row after which a page begins. Raises Refused."""
    try:
        instant, _, last = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii").partition(" ")
        mark = datetime.fromisoformat(instant), last
    except ValueError:
        mark = None
    # Only what cursor_of wrote: another spelling of an instant may lie outside the years that can be turned to UTC.
    if mark is None or mark[0].tzinfo is not UTC or not last.isprintable() or cursor_of(mark) != cursor:
        raise invalid([Fault("cursor", "That is no next_cursor of this list.")])
    return mark


def schema_of(model: type[BaseModel]) -> Schema:
    """The JSON schema of a model, in one piece."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return whole(parts[value["$ref"].rpartition("/")[2]])
        return {name: whole(one) for name, one in value.items()}

    found: Schema = whole(schema)
    return found


def older(schema: Schema) -> Schema:
    """The schema of an object under the older names."""
    properties = {LEGACY_NAMES.get(name, name): one for name, one in schema.get("properties", {}).items()}
    required = [LEGACY_NAMES.get(name, name) for name in schema.get("required", [])]
    return {**schema, "properties": properties, **({"required": required} if required else {})}


def page_of(row: Schema) -> Schema:
    """The schema of a page."""
    properties = {**schema_of(_Page)["properties"], "data": {"type": "array", "items": row}}
    return {"type": "object", "properties": properties, "required": ["data", "total_count", "next_cursor"]}


class _Page(BaseModel):
    data: list[Any]
    total_count: int
    next_cursor: str | None = Field(description="Ask with it for the next page; null: this is the last.")


def described(answer: Schema, body: Schema | None = None) -> dict[str, Any]:
    """What `openapi_extra` says of a route."""
    told: dict[str, Any] = {"responses": {"200": {"content": {"application/json": {"schema": answer}}}}}
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return told


def install(app: FastAPI) -> None:
    """Read paths as clients write them, and let OpenAPI tell of the faults that there are: a 422 is answered as 400."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generated()
        for operations in schema["paths"].values():
            for operation in operations.values():
                # Ours say what they are about; FastAPI's own is never answered.
                if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                    del operation["responses"]["422"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schema.get("components", {}).get("schemas", {}).pop(unused, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_middleware(_WithoutLastSlash)


class _WithoutLastSlash:
    """A path with a slash at its end is the one without: a redirect would lose the body of those who do not follow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)
