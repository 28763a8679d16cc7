"""The outside world of a gateway that is killed: a conversation platform and a relay that live on, and keep books.

Rules of this file:
- They run in threads of the test, so that they outlive every gateway. What they did is in lists that only grow.
- They misbehave as they are told, by a function that is asked for each request.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from aiosmtpd.smtp import SMTP, Envelope, Session

from scheduler.clock import utc_now

ONWARD: Final = "/onward"  # where a caller hears what the platform called back
HOOKS: Final = "/hooks"  # where an account hears what happens
TELL_AGAIN: Final = 0.1  # seconds between two tries of a callback
GIVE_UP: Final = 90.0  # seconds after which a callback is dropped


class Fault(StrEnum):
    """What goes wrong with one request."""

    BUSY = "busy"  # 429 (the platform), 451 (the relay): nothing was done
    BROKEN = "broken"  # 500, 451: nothing was done
    SILENT = "silent"  # done, and the answer is never given


@dataclass(frozen=True)
class Sent:
    """A mail that the relay took."""

    message_id: str
    recipient: str
    raw: bytes


@dataclass
class Platform:
    """Conversations by HTTP as the specification has them, without knowledge of Idempotency-Key: a second POST is a
    second call. `fault` is asked for each POST; `acted` is called when a call was made, before it is answered, and
    `told` when a callback was passed on to the caller."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    fault: Callable[[], Fault | None] = lambda: None
    acted: Callable[[], None] = lambda: None
    told: Callable[[], None] = lambda: None
    silence: float = 0.2  # seconds for which a client waits for an answer that does not come
    tells: bool = True  # whether it calls back that the PAL is in the call
    faults: Counter[Fault] = field(default_factory=Counter)
    heard: Counter[str] = field(default_factory=Counter)  # what was passed on to a caller, by Webhook-Id
    hooks: Counter[str] = field(default_factory=Counter)  # what an account was told, by webhook-id
    posted_at: list[datetime] = field(default_factory=list)  # of each call in `calls`
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, meeting_url: str) -> list[dict[str, Any]]:
        """The calls that were made for a meeting."""
        with self.lock:
            return [call for call in self.calls if call["meeting_url"] == meeting_url]

    def end(self, call: dict[str, Any], reason: str) -> None:
        """End a call, and tell."""
        with self.lock:
            call["status"] = "ended"
        self.tell(call, "system.shutdown", {"shutdown_reason": reason})

    def tell(self, call: dict[str, Any], event_type: str, properties: dict[str, Any] | None = None) -> None:
        """Call back, until somebody takes it."""
        body = {
            "conversation_id": call["conversation_id"],
            "event_type": event_type,
            "message_type": "system",
            "properties": properties or {},
        }
        threading.Thread(target=_tell, args=(call["callback_url"], body), daemon=True).start()

    def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], Fault | None]:
        fault = self.fault()
        if fault is not None:
            self.faults[fault] += 1
        if fault is Fault.BUSY:
            return 429, {"message": "Too many requests"}, fault
        if fault is Fault.BROKEN:
            return 500, {"message": "Oops"}, fault
        with self.lock:
            call = {**body, "conversation_id": f"c{len(self.calls)}", "status": "active"}
            self.calls.append(call)
            self.posted_at.append(utc_now())
        self.acted()
        if self.tells:
            self.tell(call, "system.replica_joined")
        return 200, {"conversation_id": call["conversation_id"], "status": "active"}, fault

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], Fault | None]:
        parts = urlsplit(path).path.strip("/").split("/")[1:]  # /v2/conversations/…
        if parts == ["conversations"]:
            if method == "POST":
                return self.post(body)
            with self.lock:
                return 200, {"data": list(reversed(self.calls)), "total_count": len(self.calls)}, None
        with self.lock:
            call = next((one for one in self.calls if one["conversation_id"] == parts[1]), None)
        if call is None:
            return 404, {"message": "Conversation not found"}, None
        if parts[2:] == ["end"]:
            self.end(call, "end_conversation_endpoint_hit")
        return 200, call, None


def _tell(url: str, body: dict[str, Any]) -> None:
    until = time.monotonic() + GIVE_UP
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    while time.monotonic() < until:
        with suppress(OSError, URLError), urlopen(request, timeout=5) as response:  # noqa: S310  our own gateway
            if response.status < 300:
                return
        time.sleep(TELL_AGAIN)


@contextmanager
def platform(port: int = 0) -> Iterator[Platform]:
    """A platform on loopback."""
    found = Platform()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            if len(raw) < length:
                self.close_connection = True  # the client was killed while it wrote
                return
            if self.path == ONWARD:
                found.heard[self.headers["webhook-id"]] += 1
                found.told()
                self.say(200, {})
                return
            if self.path == HOOKS:
                found.hooks[self.headers["webhook-id"]] += 1
                self.say(200, {})
                return
            status, body, fault = found.answer(self.command, self.path, json.loads(raw or b"{}"))
            if fault is Fault.SILENT:
                self.close_connection = True  # the client waits, and hears that nobody is there
                time.sleep(found.silence)
                return
            self.say(status, body)

        def say(self, status: int, body: dict[str, Any]) -> None:
            written = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_DELETE = answer  # as http.server calls them

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # With 5, of many that connect at once some are heard seconds later, when their client has long given up.
        request_queue_size = 500

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that was killed

    server = Server(("127.0.0.1", port), Answers)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Relay:
    """A mail server that takes replies. `fault` is asked for each mail; `taken` is called before the 250."""

    port: int = 0
    sent: list[Sent] = field(default_factory=list)
    fault: Callable[[], Fault | None] = lambda: None
    taken: Callable[[], None] = lambda: None
    faults: Counter[Fault] = field(default_factory=Counter)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        fault = self.fault()
        if fault is not None:
            self.faults[fault] += 1
        if fault in (Fault.BUSY, Fault.BROKEN):
            return "451 4.3.0 Not now"
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        self.sent.append(Sent(message_from_bytes(raw)["Message-ID"], envelope.rcpt_tos[0], raw))
        self.taken()
        if fault is Fault.SILENT and server.transport is not None:
            server.transport.abort()
        return "250 2.0.0 Taken"


@contextmanager
def relay(port: int = 0) -> Iterator[Relay]:
    """A relay on loopback."""
    found, loop = Relay(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        make = lambda: SMTP(found, hostname="relay.example", loop=loop)  # noqa: E731
        return await loop.create_server(make, "127.0.0.1", port)

    async def finish() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(finish(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def deliver(port: int, raw: bytes, recipient: str, sender: str = "alex@acme.example") -> str:
    """Offer a mail once, as a sending server does: the answer to DATA, or '' when there was none."""
    try:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="mx.acme.example", timeout=20) as client:
            client.ehlo()
            say = partial(client.mail, sender), partial(client.rcpt, recipient), partial(client.data, raw)
            for command in say:
                code, text = command()
                answer = f"{code} {text.decode()}"
                if code >= 400:
                    break
            return answer
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r}"
    except (OSError, smtplib.SMTPException):
        return ""
