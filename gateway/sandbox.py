"""A platform to try the gateway against: conversations with callbacks, meetings from scenarios, PALs. A door.

Rules of this file: it answers as the specification's platform does, and forgets everything when it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

import httpx
import jsonpatch
from fastapi import APIRouter, BackgroundTasks, Header, HTTPException

from scheduler.clock import utc_now


class Sandbox:
    """The conversations, meetings and PALs of this process."""

    def __init__(self) -> None:
        self.conversations: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, str] = {}
        self.meetings: dict[str, dict[str, Any]] = {}
        self.pals: dict[str, dict[str, Any]] = {}
        self.router = APIRouter(prefix="/sandbox", include_in_schema=False)
        for method, path, route in (
            ("POST", "/v2/conversations", self.create),
            ("GET", "/v2/conversations", self.list),
            ("GET", "/v2/conversations/{conversation_id}", self.get),
            ("DELETE", "/v2/conversations/{conversation_id}", self.delete),
            ("POST", "/v2/conversations/{conversation_id}/end", self.end),
            ("POST", "/v2/pals", self.create_pal),
            ("GET", "/v2/pals/{pal_id}", self.get_pal),
            ("PATCH", "/v2/pals/{pal_id}", self.patch_pal),
            ("DELETE", "/v2/pals/{pal_id}", self.delete_pal),
            ("POST", "/meetings", self.meet),
            ("POST", "/meetings/dynamic", self.meet),
            ("GET", "/meetings/{meeting_id}", self.meeting),
            ("PUT", "/meetings/{meeting_id}/end", self.end_meeting),
        ):
            self.router.add_api_route(path, route, methods=[method])

    async def create(
        self,
        body: dict[str, Any],
        background: BackgroundTasks,
        x_api_key: str = Header(default=""),
        idempotency_key: str = Header(default=""),
    ) -> dict[str, Any]:
        if not x_api_key:
            raise HTTPException(401, "Invalid access token")
        if idempotency_key in self._by_key:
            return self.conversations[self._by_key[idempotency_key]]
        conversation_id = "c" + token_hex(8)
        conversation = {
            "conversation_id": conversation_id,
            "conversation_name": body.get("conversation_name", ""),
            "conversation_url": f"https://sandbox.invalid/{conversation_id}",
            "status": "active",
            "callback_url": body.get("callback_url", ""),
            "meeting_url": body.get("meeting_url", ""),
            "pal_id": body.get("pal_id", ""),
            "created_at": utc_now().isoformat(),
        }
        self.conversations[conversation_id] = conversation
        if idempotency_key:
            self._by_key[idempotency_key] = conversation_id
        background.add_task(self._tell, conversation, "system.replica_joined", {})
        return conversation

    async def list(self) -> dict[str, Any]:
        return {"data": list(self.conversations.values()), "total_count": len(self.conversations)}

    async def get(self, conversation_id: str) -> dict[str, Any]:
        if conversation_id not in self.conversations:
            raise HTTPException(404, "Conversation not found")
        return self.conversations[conversation_id]

    async def end(self, conversation_id: str, background: BackgroundTasks) -> dict[str, Any]:
        conversation = await self.get(conversation_id)
        if conversation["status"] == "active":
            conversation["status"] = "ended"
            reason = {"shutdown_reason": "end_conversation_endpoint_hit"}
            background.add_task(self._tell, conversation, "system.shutdown", reason)
        return {}

    async def delete(self, conversation_id: str) -> dict[str, Any]:
        await self.get(conversation_id)
        del self.conversations[conversation_id]
        return {}

    async def create_pal(self, body: dict[str, Any], x_api_key: str = Header(default="")) -> dict[str, Any]:
        if not x_api_key:
            raise HTTPException(401, "Invalid access token")
        pal_id = "p" + token_hex(6)
        self.pals[pal_id] = {"pal_id": pal_id, **body, "created_at": utc_now().isoformat()}
        return {name: self.pals[pal_id].get(name, "") for name in ("pal_id", "pal_name", "created_at")}

    async def get_pal(self, pal_id: str) -> dict[str, Any]:
        if pal_id not in self.pals:
            raise HTTPException(404, "PAL not found")
        return self.pals[pal_id]

    async def patch_pal(self, pal_id: str, body: Sequence[dict[str, Any]]) -> dict[str, Any]:
        try:
            self.pals[pal_id] = jsonpatch.apply_patch(await self.get_pal(pal_id), body)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise HTTPException(400, "The patch cannot be applied") from error
        return self.pals[pal_id]

    async def delete_pal(self, pal_id: str) -> dict[str, Any]:
        await self.get_pal(pal_id)
        del self.pals[pal_id]
        return {}

    async def meet(self, body: dict[str, Any], authorization: str = Header(default="")) -> dict[str, Any]:
        if not authorization.startswith("Bearer "):
            raise HTTPException(401, "Authentication required")
        if "scenario_id" not in body:
            raise HTTPException(400, "scenario_id is required")
        meeting_id = "m" + token_hex(8)
        room = {"room_url": f"https://sandbox.invalid/{meeting_id}", "room_token": token_hex(16)}
        self.meetings[meeting_id] = {**body, "id": meeting_id, "status": "in_progress", **room}
        return {"status": "success", "data": self.meetings[meeting_id]}

    async def meeting(self, meeting_id: str) -> dict[str, Any]:
        if meeting_id not in self.meetings:
            raise HTTPException(404, "Meeting not found")
        return {"status": "success", "data": self.meetings[meeting_id]}

    async def end_meeting(self, meeting_id: str) -> dict[str, Any]:
        meeting = await self.meeting(meeting_id)
        meeting["data"]["status"] = "completed"
        return meeting

    async def _tell(self, conversation: dict[str, Any], event_type: str, properties: dict[str, Any]) -> None:
        if not conversation["callback_url"]:
            return
        body = {
            "properties": {"replica_id": "sandbox-face", **properties},
            "conversation_id": conversation["conversation_id"],
            "webhook_url": conversation["callback_url"],
            "event_type": event_type,
            "message_type": "system",
            "timestamp": utc_now().isoformat(),
        }
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            for wait in (0.0, 0.2, 1.0):  # a platform, too, tries again
                await asyncio.sleep(wait)
                try:
                    response = await client.post(conversation["callback_url"], json=body)
                except httpx.HTTPError:
                    continue
                if response.is_success:
                    return
