"""The health of the whole installation, for its operator: what waits, how late joins are, what is kept aside. A door.

Rules of this file: it is the operator's, whose keys are those of the account `default`; for others it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import Connection, Engine

import scheduler.journal
from gateway import store_page
from gateway.api.faults import Refused
from gateway.page import frame, views
from gateway.page.session import Visiting, Visitor
from gateway.pals import DEFAULT_ACCOUNT
from scheduler.clock import utc_now
from scheduler.platform import Platform

MOST_ASIDE: Final = 20


class HealthPages:
    """The page of health."""

    def __init__(self, lookups: Engine, platforms: Mapping[str, Platform]) -> None:
        self._lookups = lookups
        self._platforms = platforms
        self.router = frame.router()
        self.router.add_api_route("/health", self.health, methods=["GET"])
        self.router.add_api_route("/live/health", self.health_part, methods=["GET"])

    def health(self, request: Request, visitor: Visiting) -> Response:
        """Queues, lateness, answers, what is kept aside, the platform and the relay."""
        return frame.page(request, "health.html", visitor, live=self._found(request, visitor), address="/live/health")

    def health_part(self, request: Request, visitor: Visiting) -> Response:
        """The same, as far as it has changed."""
        return frame.part(request, self._found(request, visitor), "/live/health")

    def _found(self, request: Request, visitor: Visitor) -> frame.Live:
        if visitor.key.account != DEFAULT_ACCOUNT:
            raise Refused(404, "There is no such page.")
        with self._lookups.connect() as connection:
            return frame.live(request, "_health.html", visitor, targets=self._targets(), **_figures(connection))

    def _targets(self) -> list[tuple[str, bool, float]]:
        """Of each target whether it answers this process, and how often a second it is asked at most."""
        at = monotonic()
        found = sorted(self._platforms.items())
        return [(kind, not one.circuit.is_open, one.pace.rate(at)) for kind, one in found]


def _figures(connection: Connection) -> dict[str, Any]:
    now = utc_now()
    late = scheduler.journal.lateness(connection, now - store_page.LATELY)
    return {
        "queues": store_page.queues(connection, now),
        "hour": store_page.planned_until(connection, now, now + timedelta(hours=1)),
        "late": late,
        "bars": views.histogram(late),
        "joins": store_page.joins_lately(connection, now),
        "lately": store_page.letters_lately(connection, now),
        "refused": store_page.last_refusal(connection, now),
        "aside": store_page.newest_aside(connection, MOST_ASIDE),
    }
