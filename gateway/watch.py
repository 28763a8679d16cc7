"""What those ask who watch a process: /metrics, /healthz, /readyz. A door.

Rules of this file:
- Figures are for the networks of the settings, with their token if there is one; anybody else is told 404, as if there
  were none. Health is for everybody, and says one sentence.
- What waits in the store is asked when somebody asks, by questions that cost the same however much is kept, and beside
  writers. A store that is away takes its figures away, and no other.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from ipaddress import ip_address
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from gateway import __version__
from gateway.api.forms import refusals
from gateway.figures import Figures
from gateway.readiness import PATIENCE, OneAtATime, Readiness
from gateway.settings import Metrics
from gateway.store import HEAD
from gateway.store_figures import MOST, Waiting, waiting
from scheduler.clock import utc_now
from scheduler.database import beside_writers
from scheduler.platform import Platform

# Name and help for each field of `Waiting`.
STORED: Final[Mapping[str, tuple[str, str]]] = {
    "joins_due": ("joins_due", f"Joins for which something is to be done by now, {MOST} at most"),
    "join_overdue": ("join_overdue_seconds", "Since when something is to be done for the join that waits longest"),
    "letters": ("outbox_waiting", f"Replies that are to be sent, {MOST} at most"),
    "oldest_letter": ("outbox_oldest_seconds", "How long the oldest of the replies waits that are next to be sent"),
    "callbacks": ("callbacks_waiting", f"Callbacks that are to be passed on, {MOST} at most"),
    "webhooks": ("webhooks_waiting", f"Messages of webhooks that are to be sent, {MOST} at most"),
    "quarantined": ("quarantined", f"Mails that are kept aside, each once for every PAL, {MOST} at most"),
}
assert STORED.keys() == {field.name for field in fields(Waiting)}  # noqa: S101  a figure of each


class Now(Collector):
    """What is so at the instant of a scrape: of the targets of this process, and of the store as it was asked last."""

    def __init__(self, platforms: Mapping[str, Platform], roles: Sequence[str]) -> None:
        self._platforms = platforms
        self._roles = roles
        self.is_ready = False
        self.stored: Waiting | None = None

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("pal_gateway_build", "What runs", {"version": __version__, "schema": HEAD})
        yield _gauge("role", "What this process does", ((role, 1.0) for role in self._roles), "role")
        yield _gauge("ready", "Whether /readyz says yes", [("", float(self.is_ready))])
        yield _gauge("store_up", "Whether the store answers", [("", float(self.stored is not None))])
        for field, (name, text) in STORED.items():
            if self.stored is not None:
                yield _gauge(name, text, [("", float(getattr(self.stored, field)))])
        yield from self._targets(time.monotonic())

    def _targets(self, at: float) -> Iterator[Metric]:
        known = self._platforms.items()
        opened = ((kind, float(one.circuit.is_open)) for kind, one in known)
        paces = ((kind, one.pace.rate(at)) for kind, one in known)
        yield _gauge("target_circuit_open", "Whether it leaves requests of this process unanswered", opened, "target")
        yield _gauge("target_pace", "Requests a second that it may be asked by this process", paces, "target")


def _gauge(name: str, text: str, values: Iterable[tuple[str, float]], label: str = "") -> Metric:
    family = GaugeMetricFamily(f"pal_gateway_{name}", text, labels=[label] if label else [])
    for called, value in values:
        family.add_metric([called] if label else [], value)
    return family


class Watch:
    """The routes, as a router for the ports that have them."""

    def __init__(
        self,
        settings: Metrics,
        engine: Engine,
        platforms: Mapping[str, Platform],
        roles: Sequence[str],
        figures: Figures,
        readiness: Readiness,
    ) -> None:
        self._settings = settings
        self._engine = beside_writers(engine)
        self._readiness = readiness
        self._registry = figures.registry
        self._now = Now(platforms, roles)
        self._waiting = OneAtATime(self._ask)
        self._registry.register(self._now)
        for one in (ProcessCollector, PlatformCollector, GCCollector):
            one(registry=self._registry)
        self.router = APIRouter()
        self.router.get("/healthz")(self.healthz)
        self.router.get("/readyz", responses=refusals(503))(self.readyz)
        self.router.get("/metrics", include_in_schema=False)(self.metrics)

    def take_no_more(self) -> None:
        """Say from now on that this process is not ready: it is being stopped."""
        self._readiness.is_stopping = True

    async def healthz(self) -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok"}

    async def readyz(self) -> dict[str, str]:
        """Whether it can do its work now; 503 and what is not ready when not."""
        fault = await self._readiness.fault()
        if fault:
            raise HTTPException(503, fault)
        return {"status": "ready"}

    async def metrics(self, request: Request) -> Response:
        """All figures of this process, in the form that is asked for."""
        if not self._may_read(request):
            raise HTTPException(404)
        is_ready = not await self._readiness.fault()
        stored = await self._waiting.answer(PATIENCE)
        # Nothing is awaited from here on: who asks at the same time does not change what is said.
        self._now.is_ready, self._now.stored = is_ready, stored
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"Content-Type": content_type})

    def _may_read(self, request: Request) -> bool:
        if not self._is_near(request.client.host if request.client else ""):
            return False
        expected = f"Bearer {self._settings.token}".encode()
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        return not self._settings.token or hmac.compare_digest(given, expected)

    def _is_near(self, address: str) -> bool:
        try:
            asking = ip_address(address)
        except ValueError:
            return False
        asking = getattr(asking, "ipv4_mapped", None) or asking
        return any(asking in network for network in self._settings.networks)

    def _ask(self) -> Waiting | None:
        """What waits in the store, None while it is away. Runs in a thread."""
        try:
            with self._engine.connect() as connection:
                return waiting(connection, utc_now())
        except SQLAlchemyError:
            return None
