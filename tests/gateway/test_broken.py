"""A join that came to nothing: who is told, of what, in which words. Both stores; platform and relay on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiosmtpd.smtp import SMTP
from fastapi import FastAPI, Response
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

import scheduler.store
from gateway import store
from gateway.app import Server
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, fresh_id
from gateway.outbox import Outbox, Via
from gateway.pals import Pal
from gateway.regrets import AT_ONCE, release, tell_of_broken
from gateway.senders import Sender
from gateway.sink import Sink
from gateway.sockets import listen
from scheduler.database import connect
from scheduler.dispatch import Dispatcher
from scheduler.joins import LIVE, Join, JoinState, Policy
from scheduler.platform import Platform
from tests.gateway.test_promises import line, said
from tests.scenario import calendar_of

START = datetime(2026, 3, 3, 8, tzinfo=UTC)  # a Tuesday; the meetings are at ten
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
ALEX = "alex@acme.example"
MEETING = ("DTSTART:20260303T100000Z",)
SERIES = (*MEETING, "RRULE:FREQ=DAILY;COUNT=5")
DATE = "RECURRENCE-ID:20260303T100000Z"
MOVED = (DATE, "DTSTART:20260303T110000Z")
SHIFTED = ("RECURRENCE-ID;RANGE=THISANDFUTURE:20260303T100000Z", "DTSTART:20260303T100000Z")
ZOOM = "LOCATION:https://us02web.zoom.us/j/88395547586"
CANCELLED = ("SEQUENCE:1", "STATUS:CANCELLED")
ACCEPTED, DECLINED = f"ACCEPTED u1 to {ALEX}", f"DECLINED u1 to {ALEX}"
MISSED_DATE = f"{DECLINED} 20260303T100000Z"


@dataclass
class House:
    """A store, a platform that refuses, a relay, and a clock that is set by hand."""

    engine: Engine
    platform: Platform
    via: Via
    folder: Path
    answers: list[int]  # what the platform says next; then it takes everything
    now: datetime = START
    desk: Desk = field(default_factory=Desk)
    hold: timedelta = timedelta()
    seen: set[str] = field(default_factory=set)

    def at(self, clock: str, day: int = 3) -> House:
        self.now = datetime.fromisoformat(f"2026-03-{day:02}T{clock}:00+00:00")
        return self

    def mail(self, *lines: str, method: str = "REQUEST", sender: str = ALEX, checked: Sender | None = None) -> None:
        calendar = calendar_of(method, lines, ANNA.address, self.now)
        raw = f"From: {sender}\r\nContent-Type: text/calendar; charset=utf-8; method={method}\r\n\r\n{calendar}"
        with self.engine.connect() as connection:
            pal = store.pal_with_id(connection, ANNA.id)
        assert pal is not None
        mail = Incoming(fresh_id("m"), raw.encode(), "", (pal.address,), sender=checked)
        Intake(self.engine, self.desk, self.hold).take(mail, self.now)

    async def join(self) -> None:
        """What is due is sent to the platform."""
        platforms, url = {"conversation": self.platform}, "http://here/{}".format
        await Dispatcher(self.engine, platforms, url, lambda: self.now, "us", Policy(), jitter=lambda: 0.0).work()

    def outbox(self, owner: str = "us") -> Outbox:
        hourly = self.desk.hourly_per_organizer
        return Outbox(self.engine, self.via, lambda: self.now, owner, hourly_per_organizer=hourly)

    async def mails(self) -> list[EmailMessage]:
        """What reaches the relay now."""
        await self.outbox().work()
        found = []
        for path in sorted(self.folder.glob("*.eml")):
            if path.name not in self.seen:
                self.seen.add(path.name)
                mail = message_from_bytes(path.read_bytes(), policy=policy.default)
                assert isinstance(mail, EmailMessage)
                found.append(mail)
        return found

    async def said(self) -> list[str]:
        return sorted(map(said, await self.mails()))

    def joins(self, *states: JoinState) -> list[Join]:
        with self.engine.connect() as connection:
            return scheduler.store.find_joins(connection, states=states)


@asynccontextmanager
async def a_platform(answers: list[int]) -> AsyncIterator[Platform]:
    """On loopback; a conversation that it refused is not there."""
    app = FastAPI()

    @app.post("/v2/conversations")
    async def create() -> Response:
        status = answers.pop(0) if answers else 200
        return Response('{"conversation_id": "c1"}', status, media_type="application/json")

    @app.get("/v2/conversations")
    async def listing() -> dict[str, Any]:
        return {"data": []}

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    platform = Platform(f"http://127.0.0.1:{listening.getsockname()[1]}", "key")
    try:
        yield platform
    finally:
        await platform.close()
        server.should_exit = True
        await serving


@asynccontextmanager
async def a_relay(folder: Path) -> AsyncIterator[Via]:
    sock, sink = listen("127.0.0.1", 0), Sink(folder)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(sink, hostname="localhost"), sock=sock)
    try:
        yield Via("127.0.0.1", sock.getsockname()[1])
    finally:
        server.close()


Test = Callable[[House], Coroutine[Any, Any, None]]
Play = Callable[[Test], None]


@pytest.fixture
def play(store_url: str, tmp_path: Path) -> Play:
    """Plays a test in a house of its own."""

    async def run(test: Test) -> None:
        engine = connect(store_url)
        store.migrate(engine)
        with engine.begin() as connection:
            store.add_pal(connection, ANNA, START)
        answers: list[int] = []
        folder = tmp_path / "replies"
        try:
            async with a_platform(answers) as platform, a_relay(folder) as via:
                await test(House(engine, platform, via, folder, answers))
        finally:
            engine.dispose()

    return lambda test: asyncio.run(run(test))


# What came by eight o'clock; what is said when the platform refuses the join at ten.
STORIES: dict[str, tuple[list[tuple[str, ...]], list[str]]] = {
    "a meeting": ([MEETING], [DECLINED]),
    "a date of a series": ([SERIES], [MISSED_DATE]),
    "a date of a series that ends with it": ([(*MEETING, "RRULE:FREQ=DAILY;COUNT=1")], [MISSED_DATE]),
    "a date that was moved": ([SERIES, MOVED], [MISSED_DATE]),
    "a date that came along with its series": ([(*SERIES, "--", *MOVED)], [MISSED_DATE]),
    "a date without its series": ([MOVED], [MISSED_DATE]),
    "the first date of a shift": ([SERIES, SHIFTED], [MISSED_DATE]),
    "a shift of a Zoom series": ([(*SERIES, ZOOM), SHIFTED], [MISSED_DATE]),
    "two events in one room": ([MEETING, (*MEETING, "UID:u2")], [DECLINED, f"DECLINED u2 to {ALEX}"]),
}


@pytest.mark.parametrize("story", STORIES)
def test_who_is_told_that_a_join_was_refused(play: Play, story: str) -> None:
    mails, wanted = STORIES[story]

    async def test(it: House) -> None:
        for lines in mails:
            it.mail(*lines)
            it.now += timedelta(minutes=1)
        await it.said()
        it.answers += [403] * len(wanted)
        await it.at("10:00").join()
        await it.at("11:00").join()
        assert await it.said() == wanted
        # Once, and for good; the later dates are still promised and joined.
        assert await it.at("11:01").said() == []
        later = {join.recurrence_id.day for join in it.joins() if join.state in LIVE}
        assert later == ({4, 5, 6, 7} if any(len(lines) > 1 and "COUNT=5" in lines[1] for lines in mails) else set())
        with it.engine.connect() as connection:
            assert scheduler.store.broken_events(connection, it.now + timedelta(days=1), 1) == []
        await it.at("10:00", 4).join()
        assert len(it.joins(JoinState.STARTED)) == (1 if later else 0)

    play(test)


REASONS = {
    "refused": ([403], "10:00", "refused. Ask whoever runs Anna"),
    "no answer": ([503], "10:58", "did not answer. If you meet again"),
    "over": ([], "11:00", "it was over before Anna could join. If you meet again"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_is_said(play: Play, reason: str) -> None:
    answers, clock, sentence = REASONS[reason]

    async def test(it: House) -> None:
        it.mail(*MEETING, "SUMMARY:Planning")
        await it.said()
        it.answers += answers
        await it.at(clock).join()
        if reason == "no answer":
            it.answers += [503]
            it.now += timedelta(seconds=61)
            await it.join()
        (mail,) = await it.mails()
        plain = mail.get_body(("plain",))
        assert plain is not None
        said_there = " ".join(plain.get_content().split())
        assert mail["Subject"] == "Declined: Planning"
        assert said_there.startswith("“Planning”: Anna ")
        assert sentence in said_there
        assert line(mail, "COMMENT") == "COMMENT:" + said_there.partition(": ")[2].replace(",", "\\,")

    play(test)


# What happens after the join has failed, before anybody was told.
MEANWHILE: dict[str, Callable[[House], None]] = {
    "cancelled": lambda it: it.mail(*MEETING, *CANCELLED, method="CANCEL"),
    "rescheduled": lambda it: it.mail("DTSTART:20260304T100000Z", "SEQUENCE:1"),
    "another link": lambda it: it.mail(*MEETING, "SEQUENCE:1", "LOCATION:https://meet.google.com/xyz-abcd-efg"),
    "declined": lambda it: it.mail(*MEETING, "SEQUENCE:1", ZOOM),
    "asked again": lambda it: it.mail(*MEETING, "SEQUENCE:1"),
    "the PAL removed": lambda it: remove(it),
    "no longer to be invited": lambda it: change(it, replace(ANNA, address="")),
}


def remove(it: House) -> None:
    with it.engine.begin() as connection:
        store.remove_pal(connection, ANNA.id)


def change(it: House, pal: Pal) -> None:
    with it.engine.begin() as connection:
        store.save_pal(connection, pal, {})


@pytest.mark.parametrize("happened", MEANWHILE)
def test_what_is_no_promise_any_more_is_not_spoken_of(play: Play, happened: str) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING)
        await it.said()
        it.answers += [403]
        await it.at("10:00").join()
        assert it.joins(JoinState.FAILED)[0].broken_at == it.now
        MEANWHILE[happened](it)
        before = [one for one in await it.said() if one != ACCEPTED]
        assert before == ([DECLINED] if happened == "declined" else [])
        assert [one.broken_at for one in it.joins()] == [None] * len(it.joins())

    play(test)


def test_who_was_told_asks_again_is_answered_and_told_again(play: Play) -> None:
    async def test(it: House) -> None:
        for number, lines in enumerate([MEETING, (*MEETING, "SEQUENCE:1"), (*MEETING, "SEQUENCE:2")]):
            it.mail(*lines)
            assert await it.said() == [ACCEPTED], number
            it.answers += [403]
            it.now = max(it.now, START.replace(hour=10)) + timedelta(minutes=1)
            await it.join()
            assert await it.said() == [DECLINED], number
            it.now += timedelta(minutes=1)
        it.mail(*MEETING, "SEQUENCE:3", f"ATTENDEE;PARTSTAT=DECLINED:mailto:{ANNA.address}")
        await it.join()
        assert await it.said() == [ACCEPTED]
        assert len(it.joins(JoinState.STARTED)) == 1

    play(test)


def test_one_date_is_asked_for_again(play: Play) -> None:
    async def test(it: House) -> None:
        for lines in (SERIES, SHIFTED):
            it.mail(*lines)
            it.now += timedelta(minutes=1)
        await it.said()
        it.answers += [403]
        await it.at("10:00").join()
        assert await it.said() == [MISSED_DATE]
        it.mail(DATE, "DTSTART:20260303T100000Z", "SEQUENCE:1")
        await it.at("10:02").join()
        assert await it.said() == [MISSED_DATE.replace("DECLINED", "ACCEPTED")]
        assert len(it.joins(JoinState.STARTED)) == 1

    play(test)


def test_a_later_date_of_a_shift_is_promised_by_the_shift(play: Play) -> None:
    async def test(it: House) -> None:
        for lines in ((*SERIES, ZOOM), SHIFTED):
            it.mail(*lines)
            it.now += timedelta(minutes=1)
        await it.said()
        for day in (3, 4):
            it.answers += [403]
            await it.at("10:00", day).join()
            assert await it.said() == [f"{DECLINED} 202603{day:02}T100000Z"]

    play(test)


def test_an_edit_of_the_series_does_not_bring_back_the_date_that_failed(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*SERIES)
        await it.said()
        it.answers += [403]
        await it.at("10:00").join()
        assert await it.said() == [MISSED_DATE]
        it.at("10:05").mail(*SERIES, "SEQUENCE:1", "SUMMARY:Other")
        await it.join()
        assert (await it.said(), len(it.joins(JoinState.STARTED))) == ([], 0)

    play(test)


def test_an_accepted_that_waits_is_withdrawn(play: Play) -> None:
    async def test(it: House) -> None:
        it.hold = timedelta(seconds=5)
        it.at("10:05").mail(*MEETING)
        it.answers += [403]
        await it.join()
        assert await it.said() == [DECLINED]
        assert await it.at("10:06").said() == []

    play(test)


def test_the_accepted_of_a_series_goes_out_before_the_date_is_declined(play: Play) -> None:
    async def test(it: House) -> None:
        it.hold = timedelta(seconds=5)
        it.at("10:05").mail(*SERIES)
        it.answers += [403]
        await it.join()
        assert await it.said() == []
        it.now += it.hold
        assert await it.said() == [ACCEPTED]
        it.now += timedelta(seconds=1)
        assert await it.said() == [MISSED_DATE]

    play(test)


def test_who_was_promised_nothing_is_told_nothing(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING, checked=Sender("bob@other.example", verified=True, checked=True))
        it.answers += [403]
        await it.at("10:00").join()
        assert (await it.said(), len(it.joins(JoinState.FAILED))) == ([], 1)

    play(test)


def test_a_renamed_pal_answers_as_it_was_invited(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING)
        (accepted,) = await it.mails()
        change(it, replace(ANNA, name="Ada", address="ada@invite.example.com"))
        it.answers += [403]
        await it.at("10:00").join()
        (mail,) = await it.mails()
        assert mail["From"].addresses[0].addr_spec == accepted["From"].addresses[0].addr_spec
        assert (line(mail, "ATTENDEE") or "").endswith(":mailto:anna@invite.example.com")

    play(test)


def test_a_pal_that_goes_says_no_second_time_what_it_said_of_a_date(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING)
        await it.said()
        it.answers += [403]
        await it.at("10:00").join()
        assert await it.said() == [DECLINED]
        with it.engine.begin() as connection:
            release(connection, ANNA, it.now, Policy())
        assert await it.said() == []

    play(test)


def test_after_days_of_silence_an_event_is_one_mail_and_only_the_last_day_counts(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING, "RRULE:FREQ=HOURLY;COUNT=100")  # until the seventh at 13:00
        it.mail("DTSTART:20260307T080000Z", "UID:u2")
        it.mail("DTSTART:20260306T080000Z", "UID:u3")
        await it.said()
        await it.at("16:00", 7).join()
        assert len(it.joins(JoinState.MISSED)) == 102
        with capture_logs() as logged:
            assert await it.said() == [f"{DECLINED} 20260307T130000Z", f"DECLINED u2 to {ALEX}"]
        assert [one["uid"] for one in logged if one["event"] == "nobody told: over for long, or no promise"] == ["u3"]
        assert await it.at("17:00", 7).said() == []

    play(test)


def test_an_organizer_is_not_flooded(play: Play) -> None:
    async def test(it: House) -> None:
        for number in range(AT_ONCE + 5):
            it.mail(
                *MEETING,
                f"UID:u{number}",
                f"LOCATION:https://meet.google.com/abc-defg-{'abcdefghijklmnopqrstuvwxyz'[number]}aa",
            )
        await it.said()
        it.desk = Desk(hourly_per_organizer=AT_ONCE + 2)
        await it.at("12:00").join()
        found: list[str] = []
        with capture_logs() as logged:
            for _ in range(3):
                found += await it.said()
        assert len(found) == len(set(found)) == AT_ONCE + 2
        assert len([one for one in logged if one["event"].startswith("no answer goes to")]) == 3

    play(test)


def test_a_fault_in_one_event_hinders_no_other_and_is_not_met_twice(play: Play) -> None:
    async def test(it: House) -> None:
        it.mail(*MEETING)
        it.mail(*MEETING, "UID:u2")
        await it.said()
        await it.at("12:00").join()
        events = scheduler.store.events
        with it.engine.begin() as connection:
            connection.execute(update(events).where(events.c.uid == "u1").values(event={"no": "event"}))
        with capture_logs() as logged:
            assert await it.said() == [f"DECLINED u2 to {ALEX}"]
            assert await it.said() == []
        faults = [one for one in logged if one["event"] == "nobody told of a broken promise"]
        assert [one["uid"] for one in faults] == ["u1"]

    play(test)


def test_several_processes_tell_it_once(play: Play, store_url: str) -> None:
    async def test(it: House) -> None:
        for number in range(6):
            it.mail(*MEETING, f"UID:u{number}")
        await it.said()
        await it.at("12:00").join()
        engines = [connect(store_url) for _ in range(3)]
        with ThreadPoolExecutor(3) as threads, capture_logs() as logged:
            list(threads.map(lambda engine: tell_of_broken(engine, it.now, 60), engines))
        for engine in engines:
            engine.dispose()
        assert sorted(one["uid"] for one in logged if one["event"] == "promise broken") == [f"u{n}" for n in range(6)]
        assert await it.said() == [f"DECLINED u{number} to {ALEX}" for number in range(6)]

    play(test)
