"""The API's description for people, at /docs: Swagger UI over /openapi.json. A door.

Rules of this file:
- All of it is served from here: the page's policy lets a browser ask no other host, and run nothing inline.
- Swagger UI's files come from the wheel of fastapi-offline, the page and what starts it from `gateway/pages/`.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from gateway.api.faults import Refused

_HEADERS: Final = {
    # Swagger UI writes style attributes, and its style sheet draws with data: images.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "max-age=3600",
}


class Docs:
    """The page and its files."""

    def __init__(self) -> None:
        ours, theirs = files("gateway") / "pages", files("fastapi_offline") / "static"
        self._page = str(ours / "docs.html")
        self._files = {
            "docs.js": (str(ours / "docs.js"), "text/javascript"),
            "swagger-ui-bundle.js": (str(theirs / "swagger-ui-bundle.js"), "text/javascript"),
            "swagger-ui.css": (str(theirs / "swagger-ui.css"), "text/css"),
        }
        self.router = APIRouter(prefix="/docs", include_in_schema=False)
        self.router.add_api_route("", self.page, methods=["GET"])
        self.router.add_api_route("/{name}", self.file, methods=["GET"])

    def page(self) -> Response:
        return FileResponse(self._page, headers=_HEADERS, media_type="text/html")

    def file(self, name: str) -> Response:
        if name not in self._files:
            raise Refused(404, "There is no such file.")
        path, media_type = self._files[name]
        return FileResponse(path, headers=_HEADERS, media_type=media_type)
