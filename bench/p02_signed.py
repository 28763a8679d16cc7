"""Mails a second with two DKIM signatures each, verified, decided on and committed, beside aiosmtpd that discards them.

Both signatures are RSA with 2,048 bits over the whole mail. What DNS has is in the gateway's process, so that no name
server is measured.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.figure import Row, hottest
from bench.mails import invitation, pal
from bench.p01_intake import in_turns
from bench.servers import TOMORROW, Client, Mail, add_pals, discarding, gateway
from gateway.app import Gateway, heeded, until_stopped
from gateway.authentication import Arrived, Trust, judge, wanted
from gateway.logs import configure
from gateway.lookups import Question, Records
from gateway.senders import Origin
from gateway.settings import Settings
from scheduler.clock import utc_now
from tests.security.world import key, sign

GOAL = 0.2
SIGNERS = ("acme.example", "google.com")
SELECTOR = "bench"


def measure() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        for domain in SIGNERS:
            (folder / domain).write_bytes(key(2048, domain).record)
        add_pals(f"sqlite:///{folder}/gateway.db")
        command = (sys.executable, "-m", "bench.p02_signed", str(folder))
        with (
            discarding(folder) as other,
            gateway(folder, command=command, SENDERS__SENDER_AUTH="require") as ours,
        ):
            rates = in_turns(ours, other, Client(_signed, most=200))
    met = rates[0] / rates[1] >= GOAL
    where = "" if met else hottest(_judging(), 20)
    return [
        Row("P2 the same, two DKIM signatures each | aiosmtpd that discards", *rates, "/s", f"≥ {GOAL}", met, where)
    ]


def _signed(number: int) -> Mail:
    """One more mail; both signatures cover the same."""
    sender = f"alex-{number}@{SIGNERS[0]}"
    raw = invitation(number, TOMORROW, sender)
    for domain in SIGNERS:
        raw = sign(raw, domain, selector=SELECTOR, with_key=key(2048, domain))
    return sender, pal(number), raw


class _Known:
    """DNS that has the two keys, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._records = {f"{SELECTOR}._domainkey.{one}": (folder / one).read_bytes() for one in SIGNERS}

    async def answer(self, question: Question, seconds: float) -> Records | None:
        return (self._records[question.name],) if question.name in self._records else ()


def _judging() -> Callable[[], object]:
    """The verification of one mail, in this process."""
    sender, _, raw = _signed(0)
    mail = Arrived(raw, sender, Origin("192.0.2.1", "mail.acme.example", "192.0.2.1"))
    answers: dict[Question, Records | None] = {
        Question(f"{SELECTOR}._domainkey.{one}"): (key(2048, one).record,) for one in SIGNERS
    }
    while missing := wanted(mail, Trust(), answers):
        answers |= dict.fromkeys(missing, ())
    return lambda: judge(mail, Trust(), answers, utc_now())


def _serve(folder: Path) -> None:
    """The gateway of this figure."""
    settings = Settings()
    configure(settings.log)

    async def serve() -> None:
        running = Gateway(settings, _Known(folder))
        stopped = heeded(settings.stop_seconds)
        await running.start()
        await until_stopped(running, stopped)

    asyncio.run(serve())


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
