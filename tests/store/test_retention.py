"""What is forgotten, when, and what remains, on both stores: nothing of what people wrote, all that is still needed."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Engine,
    Integer,
    LargeBinary,
    String,
    Table,
    func,
    insert,
    select,
    text,
    update,
)
from structlog.testing import capture_logs

import scheduler.store
from gateway import regrets, store, store_calls, store_retention
from gateway.decide import Desk
from gateway.explain import story
from gateway.forgetting import Forgetting
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal
from gateway.store_retention import DELETED, EMPTIED
from scheduler.clock import Clock
from scheduler.database import Text, UtcDateTime, metadata
from scheduler.dispatch import plan_further
from scheduler.event import Answer, Component, Event, Revision
from scheduler.joins import LIVE, Join, JoinState, Policy
from scheduler.leases import is_kept
from scheduler.zones import Zone
from tests.scenario import calendar_of
from tests.store.conftest import Connect

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
SPAN = 30 * DAY
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
ALEX = "alex@acme.example"
MEETING = ("DTSTART:20260303T140000Z", "DURATION:PT1H")
BERLIN = "DTSTART;TZID=Europe/Berlin:20260303T150000"
ENDLESS = (BERLIN, "RRULE:FREQ=WEEKLY")
SECURITY = Path(__file__).parent.parent.parent / "SECURITY.md"
SCHEMA = [table for table in metadata.sorted_tables if table.name not in ("pals", "keys", "secrets")]


class House:
    """A desk and a calendar on a clock that is moved by hand, with the PAL Anna."""

    def __init__(self, engine: Engine, span: timedelta | None = SPAN) -> None:
        self.engine = engine
        self.now = START
        self.desk = Desk(remembers=span)
        self.forgetting = Forgetting(engine, span, Policy(), lambda: self.now)
        with engine.begin() as connection:
            store.add_pal(connection, ANNA, START)

    def mail(self, *lines: str, method: str = "REQUEST") -> str:
        """A mail about an event comes; its id."""
        calendar = calendar_of(method, lines, ANNA.address, self.now)
        raw = f"From: {ALEX}\r\nContent-Type: text/calendar; charset=utf-8; method={method}\r\n\r\n{calendar}"
        mail = Incoming(fresh_id("m"), raw.encode(), ALEX, (ANNA.address,))
        self.played = Intake(self.engine, self.desk).take(mail, self.now)
        return mail.id

    def until(self, instant: datetime) -> House:
        """Time goes by: joins begin and end, answers go out, series are planned further, what is old is forgotten."""
        while self.now < instant:
            self.now = min(self.now + DAY, instant)
            with self.engine.begin() as connection:
                plan_further(connection, self.now, Policy(), 100)
                joins = scheduler.store.joins.c
                over = update(scheduler.store.joins).where(joins.until <= self.now, joins.state.in_(sorted(LIVE)))
                connection.execute(over.values(state=JoinState.ENDED, wake_at=None, conversation_id="c1"))
                for letter in store.claim_letters(connection, self.now, "us", DAY, 100):
                    store.settle_letter(connection, letter, state="sent")
            self.forget()
        return self

    def forget(self) -> Counter[str]:
        return sum(self.forgetting.steps(self.now), Counter[str]())

    def kept_mails(self) -> set[str]:
        with self.engine.connect() as connection:
            return {one.id for one in store.find_mails(connection, None, 1000) if one.forgotten_at is None}

    def joins(self, *, forgotten: bool) -> list[Join]:
        with self.engine.connect() as connection:
            found = scheduler.store.find_joins(connection)
        return [join for join in found if (join.forgotten_at is not None) is forgotten]

    def rows(self, table: Table) -> int:
        with self.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def replies(self) -> list[tuple[str, str]]:
        """The answers whose text is kept: their PARTSTAT and SEQUENCE."""
        with self.engine.connect() as connection:
            raws = connection.execute(select(store.outbox.c.raw).order_by(store.outbox.c.created_at)).scalars().all()
        told = []
        for raw in filter(None, map(bytes, raws)):
            parts = message_from_bytes(raw, policy=policy.default).walk()
            calendar = next(one.get_content() for one in parts if one.get_content_type() == "text/calendar")
            lines = calendar.replace("\r\n ", "").splitlines()
            sequence = next((line.partition(":")[2] for line in lines if line.startswith("SEQUENCE:")), "0")
            partstat = next(line for line in lines if line.startswith("ATTENDEE")).partition("PARTSTAT=")[2]
            told.append((partstat.partition(";")[0], sequence))
        return told

    def remove_anna(self) -> None:
        with self.engine.begin() as connection:
            regrets.release(connection, ANNA, self.now, Policy())
            store.remove_pal(connection, ANNA.id)


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def test_a_meeting_is_kept_until_so_many_days_after_it_and_then_only_what_happened(house: House) -> None:
    mail_id = house.mail(*MEETING, "SUMMARY:Secret")
    end = datetime(2026, 3, 3, 15, tzinfo=UTC)
    house.until(end + SPAN - timedelta(seconds=1))
    assert house.kept_mails() == {mail_id}
    assert house.rows(scheduler.store.events) == 1
    assert [join.name for join in house.joins(forgotten=False)] == ["Secret"]
    house.until(end + SPAN)
    assert house.kept_mails() == set()
    assert house.rows(scheduler.store.events) == 0
    (join,) = house.joins(forgotten=True)
    assert (join.state, join.starts, join.conversation_id) == ("ended", end - timedelta(hours=1), "c1")
    with house.engine.connect() as connection:
        ((invite, _),) = store.invites_named(connection, mail_id)
        assert store.account_joins(connection, "default", None, [], None, 10).rows == (join,)
        assert store.account_invites(connection, "default", None, "accepted", None, 10).rows == (invite,)
        assert store.last_sent(connection, ANNA.id, "u1", None) == "ACCEPTED"
    assert story(vars(invite), ANNA.address) == [
        f"{mail_id}-0: accepted, for {ANNA.address}",
        f"Who sent it and what was in it was forgotten on {end + SPAN:%Y-%m-%d}",
    ]
    assert house.forget() == Counter()


def test_nothing_is_forgotten_with_0_days(engine: Engine) -> None:
    house = House(engine, None)
    mail_id = house.mail(*MEETING)
    house.until(START + 400 * DAY)
    assert (house.kept_mails(), len(house.joins(forgotten=False))) == ({mail_id}, 1)


def test_a_series_is_kept_until_its_last_date_is_over(house: House) -> None:
    mail_id = house.mail(*MEETING, "RRULE:FREQ=WEEKLY;COUNT=8")
    house.until(datetime(2026, 4, 21, 14, tzinfo=UTC) + SPAN)
    assert house.kept_mails() == {mail_id}
    assert (len(house.joins(forgotten=True)), len(house.joins(forgotten=False))) == (7, 1)
    house.until(house.now + timedelta(hours=1))
    assert (house.kept_mails(), house.rows(scheduler.store.events)) == (set(), 0)
    assert len(house.joins(forgotten=True)) == 8


def test_of_an_endless_series_the_mail_that_counts_is_kept_and_its_promise_can_be_taken_back(house: House) -> None:
    house.mail(*ENDLESS)
    house.until(START + 5 * DAY).mail(*ENDLESS, "SEQUENCE:1", "LOCATION:https://meet.google.com/new-link-now")
    house.until(START + 10 * DAY)
    counts = house.mail(*ENDLESS, "SEQUENCE:2", "LOCATION:https://meet.google.com/abc-defg-hij")
    house.until(START + 120 * DAY)
    assert house.kept_mails() == {counts}
    assert min(join.until for join in house.joins(forgotten=False)) > house.now - SPAN
    assert max(join.until for join in house.joins(forgotten=True)) <= house.now - SPAN
    assert house.replies() == []
    house.remove_anna()
    assert house.replies() == [("DECLINED", "2")]


def test_a_mail_that_counted_for_long_is_forgotten_when_another_takes_its_place(house: House) -> None:
    house.mail(*ENDLESS)
    house.until(START + 45 * DAY)
    assert len(house.kept_mails()) == 1
    newer = house.mail(*ENDLESS, "SEQUENCE:1")
    house.forget()
    assert house.kept_mails() == {newer}


def test_each_date_with_an_answer_of_its_own_keeps_its_mail(house: House) -> None:
    series = house.mail(*ENDLESS)
    house.now += DAY
    far = "RECURRENCE-ID;TZID=Europe/Berlin:20260901T150000"
    house.mail(far, "DTSTART;TZID=Europe/Berlin:20260902T150000")
    house.now += DAY
    date = house.mail(far, "DTSTART;TZID=Europe/Berlin:20260902T160000", "SEQUENCE:1", "SUMMARY:Of its own")
    near = house.mail("RECURRENCE-ID;TZID=Europe/Berlin:20260310T150000", "DTSTART;TZID=Europe/Berlin:20260311T150000")
    house.until(datetime(2026, 4, 10, 13, 59, tzinfo=UTC))
    assert house.kept_mails() == {series, date, near}
    house.until(datetime(2026, 5, 30, tzinfo=UTC))
    assert house.kept_mails() == {series, date}
    house.until(datetime(2026, 11, 1, tzinfo=UTC))
    assert house.kept_mails() == {series}
    with house.engine.connect() as connection:
        event = scheduler.store.load_event(connection, ANNA.id, "u1")
    assert event is not None
    assert event.master is not None
    assert event.master.summary
    assert [(one.summary, one.url) for one in event.overrides] == [("", None)] * 2


def test_a_cancelled_series_stays_cancelled_and_is_forgotten_otherwise(house: House) -> None:
    house.mail(*ENDLESS, "SUMMARY:Secret", "DESCRIPTION:Secret")
    house.now += DAY
    house.mail(*ENDLESS, "SEQUENCE:1", "STATUS:CANCELLED", "SUMMARY:Secret", method="CANCEL")
    house.until(house.now + 40 * DAY)
    assert house.kept_mails() == set()
    with house.engine.connect() as connection:
        (kept,) = connection.execute(select(scheduler.store.events.c.event)).scalars()
    assert "Secret" not in str(kept)
    house.mail(*ENDLESS)
    assert [one.decision.verdict for one in house.played] == ["outdated"]


def test_a_removed_pals_events_and_mails_are_forgotten_so_many_days_later(house: House) -> None:
    mail_id = house.mail(*ENDLESS)
    house.until(START + 50 * DAY).remove_anna()
    removed = house.now
    house.until(removed + SPAN - timedelta(seconds=1))
    assert (house.kept_mails(), house.rows(scheduler.store.events)) == ({mail_id}, 1)
    house.until(removed + SPAN)
    assert (house.kept_mails(), house.rows(scheduler.store.events)) == (set(), 0)
    house.until(removed + Policy().horizon + SPAN + 7 * DAY)
    assert house.joins(forgotten=False) == []
    assert house.replies() == []


def test_a_mail_for_two_pals_is_kept_while_one_of_them_needs_it(house: House) -> None:
    bert = replace(ANNA, id="p2", name="Bert", address="bert@invite.example.com")
    with house.engine.begin() as connection:
        store.add_pal(connection, bert, START)
    calendar = calendar_of("REQUEST", ENDLESS, ANNA.address, START)
    raw = f"From: {ALEX}\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n{calendar}".encode()
    Intake(house.engine, house.desk).take(Incoming("m1", raw, ALEX, (ANNA.address, bert.address)), START)
    house.remove_anna()
    house.until(START + 70 * DAY)
    assert house.kept_mails() == {"m1"}


def test_mails_that_are_no_invitations_are_forgotten_so_many_days_after_they_came(house: House) -> None:
    with house.engine.begin() as connection:
        row = store.MailRow("m1", START, ALEX, ("postmaster@invite.example.com",), "<1@x>", b"From: x\r\n\r\nhello")
        store.save_mail(connection, row)
    house.mail("DTSTART:20200101T100000Z", method="PUBLISH")
    house.until(START + SPAN - timedelta(seconds=1))
    assert len(house.kept_mails()) == 2
    house.until(START + SPAN)
    assert house.kept_mails() == set()


def test_a_quarantined_mail_is_not_forgotten_silently(engine: Engine) -> None:
    house = House(engine)
    house.desk = replace(house.desk, scheduling=None)  # type: ignore[arg-type]  # a desk that fails whenever it plans
    mail_id = house.mail(*MEETING)
    house.now += SPAN
    with capture_logs() as logs:
        house.forget()
    assert {"event": "quarantined mail forgotten", "log_level": "warning", "mail": mail_id, "reason": "error"} in logs
    with engine.connect() as connection:
        assert (store.mails_aside(connection), store.set_aside(connection, mail_id)) == ([], [])


@pytest.mark.parametrize(("method", "more"), [("REQUEST", ()), ("REQUEST", ("SEQUENCE:3",)), ("CANCEL", ())])
def test_what_comes_late_about_what_is_forgotten_does_no_harm(house: House, method: str, more: tuple[str, ...]) -> None:
    house.mail(*MEETING)
    house.until(START + 60 * DAY)
    house.mail(*MEETING, *more, method=method)
    (late,) = house.played
    assert late.decision.replies == ()
    assert late.decision.joins == ()
    assert (late.decision.verdict, late.decision.reason) == (
        ("ignored", "already-ended") if method == "REQUEST" else ("cancelled", "unknown-event")
    )
    house.until(house.now + SPAN)
    assert (house.kept_mails(), house.rows(scheduler.store.events)) == (set(), 0)


def test_a_forgotten_meeting_that_is_moved_into_the_future_is_joined(house: House) -> None:
    house.mail(*MEETING)
    house.until(START + 60 * DAY)
    house.mail("DTSTART:20260601T140000Z", "DURATION:PT1H", "SEQUENCE:1")
    (late,) = house.played
    assert (late.decision.verdict, len(late.decision.replies)) == ("accepted", 1)
    assert [join.starts.month for join in house.joins(forgotten=False)] == [6]


def test_a_cancelled_join_that_is_planned_again_is_not_forgotten_any_more(house: House) -> None:
    house.mail(*ENDLESS)
    date = "RECURRENCE-ID;TZID=Europe/Berlin:20260310T150000"
    house.now += DAY
    house.mail(date, BERLIN.replace("0303", "0310"), "SEQUENCE:1", "STATUS:CANCELLED", method="CANCEL")
    house.until(START + 60 * DAY)
    forgotten = {join.recurrence_id for join in house.joins(forgotten=True)}
    house.mail(date, BERLIN.replace("0303", "0510"), "SEQUENCE:2")
    (revived,) = [join for join in house.joins(forgotten=False) if join.recurrence_id in forgotten]
    assert (revived.state, revived.starts) == ("planned", datetime(2026, 5, 10, 13, tzinfo=UTC))
    assert revived.url


def test_a_conversation_of_the_api_stays_in_its_list(house: House) -> None:
    starts, ends = START, START + timedelta(hours=1)
    order = Join(
        "j1", ANNA.id, "face", "j1", starts, starts, ends, starts, ends, "https://meet.google.com/abc-defg-hij",
        "Secret", JoinState.ENDED, conversation_id="c9", request={"conversational_context": "Secret"},
        room={"token": "Secret"},
    )  # fmt: skip
    begun = store_calls.Begun("j1", "default", "Secret", "digest", "https://secret.example/", START)
    with house.engine.begin() as connection:
        store_calls.begin(connection, begun)
        scheduler.store.add_order(connection, order, START)
        store_calls.answered(connection, "j1", "c9", {"conversation_id": "c9", "conversation_name": "Secret"})
        store_calls.note(connection, "j1", "application.transcription_ready", b'{"transcript": "Secret"}', START)
        (call,) = store_calls.claim_callbacks(connection, START, "us", DAY, 10)
        store_calls.settle_callback(connection, call, state="sent")
    house.now = ends + SPAN
    assert house.forget() == Counter(joins=1, callbacks=1, conversations=1, journal=1)
    with house.engine.begin() as connection:
        (listed,) = store_calls.account_conversations(connection, "default", None, 10).rows
        assert (listed.id, listed.callback_url) == ("c9", "")
        assert store_calls.owned(connection, "default", "c9") is not None
        assert store_calls.begun_with(connection, "default", "Secret", house.now) is None
        heard = store_calls.heard_of(connection, ["j1"])
        assert [what for what, _ in heard["j1"]] == ["application.transcription_ready"]
        # The platform says it again.
        assert not store_calls.note(
            connection, "j1", "application.transcription_ready", b'{"transcript": "Secret"}', house.now
        )
    assert "Secret" not in str(dump(house.engine))


def test_what_the_release_before_wrote_is_forgotten_too(house: House) -> None:
    house.mail(*MEETING)
    with house.engine.begin() as connection:
        connection.execute(update(store.mails).values(kept_until=None))
    house.until(START + 60 * DAY)
    assert house.kept_mails() == set()


def test_another_number_of_days_counts_at_once(house: House) -> None:
    house.mail(*MEETING)
    house.forgetting = Forgetting(house.engine, 400 * DAY, Policy(), lambda: house.now)
    house.until(START + 100 * DAY)
    assert len(house.kept_mails()) == 1
    house.forgetting = Forgetting(house.engine, 7 * DAY, Policy(), lambda: house.now)
    assert house.forget() == Counter(events=1, mails=1, joins=1, outbox=1, journal=2)


def test_several_processes_forget_each_row_once(house: House, process: Connect) -> None:
    for number in range(40):
        house.mail(*MEETING, f"UID:u{number}")
    house.now += 60 * DAY
    with house.engine.begin() as connection:
        connection.execute(update(scheduler.store.joins).values(state="ended", wake_at=None))
        connection.execute(update(store.outbox).values(state="sent", wake_at=None))
    others = [Forgetting(process(), SPAN, Policy(), lambda: house.now) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        done = sum(threads.map(lambda one: sum(one.steps(house.now), Counter[str]()), others), Counter[str]())
    assert done == Counter(events=40, mails=40, joins=40, outbox=40, journal=80)


def test_a_fault_in_one_event_keeps_it_and_hinders_no_other(house: House) -> None:
    house.mail(*MEETING)
    kept = house.mail(*MEETING, "UID:u2")
    with house.engine.begin() as connection:
        broken = update(scheduler.store.events).where(scheduler.store.events.c.uid == "u2")
        connection.execute(broken.values(event={"uid": "u2"}))
    with capture_logs() as logs:
        house.now = START + 60 * DAY
        house.forget()
    assert house.kept_mails() == {kept}
    assert {one["event"] for one in logs} >= {"event kept", "mails kept"}


def test_it_forgets_when_it_starts_and_ends_when_it_is_told_to(house: House) -> None:
    house.mail(*MEETING)
    house.now += 60 * DAY

    async def run() -> None:
        clock = Clock()
        clock.start()
        task = asyncio.create_task(house.forgetting.run(clock.alarm("forgetting")))
        while house.kept_mails():
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        clock.stop()

    asyncio.run(run())
    assert house.rows(scheduler.store.events) == 0


# --- every column


def test_security_md_names_every_column_and_what_becomes_of_it() -> None:
    said: dict[str, tuple[set[str], set[str]]] = {}
    for line in SECURITY.read_text("utf-8").partition("## What is forgotten")[2].partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            name, _, remains, goes = (set(re.findall(r"`([^`]+)`", cell)) for cell in line.strip("|").split("|"))
            said[name.pop()] = (remains, goes)
    true = {}
    for table in metadata.sorted_tables:
        columns = {column.name for column in table.columns}
        goes = columns if table in DELETED else set(EMPTIED.get(table, ()))
        true[table.name] = (columns - goes, goes)
    assert said == true


def planted(table: Table) -> dict[str, Any]:
    """An old row with a text in every column that can hold one, `marker.TABLE.COLUMN.`, a large one where it can be."""
    return {column.name: _planted(column) for column in table.columns}


def _planted(column: Column[Any]) -> Any:
    marker = f"marker.{column.table.name}.{column.name}."
    if column.nullable and column.name in ("wake_at", "kept_until", "forgotten_at"):
        return None
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return f"marker.{key.column.table.name}.{key.column.name}."
    for kind, value in (
        (UtcDateTime, START),
        (Boolean, False),
        (Integer, 1),
        (LargeBinary, marker.encode() * 1000),
        (JSON, {"of": [marker * 100]}),
    ):
        if isinstance(column.type, kind):
            return value
    assert isinstance(column.type, (String, Text))
    return marker


def planted_event() -> dict[str, Any]:
    """The row of an event that is over."""
    wall = datetime(2026, 3, 1, 9)
    words = "marker.events.event." * 100
    component = Component(
        Revision(0, START),
        wall,
        Zone("UTC"),
        summary=words,
        description=words,
        guests=(words,),
        url=words,
        notes=(words,),
    )
    event = Event("marker.events.uid.", words, words, inviter=words, master=component, answers=(Answer(None, words),))
    return {**planted(scheduler.store.events), "pal_id": ANNA.id, "event": scheduler.store.event_as_stored(event)}


def dump(engine: Engine) -> dict[str, str]:
    """All that stands in a column, by `TABLE.COLUMN`."""
    with engine.connect() as connection:
        return {
            f"{table.name}.{column.name}": str(connection.execute(select(column)).scalars().all())
            for table in SCHEMA
            for column in table.columns
        }


def test_what_people_wrote_is_nowhere_in_the_store_but_where_it_is_said(
    house: House, process: Connect, store_url: str
) -> None:
    engine = house.engine
    with engine.begin() as connection:
        for table in SCHEMA:
            row = planted_event() if table is scheduler.store.events else planted(table)
            connection.execute(insert(table).values(row))
    texts = [one for one, said in dump(engine).items() if f"marker.{one}." in said or one == "events.pal_id"]
    assert len(texts) > 50
    house.now = START + 60 * DAY
    assert house.forget() == Counter(
        events=1, mails=1, joins=1, outbox=1, callbacks=1, conversations=1, deliveries=1, journal=1
    )
    gone = {f"{table.name}.{column}" for table, values in EMPTIED.items() for column in values}
    gone |= {f"{table.name}.{column.name}" for table in DELETED for column in table.columns}
    texts_gone = gone - {"events.refill_at", "events.kept_until", "journal.wake_at"}
    assert gone & set(texts) == texts_gone - {f"journal.{one}" for one in ("at", "attempt", "kept_until")}
    everything = str(dump(engine))
    assert [one for one in texts if f"marker.{one}." in everything] == [one for one in texts if one not in gone]
    if engine.dialect.name == "sqlite":
        assert raw_texts(store_url, texts) == [one for one in texts if one not in gone]


def raw_texts(store_url: str, texts: list[str]) -> list[str]:
    """Which markers stand in the bytes of a SQLite store, its journal included, while it is open."""
    path = store_url.removeprefix("sqlite:///")
    found = b""
    for suffix in ("", "-wal"):
        with open(path + suffix, "rb") as file:
            found += file.read()
    return [one for one in texts if f"marker.{one}.".encode() in found]


def test_what_is_due_is_found_by_an_index(engine: Engine) -> None:
    """What the question costs does not depend on how much is kept or forgotten already."""
    queries = [select(table.c.id).where(is_kept(table), at <= START) for table, at in store_retention.BY_DATE.items()]
    events, mails = scheduler.store.events, store.mails
    queries += [select(events.c.uid).where(events.c.kept_until.is_(None))]
    queries += [select(events.c.uid).where(events.c.kept_until <= START)]
    queries += [select(mails.c.id).where(is_kept(mails), mails.c.kept_until <= START)]
    queries += [select(mails.c.id).where(is_kept(mails), mails.c.kept_until.is_(None))]
    with engine.begin() as connection:
        explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
        if engine.dialect.name != "sqlite":
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # empty tables are read whole
        for query in queries:
            sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
            plan = str(connection.execute(text(explain + sql)).all())
            assert "_kept" in plan, plan
            assert "SCAN " not in plan, plan
