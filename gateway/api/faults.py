"""How faults are said over HTTP: one form, one map. A door.

Rules of this file: `message` is one sentence; `errors` names every fault by its field; never a stack trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from gateway.documents import Fault
from scheduler.database import AWAY
from scheduler.platform import Answer
from scheduler.platform import Refused as Unanswered

log = structlog.get_logger("http")


class Refused(Exception):
    """A request that is answered with a fault."""

    def __init__(self, status: int, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.faults = tuple(faults)


def invalid(faults: Sequence[Fault]) -> Refused:
    """400, with every fault named."""
    named = " ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
    return Refused(400, named, faults)


def of_platform(answer: Answer | Unanswered) -> Refused:
    """What a caller is told when the platform has no answer for them."""
    if answer.status is None:
        late = isinstance(answer, Unanswered) and "Timeout" in answer.detail
        why = answer.detail if isinstance(answer, Unanswered) and answer.detail.startswith("the answer") else ""
        told = (
            f"The platform did not answer as it should: {why}."
            if why
            else "The platform did not answer; please ask again."
        )
        return Refused(504 if late else 502, told)
    if answer.status in (401, 403):
        return Refused(502, "The platform does not take the gateway's key; its operator has to mend that.")
    return Refused(answer.status, f"The platform answered {answer.status}.")


def body(message: str, faults: Sequence[Fault] = ()) -> dict[str, Any]:
    """The form of every fault."""
    return {"message": message, "errors": [{"field": one.field, "message": one.message} for one in faults]}


def _methods(request: Request) -> list[str]:
    """The methods that OpenAPI tells of the path of a request."""
    path = getattr(request.scope.get("route"), "path", "")
    return sorted(method.upper() for method in request.app.openapi()["paths"].get(path, ()))


def install(app: FastAPI) -> None:
    """Answer every fault of an application in this form."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse(body(error.message, error.faults), error.status)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [Fault(".".join(str(part) for part in one["loc"][1:]), one["msg"] + ".") for one in error.errors()]
        refused = invalid(faults)
        return JSONResponse(body(refused.message, refused.faults), refused.status)

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        # Starlette names the methods of one route; the path may have several (RFC 9110 15.5.6 wants all).
        methods = _methods(request) if error.status_code == 405 else ()
        headers = {"Allow": ", ".join(methods)} if methods else error.headers
        return JSONResponse(body(str(error.detail)), error.status_code, headers=headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> JSONResponse:
        path = getattr(request.scope.get("route"), "path", "")  # not what was asked for: a feed's has its token
        log.error("http fault", path=path, error=type(error).__name__, exc_info=error)
        if isinstance(error, AWAY):
            return JSONResponse(body("The store cannot be used now; please ask again."), 503)
        return JSONResponse(body("That is a fault of the gateway; it is in its log."), 500)
