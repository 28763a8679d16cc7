"""A fault of ours sets the mail aside with its bytes, and blocks nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake
from gateway.pals import Pal, pal_id
from scheduler.database import connect

SAMPLE = Path(__file__).parent.parent.parent / "samples"
ANNA = "anna@invite.example.com"
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def test_a_fault_of_ours_keeps_the_mail_and_the_next_one_is_decided() -> None:
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    pal = Pal(pal_id(ANNA), "Anna", ANNA, "face")
    with engine.begin() as connection:
        store.add_pal(connection, pal, NOW)
    broken = Intake(engine, Desk(scheduling=cast(Any, None)))  # a desk that fails whenever it plans
    raw = (SAMPLE / "google/01-new.eml").read_bytes()
    (aside,) = broken.take(Incoming("m1", raw, "", (ANNA,)), NOW)
    assert (aside.decision.verdict, aside.decision.reason) == ("quarantined", "error")
    (file,) = broken.take_file((SAMPLE / "calendars/weekly.ics").read_bytes(), [pal], NOW)
    assert file.decision.verdict == "quarantined"
    with engine.connect() as connection:
        assert connection.execute(select(store.mails.c.raw).where(store.mails.c.id == "m1")).scalar_one() == raw
    (decided,) = Intake(engine, Desk()).take(Incoming("m2", raw, "", (ANNA,)), NOW)
    assert decided.decision.verdict == "accepted"
