"""The outside world of the model check: a platform that has calls, and a relay, both with weather; judged as they act.

Rules of this file:
- What must never happen is noted the moment it happens (`faults`), with what the model held true then.
- Nothing here knows the scheduler: the platform sees requests, the relay mails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from urllib.parse import urlsplit

import httpx

MEET = "https://meet.google.com/"


@dataclass
class Call:
    """A conversation at the platform."""

    id: str
    order: str
    pal: str
    room: str
    name: str
    face: str
    began: datetime
    time_is_up: datetime
    callback: str
    ended: datetime | None = None
    reason: str = ""

    def told(self, event_type: str, now: datetime, reason: str = "") -> tuple[str, bytes]:
        """A callback: where it goes, and what it says."""
        properties = {"replica_id": "r", **({"shutdown_reason": reason} if event_type == "system.shutdown" else {})}
        body = {
            "properties": properties,
            "conversation_id": self.id,
            "event_type": event_type,
            "message_type": "system",
            "timestamp": now.isoformat(),
        }
        return urlsplit(self.callback).path, json.dumps(body).encode()


@dataclass
class Platform(httpx.AsyncBaseTransport):
    """The conversation API. It does not honour Idempotency-Key: what is asked for twice is there twice.

    `fates`: what happens to the requests that come next. `now` and `step` are the clock; `entered` judges a call that
    begins, `left` hears of one that was ended through the API, `trouble` of each request that went wrong; `tell`
    delivers a callback before the answer.
    """

    now: Callable[[], datetime]
    step: Callable[[timedelta], None]
    entered: Callable[[Call], None]
    left: Callable[[Call], None]
    trouble: Callable[[], None]
    tell: Callable[[Call, str, str], object]
    refused: Callable[[str, str, str], None]
    fates: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    not_before: dict[str, datetime] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    posts: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate = self.fates.pop(0) if self.fates else "ok"
        await asyncio.sleep(0)  # on its way: its sender may die before it arrives, and before the answer does
        if fate != "ok":
            self.trouble()
        if fate == "gone":
            self.step(timedelta(seconds=5))
            raise httpx.ConnectTimeout("no answer, and it was not taken", request=request)
        answer = await self._answer(request, fate)
        await asyncio.sleep(0)
        if fate == "lost":
            self.step(timedelta(seconds=15))
            raise httpx.ReadTimeout("it was taken, and no answer came", request=request)
        return answer

    async def _answer(self, request: httpx.Request, fate: str) -> httpx.Response:
        path, is_post = request.url.path, request.method == "POST"
        if is_post and path.endswith("/conversations"):
            return await self._create(request, fate)
        if fate in ("429", "500", "400"):
            return httpx.Response(500, text="no")
        if path.endswith("/conversations"):
            listed = [self._shown(call) for call in reversed(self.calls)]
            return httpx.Response(200, json={"data": listed[:100], "total_count": len(listed)})
        name = path.split("/")[3]
        call = next((one for one in self.calls if one.id == name), None)
        if call is None:
            return httpx.Response(404, json={"message": "no such conversation"})
        if is_post:
            if call.ended is not None:
                return httpx.Response(400, json={"message": "it is over"})
            self.end(call, "end_conversation_endpoint_hit")
            self.left(call)
            return httpx.Response(200)
        return httpx.Response(200, json=self._shown(call))

    async def _create(self, request: httpx.Request, fate: str) -> httpx.Response:
        body = json.loads(request.content)
        order = urlsplit(body["callback_url"]).path.split("/")[3]
        room, now = body["meeting_url"].removeprefix(MEET), self.now()
        self.posts += 1
        if request.headers["idempotency-key"] != order:
            self.faults.append(f"the key of {order} is another one")
        if now < self.not_before.get(order, now):
            self.faults.append(f"{order} was sent again before Retry-After")
        if fate == "429":
            self.not_before[order] = now + timedelta(seconds=40)
            return httpx.Response(429, text="later", headers={"retry-after": "40"})
        if fate == "500":
            return httpx.Response(500, text="no")
        if fate == "400":
            self.refused(body["pal_id"], room, body["conversation_name"])
            return httpx.Response(400, json={"message": "bad request"})
        call = Call(
            id=f"c{len(self.calls) + 1}",
            order=order,
            pal=body["pal_id"],
            room=room,
            name=body["conversation_name"],
            face=body.get("face_id", ""),
            began=now,
            time_is_up=now + timedelta(seconds=body.get("properties", {}).get("max_call_duration", 3600)),
            callback=body["callback_url"],
        )
        self._judge(call)
        self.calls.append(call)
        if fate == "joined-first":
            await self.tell(call, "system.replica_joined", "")  # type: ignore[misc]
        if fate == "ended-first":
            self.end(call, "exception_encountered_during_conversation_startup")
            await self.tell(call, "system.shutdown", call.reason)  # type: ignore[misc]
        return httpx.Response(200, json={**self._shown(call), "conversation_url": "https://daily.example/x"})

    def _judge(self, call: Call) -> None:
        twice = [one.id for one in self.calls if one.order == call.order]
        if twice:
            self.faults.append(f"the order {call.order} was acted on twice: {twice}")
        self.entered(call)

    def end(self, call: Call, reason: str) -> None:
        """A call is over, for the platform's or for our reasons."""
        call.ended, call.reason = self.now(), reason

    def live(self, pal: str | None = None, room: str | None = None) -> list[Call]:
        """The calls that go on."""
        return [one for one in self.calls if one.ended is None and pal in (None, one.pal) and room in (None, one.room)]

    def next_end(self) -> datetime | None:
        """When the next call reaches its longest time."""
        return min((one.time_is_up for one in self.live()), default=None)

    def _shown(self, call: Call) -> dict[str, str]:
        shown = {"conversation_id": call.id, "callback_url": call.callback, "status": "active"}
        return shown if call.ended is None else {**shown, "status": "ended", "shutdown_reason": call.reason}


@dataclass(frozen=True)
class Letter:
    """A mail that the relay took: its Message-ID, bytes, and what it answers. `sure`: its sender knows that it went."""

    message_id: str
    raw: bytes
    recipient: str
    pal: str
    uid: str
    recurrence_id: str
    partstat: str
    sure: bool


@dataclass
class Relay:
    """A mail server on loopback. `fates` of the mails that come next: ok, later (451), never-mind (taken, and the
    connection is lost before 250), cut (lost before the mail), die (taken, and `die` is called before 250 is read)."""

    took: Callable[[Letter], None]
    trouble: Callable[[], None]
    fates: list[str] = field(default_factory=list)
    die: Callable[[], object] = lambda: None
    letters: dict[str, list[Letter]] = field(default_factory=lambda: defaultdict(list))
    port: int = 0

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate != "ok":
            self.trouble()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._talk(reader, writer, fate)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: str) -> None:
        writer.write(b"220 relay\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            if word == b"RCPT" and fate == "later":
                writer.write(b"451 later\r\n")
            elif word == b"DATA":
                if fate == "cut":
                    return
                writer.write(b"354 go on\r\n")
                raw = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
                self._take(raw, fate)
                if fate == "never-mind":
                    return
                if fate == "die":
                    self.die()
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"250 relay\r\n")

    def _take(self, raw: bytes, fate: str) -> None:
        mail = message_from_bytes(raw)
        part = next(one for one in mail.walk() if one.get_content_type() == "text/calendar")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        lines = payload.decode().replace("\r\n ", "").split("\r\n")
        values = {line.replace(";", ":").split(":")[0]: line for line in lines}
        letter = Letter(
            message_id=mail["Message-ID"],
            raw=raw,
            recipient=mail["To"],
            pal=values["ATTENDEE"].rpartition("mailto:")[2],
            uid=values["UID"].removeprefix("UID:"),
            recurrence_id=values.get("RECURRENCE-ID", "").rpartition(":")[2],
            partstat=values["ATTENDEE"].partition("PARTSTAT=")[2].partition(";")[0],
            sure=fate == "ok",
        )
        self.letters[letter.message_id].append(letter)
        self.took(letter)
