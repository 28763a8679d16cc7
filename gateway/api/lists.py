"""What became of invitations, and where PALs will be: the lists of an account. A door.

Rules of this file: an account sees what is its own PALs', and nothing says whether there is more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from gateway import store, store_calls
from gateway.api.auth import Asking
from gateway.api.forms import Paged, described, page, page_of, refusals, schema_of
from gateway.replay import answer_json, instant_text, join_json
from gateway.store import InviteRow
from gateway.store_outbox import LetterRow, LetterState, answers_to
from gateway.verdict import Verdict
from scheduler.joins import Join, JoinState

OfPal = Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]{1,64}$", description="Only this PAL's.")]


class CallbackAnswer(BaseModel):
    """What the platform called back about a join."""

    event_type: str
    received_at: str


class JoinAnswer(BaseModel):
    """Where a PAL will be, or was. Times are UTC. `room_url`, `room_token`: where people find a call that was made.

    `forgotten_at`: since then its title and its links are empty.
    """

    join_id: str
    pal_id: str
    uid: str
    title: str
    recurrence_id: str
    starts: str
    ends: str
    at: str
    url: str
    state: JoinState
    reason: str | None
    conversation_id: str | None
    room_url: str | None
    room_token: str | None
    callbacks: list[CallbackAnswer]
    forgotten_at: str | None


class LinkCandidate(BaseModel):
    """A meeting link that stands in an invitation. `url`: its canonical form. `chosen`: the one that counts."""

    field: str
    platform: str
    url: str
    joinable: bool
    chosen: bool


class StepAnswer(BaseModel):
    """One thing that was looked at, of what, and what came of it."""

    check: str
    of: str
    verdict: str
    detail: str


class AuthenticationAnswer(BaseModel):
    """Who somebody vouches for as the sender, null for nobody; the From header; and how it came about. `reply_to` is
    covered by a good signature, `signers` made one; older decisions lack the two."""

    auth_id: str | None
    from_: str = Field(alias="from")
    rule: str | None
    chain: list[StepAnswer]
    reply_to: str = ""
    signers: list[str] = []


class ConfirmationAnswer(BaseModel):
    """The code to type in, or the link to open, and the mailbox that asks."""

    code: str
    link: str
    mailbox: str


class ReplyAnswer(BaseModel):
    """An answer and what became of it: `state` since `settled_at` (null: it waits, or was replaced). Times are UTC.

    `recurrence_id`: the date it is for, null for the whole event. `failed`: the relay did not take it; `undeliverable`:
    it came back. `error`: why, in the relay's or the bounce's words; `note`: what else was reported of its delivery.
    """

    reply_id: str
    partstat: str
    recurrence_id: str | None
    recipient: str
    state: LetterState
    created_at: str
    settled_at: str | None
    error: str | None
    note: str | None


class InviteAnswer(BaseModel):
    """What was decided on an invitation. `allowed_by`: the allowlist entry that admits its sender.

    `link_candidates`: what was found in which field of the event, the best first. `authentication`: how the sender came
    about, null when it was not checked. `confirmation`: what Google asks when somebody lets their mail be forwarded to
    the PAL. `replies`: the answers that it asked for, the oldest first. `forgotten_at`: since then all that people
    wrote is empty.
    """

    invite_id: str
    pal_id: str
    uid: str | None
    sender: str
    verdict: Verdict
    reason: str | None
    platform: str | None
    allowed_by: str | None
    detail: str
    link_candidates: list[LinkCandidate]
    authentication: AuthenticationAnswer | None
    confirmation: ConfirmationAnswer | None
    replies: list[ReplyAnswer]
    decided_at: str
    forgotten_at: str | None


class Lists:
    """The routes of lists."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.router = APIRouter(prefix="/v2")
        for path, route, row in (("/joins", self.joins, JoinAnswer), ("/invites", self.invites, InviteAnswer)):
            self.router.add_api_route(
                path,
                route,
                methods=["GET"],
                tags=[path.strip("/")],
                response_model=None,
                responses=refusals(400, 401, 403, 503),
                openapi_extra=described(page_of(schema_of(row))),
            )

    def joins(
        self,
        key: Asking,
        paging: Paged,
        pal_id: OfPal = None,
        state: Annotated[list[JoinState] | None, Query(description="Only in this state; may be repeated.")] = None,
    ) -> dict[str, Any]:
        """The joins of the account's PALs, by start."""
        with self._engine.connect() as connection:
            found = store.account_joins(connection, key.account, pal_id, state or [], paging.after, paging.limit)
            heard = store_calls.heard_of(connection, [join.id for join in found.rows])
        return page(found, lambda join: join_shown(join, heard.get(join.id, [])))

    def invites(
        self,
        key: Asking,
        paging: Paged,
        pal_id: OfPal = None,
        verdict: Annotated[Verdict | None, Query(description="Only those decided like this.")] = None,
    ) -> dict[str, Any]:
        """What was decided for the account's PALs, the newest first."""
        with self._engine.connect() as connection:
            found = store.account_invites(connection, key.account, pal_id, verdict, paging.after, paging.limit)
            answers = answers_to(connection, [invite.id for invite in found.rows])
        return page(found, lambda invite: _invite(invite, answers.get(invite.id, [])))


def join_shown(join: Join, heard: Sequence[tuple[str, datetime]]) -> dict[str, Any]:
    """A join as it is answered, with what was called back about it."""
    order = {"join_id": join.id, "pal_id": join.pal_id, "uid": join.uid, "title": join.name, **join_json(join)}
    call = {"conversation_id": join.conversation_id, "room_url": join.room.get("url")}
    callbacks = [{"event_type": event_type, "received_at": instant_text(at)} for event_type, at in heard]
    call |= {"room_token": join.room.get("token"), "callbacks": callbacks}
    return {**order, "reason": join.reason, **call, "forgotten_at": instant_text(join.forgotten_at)}


def _invite(invite: InviteRow, answers: Sequence[LetterRow]) -> dict[str, Any]:
    kept = InviteAnswer.model_fields.keys() - {"invite_id", "replies"}
    shown = {name: getattr(invite, name) for name in InviteAnswer.model_fields if name in kept}
    replies = [_reply(one) for one in answers]
    instants = {name: instant_text(getattr(invite, name)) for name in ("decided_at", "forgotten_at")}
    return {"invite_id": invite.id, **shown, **instants, "replies": replies}


def _reply(answer: LetterRow) -> dict[str, Any]:
    told = answer_json(answer)
    return {name: told[name] for name in ReplyAnswer.model_fields}
