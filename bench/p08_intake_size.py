"""What a mail costs where a million joins are planned, and where a thousand are: a new series, and one that is moved.

CPU time of this process, through the intake as the desk calls it, with its commit. The same mails in turns, to PALs
that are spread over the whole store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from bench.figure import Row, hottest, in_turns
from bench.planned import DATES, FEW, MANY, Names, copied, invitation
from gateway.intake import Incoming, Intake, fresh_id
from gateway.settings import Settings
from gateway.verdict import Verdict
from scheduler.clock import utc_now
from scheduler.database import connect

GOAL = 1.2
TURNS = 12
MAILS = 8  # of a turn
STRIDE = 7919  # a prime: so many PALs lie between one mail's and the next one's

Take = Callable[[], None]


def measure() -> list[Row]:
    """A row for new events, one for events that are known."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, capture_logs():
        engines = [connect(copied(joins, Path(folder))) for joins in (MANY, FEW)]
        for what, is_new in (("a new series", True), ("a series that is moved", False)):
            many, few = (
                _taking(Intake(engine, Settings().desk()), joins // DATES, is_new)
                for engine, joins in zip(engines, (MANY, FEW), strict=True)
            )
            ours, other = (seconds * 1000 for seconds in in_turns(many, few, turns=TURNS, calls=MAILS))
            where = hottest(many) if ours > GOAL * other else ""
            name = f"P8 intake of {what}: 1,000,000 | 1,000 planned"
            rows.append(Row(name, ours, other, "ms", f"≤ {GOAL:g} ×", ours <= GOAL * other, where))
        for engine in engines:
            engine.dispose()
    return rows


def _taking(intake: Intake, pals: int, is_new: bool) -> Take:
    """Takes the next mail to one of so many PALs."""
    mails = _mails(pals, is_new)

    def take() -> None:
        mail = next(mails)
        (played,) = intake.take(mail, utc_now())
        assert played.decision.verdict is Verdict.ACCEPTED, played
        assert len(played.decision.joins) == DATES, played

    return take


def _mails(pals: int, is_new: bool) -> Iterator[Incoming]:
    """New series come from people who have invited nobody before: what they are counted with is the same everywhere."""
    starts = (utc_now() + timedelta(days=1)).replace(minute=20, second=0, microsecond=0)
    for number in range(10 * pals):
        names = Names(number * STRIDE % pals)
        raw, sender = invitation(names, starts + timedelta(minutes=number // pals), sequence=number + 1), names.inviter
        if is_new:
            sender = f"new-{number}@new-{number}.example"
            raw = raw.replace(names.uid.encode(), b"new-%d@google.com" % number)
            raw = raw.replace(names.inviter.encode(), sender.encode())
        yield Incoming(fresh_id("m"), raw, sender, (names.address,))
