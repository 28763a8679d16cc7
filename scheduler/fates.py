"""What became of joins, said once: a log line each, and a process's figures of them (Prometheus). Shell.

Rules of this file:
- One line for each fate, with the join's id, and the order's and the conversation's where there is one; what people
  wrote only where the operator asked for titles.
- A label has few values, all of them ours: what a platform says becomes one of known words, or "other".
- Figures belong to one object and its registry, never to this module: gateways in one process count apart.
- What alerts count stands at 0 from the start: of a series that begins with 1 Prometheus sees no increase.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from scheduler.joins import BY_HAND, Join, JoinState
from scheduler.store import Moved
from scheduler.targets import targets

OTHER: Final = "other"
MAX_IDS: Final = 20  # of a line
# Seconds late: five is the goal, a minute is the lead.
LATENESS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)
# Our own reasons; those with a status behind them count without it.
_OURS: Final = (
    BY_HAND, "ended-before-we-could-join", "target-not-configured", "another-order", "next-meeting-in-the-room",
    "no-longer-there", "pal-removed", "platform-unreachable", "platform-refused", "platform-answered",
    "ended-over-the-api", "deleted-over-the-api",
)  # fmt: skip
# What platforms say ("Webhooks and Callbacks"), in a few words.
_THEIRS: Final = {
    "participant-left": re.compile(r"participants? left|everyone left"),
    "participant-absent": re.compile(r"participants? absent|nobody came"),
    "max-call-duration": re.compile(r"max call duration"),
    "not-let-in": re.compile(r"lobby|waiting room|not admitted|could not join"),
    "ended-over-the-api": re.compile(r"endpoint hit|over the api"),
    "sent-away": re.compile(r"host|denied|rejected|refused|removed|kicked|banned"),
    "platform-error": re.compile(r"exception|internal error"),
}
# What is never to be; an alert counts these.
_LOST: Final = {
    JoinState.FAILED: ("platform-refused", "platform-answered", "platform-unreachable", "target-not-configured", OTHER),
    JoinState.MISSED: ("ended-before-we-could-join",),
}
_BEFORE_THE_CALL: Final = frozenset({JoinState.PLANNED, JoinState.CLAIMED, JoinState.STARTED})

log = structlog.get_logger("joins")


def known_reason(reason: str | None) -> str:
    """One of few words for why a join came to its end, whatever was said."""
    if not reason:
        return "none"
    ours = re.sub(r"-\d+\Z", "", reason)
    if ours in _OURS:
        return ours
    words = re.sub(r"[^a-z0-9]+", " ", reason[:200].lower())
    return next((name for name, said in _THEIRS.items() if said.search(words)), OTHER)


def named(ids: Collection[str]) -> str:
    """Ids as they stand in a line, not more than MAX_IDS."""
    shown = " ".join(list(ids)[:MAX_IDS])
    return f"{shown} and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else shown


class Fates:
    """Lines and figures of joins. `titles`: a line names what people called the meeting, too."""

    def __init__(self, registry: CollectorRegistry | None = None, *, titles: bool = False) -> None:
        registry = registry or CollectorRegistry()
        self._titles = titles
        self._attempts = Counter(
            "pal_gateway_join_attempts", "What came of attempts", ["target", "outcome"], registry=registry
        )
        self._ends = Counter(
            "pal_gateway_join_ends", "Joins that came to their end, and why", ["state", "reason"], registry=registry
        )
        for state, reasons in _LOST.items():
            for reason in reasons:
                self._ends.labels(state.value, reason)
        self._dispatched = Histogram(
            "pal_gateway_join_dispatch_seconds",
            "From when a join was due until the platform had taken it",
            registry=registry,
            buckets=LATENESS,
        )
        self._joined = Histogram(
            "pal_gateway_join_joined_seconds",
            "From when a join was due until the platform said that the PAL is in the call",
            registry=registry,
            buckets=LATENESS,
        )
        self._taken_over = Counter(
            "pal_gateway_leases_taken_over",
            "Joins that a process claimed and did not bring to an end, claimed anew",
            registry=registry,
        )

    def settled(self, join: Join, state: JoinState, outcome: str, reason: str | None, now: datetime) -> None:
        """An attempt came to an `outcome` (one of few words), which is a state of the join."""
        kind = str(join.target["kind"])
        self._attempts.labels(kind if kind in targets() else OTHER, outcome).inc()
        if outcome in ("started", "shared") and not join.entry:
            self._dispatched.observe(_late(join, now))
        elif state in (JoinState.FAILED, JoinState.MISSED, JoinState.CANCELLED):
            self._ends.labels(state.value, known_reason(reason or join.reason)).inc()

    def taken_over(self, joins: Collection[Join]) -> None:
        """Joins were claimed whose lease had ended."""
        if joins:
            self._taken_over.inc(len(joins))
            log.warning("leases taken over", joins=len(joins), join_ids=named([join.id for join in joins]))

    def moved(self, moved: Iterable[Moved], reason: str, now: datetime, **more: Any) -> None:
        """The platform spoke of joins; `reason` in its words, `more` for the lines."""
        for one in moved:
            comes_back = one.join.state is JoinState.PLANNED
            if one.before is one.join.state and not comes_back:
                continue
            late = {}
            if one.join.state is JoinState.JOINED:
                late = self._in_the_call(one, now)
            else:
                state = "came-back" if comes_back else one.join.state.value
                self._ends.labels(state, known_reason(reason)).inc()
            says = "comes back" if comes_back else one.join.state.value
            log.info(f"join {says}", **self.facts(one.join), **late, **({"reason": reason} if reason else {}), **more)

    def _in_the_call(self, one: Moved, now: datetime) -> dict[str, float]:
        if one.before not in _BEFORE_THE_CALL or one.join.entry:
            return {}
        self._joined.observe(_late(one.join, now))
        return {"late": round(_late(one.join, now), 2)}

    def facts(self, join: Join, conversation_id: str | None = None) -> dict[str, str]:
        """What a line says of a join: ids, and its title where that was asked for."""
        facts = {
            "join": join.id,
            "pal": join.pal_id,
            "order": join.order_id if join.entry else "",
            "conversation": conversation_id or join.conversation_id or "",
            "title": join.name if self._titles else "",
        }
        return {name: value for name, value in facts.items() if value}


def _late(join: Join, now: datetime) -> float:
    return max((now - join.at).total_seconds(), 0.0)
