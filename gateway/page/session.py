"""Who looks at the page: an API key, remembered by a signed cookie. A door.

Rules of this file:
- A cookie names a key and says nothing else: each request asks the store whether that key still opens anything.
- It is signed with a secret of the installation (itsdangerous), so every process knows it, and lasts half a day.
- Whatever changes something needs the token of the session, too, which other sites' pages cannot read.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Annotated, Final
from urllib.parse import parse_qsl, quote, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from gateway import store
from gateway.api.faults import Refused
from gateway.api.forms import read_body
from gateway.keys import Key, digest
from scheduler.clock import utc_now
from scheduler.zones import iana_names

COOKIE: Final = "pal_session"
ZONE_COOKIE: Final = "pal_zone"  # the browser's time zone, by `page.js`
LASTS: Final = 12 * 3600  # seconds
MAX_FORM: Final = 256 * 1024  # bytes
FORM_FIELD: Final = "csrf"  # carries the session's token; htmx sends X-CSRF-Token


@dataclass(frozen=True)
class Visitor:
    """Who looks, with the token of their forms, and the zone that they want times in."""

    key: Key
    token: str
    zone: ZoneInfo


class SignIn(Exception):
    """Nobody is signed in; `then` is where they wanted to go."""

    def __init__(self, then: str) -> None:
        super().__init__(then)
        self.then = then

    @property
    def target(self) -> str:
        """The page to sign in at."""
        return f"/sign-in?then={quote(self.then, safe='/')}" if self.then not in ("", "/") else "/sign-in"


class Sessions:
    """Makes and knows the cookies of an installation."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._cookies = URLSafeTimedSerializer(secret, salt="session")

    def begun(self, key: Key) -> str:
        """The cookie of a new session."""
        return str(self._cookies.dumps([key.id, token_urlsafe(9)]))

    def key_id(self, cookie: str) -> str | None:
        """The key that a cookie names, None when it is not ours or too old."""
        try:
            named, _ = self._cookies.loads(cookie, max_age=LASTS)
        except (BadSignature, ValueError, TypeError):
            return None
        return str(named)

    def token(self, cookie: str) -> str:
        """What forms of this session carry."""
        return hmac.new(self._secret, b"form " + cookie.encode(), "sha256").hexdigest()[:40]


def opening(request: Request, given: str) -> Key | str:
    """The key that somebody signs in with, or why it opens nothing."""
    with request.app.state.lookups.connect() as connection:
        return _usable(request, store.find_key(connection, digest(given.strip())))


def _usable(request: Request, key: Key | None) -> Key | str:
    if key is None or not key.is_valid(utc_now()):
        return "This key is not known, has expired or was revoked."
    if not key.is_allowed_from(request.client.host if request.client else ""):
        return "This key may not be used from this address."
    return key


def _visiting(request: Request) -> Visitor:
    """Who makes a request. Raises SignIn."""
    cookie = request.cookies.get(COOKIE, "")
    sessions: Sessions = request.app.state.sessions
    key_id = sessions.key_id(cookie)
    key: Key | str = ""
    if key_id is not None:
        with request.app.state.lookups.connect() as connection:
            key = _usable(request, store.key_with_id(connection, key_id))
    if isinstance(key, str):
        raise SignIn(_wanted(request))
    return Visitor(key, sessions.token(cookie), zone_of(request))


def _wanted(request: Request) -> str:
    """The page that a request is for, with what was asked of it; of a part of a page, the page that it is on."""
    if request.method != "GET":
        return "/"
    try:
        parts = urlsplit(request.headers.get("hx-current-url") or str(request.url))
    except ValueError:
        return "/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def zone_of(request: Request) -> ZoneInfo:
    """The zone that the browser told, UTC when it did not."""
    name = request.cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    return ZoneInfo(name if name in iana_names() else "UTC")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises Refused."""
    raw = await read_body(request, MAX_FORM)
    try:
        return dict(parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise Refused(400, "The form cannot be read.") from error


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page sent this (Fetch Metadata; older ones: Origin)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host", "")


Visiting = Annotated[Visitor, Depends(_visiting)]


async def _meant(request: Request, visitor: Visiting) -> dict[str, str]:
    """The fields of a form that was sent from our own page. Raises Refused."""
    fields = await form_of(request)
    given = fields.get(FORM_FIELD) or request.headers.get("x-csrf-token", "")
    if is_from_elsewhere(request) or not hmac.compare_digest(given.encode(), visitor.token.encode()):
        raise Refused(403, "This form is not from here, or older than your session; load the page again.")
    return fields


Form = Annotated[dict[str, str], Depends(_meant)]
