"""Who asks: the account behind an API key. A door.

Rules of this file:
- 401: no key, or one that opens nothing. 403: a good key from an address that it may not be used from.
- Another account's things are answered like things that are not there (404), by those who look them up.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from gateway import store
from gateway.api.faults import Refused
from gateway.keys import Key, digest
from scheduler.clock import utc_now

_HEADER = APIKeyHeader(name="x-api-key", auto_error=False, description="`pal-gateway keys create` makes one.")


def asking(request: Request, given: Annotated[str | None, Security(_HEADER)]) -> Key:
    """The key that a request is made with. Raises Refused."""
    if not given:
        raise Refused(401, "A key is required, in the header x-api-key.")
    with request.app.state.lookups.connect() as connection:
        key = store.find_key(connection, digest(given))
    if key is None or not key.is_valid(utc_now()):
        raise Refused(401, "This key is not known, has expired or was revoked.")
    if not key.is_allowed_from(request.client.host if request.client else ""):
        raise Refused(403, "This key may not be used from this address.")
    return key


Asking = Annotated[Key, Depends(asking)]
