"""Signing in with an API key, and out. A door.

Rules of this file:
- A key is taken from a form on our own page only, and never shown again; what is kept in the browser opens the page,
  not the API.
- Where one goes after it is a path of ours.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from gateway.api.faults import Refused
from gateway.page import frame
from gateway.page.joins import back_to
from gateway.page.session import COOKIE, LASTS, Form, Sessions, form_of, is_from_elsewhere, opening

_ELSEWHERE: Final = "This form is not from here; load the page again."


class SignInPages:
    """The door."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.router = frame.router()
        self.router.add_api_route("/sign-in", self.ask, methods=["GET"])
        self.router.add_api_route("/sign-in", self.enter, methods=["POST"])
        self.router.add_api_route("/sign-out", self.leave, methods=["POST"])

    def ask(self, request: Request, then: str = "/") -> Response:
        """The form."""
        return frame.page(request, "sign_in.html", None, then=then[:500], fault="")

    async def enter(self, request: Request) -> Response:
        """Begin a session with a key that opens something."""
        if is_from_elsewhere(request):
            raise Refused(403, _ELSEWHERE)
        fields = await form_of(request)
        key = await asyncio.to_thread(opening, request, fields.get("key", ""))
        if isinstance(key, str):
            return frame.page(request, "sign_in.html", None, 401, then=fields.get("back", "/"), fault=key)
        response = RedirectResponse(back_to(fields), 303, headers=frame.HEADERS)
        response.set_cookie(
            COOKIE,
            self._sessions.begun(key),
            max_age=LASTS,
            httponly=True,
            samesite="lax",
            secure=request.app.state.is_https,
        )
        return response

    def leave(self, fields: Form) -> Response:
        """End the session in this browser."""
        response = RedirectResponse("/sign-in", 303, headers=frame.HEADERS)
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return response
