"""PALs over HTTP: create, list, get, patch, delete, and whether a username is free. A door.

Rules of this file:
- One implementation for /v2/pals and /v2/personas: the older names are translated on the way in and out.
- A username is first come, first served in the account's domain, also when two ask for it at once: the store decides.
- A PAL keeps its address until it is renamed, also when its account gets another domain meanwhile.
- A PAL that cannot be invited any more attends nothing, and who expects it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

import scheduler.store
from gateway import regrets, store
from gateway.address import domain_of
from gateway.api.auth import Asking
from gateway.api.faults import invalid
from gateway.api.forms import JsonBody, Paged, Schema, described, known_pal, older, page, page_of, refusals, schema_of
from gateway.api.house import House
from gateway.api.mirror import changed_meanwhile
from gateway.documents import (
    Fault,
    PalDocument,
    completed,
    conferencing_of,
    faults_of,
    faults_to_legacy,
    from_legacy,
    operations_from_legacy,
    pal_of,
    patched,
    to_legacy,
)
from gateway.keys import Key
from gateway.pals import Pal, username_fault
from gateway.replay import instant_text
from gateway.store import PalRow
from scheduler.clock import utc_now
from scheduler.targets import targets

_TAKEN: Final = Fault(
    "layers.conferencing.username", "This username is already taken; please choose a different username."
)
_DELETING: Final = (404, 409, 502, 504)


class Created(BaseModel):
    """What is answered to a create."""

    pal_id: str
    pal_name: str
    created_at: str
    conferencing_email: str = ""


class Availability(BaseModel):
    """Whether a username can be had."""

    available: bool
    reason: str = ""


class Pals:
    """The routes of PALs, under today's or the older names."""

    def __init__(self, house: House, *, legacy: bool = False) -> None:
        self._house = house
        self._legacy = legacy
        self.router = APIRouter(
            prefix="/v2/personas" if legacy else "/v2/pals", tags=["personas" if legacy else "pals"]
        )
        whole = self._named(_WHOLE)
        self._add(
            "",
            "POST",
            self.create,
            described(self._named(schema_of(Created)), older(_NEW) if legacy else _NEW_PAL),
            400,
            413,
            502,
            504,
        )
        self._add("", "GET", self.list, described(page_of(whole)), 400)
        self._add("/check-username", "GET", self.check_username, described(schema_of(Availability)), 400)
        self._add("/{pal_id}", "GET", self.get, described(whole), 404)
        self._add("/{pal_id}", "PATCH", self.patch, described(whole, _PATCH), 400, 404, 409, 413, 502, 504)
        self._add("/{pal_id}", "DELETE", self.delete, {}, *_DELETING, status_code=204, response_class=Response)

    def _add(self, path: str, method: str, route: Any, told: dict[str, Any], *statuses: int, **more: Any) -> None:
        documented = refusals(401, 403, 503, *statuses)
        more = {"response_model": None, "responses": documented, "openapi_extra": told, **more}
        self.router.add_api_route(path, route, methods=[method], **more)

    def _named(self, schema: Schema) -> Schema:
        return older(schema) if self._legacy else schema

    def create(self, key: Asking, body: JsonBody) -> dict[str, Any]:
        """Create a PAL."""
        document, now = from_legacy(body), utc_now()
        faults = faults_of(document, legacy=self._legacy)
        with self._house.engine.connect() as connection:
            self._refuse([*faults, *self._unreachable(document), *self._taken(connection, key, document)])
        document = completed(document)
        with self._house.mirror.created(document) as pal_id, self._writing() as connection:
            pal = pal_of(pal_id, key.account, document, self._house.domains.of(key.account))
            store.add_pal(connection, pal, now, document)
        shown = self._shown(PalRow(pal, document, now))
        return {name: shown[name] for name in self._named(schema_of(Created))["properties"] if name in shown}

    def list(self, key: Asking, paging: Paged) -> dict[str, Any]:
        """The account's PALs, the newest first."""
        with self._house.engine.connect() as connection:
            found = store.account_pals(connection, key.account, paging.after, paging.limit)
        return page(found, self._shown)

    def check_username(self, key: Asking, username: Annotated[str, Query()]) -> dict[str, Any]:
        """Whether a username can be had now, and why not."""
        fault = username_fault(username)
        if fault is None:
            with self._house.engine.connect() as connection:
                taken = store.find_pal(connection, self._address(key, username)) is not None
            fault = "Username is already taken." if taken else None
        return {"available": True} if fault is None else {"available": False, "reason": fault}

    def get(self, key: Asking, pal_id: str) -> dict[str, Any]:
        """One PAL."""
        with self._house.engine.connect() as connection:
            return self._shown(known_pal(connection, key.account, pal_id))

    def patch(self, key: Asking, pal_id: str, body: JsonBody) -> dict[str, Any]:
        """Change a PAL by a JSON Patch (RFC 6902): all of it, or nothing. Answers the PAL as it is then."""
        operations = operations_from_legacy(body)
        with self._changed_there(key, pal_id, operations) as there, self._writing() as connection:
            before, document = self._result(connection, key, pal_id, operations)
            if there is not None and there != before.document:
                raise changed_meanwhile()
            pal = pal_of(pal_id, key.account, document, self._domain(key, _username(document), before.pal))
            store.save_pal(connection, pal, document)
            released = bool(before.pal.address and not pal.address)
            if released:
                regrets.release(connection, before.pal, utc_now(), self._house.policy)
            elif pal.attendant != before.pal.attendant:
                scheduler.store.change_attendant(connection, pal.attendant, utc_now())
        if released:
            self._house.wake()
        return self._shown(replace(before, pal=pal, document=document))

    @contextmanager
    def _changed_there(self, key: Key, pal_id: str, operations: Any) -> Iterator[dict[str, Any] | None]:
        """Where PALs are mirrored, a patch is done there first; the document that it was found good for, else None."""
        if not self._house.mirror.is_on:
            yield None
            return
        self._check_known(key, pal_id)
        with self._house.mirror.alone(pal_id):
            with self._house.engine.connect() as connection:
                before, document = self._result(connection, key, pal_id, operations)
            with self._house.mirror.patched(pal_id, before.document, document):
                yield before.document

    def _result(self, connection: Connection, key: Key, pal_id: str, operations: Any) -> tuple[PalRow, dict[str, Any]]:
        """A PAL and what a patch makes of it, complete. Raises Refused."""
        before = known_pal(connection, key.account, pal_id)
        result = patched(before.document, operations, self._fixed(before))
        if isinstance(result, list):
            raise invalid(result)
        # A PAL that was made without a face, under the older names, may go on without.
        faults = faults_of(result, legacy=self._legacy or not before.pal.face_id)
        self._refuse([*faults, *self._unreachable(result), *self._taken(connection, key, result, before.pal)])
        return before, completed(result)

    def delete(self, key: Asking, pal_id: str) -> Response:
        """Delete a PAL; what it was going to attend is cancelled, and its organizers are told."""
        self._check_known(key, pal_id)
        with self._house.mirror.alone(pal_id):
            self._house.mirror.delete(pal_id)
            with self._house.engine.begin() as connection:
                known = known_pal(connection, key.account, pal_id)
                regrets.release(connection, known.pal, utc_now(), self._house.policy)
                store.remove_pal(connection, pal_id)
        self._house.wake()
        return Response(status_code=204)

    def _check_known(self, key: Key, pal_id: str) -> None:
        """Raise Refused for a PAL that is not the account's, before anybody is kept from it or asked about it."""
        with self._house.engine.connect() as connection:
            known_pal(connection, key.account, pal_id)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction; who comes second with a username is told so."""
        try:
            with self._house.engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise invalid([_TAKEN]) from error

    def _unreachable(self, document: Any) -> Sequence[Fault]:
        layer = conferencing_of(document) if isinstance(document, dict) else None
        target = layer.get("target") if layer else None
        kind = target.get("kind") if isinstance(target, dict) else None
        if kind not in targets() or kind in self._house.kinds:
            return ()
        return [Fault("layers.conferencing.target", f"This gateway has no address for {kind} (setting targets).")]

    def _taken(self, connection: Connection, key: Key, document: Any, own: Pal | None = None) -> Sequence[Fault]:
        username = _username(document)
        if username_fault(username):
            return ()
        address = self._address(key, username, own)
        if own is not None and own.address == address:
            return ()
        return () if store.find_pal(connection, address) is None else (_TAKEN,)

    def _address(self, key: Key, username: str, own: Pal | None = None) -> str:
        return f"{username.lower()}@{self._domain(key, username, own)}"

    def _domain(self, key: Key, username: str, own: Pal | None) -> str:
        """The domain of an address: the account's, or that which a PAL of this name has, while mail is taken for it."""
        if own is not None and own.address.startswith(f"{username.lower()}@"):
            kept = domain_of(own.address)
            if kept in self._house.domains:
                return kept
        return self._house.domains.of(key.account)

    def _refuse(self, faults: Sequence[Fault]) -> None:
        if faults:
            raise invalid(faults_to_legacy(faults) if self._legacy else faults)

    def _shown(self, row: PalRow) -> dict[str, Any]:
        shown = {"pal_id": row.pal.id, **row.document, **self._fixed(row)}
        return to_legacy(shown) if self._legacy else shown

    def _fixed(self, row: PalRow) -> dict[str, Any]:
        """What is shown of a PAL beside its document."""
        fixed = {"pal_id": row.pal.id, "created_at": instant_text(row.created_at)}
        if not row.pal.address:
            return fixed
        feed = self._house.feeds.url(row.pal.id, row.calendar_number)
        return {**fixed, "conferencing_email": row.pal.address, "calendar_url": feed}


def _username(document: Any) -> str:
    """The username that a document asks for, '' when it asks for none."""
    layer = conferencing_of(document) if isinstance(document, dict) else None
    username = layer.get("username") if layer else None
    return username if isinstance(username, str) else ""


def _with(schema: Schema, required: Sequence[str], **properties: Schema) -> Schema:
    return {**schema, "properties": {**schema["properties"], **properties}, "required": [*required]}


def _strings(*names: str) -> Mapping[str, Schema]:
    return {name: {"type": "string"} for name in names}


_NEW: Final = schema_of(PalDocument)
_NEW_PAL: Final = {**_NEW, "required": ["default_face_id"]}
_WHOLE: Final = _with(
    {**_NEW, "title": "Pal"},
    ["pal_id", "pal_name", "pipeline_mode", "created_at"],
    **_strings("pal_id", "pal_name", "created_at", "conferencing_email", "calendar_url"),
)
_PATCH: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
            **_strings("path", "from"),
            "value": {},
        },
    },
}
