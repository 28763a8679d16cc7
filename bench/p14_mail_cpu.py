"""CPU from a mail's bytes to its committed decision, joins and reply, beside icalendar's reading of its calendar alone.

In one process and one thread, SQLite with its flushes, the precheck before it; without the SMTP session, without
signatures. Each mail is a new weekly series of eight dates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from icalendar import Calendar

from bench.figure import Row, hottest, in_turns
from bench.mails import NOW, PALS, calendar, invitation, organizer, pal
from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, fresh_id
from gateway.logs import configure
from gateway.pals import Pal
from gateway.precheck import fault_of
from gateway.verdict import Verdict
from scheduler.database import connect

GOAL = 2.5
MAILS = 800


def measure() -> list[Row]:
    """One row, in milliseconds of CPU."""
    with taking() as take:
        parsed = calendar(0)
        ours, other = in_turns(take, lambda: Calendar.from_ical(parsed), calls=20)
        met = ours / other <= GOAL
        where = "" if met else hottest(take, 100)
    name = "P14 a mail to its commit, CPU | one Calendar.from_ical"
    return [Row(name, ours * 1e3, other * 1e3, "ms", f"≤ {GOAL}", met, where)]


@contextmanager
def taking() -> Iterator[Callable[[], None]]:
    """A function that takes one more mail into a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        engine = connect(f"sqlite:///{folder}/gateway.db")
        store.migrate(engine)
        with engine.begin() as connection:
            for number in range(PALS):
                store.add_pal(connection, Pal(f"p-{number}", "Anna", pal(number), "face-1"), NOW)
        intake, mails = Intake(engine, Desk()), iter([(number, invitation(number)) for number in range(MAILS)])

        def take() -> None:
            number, raw = next(mails)
            assert fault_of(raw) is None
            played = intake.take(Incoming(fresh_id("m"), raw, organizer(number), (pal(number),)), NOW)
            assert played[0].decision.verdict is Verdict.ACCEPTED

        with (Path(folder) / "log").open("w") as log, redirect_stderr(log):
            configure("json")
            yield take
        engine.dispose()
