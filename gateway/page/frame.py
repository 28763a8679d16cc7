"""What all pages have in common: templates, headers, assets, faults as pages, and what is live. A door.

Rules of this file:
- A fault that the API says in JSON is said here as a page with the same sentence and status.
- A live part is asked for with what the browser shows (`seen`); when nothing has changed the answer is 204.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway import __version__
from gateway.api.faults import Refused
from gateway.page import views
from gateway.page.session import SignIn, Visitor
from gateway.pals import DEFAULT_ACCOUNT
from gateway.verdict import PLATFORM_NAMES
from scheduler.clock import utc_now
from scheduler.database import AWAY

HEADERS: Final = {
    # Pico draws its small pictures from data: addresses in the style sheet.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_UNKNOWN: Final = "There is no such page."

log = structlog.get_logger("http")


class PageRoute(APIRoute):
    """A route whose faults are pages, and which sends those who are not signed in to where they can."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except SignIn as error:
                return _elsewhere(request, error.target)
            except Refused as error:
                return fault_page(request, error.status, error.message)
            except RequestValidationError:
                return fault_page(request, 404, _UNKNOWN)
            except AWAY as error:
                log.error("page fault", path=request.url.path, error=repr(error))
                return fault_page(request, 503, "The store cannot be used now; please try again.")

        return guarded


def router() -> APIRouter:
    """A router of pages, which OpenAPI does not tell of."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def _elsewhere(request: Request, target: str) -> Response:
    """On to another page, also for a part of a page that htmx asked for."""
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303, headers=HEADERS)


def after_post(request: Request, target: str) -> Response:
    """What follows a form that was carried out."""
    return _elsewhere(request, target)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("gateway.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "visible": views.visible,
        "clock": views.clock,
        "day": views.day,
        "moment": views.moment,
        "iso": views.iso,
        "seconds": views.seconds,
        "platform": lambda name: PLATFORM_NAMES.get(name, name or ""),
    }
    environment.globals |= {
        "version": __version__,
        "asset": _asset_address,
        "links": views.is_web_address,
        "told": views.told,
    }
    return environment


def page(request: Request, template: str, visitor: Visitor | None, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page."""
    text = _templates().get_template(template).render(_common(request, visitor), **values)
    return HTMLResponse(text, status, headers={**HEADERS, "Cache-Control": "no-store"})


@dataclass(frozen=True)
class Live:
    """A part of a page that follows what happens: its text, and the mark that a browser asks with."""

    text: str
    mark: str


def live(request: Request, template: str, visitor: Visitor, **values: Any) -> Live:
    """A live part as it is now."""
    text = _templates().get_template(template).render(_common(request, visitor), **values)
    return Live(text, blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest())


def part(request: Request, found: Live, address: str) -> Response:
    """The answer to a browser that asks whether a part is still as it shows it."""
    if request.query_params.get("seen") == found.mark:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    text = _templates().get_template("_live.html").render(live=found, address=address)
    return HTMLResponse(text, headers={**HEADERS, "Cache-Control": "no-store"})


def fault_page(request: Request, status: int, sentence: str) -> HTMLResponse:
    """A fault, said as a page; in place of a part that htmx asked for, as its sentence only."""
    return page(request, "fault.html", None, status, sentence=sentence, number=status)


def _common(request: Request, visitor: Visitor | None) -> dict[str, Any]:
    return {
        "here": request.url.path,
        "visitor": visitor,
        "zone": visitor.zone if visitor is not None else None,
        "now": utc_now(),
        "is_operator": visitor is not None and visitor.key.account == DEFAULT_ACCOUNT,
    }


@lru_cache(maxsize=1)
def _assets() -> dict[str, tuple[str, str]]:
    """Name -> where it is, and a mark of what is in it."""
    folder = files("gateway.page") / "assets"
    return {
        one.name: (str(one), blake2b(one.read_bytes(), digest_size=6).hexdigest())
        for one in folder.iterdir()
        if "." + one.name.rpartition(".")[2] in _TYPES
    }


def _asset_address(name: str) -> str:
    return f"/assets/{name}?{_assets()[name][1]}"


def add_assets(routes: APIRouter) -> None:
    """The files that pages load."""

    @routes.get("/assets/{name}")
    def asset(name: str, request: Request) -> Response:
        if name not in _assets():
            raise Refused(404, _UNKNOWN)
        path, mark = _assets()[name]
        lasts = "public, max-age=31536000, immutable" if request.url.query == mark else "no-cache"
        media_type = _TYPES["." + name.rpartition(".")[2]]
        return FileResponse(path, headers={**HEADERS, "Cache-Control": lasts}, media_type=media_type)
