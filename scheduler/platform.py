"""A target over HTTP: what it says (`targets`) is sent, its answers are read. Shell.

Rules of this file:
- httpx stays behind this module, over the connections of aiohttp: with a hundred requests under way httpx's own pool
  takes several times the CPU.
- A request is sent once: nothing here tries again, follows a redirect, keeps a cookie or asks the environment for a
  proxy (somebody's shell must not see the key).
- Whether a call came through is a value: an `Answer`, or `Refused` with what is needed to decide about another try.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NoReturn

import aiohttp
import httpx
import structlog
from httpx_aiohttp import AiohttpTransport

from scheduler.joins import Join, JoinState
from scheduler.lanes import ROOM, Circuit, Pace
from scheduler.request import CONVERSATION
from scheduler.retry import TOO_MANY
from scheduler.targets import Call, Seen, Started, targets

CONNECTIONS: Final = ROOM + 20  # orders by somebody who waits find one when the joins that are due hang
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0, pool=5.0)  # seconds
WHOLE: Final = 20.0  # seconds, for a request with its answer: one that comes in drops has an end, too

SAY_AGAIN: Final = 60.0  # seconds without a word that a target asks for less, after which it is said once more

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
        trusted = httpx.create_ssl_context()  # SSL_CERT_FILE, or the certificates of certifi

        def session() -> aiohttp.ClientSession:
            """The connections; they belong to the loop that runs."""
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trusted)
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers=self._target.headers(api_key),
            timeout=TIMEOUT,
            transport=AiohttpTransport(verify=trusted, client=session),
            trust_env=False,
        )
        self.circuit = Circuit()
        self.pace = Pace()

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
        self._hear(answer)
        return answer

    def _hear(self, answer: Answer | Refused) -> None:
        at, answered = monotonic(), isinstance(answer, Answer) or answer.status is not None
        if isinstance(answer, Answer):
            self._hear_pace(answer, at)
        was_open, self.circuit = self.circuit.is_open, self.circuit.after(answered=answered, at=at)
        if self.circuit.is_open and not was_open:
            log.warning("target does not answer", target=self._target.kind, requests=self.circuit.unanswered)
        elif was_open and answered:
            log.info("target answers again", target=self._target.kind)

    def _hear_pace(self, answer: Answer, at: float) -> None:
        wait = answer.retry_after.total_seconds() if answer.retry_after is not None else None
        before, self.pace = self.pace, self.pace.after(refused=answer.status == TOO_MANY, at=at, retry_after=wait)
        if self.pace.refused_at > before.refused_at + SAY_AGAIN or (self.pace.learnt and not before.learnt):
            log.warning("target asks for less", target=self._target.kind, a_second=round(self.pace.learnt))

    async def _answer(self, call: Call) -> Answer | Refused:
        # Not httpx's own way, which cannot write half of a surrogate pair.
        content = json.dumps(call.body, allow_nan=False).encode() if call.body is not None else None
        kind = {"Content-Type": "application/json"} if content is not None else {}
        try:
            async with asyncio.timeout(WHOLE):
                response = await self._client.request(
                    call.method,
                    call.path,
                    content=content,
                    params=call.params or None,
                    headers={**kind, **call.headers},
                )
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, TimeoutError) as error:
            cause = error.__cause__ if isinstance(error, httpx.HTTPError) else None  # what aiohttp calls it
            return Refused(None, None, type(cause or error).__name__)
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
        await self._client.aclose()

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
