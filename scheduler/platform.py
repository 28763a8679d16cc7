"""A target over HTTP: what it says (`targets`) is sent, its answers are read. Shell.

Rules of this file:
- httpx stays behind this module. One client has few connections: its pool is quadratic in waiting requests.
- Whether a call came through is a value: an `Answer`, or `Refused` with what is needed to decide about another try.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NoReturn

import httpx
import structlog

from scheduler.joins import Join, JoinState
from scheduler.lanes import Circuit
from scheduler.request import CONVERSATION
from scheduler.targets import Call, Seen, Started, targets

CLIENTS: Final = 10
MAX_CONNECTIONS: Final = 10  # of one client; more of them in one pool make it slower
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)

log = structlog.get_logger("joins")


@dataclass(frozen=True)
class Answer:
    """What was answered: the HTTP status, what the JSON body says (None: it has none), the wait that is asked for."""

    status: int
    body: Any
    text: str = ""
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        """Whether it says yes."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Refused:
    """The order was not taken: the HTTP status (None: no answer), the wait it asked for, and its words for the log."""

    status: int | None
    retry_after: timedelta | None
    detail: str
    body: Any = None


class Platform:
    """A client of one target at one address."""

    def __init__(self, base_url: str, api_key: str, kind: str = CONVERSATION) -> None:
        self._target = targets()[kind]
        self.look_every = self._target.look_every
        trusted = httpx.create_ssl_context()
        self._clients = [
            httpx.AsyncClient(
                base_url=base_url.rstrip("/"),
                headers=self._target.headers(api_key),
                timeout=TIMEOUT,
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
                verify=trusted,
                trust_env=False,  # a proxy from somebody's shell must not see the key
            )
            for _ in range(CLIENTS)
        ]
        self._under_way = dict.fromkeys(self._clients, 0)
        self.circuit = Circuit()

    async def start(self, join: Join, callback_url: str) -> tuple[Started, Answer] | Refused:
        """Send the PAL of a join."""
        answer = await self._asked(self._target.start(join, callback_url))
        if isinstance(answer, Refused):
            return answer
        started = self._target.started(answer.body)
        return (started, answer) if started else Refused(None, None, "the answer does not name what was started")

    async def find(self, callback_url: str) -> Started | Refused | None:
        """The call that was started with this callback URL, None when there is none or the target cannot tell."""
        search = self._target.search()
        if search is None:
            return None
        answer = await self._asked(search)
        return answer if isinstance(answer, Refused) else self._target.found(answer.body, callback_url)

    async def look(self, conversation_id: str) -> Seen | Refused | None:
        """How a call goes, None when nothing more is known."""
        answer = await self._asked(self._target.look(conversation_id))
        if isinstance(answer, Refused):
            return Seen(JoinState.ENDED, "no-longer-there") if answer.status in (404, 410) else answer
        return self._target.seen(answer.body)

    async def end(self, conversation_id: str) -> Refused | None:
        """End a call; None when it is over, also when it was before."""
        end = self._target.end(conversation_id)
        answer = await self._asked(end) if end is not None else None
        if isinstance(answer, Refused) and answer.status not in (400, 404, 410):
            return answer
        return None

    async def ask(self, call: Call) -> Answer | Refused:
        """Send any request. Refused: no answer came, or one that says nothing."""
        answer = await self._answer(call)
        self._hear(answered=not isinstance(answer, Refused) or answer.status is not None)
        return answer

    def _hear(self, *, answered: bool) -> None:
        was_open, self.circuit = self.circuit.is_open, self.circuit.after(answered=answered, at=monotonic())
        if self.circuit.is_open and not was_open:
            log.warning("target does not answer", target=self._target.kind, requests=self.circuit.unanswered)
        elif was_open and answered:
            log.info("target answers again", target=self._target.kind)

    async def _answer(self, call: Call) -> Answer | Refused:
        # A client whose connections all hang would keep the next request waiting for one.
        client = min(self._clients, key=self._under_way.__getitem__)
        self._under_way[client] += 1
        try:
            response = await client.request(
                call.method, call.path, json=call.body, params=call.params or None, headers=call.headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Refused(None, None, type(error).__name__)
        finally:
            self._under_way[client] -= 1
        status = response.status_code
        if not (response.is_success or 400 <= status < 600):
            return Refused(None, None, f"the answer has the status {status}")
        try:
            body = _json(response.content)
        except ValueError:
            # Of a success it is all that was asked for; of a refusal, the status says enough.
            if response.is_success:
                return Refused(None, None, "the answer is not JSON")
            body = None
        return Answer(status, body, response.text[:200], _retry_after(response))

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    async def _asked(self, call: Call) -> Answer | Refused:
        answer = await self.ask(call)
        if isinstance(answer, Refused) or answer.is_success:
            return answer
        return Refused(answer.status, answer.retry_after, answer.text, answer.body)


def _json(content: bytes) -> Any:
    """What a body says, None when it is empty. Raises ValueError, also for what cannot be said again."""
    if not content:
        return None
    body = json.loads(content, parse_constant=_no_number)
    json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    return body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _retry_after(response: httpx.Response) -> timedelta | None:
    seconds = response.headers.get("retry-after", "")
    return timedelta(seconds=min(int(seconds), 3600)) if seconds.isdecimal() else None
