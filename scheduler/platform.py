"""The conversation API, as a client: create, find, end (specification, "Create Conversation"). Shell.

Rules of this file:
- httpx stays behind this module. One client has few connections: its pool is quadratic in waiting requests.
- Whether a call came through is a value: `Started`, or `Refused` with what is needed to decide about another try.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from typing import Any, Final

import httpx

from scheduler.joins import Join

CLIENTS: Final = 10
MAX_CONNECTIONS: Final = 10  # of one client; more of them in one pool make it slower
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)


@dataclass(frozen=True)
class Started:
    """The platform took the order."""

    conversation_id: str


@dataclass(frozen=True)
class Refused:
    """It did not: the HTTP status (None: no answer), the wait it asked for, and its words for the log."""

    status: int | None
    retry_after: timedelta | None
    detail: str


class Platform:
    """A client of one conversation platform."""

    def __init__(self, base_url: str, api_key: str) -> None:
        trusted = httpx.create_ssl_context()
        self._clients = [
            httpx.AsyncClient(
                base_url=base_url.rstrip("/"),
                headers={"x-api-key": api_key},
                timeout=TIMEOUT,
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
                verify=trusted,
                trust_env=False,  # a proxy from somebody's shell must not see the key
            )
            for _ in range(CLIENTS)
        ]
        self._turns = cycle(self._clients)

    async def start(self, join: Join, callback_url: str) -> Started | Refused:
        """Send the PAL into the call of a join. The join's id makes a second request harmless."""
        body = {
            **join.request,
            "pal_id": join.pal_id,
            "face_id": join.face_id,
            "meeting_url": join.url,
            "conversation_name": join.name,
            "callback_url": callback_url,
        }
        answer = await self._ask("POST", "/v2/conversations", json=body, headers={"Idempotency-Key": join.id})
        if isinstance(answer, Refused):
            return answer
        conversation_id = answer.get("conversation_id") if isinstance(answer, dict) else None
        if not isinstance(conversation_id, str):
            return Refused(None, None, "the answer has no conversation_id")
        return Started(conversation_id)

    async def find(self, callback_url: str) -> Started | Refused | None:
        """The conversation that was created with this callback URL, None when there is none."""
        answer = await self._ask("GET", "/v2/conversations", params={"limit": 100})
        if isinstance(answer, Refused):
            return answer
        known = answer.get("data", []) if isinstance(answer, dict) else answer
        for one in known:
            if isinstance(one, dict) and one.get("callback_url") == callback_url:
                return Started(str(one["conversation_id"]))
        return None

    async def end(self, conversation_id: str) -> Refused | None:
        """End a conversation; None when it is over, also when it was before."""
        answer = await self._ask("POST", f"/v2/conversations/{conversation_id}/end")
        if isinstance(answer, Refused) and answer.status not in (400, 404, 410):
            return answer
        return None

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = await next(self._turns).request(method, path, **request)
        except httpx.HTTPError as error:
            return Refused(None, None, type(error).__name__)
        if response.is_success:
            try:
                return response.json() if response.content else {}
            except ValueError:
                return Refused(None, None, "the answer is not JSON")
        return Refused(response.status_code, _retry_after(response), response.text[:200])


def _retry_after(response: httpx.Response) -> timedelta | None:
    seconds = response.headers.get("retry-after", "")
    return timedelta(seconds=min(int(seconds), 3600)) if seconds.isdecimal() else None
