"""A conversation API on loopback, in threads of the test, that answers at once, late, or never, as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Order = dict[str, Any]


@dataclass
class Platform:
    """What it got, and when it does not answer. `released`: it answers all from then on."""

    hangs: Callable[[Order], bool] = lambda _: False
    hangs_when_searched: bool = False
    orders: list[Order] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when each order came (monotonic seconds)
    searches: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def names(self) -> list[str]:
        """The conversations that were ordered."""
        return [order["conversation_name"] for order in self.orders]

    def start(self, order: Order) -> Order:
        """POST /v2/conversations."""
        self.times.append(time.monotonic())
        self.orders.append(order)
        number = len(self.orders)
        if self.hangs(order):
            self.released.wait(60)
        return {"conversation_id": f"c{number}", "status": "success", "data": {"id": f"c{number}"}}

    def search(self) -> Order:
        """GET /v2/conversations."""
        self.searches += 1
        if self.hangs_when_searched:
            self.released.wait(60)
        known = enumerate(self.orders, 1)
        return {"data": [{"conversation_id": f"c{n}", "callback_url": one["callback_url"]} for n, one in known]}


class _Server(ThreadingHTTPServer):
    request_queue_size = 500
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone does not hear the answer; that is what these tests are about."""


@contextmanager
def platform(port: int = 0, **values: Any) -> Iterator[Platform]:
    """One that runs, on a port (0: any free one)."""
    made = Platform(**values)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(made.start(body))

        def do_GET(self) -> None:
            self.answer(made.search())

        def answer(self, said: Order) -> None:
            raw = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with _Server(("127.0.0.1", port), Answers) as server:
        made.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield made
        finally:
            made.released.set()
            server.shutdown()
            serving.join()
