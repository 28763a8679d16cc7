"""What a process counts of mails, replies and callbacks, for Prometheus: in memory, from its start on. Shell.

Rules of this file:
- A label has few values, all of them ours; what others say is no label.
- Figures belong to one object and its registry, never to this module: gateways in one process count apart.
- What alerts count stands at 0 from the start: of a series that begins with 1 Prometheus sees no increase.
- Counting costs microseconds and cannot fail: nothing here asks anybody.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.verdict import Reason, Verdict
from scheduler.fates import Fates

# Seconds: a mail takes some milliseconds; DNS and a reader may take five each.
INTAKE: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Figures:
    """The figures of one gateway, and those of its joins. `titles`: see `Fates`."""

    def __init__(self, *, titles: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.fates = Fates(self.registry, titles=titles)
        self._mails = Counter(
            "pal_gateway_mails",
            "Decisions on mails: one for each message and PAL",
            ["verdict", "reason"],
            registry=self.registry,
        )
        self._answers = Counter(
            "pal_gateway_mail_answers", "SMTP answers to mails, by their code", ["code"], registry=self.registry
        )
        self._seconds = Histogram(
            "pal_gateway_mail_seconds",
            "From the end of DATA until the mail was written down and 250 said",
            registry=self.registry,
            buckets=INTAKE,
        )
        self._replies = Counter(
            "pal_gateway_replies", "What came of sending replies", ["outcome"], registry=self.registry
        )
        self._callbacks = Counter(
            "pal_gateway_callbacks", "What came of passing callbacks on", ["outcome"], registry=self.registry
        )

        for outcomes in (self._replies, self._callbacks):
            for outcome in ("sent", "retried", "failed"):
                outcomes.labels(outcome)
        self._replies.labels("undeliverable")
        for code in ("250", "451", "452"):
            self._answers.labels(code)

    def decided(self, verdict: Verdict, reason: Reason | None) -> None:
        """A mail was decided on, and that is committed."""
        self._mails.labels(verdict.value, reason.value if reason is not None else "none").inc()

    def answered(self, answer: str, seconds: float) -> None:
        """A mail was answered so long after its end; `answer` is a line of ours."""
        code = answer[:3]
        self._answers.labels(code).inc()
        if code == "250":
            self._seconds.observe(seconds)

    def replied(self, outcome: str) -> None:
        """A reply came to one of few ends: sent, retried, failed, lost, undeliverable."""
        self._replies.labels(outcome).inc()

    def passed_on(self, outcome: str) -> None:
        """A callback came to one of few ends: sent, retried, failed, lost."""
        self._callbacks.labels(outcome).inc()
