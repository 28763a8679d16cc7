"""The journal, on both stores: each change is one row, in the transaction of the change and in one statement of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import OperationalError

import scheduler.store
from gateway import interventions, regrets, store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake
from gateway.pals import Pal
from scheduler import journal
from scheduler.happening import what_became, what_changed, what_happened
from scheduler.joins import Join, JoinState, Policy
from scheduler.journal import Entry
from scheduler.together import Write, committed
from tests.scenario import calendar_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LEASE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
ALEX = "alex@acme.example"
MEETING = ("DTSTART:20260303T140000Z", "DURATION:PT1H")
LOBBY = "Bot was not admitted from the lobby in time"


def a_join(number: int = 1, **values: Any) -> Join:
    join = Join(
        f"j{number}", "p1", "face", "u", NOW + number * HOUR, NOW + LEASE, NOW + HOUR, NOW, NOW + HOUR,
        "https://meet.google.com/abc-defg-hij", "x", wake_at=NOW,
    )  # fmt: skip
    return replace(join, **values)


def claimed(connection: Connection, *joins: Join) -> list[Join]:
    """Joins that are planned, and claimed; by id."""
    scheduler.store.save_joins(connection, joins or [a_join()], (), now=NOW)
    return sorted(scheduler.store.claim(connection, NOW, "us", LEASE, 10), key=lambda join: join.id)


def said(engine: Engine, join_id: str = "j1") -> list[Entry]:
    """What the journal says of a join."""
    with engine.connect() as connection:
        return journal.history_of(connection, [join_id])[join_id]


def kinds(engine: Engine, join_id: str = "j1") -> list[str]:
    return [entry.kind.value for entry in said(engine, join_id)]


def test_a_plan_is_one_row_and_each_join_finds_itself_in_it(engine: Engine) -> None:
    joins = [a_join(1), a_join(2, starts=NOW + 2 * HOUR, until=NOW + 3 * HOUR)]
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, joins, (), now=NOW)
        scheduler.store.save_joins(connection, [a_join(3, uid="other")], (), now=NOW)
        (row, _) = connection.execute(select(journal.journal).order_by(journal.journal.c.id))
        assert (row.join_id, row.wake_at, row.kept_until) == (None, NOW, NOW + 3 * HOUR)
        found = journal.history_of(connection, ["j2", "j1", "j9"])
    assert [(key, len(entries)) for key, entries in found.items()] == [("j2", 1), ("j1", 1), ("j9", 0)]
    (second,) = found["j2"]
    assert (second.kind, second.join_id, second.uid, second.at) == ("planned", "j2", "u", NOW)
    assert second.data == {"start": (NOW + 2 * HOUR).isoformat()}


def test_what_an_organizer_changes(engine: Engine) -> None:
    before = (a_join(1), a_join(2), a_join(3), a_join(4))
    later: dict[str, Any] = {"starts": NOW + 2 * HOUR, "ends": NOW + 3 * HOUR}
    after = [
        replace(before[0], **later),
        replace(before[1], state=JoinState.CANCELLED, reason="cancelled", wake_at=None),
        replace(before[2], name="another title"),
        replace(before[3], url="https://meet.google.com/xyz-abcd-efg"),
    ]
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, before, (), now=NOW)
        scheduler.store.save_joins(connection, after, before, now=NOW + LEASE)
    assert [kinds(engine, f"j{number}") for number in (1, 2, 3, 4)] == [
        ["planned", "moved"], ["planned", "cancelled"], ["planned"], ["planned", "moved"],
    ]  # fmt: skip
    moved = said(engine)[-1]
    assert (moved.at, moved.data["before"]["start"]) == (NOW + LEASE, (NOW + LEASE).isoformat())
    assert (moved.data["after"]["start"], moved.data["has_new_link"]) == ((NOW + 2 * HOUR).isoformat(), False)
    assert (said(engine, "j2")[-1].detail, said(engine, "j2")[-1].data) == ("cancelled", {"reason": "cancelled"})
    assert said(engine, "j4")[-1].data["has_new_link"]


def test_a_call_from_its_order_to_its_end(engine: Engine) -> None:
    with engine.begin() as connection:
        (join,) = claimed(connection)
        late = NOW + timedelta(seconds=2.5)
        assert scheduler.store.settle(connection, join, now=late, state=JoinState.STARTED, conversation_id="c1")
        for reported in (JoinState.JOINED, JoinState.JOINED, JoinState.ENDED, JoinState.ENDED):
            scheduler.store.observe(connection, "j1", reported, now=late, reason="" if reported == "joined" else "over")
        assert journal.lateness(connection, NOW) == [2.5]
        assert journal.lateness(connection, late + LEASE) == []
    assert kinds(engine) == ["planned", "started", "joined", "ended"]
    _, started, _, ended = said(engine)
    assert (started.attempt, started.data, ended.detail, ended.attempt) == (1, {"late": 2.5}, "over", 1)


def test_an_attempt_that_came_to_nothing_says_when_there_is_another(engine: Engine) -> None:
    with engine.begin() as connection:
        (join,) = claimed(connection)
        again = NOW + timedelta(seconds=3)
        scheduler.store.settle(
            connection, join, now=NOW, state=JoinState.PLANNED, wake_at=again, detail="503 " + "x" * 400
        )
        (join,) = scheduler.store.claim(connection, again, "us", LEASE, 1)
        scheduler.store.settle(
            connection, join, now=again, state=JoinState.FAILED, reason="platform-refused-401", detail="401 no"
        )
    _, tried, failed = said(engine)
    assert (tried.kind, tried.attempt, tried.data) == ("tried", 1, {"again": again.isoformat()})
    assert (tried.detail[:5], len(tried.detail)) == ("503 x", 300)
    assert (failed.kind, failed.attempt, failed.detail) == ("failed", 2, "401 no")
    assert failed.data == {"reason": "platform-refused-401"}


def test_what_somebody_else_brought_about_meanwhile_is_said_once(engine: Engine) -> None:
    with engine.begin() as connection:
        joins = claimed(connection, *map(a_join, range(1, 7)))
        leaving = [replace(join, state=JoinState.LEAVING, reason="cancelled") for join in joins[:2]]
        scheduler.store.save_joins(connection, leaving, joins[:2], now=NOW)
        # Dropped while its order was refused: it is cancelled, not failed.
        scheduler.store.settle(connection, joins[0], now=NOW, state=JoinState.FAILED, reason="x")
        # Dropped while its order was taken, so there is a call, which ends.
        scheduler.store.settle(connection, joins[1], now=NOW, state=JoinState.STARTED, conversation_id="c2")
        (again,) = [one for one in scheduler.store.claim(connection, NOW, "us", LEASE, 9) if one.id == "j2"]
        scheduler.store.observe(connection, "j2", JoinState.ENDED, now=NOW, reason="over")
        scheduler.store.settle(connection, again, now=NOW, state=JoinState.CANCELLED, conversation_id="c2")
        # Its callback was faster than its answer.
        scheduler.store.observe(connection, "j3", JoinState.JOINED, now=NOW, conversation_id="c3")
        scheduler.store.settle(connection, joins[2], now=NOW, state=JoinState.STARTED, conversation_id="c3")
        # A look finds what a callback has said by then.
        scheduler.store.settle(
            connection, joins[3], now=NOW, state=JoinState.STARTED, conversation_id="c4", wake_at=NOW
        )
        (looked,) = [one for one in scheduler.store.claim(connection, NOW, "us", LEASE, 9) if one.id == "j4"]
        scheduler.store.observe(connection, "j4", JoinState.JOINED, now=NOW)
        scheduler.store.settle(connection, looked, now=NOW, state=JoinState.JOINED)
        # The answer was lost, and what the call says of itself was not.
        for join, state, reason in ((joins[4], JoinState.JOINED, ""), (joins[5], JoinState.ENDED, LOBBY)):
            scheduler.store.settle(connection, join, now=NOW, state=JoinState.PLANNED, wake_at=NOW + LEASE)
            assert scheduler.store.observe(connection, join.id, state, now=NOW, reason=reason, conversation_id=join.id)
    assert [kinds(engine, f"j{number}") for number in range(1, 7)] == [
        ["planned", "cancelled"],
        ["planned", "cancelled", "started", "ended"],
        ["planned", "joined", "started"],
        ["planned", "started", "joined"],
        ["planned", "tried", "joined"],
        ["planned", "tried", "tried"],
    ]


def test_what_another_holds_is_not_said(engine: Engine) -> None:
    with engine.begin() as connection:
        (join,) = claimed(connection)
        scheduler.store.claim(connection, NOW + HOUR, "them", LEASE, 1)
        assert not scheduler.store.settle(connection, join, now=NOW, state=JoinState.STARTED, conversation_id="c1")
    assert kinds(engine) == ["planned"]


def test_a_call_that_is_entered_again(engine: Engine) -> None:
    with engine.begin() as connection:
        (join,) = claimed(connection)
        scheduler.store.settle(connection, join, now=NOW, state=JoinState.STARTED, conversation_id="c1")
        scheduler.store.observe(connection, "j1", JoinState.ENDED, now=NOW, reason=LOBBY)
        (join,) = scheduler.store.claim(connection, NOW + LEASE, "us", LEASE, 1)
        scheduler.store.settle(connection, join, now=NOW + LEASE, state=JoinState.STARTED, conversation_id="c2")
        scheduler.store.call_is_over(connection, "c2", "ended-over-the-api", NOW + LEASE)
        assert journal.lateness(connection, NOW) == [0.0]
    assert kinds(engine) == ["planned", "started", "tried", "started", "ended"]
    assert (said(engine)[2].detail, "again" in said(engine)[2].data) == (LOBBY, True)


def test_an_order_and_what_is_asked_by_hand(engine: Engine) -> None:
    with engine.begin() as connection:
        scheduler.store.add_order(connection, a_join(uid="j1", state=JoinState.CLAIMED, owner="us"), NOW)
        assert isinstance(interventions.cancel(connection, "j1", NOW), Join)
        assert isinstance(interventions.cancel(connection, "j1", NOW), str)
    assert kinds(engine) == ["planned", "cancelled"]


def test_a_mail_is_one_statement_and_what_is_rolled_back_did_not_happen(engine: Engine) -> None:
    with engine.begin() as connection:
        store.add_pal(connection, ANNA, NOW)
    calendar = calendar_of("REQUEST", (*MEETING, "RRULE:FREQ=DAILY"), ANNA.address, NOW)
    raw = f"From: {ALEX}\r\nContent-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n{calendar}".encode()
    with inserts(engine) as statements:
        Intake(engine, Desk()).take(Incoming("m1", raw, ALEX, (ANNA.address,)), NOW)
    assert len(statements) == 1
    with engine.begin() as connection:
        rows = connection.execute(select(journal.journal).order_by(journal.journal.c.id)).all()
        assert [(row.kind, row.join_id) for row in rows] == [("planned", None), ("accepted", None)]
        assert (len(rows[0].data["joins"]), rows[1].data) == (59, {"invite": "m1-0"})
        first = scheduler.store.find_joins(connection)[0]
    with engine.begin() as connection:
        scheduler.store.rewrite(connection, replace(first, state=JoinState.CANCELLED), first, NOW)
        connection.rollback()
    assert kinds(engine, first.id) == ["planned"]
    with engine.begin() as connection:
        regrets.release(connection, ANNA, NOW, Policy())
    assert kinds(engine, first.id) == ["planned", "cancelled"]


def test_outcomes_that_are_written_together_are_one_statement(engine: Engine) -> None:
    with engine.begin() as connection:
        joins = claimed(connection, *map(a_join, range(5)))

    def started(join: Join) -> Write[bool]:
        def write(connection: Connection) -> bool:
            call = f"c-{join.id}"
            return scheduler.store.settle(connection, join, now=NOW, state=JoinState.STARTED, conversation_id=call)

        return Write(write)

    with inserts(engine) as statements:
        committed(engine, [started(join) for join in joins])
    assert len(statements) == 1
    assert [kinds(engine, join.id) for join in joins] == [["planned", "started"]] * 5

    def fault(connection: Connection) -> bool:
        raise ValueError("a fault of one")

    with engine.begin() as connection:
        for join in joins:
            scheduler.store.observe(connection, join.id, JoinState.JOINED, now=NOW)
    outcomes = committed(
        engine,
        [
            Write(lambda connection: bool(scheduler.store.observe(connection, "j0", JoinState.ENDED, now=NOW))),
            Write(fault),
            Write(lambda connection: bool(scheduler.store.observe(connection, "j1", JoinState.ENDED, now=NOW))),
        ],
    )
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert [kinds(engine, f"j{number}")[3:] for number in range(3)] == [["ended"], ["ended"], []]


@contextmanager
def inserts(engine: Engine) -> Iterator[list[str]]:
    """The statements that write into the journal."""
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO journal"):
            found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("after", JoinState)
@pytest.mark.parametrize("before", [None, *JoinState])
def test_each_change_of_state_has_at_most_one_word(before: JoinState | None, after: JoinState) -> None:
    word = what_happened(before, after)
    if before is None:
        assert word == "planned"
        return
    assert (word is None) == (after in (before, "claimed") or (before, after) == ("joined", "started"))
    one, other = a_join(state=before), a_join(state=after)
    assert what_changed(one, other) is word
    if after is not JoinState.LEAVING:
        assert what_became(before, after) is word


def test_a_connection_that_is_lost_meanwhile_is_lost_and_nothing_else(engine: Engine) -> None:
    """What the store says is what decides whether a mail is offered again; the journal adds no fault of its own."""
    said = OperationalError("SELECT", {}, ValueError("the server has gone"))

    def lose() -> None:
        with engine.connect() as connection, journal.at_once(connection):
            connection.execute(select(1))
            connection.invalidate()
            raise said

    with pytest.raises(OperationalError) as raised:
        lose()
    assert raised.value is said
    with engine.connect() as connection:
        journal.write(connection, [])  # the next one waits for nothing
        assert "journal" not in connection.info
