"""What several processes do to one store at once: no update is lost, no row is claimed twice, nobody waits for ever."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, insert, select, text

import scheduler.store
from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, Played
from gateway.pals import Pal, pal_id
from scheduler.joins import Join, JoinState
from tests.store.conftest import Connect

SAMPLES = Path(__file__).parent.parent.parent / "samples"
ANNA = "anna@invite.example.com"
PAL = Pal(pal_id(ANNA), "Anna", ANNA, "face")
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
LEASE = timedelta(minutes=1)
ONE_WRITER = "SQLite has one writer at a time"


def at_once(number: int, what: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(what, range(number)))


def test_every_update_counts_when_threads_write_at_once(process: Connect) -> None:
    """The driver's own transactions lose most of them on SQLite."""
    counter = Table("counter", MetaData(), Column("n", Integer))
    engines = [process() for _ in range(4)]
    counter.metadata.create_all(engines[0])
    with engines[0].begin() as connection:
        connection.execute(insert(counter).values(n=0))

    def count(number: int) -> None:
        with engines[number % 4].begin() as connection:
            n = connection.execute(select(counter.c.n).with_for_update()).scalar_one()
            connection.execute(counter.update().values(n=n + 1))

    at_once(100, count)
    with engines[0].connect() as connection:
        assert connection.execute(select(counter.c.n)).scalar_one() == 100


def planned(number: int) -> Join:
    at = NOW - timedelta(seconds=number)
    return Join(
        id=f"j{number}",
        pal_id=PAL.id,
        face_id="face",
        uid="u",
        recurrence_id=at,
        starts=at,
        ends=at + LEASE,
        at=at,
        until=at + LEASE,
        url="https://meet.google.com/abc-defg-hij",
        name="x",
        state=JoinState.PLANNED,
        wake_at=at,
    )


def test_each_row_is_claimed_once(engine: Engine, process: Connect) -> None:
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, [planned(number) for number in range(100)], (), now=NOW)
    engines = [process() for _ in range(4)]

    def claim(number: int) -> list[Join]:
        with engines[number % 4].begin() as connection:
            return scheduler.store.claim(connection, NOW, f"owner-{number}", LEASE, 10)

    claims = at_once(16, claim)
    assert sorted(join.id for one in claims for join in one) == sorted(f"j{number}" for number in range(100))
    assert all(len(one) <= 10 for one in claims)
    assert all(join.attempt == 1 and join.owner == f"owner-{n}" for n, one in enumerate(claims) for join in one)


def test_who_claims_does_not_wait_for_another_claim(engine: Engine, process: Connect) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip(ONE_WRITER)
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, [planned(number) for number in range(3)], (), now=NOW)
    with engine.begin() as first, process().begin() as second:
        (oldest,) = scheduler.store.claim(first, NOW, "first", LEASE, 1)
        others = scheduler.store.claim(second, NOW, "second", LEASE, 10)
        assert (oldest.id, [one.id for one in others]) == ("j2", ["j1", "j0"])


def sample(name: str) -> bytes:
    return (SAMPLES / f"google/{name}.eml").read_bytes()


def waits(connection: Connection) -> bool:
    """Whether anybody waits for a lock (PostgreSQL)."""
    return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


@pytest.mark.parametrize("uid", [b"one@google.com", b"two@google.com", b"three@google.com"])
def test_mails_about_one_new_event_at_once_are_all_decided(engine: Engine, process: Connect, uid: bytes) -> None:
    """In any order: what is known then is the newest of them."""
    with engine.begin() as connection:
        store.add_pal(connection, PAL, NOW)
    desks = [Intake(process(), Desk()) for _ in range(4)]
    names = ("01-new", "02-details-edited", "03-rescheduled")
    raws = [re.sub(rb"UID:\S+", b"UID:" + uid, sample(name)) for name in names]

    def take(number: int) -> list[Played]:
        return desks[number % 4].take(Incoming(f"m{number}", raws[number % 3], "", (ANNA,)), NOW)

    played = at_once(12, take)
    assert {one.decision.verdict for (one,) in played} <= {"accepted", "ignored", "outdated"}
    with engine.connect() as connection:
        (join,) = scheduler.store.find_joins(connection)
    assert join.starts == datetime(2026, 3, 4, 15, tzinfo=UTC)


def test_a_pal_that_is_removed_meanwhile_is_not_invited(engine: Engine, process: Connect) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip(ONE_WRITER)
    with engine.begin() as connection:
        store.add_pal(connection, PAL, NOW)
    desk = Intake(process(), Desk())
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as connection:
            assert store.account_pal(connection, PAL.account, PAL.id) is not None
            taking = threads.submit(desk.take, Incoming("m1", sample("01-new"), "", (ANNA,)), NOW)
            while not taking.done() and not waits(connection):
                pass
            scheduler.store.forget_pal(connection, PAL.id, NOW)
            store.remove_pal(connection, PAL.id)
        assert taking.result() == []
    with engine.connect() as connection:
        assert scheduler.store.find_joins(connection) == []


def test_mails_with_anything_in_them_are_decided(engine: Engine) -> None:
    """PostgreSQL takes no NUL in a text, and no long one in an index."""
    with engine.begin() as connection:
        store.add_pal(connection, PAL, NOW)
    desk = Intake(engine, Desk())
    raw = sample("01-new")
    odd = (
        raw.replace(b"UID:", b"UID:\x00\x01")
        .replace(b"SUMMARY:", b"SUMMARY:\x00")
        .replace(b"Message-ID: <", b"Message-ID: <\x00")
    )
    assert odd != raw
    for number in range(2):
        (played,) = desk.take(Incoming(f"m{number}", odd, "\x00\udcff@x", (ANNA,)), NOW)
        assert played.decision.verdict == ("accepted", "ignored")[number]
    long = raw.replace(b"UID:", b"UID:" + token_hex(10_000).encode())
    (played,) = desk.take(Incoming("long", long, "", (ANNA,)), NOW)
    assert (played.decision.verdict, played.decision.reason) == ("ignored", "unreadable")


def test_a_callback_while_the_order_is_written_down_counts(engine: Engine, process: Connect) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip(ONE_WRITER)
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, [planned(1)], (), now=NOW)
        (join,) = scheduler.store.claim(connection, NOW, "us", LEASE, 1)
    callee = process()

    def joined() -> bool:
        with callee.begin() as connection:
            return bool(scheduler.store.observe(connection, join.id, JoinState.JOINED, now=NOW, conversation_id="c1"))

    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as connection:
            assert scheduler.store.settle(connection, join, now=NOW, state=JoinState.STARTED, conversation_id="c1")
            said = threads.submit(joined)
            while not said.done() and not waits(connection):
                pass
        assert said.result()
    with engine.connect() as connection:
        assert [one.state for one in scheduler.store.find_joins(connection)] == [JoinState.JOINED]
