"""PALs: create one, its address and feed, its username, its allowlist and who that lets in. A door.

Rules of this file: what is changed is changed by the routes of the API, with their checks and their faults.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.responses import Response
from sqlalchemy import Engine

from gateway import store
from gateway.address import normal
from gateway.api.calendars import Calendars
from gateway.api.faults import Refused
from gateway.api.forms import cursor_of, known_pal, mark_of
from gateway.api.house import House
from gateway.api.pals import Pals
from gateway.page import frame
from gateway.page.session import Form, Visiting, Visitor
from gateway.pals import allowed_by, allowlist_fault

MOST: Final = 50  # on a page


class PalPages:
    """The pages of PALs."""

    def __init__(self, house: House, lookups: Engine) -> None:
        self._house = house
        self._lookups = lookups
        self._api = Pals(house)
        self._calendars = Calendars(house)
        self.router = frame.router()
        for path, route, method in (
            ("/pals", self.list, "GET"),
            ("/pals", self.create, "POST"),
            ("/pals/username", self.username, "GET"),
            ("/pals/{pal_id}", self.one, "GET"),
            ("/pals/{pal_id}", self.change, "POST"),
            ("/pals/{pal_id}/would", self.would, "POST"),
            ("/pals/{pal_id}/turn", self.turn, "POST"),
            ("/pals/{pal_id}/delete", self.delete, "POST"),
        ):
            self.router.add_api_route(path, route, methods=[method])

    def list(self, request: Request, visitor: Visiting, cursor: Annotated[str, Query(max_length=300)] = "") -> Response:
        """The account's PALs, and the form for a new one."""
        return self._listed(request, visitor, cursor, {}, {})

    def _listed(
        self, request: Request, visitor: Visitor, cursor: str, given: dict[str, str], faults: dict[str, str]
    ) -> Response:
        after = mark_of(cursor) if cursor else None
        with self._lookups.connect() as connection:
            found = store.account_pals(connection, visitor.key.account, after, MOST)
        values = {"found": found, "further": cursor_of(found.next) if found.next else "", "given": given}
        domain = self._house.domains.of(visitor.key.account)
        status = 400 if faults else 200
        return frame.page(request, "pals.html", visitor, status, faults=faults, domain=domain, **values)

    def create(self, request: Request, visitor: Visiting, fields: Form) -> Response:
        """Create a PAL; what is wrong is said beside its field."""
        layer = {"username": fields.get("username", "").strip(), "allowlist": _entries(fields)}
        document = {
            "pal_name": fields.get("name", "").strip(),
            "default_face_id": fields.get("face", "").strip(),
            "system_prompt": fields.get("prompt", ""),
            "layers": {"conferencing": layer},
        }
        try:
            made = self._api.create(visitor.key, {name: value for name, value in document.items() if value})
        except Refused as error:
            if error.status != 400:
                raise
            return self._listed(request, visitor, "", fields, _by_field(error))
        return frame.after_post(request, f"/pals/{made['pal_id']}")

    def username(
        self,
        request: Request,
        visitor: Visiting,
        username: Annotated[str, Query(max_length=200)],
        own: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        """Whether a username can be had, as somebody types it; `own`: the PAL that may have it already."""
        said = self._api.check_username(visitor.key, username) if username else None
        with self._lookups.connect() as connection:
            row = store.account_pal(connection, visitor.key.account, own) if own else None
        if row is not None and row.pal.address.partition("@")[0] == username.lower():
            said = {"available": True}
        return frame.page(request, "_username.html", visitor, said=said, username=username)

    def one(self, request: Request, visitor: Visiting, pal_id: str) -> Response:
        """One PAL, to look at and to change."""
        return self._shown(request, visitor, pal_id)

    def _shown(self, request: Request, visitor: Visitor, pal_id: str, **more: Any) -> Response:
        with self._lookups.connect() as connection:
            row = known_pal(connection, visitor.key.account, pal_id)
        feed = self._house.feeds.url(pal_id, row.calendar_number) if row.pal.address else ""
        given = {
            "name": row.pal.name,
            "username": row.pal.address.partition("@")[0],
            "face": row.pal.face_id,
            "allowlist": "\n".join(row.pal.allowlist),
        }
        domain = self._house.domains.of(visitor.key.account)
        values = {"row": row, "feed": feed, "domain": domain, "given": given, "faults": {}, **more}
        return frame.page(request, "pal.html", visitor, 400 if values["faults"] else 200, **values)

    def change(self, request: Request, visitor: Visiting, fields: Form, pal_id: str) -> Response:
        """Change its name, username, face and allowlist, as far as they are other than before."""
        with self._lookups.connect() as connection:
            document = known_pal(connection, visitor.key.account, pal_id).document
        try:
            self._api.patch(visitor.key, pal_id, _operations(document, fields))
        except Refused as error:
            if error.status != 400:
                raise
            return self._shown(request, visitor, pal_id, given=fields, faults=_by_field(error))
        return frame.after_post(request, f"/pals/{pal_id}")

    def would(self, request: Request, visitor: Visiting, fields: Form, pal_id: str) -> Response:
        """Would somebody be let in, by which entry of the list as it stands in the form?"""
        with self._lookups.connect() as connection:
            known_pal(connection, visitor.key.account, pal_id)
        asked, entries = fields.get("who", "").strip(), tuple(_entries(fields))
        return frame.page(request, "_would.html", visitor, asked=asked, verdict=_verdict(asked, entries))

    def turn(self, request: Request, visitor: Visiting, fields: Form, pal_id: str) -> Response:
        """Give its feed another address."""
        self._calendars.turn(visitor.key, pal_id)
        return frame.after_post(request, f"/pals/{pal_id}")

    def delete(self, request: Request, visitor: Visiting, fields: Form, pal_id: str) -> Response:
        """Delete it, once its name was typed in."""
        with self._lookups.connect() as connection:
            row = known_pal(connection, visitor.key.account, pal_id)
        if fields.get("name", "").strip() != row.pal.name:
            return self._shown(request, visitor, pal_id, faults={"delete": "Type the PAL's name to delete it."})
        self._api.delete(visitor.key, pal_id)
        return frame.after_post(request, "/pals")


def _entries(fields: dict[str, str]) -> list[str]:
    return [line.strip() for line in fields.get("allowlist", "").splitlines() if line.strip()]


def _verdict(asked: str, entries: tuple[str, ...]) -> dict[str, Any]:
    """What the desk would say to a sender whose address was verified."""
    fault = allowlist_fault(entries)
    if fault is not None:
        return {"fault": fault}
    local, _, domain = asked.rpartition("@")
    if not local or not domain or " " in asked:
        return {"fault": "Write an address, such as alex@acme.com."}
    return {"fault": None, "entry": allowed_by(normal(asked), entries), "is_open": not entries}


def _operations(document: dict[str, Any], fields: dict[str, str]) -> list[dict[str, Any]]:
    """A JSON Patch from the PAL as it is to what the form says; the API says what is wrong with it."""
    layers = document.get("layers") or {}
    layer = layers.get("conferencing")
    asked = {"username": fields.get("username", "").strip(), "allowlist": _entries(fields)}
    name, face = fields.get("name", "").strip(), fields.get("face", "").strip()
    wanted: dict[str, Any] = {"/pal_name": name, "/default_face_id": face}
    if layer or any(asked.values()):
        wanted["/layers"] = {**layers, "conferencing": {**(layer or {}), **asked}}
    return [{"op": "add", "path": path, "value": value} for path, value in wanted.items()]


_FIELDS: Final = {
    "pal_name": "name",
    "default_face_id": "face",
    "system_prompt": "prompt",
    "layers.conferencing.username": "username",
    "layers.conferencing.allowlist": "allowlist",
}


def _by_field(error: Refused) -> dict[str, str]:
    """Faults by the field of the form that they belong to; '' is the form as a whole."""
    found: dict[str, str] = {}
    for fault in error.faults:
        known = next((ours for theirs, ours in _FIELDS.items() if fault.field.startswith(theirs)), "")
        found[known] = f"{found[known]} {fault.message}" if known in found else fault.message
    return found or {"": error.message}
