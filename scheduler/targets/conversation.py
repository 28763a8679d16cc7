"""The conversation API: the PAL goes into the video call behind a link (specification, "Create Conversation"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from scheduler.joins import Join, JoinState
from scheduler.request import CONVERSATION
from scheduler.targets import Call, Seen, Started

NEWEST = 100  # conversations of one page
REPLICA_JOINED = "system.replica_joined"


class Conversations:
    """Its callbacks say how a call goes; looking is for when they stay away."""

    kind = CONVERSATION
    look_every = timedelta(minutes=10)

    def faults(self, options: Mapping[str, Any]) -> list[str]:
        return [f"{name}: There is no such field." for name in options]

    def headers(self, api_key: str) -> dict[str, str]:
        return {"x-api-key": api_key}

    def start(self, join: Join, callback_url: str) -> Call:
        body = {
            **join.request,
            "pal_id": join.pal_id,
            **({"face_id": join.face_id} if join.face_id else {}),
            "meeting_url": join.url,
            "conversation_name": join.name,
            "callback_url": callback_url,
        }
        return Call("POST", "/v2/conversations", body, headers={"Idempotency-Key": join.order_id})

    def started(self, answer: Any) -> Started | None:
        conversation_id = answer.get("conversation_id") if isinstance(answer, dict) else None
        if not isinstance(conversation_id, str) or not conversation_id:
            return None
        url = answer.get("conversation_url")
        return Started(conversation_id, {"url": url} if isinstance(url, str) and url else {})

    def search(self) -> Call:
        return Call("GET", "/v2/conversations", params={"limit": NEWEST})

    def found(self, answer: Any, callback_url: str) -> Started | None:
        known = answer.get("data") if isinstance(answer, dict) else answer
        ours = (one for one in known or () if isinstance(one, dict) and one.get("callback_url") == callback_url)
        return self.started(next(ours, None))

    def look(self, conversation_id: str) -> Call:
        return Call("GET", f"/v2/conversations/{conversation_id}", params={"verbose": "true"})

    def seen(self, answer: Any) -> Seen | None:
        if not isinstance(answer, dict):
            return None
        if answer.get("status") == "ended":
            reason = answer.get("shutdown_reason")
            return Seen(JoinState.ENDED, reason if isinstance(reason, str) else "")
        told = answer.get("events")
        events = [one.get("event_type") for one in told if isinstance(one, dict)] if isinstance(told, list) else []
        return Seen(JoinState.JOINED) if REPLICA_JOINED in (*events, *answer) else None

    def end(self, conversation_id: str) -> Call:
        return Call("POST", f"/v2/conversations/{conversation_id}/end")


TARGET = Conversations()
