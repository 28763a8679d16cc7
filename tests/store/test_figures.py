"""Figures of what waits, whose lease ended, and whether the store can be written to: on both stores."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, insert, select

import scheduler.store
from gateway import readiness, store, store_calls, store_figures
from gateway.readiness import Readiness
from gateway.verdict import Verdict
from scheduler.database import connect
from scheduler.dispatch import LEASE, Dispatcher
from scheduler.fates import Fates
from scheduler.joins import Join, Policy

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def add_join(connection: Connection, name: str, wake_at: datetime | None) -> None:
    at = wake_at or NOW
    until = NOW + timedelta(hours=1)
    join = Join(name, "p1", "face", name, at, at, until, at, until, f"https://x.example/{name}", "x", wake_at=wake_at)
    scheduler.store.save_joins(connection, [join], [], now=NOW)


def add_mail(connection: Connection, name: str, verdict: Verdict, at: datetime) -> None:
    store.save_mail(connection, store.MailRow(name, at, "", (), "", b"x"))
    row = store.InviteRow(f"{name}-0", name, "p1", None, "", verdict, None, None, None, "", [], at)
    store.save_invite(connection, row)


def add_letter(connection: Connection, name: str, wake_at: datetime | None, created_at: datetime) -> None:
    values: dict[str, Any] = dict.fromkeys(("pal_id", "uid", "sender", "recipient", "organizer", "partstat"), "x")
    values |= {"id": name, "key": name, "anew": False, "raw": b"x", "state": "queued", "attempt": 0}
    connection.execute(insert(store.outbox).values(**values, created_at=created_at, wake_at=wake_at))


def add_callback(connection: Connection, state: str) -> None:
    values: dict[str, Any] = dict.fromkeys(("join_id", "event_type", "url"), "x") | {"raw": b"x", "attempt": 0}
    values |= {"id": state, "state": state, "received_at": NOW, "wake_at": NOW if state == "queued" else None}
    connection.execute(insert(store_calls.callbacks).values(values))


def last_written(engine: Engine) -> bytes:
    with engine.connect() as connection:
        kept = select(store.secrets.c.value).where(store.secrets.c.name == store_figures.WRITTEN)
        return bytes(connection.execute(kept).scalar_one())


def test_what_waits_in_the_store(engine: Engine) -> None:
    """Counted at an instant that is given; what is settled does not count."""
    with engine.begin() as connection:
        assert store_figures.waiting(connection, NOW) == store_figures.Waiting(0, 0.0, 0, 0.0, 0, 0, 0)
        for number, ago in enumerate((40, 10, -30)):
            add_join(connection, f"j{number}", NOW - timedelta(seconds=ago))
        add_join(connection, "over", None)
        add_mail(connection, "m1", Verdict.QUARANTINED, NOW - timedelta(days=2))
        add_mail(connection, "m2", Verdict.QUARANTINED, NOW - timedelta(days=9))
        add_mail(connection, "m3", Verdict.ACCEPTED, NOW)
        add_letter(connection, "r1", NOW + timedelta(seconds=60), NOW - timedelta(seconds=700))
        add_letter(connection, "r2", NOW, NOW - timedelta(seconds=5))
        add_letter(connection, "r3", None, NOW - timedelta(days=1))
        for state in ("noted", "queued"):
            add_callback(connection, state)
        found = store_figures.waiting(connection, NOW)
    assert found == store_figures.Waiting(
        joins_due=2, join_overdue=40.0, letters=2, oldest_letter=700.0, callbacks=1, webhooks=0, quarantined=2
    )


def test_a_join_that_a_process_left_is_counted_when_another_takes_it(engine: Engine) -> None:
    now, registries = NOW, [CollectorRegistry() for _ in range(2)]

    def process(number: int) -> Dispatcher:
        fates = Fates(registries[number])
        return Dispatcher(engine, {}, str, lambda: now, f"process-{number}", Policy(), fates=fates)

    died, other = process(0), process(1)
    with engine.begin() as connection:
        add_join(connection, "left", NOW)
        add_join(connection, "given-back", NOW)
    claimed = {join.id: join for join in died.claim(10)}
    assert claimed.keys() == {"left", "given-back"}
    died.give_back([claimed["given-back"]])
    assert [join.id for join in other.claim(10)] == ["given-back"]
    assert counted(registries) == [0, 0]
    now = NOW + LEASE + timedelta(seconds=1)
    other.give_back(other.claim(10))  # what it had itself is taken over from it, too: it did not carry it out
    assert counted(registries) == [0, 2]


def counted(registries: list[CollectorRegistry]) -> list[float | None]:
    return [one.get_sample_value("pal_gateway_leases_taken_over_total") for one in registries]


@pytest.mark.parametrize(
    ("ago", "fault"),
    [(None, readiness.NOT_SWEPT), (0.0, ""), (readiness.LATE - 1, ""), (readiness.LATE + 1, readiness.NOT_SWEPT)],
)
def test_a_scheduler_that_does_not_look_is_not_ready(engine: Engine, ago: float | None, fault: str) -> None:
    async def path() -> None:
        swept_at = monotonic() - ago if ago is not None else None
        assert await Readiness(engine, lambda: swept_at).fault() == fault
        assert await Readiness(engine).fault() == ""  # a process without the role is not asked for it

    asyncio.run(path())


def test_a_file_that_was_moved_away_is_not_ready_until_it_is_back(tmp_path: Path) -> None:
    """Who has it open would go on writing to it, and nobody would find it there after a restart."""

    async def path() -> None:
        file = tmp_path / "gateway.db"
        engine = connect(f"sqlite:///{file}")
        store.create_throwaway(engine)
        ready = Readiness(engine)
        assert await ready.fault() == ""
        file.rename(tmp_path / "elsewhere.db")
        assert await ready.fault() == readiness.MOVED
        file.write_bytes(b"")  # somebody puts another one in its place
        assert await ready.fault() == readiness.MOVED
        (tmp_path / "elsewhere.db").rename(file)
        assert await ready.fault() == ""
        engine.dispose()

    asyncio.run(path())


def test_who_asks_often_writes_seldom(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def path() -> None:
        ready = Readiness(engine)
        assert await ready.fault() == ""
        first = last_written(engine)
        assert [await ready.fault() for _ in range(20)] == [""] * 20
        assert last_written(engine) == first
        monkeypatch.setattr(readiness, "FRESH", 0.0)
        assert await ready.fault() == ""
        assert last_written(engine) > first

    asyncio.run(path())
