"""PALs at the conversation platform, too (setting platform.mirror_pals): each change is made there first. A door.

Rules of this file:
- The platform is asked while no transaction is open: SQLite has one connection, and an answer may take its time.
- The platform is asked first. What it refuses is the caller's answer, and nothing changes here; when what is done here
  after it fails, it is undone there.
- Routes run in threads, the platform's client in the loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final
from urllib.parse import quote

import anyio.from_thread
import structlog
from sqlalchemy import Engine

from gateway import store
from gateway.api.faults import Refused, of_platform
from gateway.documents import difference, without_conferencing
from gateway.intake import fresh_id
from gateway.reply import clean
from scheduler.platform import Answer, Platform
from scheduler.platform import Refused as Unanswered
from scheduler.targets import Call

PATH: Final = "/v2/pals"
MAX_MESSAGE: Final = 500  # characters of the platform's words
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

log = structlog.get_logger("mirror")


class Mirror:
    """The PALs at the platform; without one it is off, and nobody is asked."""

    def __init__(self, engine: Engine, platform: Platform | None) -> None:
        self._engine = engine
        self._platform = platform
        self._guard = Lock()
        self._changing: set[str] = set()

    @property
    def is_on(self) -> bool:
        """Whether PALs are mirrored."""
        return self._platform is not None

    @contextmanager
    def created(self, document: Mapping[str, Any]) -> Iterator[str]:
        """The id of a new PAL, which the platform has by now; it has it no more when what is done within fails."""
        if not self.is_on:
            yield fresh_id("p")
            return
        pal_id = self._new_id(self._done(Call("POST", PATH, without_conferencing(document))))
        with self._or_undone(Call("DELETE", _path(pal_id))):
            yield pal_id

    @contextmanager
    def patched(self, pal_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[None]:
        """The platform has a PAL as it is after a change; and as before when what is done within fails."""
        there, back = difference(before, after), difference(after, before)
        if not self.is_on or not there:
            yield
            return
        self._done(Call("PATCH", _path(pal_id), there))
        with self._or_undone(Call("PATCH", _path(pal_id), back)):
            yield

    def delete(self, pal_id: str) -> None:
        """Delete a PAL at the platform; one that it does not know counts as deleted."""
        if self.is_on:
            self._done(Call("DELETE", _path(pal_id)), 404)

    @contextmanager
    def alone(self, pal_id: str) -> Iterator[None]:
        """Nobody else in this process changes a mirrored PAL meanwhile: two changes would meet in another order there.

        Who comes second is not kept waiting for the platform, but refused.
        """
        if not self.is_on:
            yield
            return
        with self._guard:
            if pal_id in self._changing:
                raise changed_meanwhile()
            self._changing.add(pal_id)
        try:
            yield
        finally:
            with self._guard:
                self._changing.discard(pal_id)

    def _ask(self, call: Call) -> Answer | Unanswered:
        assert self._platform is not None  # noqa: S101  callers have looked
        return anyio.from_thread.run(self._platform.ask, call)

    def _done(self, call: Call, *fine: int) -> Any:
        """What the platform says to a request that it carries out (`fine`: also with these). Raises Refused."""
        answer = self._ask(call)
        if isinstance(answer, Answer) and (answer.is_success or answer.status in (304, *fine)):
            return answer.body
        raise _refusal(answer)

    def _new_id(self, said: Any) -> str:
        """The id that the platform gave; one that is known here is left alone there, it is not ours to delete."""
        pal_id = said.get("pal_id") if isinstance(said, dict) else None
        if not isinstance(pal_id, str) or not _ID.fullmatch(pal_id):
            raise Refused(502, "The platform made a PAL and did not say its pal_id.")
        with self._engine.connect() as connection:
            if store.pal_with_id(connection, pal_id) is not None:
                raise Refused(502, "The platform answered with the pal_id of another PAL.")
        return pal_id

    @contextmanager
    def _or_undone(self, back: Call) -> Iterator[None]:
        try:
            yield
        except BaseException:
            answer = self._ask(back)
            if isinstance(answer, Unanswered) or not answer.is_success:
                detail = answer.detail if isinstance(answer, Unanswered) else answer.text
                log.error("not undone at the platform", asked=f"{back.method} {back.path}", answer=detail)
            raise


def changed_meanwhile() -> Refused:
    """409, for who comes second."""
    return Refused(409, "This PAL is being changed by another request; please ask again.")


def _path(pal_id: str) -> str:
    return f"{PATH}/{quote(pal_id, safe='')}"


def _refusal(answer: Answer | Unanswered) -> Refused:
    """What the caller is told: the platform's own refusal, or 502 and 504 where it is no fault of theirs."""
    if answer.status is None or answer.status in (401, 403):
        return of_platform(answer)
    if not 400 <= answer.status < 500:
        return Refused(502, f"The platform answered {answer.status}; nothing was changed.")
    return Refused(answer.status, f"The platform refuses this: {_message(answer.body) or answer.status}")


def _message(said: Any) -> str:
    """The platform's words for a refusal, in whichever form they came."""
    words = said if isinstance(said, dict) else {}
    return clean(str(words.get("message") or words.get("error") or words.get("detail") or ""))[:MAX_MESSAGE]
