"""Carrying joins out against a platform on loopback that answers as it is told; the clock is an argument."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from gateway.app import Server
from scheduler import journal, store
from scheduler.by_hand import brought_forward, kept_away, tried_again
from scheduler.database import connect, metadata
from scheduler.dispatch import LEASE, REFILLS, Dispatcher
from scheduler.event import Component, Event, Length, Revision
from scheduler.fates import Fates, known_reason
from scheduler.joins import Join, JoinState, Policy, plan, refill_at
from scheduler.platform import Platform, Refused
from scheduler.recurrence import parse_rule
from scheduler.request import Attendant
from scheduler.zones import UTC_ZONE

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Script:
    """The platform: what it will answer next (status; 'drop', 'lose': act, the answer is lost; 'hang') and got."""

    answers: list[int | str] = field(default_factory=list)
    retry_after: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    searched: int = 0
    searches: list[int | str] = field(default_factory=list)  # what a search answers next (status, or 'blind': nothing)
    meanwhile: Callable[[], object] = lambda: None  # what happens while it is asked how a call goes
    verbose: dict[str, Any] = field(default_factory=lambda: {"status": "active"})  # what it says of a conversation
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v2/conversations")
        async def create(request: Request) -> Response:
            body = await request.json()
            answer = self.answers.pop(0) if self.answers else 200
            if isinstance(answer, int) and answer >= 400:
                headers = {"retry-after": self.retry_after} if self.retry_after else {}
                return Response("no", answer, headers=headers)
            self.posts.append(body)
            self.keys.append(request.headers["idempotency-key"])
            if answer == "hang":
                self.hanging.set()
                await self.go_on.wait()
            if answer == "lose":
                return Response("<cut", media_type="application/json")
            if answer == "drop":
                return Response("", 502)  # it acted, and its proxy lost the answer
            return Response(f'{{"conversation_id": "c{len(self.posts)}"}}', media_type="application/json")

        @app.get("/v2/conversations")
        async def listing(answered: Response) -> dict[str, Any]:
            self.searched += 1
            search = self.searches.pop(0) if self.searches else 200
            answered.status_code = search if isinstance(search, int) else 200
            known = enumerate([] if search == "blind" else self.posts, 1)
            return {"data": [{"conversation_id": f"c{n}", "callback_url": post["callback_url"]} for n, post in known]}

        @app.get("/v2/conversations/{conversation_id}")
        async def get(conversation_id: str) -> dict[str, Any]:
            self.looked.append(conversation_id)
            answer = {"conversation_id": conversation_id, **self.verbose}
            self.meanwhile()
            return answer

        @app.post("/v2/conversations/{conversation_id}/end")
        async def end(conversation_id: str) -> dict[str, str]:
            self.ended.append(conversation_id)
            return {}

        return app


@dataclass
class Bench:
    """A store, a dispatcher, a platform and a clock that is set by hand."""

    engine: Engine
    script: Script
    platform: Platform
    now: datetime = START

    @property
    def dispatcher(self) -> Dispatcher:
        return self.dispatcher_of("me")

    def dispatcher_of(self, owner: str) -> Dispatcher:
        """The dispatcher of another process."""
        return Dispatcher(
            self.engine,
            {"conversation": self.platform},
            "http://here/{}".format,
            lambda: self.now,
            owner,
            Policy(),
            jitter=lambda: 0.0,
        )

    def plan(
        self,
        rrule: str = "",
        minutes: int = 60,
        uid: str = "u1",
        room: str = "abc-defg-hij",
        later: timedelta = timedelta(),
    ) -> None:
        rules = (parse_rule(rrule, lambda text: START),) if rrule else ()
        component = Component(
            Revision(0, START),
            START.replace(tzinfo=None) + later,
            UTC_ZONE,
            Length(seconds=60 * minutes),
            rules=rules,
            summary="Stand-up",
            url=f"https://meet.google.com/{room}",
        )
        event = Event(uid, "alex@acme.example", master=component)
        early = START - timedelta(hours=1)
        with self.engine.begin() as connection:
            store.save_event(connection, Attendant("p1", "f1"), event, refill_at(event, early, Policy()), is_new=True)
            store.save_joins(connection, plan(event, (), Attendant("p1", "f1"), early, Policy()), (), now=self.now)

    def drop(self, uid: str) -> None:
        """The organizer cancels the event."""
        with self.engine.begin() as connection:
            event = store.load_event(connection, "p1", uid)
            assert event is not None
            assert event.master is not None
            gone = replace(event, master=replace(event.master, attending=False))
            existing = store.load_joins(connection, "p1", uid)
            store.save_joins(
                connection, plan(gone, existing, Attendant("p1", "f1"), self.now, Policy()), existing, now=self.now
            )

    def joins(self) -> list[Join]:
        with self.engine.connect() as connection:
            return store.find_joins(connection)

    def join(self, uid: str = "") -> Join:
        """The only join, or the only one of an event."""
        (join,) = (join for join in self.joins() if uid in ("", join.uid))
        return join

    def told(self, state: JoinState, *, reason: str = "", conversation_id: str = "") -> list[store.Moved]:
        """The platform says of the only join how its call goes; what that moved."""
        order = self.join().order_id
        with self.engine.begin() as connection:
            about = {"reason": reason, "conversation_id": conversation_id}
            moved = store.observe(connection, order, state, now=self.now, **about)
        assert moved
        return moved

    def said(self) -> list[str]:
        """What the journal says of the only join."""
        join = self.join()
        with self.engine.connect() as connection:
            return [entry.kind for entry in journal.history_of(connection, [join.id])[join.id]]

    def write(self, before: Join, after: Join | str) -> None:
        """Write down what somebody did to a join by hand."""
        assert isinstance(after, Join), after
        with self.engine.begin() as connection:
            store.rewrite(connection, after, before, self.now)


def an_order(owner: str) -> Join:
    """A join that somebody waits for."""
    until, url = START + timedelta(hours=1), "https://meet.google.com/abc-defg-hij"
    order = Join("j1", "p1", "f1", "j1", START, START, until, START, until, url, "Demo", JoinState.CLAIMED)
    return replace(order, wake_at=START + timedelta(minutes=1), attempt=1, owner=owner)


def bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        script = Script()
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = Server(uvicorn.Config(script.app(), log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        engine = connect("sqlite://")
        metadata.create_all(engine)
        platform = Platform(f"http://127.0.0.1:{listening.getsockname()[1]}", "key")
        made = Bench(engine, script, platform)
        try:
            await test(made)
        finally:
            await platform.close()
            server.should_exit = True
            await serving

    asyncio.run(run())


def test_it_posts_one_minute_before_the_start_and_not_earlier() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.now = START - timedelta(seconds=61)
        assert await it.dispatcher.work() == 0
        it.now = START - timedelta(seconds=60)
        assert await it.dispatcher.work() == 1
        assert it.script.posts == [
            {
                "pal_id": "p1",
                "face_id": "f1",
                "meeting_url": "https://meet.google.com/abc-defg-hij",
                "conversation_name": "Stand-up",
                "conversational_context": "You are in the meeting “Stand-up”.",
                "properties": {
                    "max_call_duration": 3600,
                    "participant_absent_timeout": 900,
                    "participant_left_timeout": 60,
                },
                "callback_url": f"http://here/{it.join().id}",
            }
        ]
        assert it.script.keys == [it.join().id]
        assert (it.join().state, it.join().conversation_id, it.join().wake_at) == (
            JoinState.STARTED,
            "c1",
            it.now + timedelta(minutes=10),
        )
        it.now += timedelta(minutes=9)
        assert await it.dispatcher.work() == 0

    bench(test)


@pytest.mark.parametrize(("status", "retry_after", "wait"), [(503, "", 2), (500, "", 2), (429, "30", 30), (408, "", 2)])
def test_a_passing_fault_is_tried_again_when_it_is_time(status: int, retry_after: str, wait: int) -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers, it.script.retry_after = [status], retry_after
        await it.dispatcher.work()
        assert (it.join().state, it.join().wake_at) == (JoinState.PLANNED, START + timedelta(seconds=wait))
        it.now = START + timedelta(seconds=wait - 1)
        assert await it.dispatcher.work() == 0
        it.now = START + timedelta(seconds=wait)
        await it.dispatcher.work()
        assert (it.join().state, it.join().attempt) == (JoinState.STARTED, 2)

    bench(test)


@pytest.mark.parametrize(("answers", "searches"), [(["lose"], [429]), (["lose", 429], ["blind"])])
def test_a_429_speaks_for_its_own_try_only(answers: list[int | str], searches: list[int | str]) -> None:
    """The first order was carried out, and its answer lost; then a search, or a second order, is turned away."""

    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers, it.script.searches = answers, searches
        dispatcher = it.dispatcher
        for _ in range(3):
            await dispatcher.work()
            it.now = it.join().wake_at or it.now
        assert (it.join().state, it.join().conversation_id, len(it.script.posts)) == (JoinState.STARTED, "c1", 1)

    bench(test)


@pytest.mark.parametrize(("status", "others", "searched"), [(429, False, 0), (429, True, 1), (503, False, 1)])
def test_who_was_turned_away_by_us_is_not_looked_for(status: int, others: bool, searched: int) -> None:
    """429 says that nothing was begun; what came of another process's try, we do not know."""

    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = [status]
        first = it.dispatcher
        await first.work()
        it.now += timedelta(seconds=5)
        await (it.dispatcher if others else first).work()
        assert (it.join().state, len(it.script.posts), it.script.searched) == (JoinState.STARTED, 1, searched)

    bench(test)


@pytest.mark.parametrize("said", [JoinState.JOINED, JoinState.ENDED])
def test_what_is_said_of_a_call_while_another_comes_to_share_it_is_true_of_both(said: JoinState) -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        first = it.join()
        it.plan(uid="u2")

        def hear() -> None:
            it.script.meanwhile = lambda: None
            it.script.verbose = {"status": "ended" if said is JoinState.ENDED else "active"}
            with it.engine.begin() as connection:
                assert store.observe(connection, first.id, said, now=it.now, conversation_id="c1")

        it.script.meanwhile = hear
        await it.dispatcher.work()
        await it.dispatcher.work()
        assert {join.state for join in it.joins()} == {said}

    bench(test)


def test_a_further_order_that_waits_keeps_nobody_from_its_room() -> None:
    """Somebody sent the PAL in, took it out, and let it be sent again at its time; another invitation is due first."""

    async def test(it: Bench) -> None:
        it.plan(later=5 * HOUR)
        it.write(it.join("u1"), brought_forward(it.join("u1"), it.now))
        await it.dispatcher.work()
        it.write(it.join("u1"), kept_away(it.join("u1"), it.now))
        await it.dispatcher.work()
        with it.engine.begin() as connection:
            attendance = store.load_attendance(connection, "p1", "u1")
        assert attendance is not None
        attendant, event = attendance
        it.write(it.join("u1"), tried_again(it.join("u1"), (), event, attendant, it.now, Policy()))
        assert (it.join("u1").state, it.join("u1").entry) == (JoinState.PLANNED, 1)
        it.plan(uid="u2", later=5 * HOUR)
        it.write(it.join("u2"), brought_forward(it.join("u2"), it.now))
        await it.dispatcher.work()
        assert it.join("u2").state is JoinState.STARTED
        assert len(it.script.posts) == 2

    bench(test)


def test_that_a_join_gives_way_is_said_once_and_names_for_which() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["lose"]
        await it.dispatcher.work()
        first = it.join("u1")
        it.write(first, replace(first, wake_at=it.now + HOUR / 2))  # it is tried again long after the second one looks
        it.plan(uid="u2")
        waiting = it.join("u2")
        dispatcher = it.dispatcher
        for _ in range(4):
            await dispatcher.work()
            it.now += timedelta(seconds=3)
        with it.engine.connect() as connection:
            said = journal.history_of(connection, [waiting.id])[waiting.id]
        assert [entry.kind for entry in said] == ["planned", "tried"]
        assert said[1].detail.startswith(f"waits for {first.id}")
        assert it.join("u2").attempt == 4

    bench(test)


def test_what_was_missed_while_nobody_worked_says_so() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        due = it.join("u1").at
        it.now += 2 * HOUR
        await it.dispatcher.work()
        missed_id = it.join("u1").id
        with it.engine.connect() as connection:
            (_, missed) = journal.history_of(connection, [missed_id])[missed_id]
        assert missed.kind == "missed"
        assert f"due at {due:%Y-%m-%d %H:%M:%S} UTC, taken at {it.now:%Y-%m-%d %H:%M:%S} UTC" in missed.detail

    bench(test)


def test_rooms_of_several_are_looked_up_at_once_and_each_hears_of_its_own() -> None:
    async def test(it: Bench) -> None:
        for number, room in enumerate(("abc-defg-hij", "abc-defg-hij", "xyz-defg-hij", "klm-defg-hij")):
            it.plan(uid=f"u{number}", room=room)
        await it.dispatcher.work()
        it.plan(uid="u4", room="xyz-defg-hij")
        it.plan(uid="u5", room="new-defg-hij")
        await it.dispatcher.work()
        calls = {join.uid: join.conversation_id for join in it.joins()}
        assert calls["u0"] == calls["u1"]
        assert calls["u2"] == calls["u4"]
        assert len(set(calls.values())) == 4 == len(it.script.posts)

    bench(test)


def test_it_gives_up_shortly_before_the_end_and_says_why() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=10)
        it.script.answers = [503] * 50
        for second in range(0, 600, 5):
            it.now = START + timedelta(seconds=second)
            await it.dispatcher.work()
        assert (it.join().state, it.join().reason) == (JoinState.FAILED, "platform-answered-503")
        assert it.join().attempt > 8
        assert it.script.posts == []

    bench(test)


def test_a_refusal_is_final() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = [400]
        await it.dispatcher.work()
        assert (it.join().state, it.join().reason, it.join().wake_at) == (
            JoinState.FAILED,
            "platform-refused-400",
            None,
        )

    bench(test)


def test_an_answer_that_was_lost_is_looked_for_before_posting_again() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        it.now = START + timedelta(seconds=5)
        await it.dispatcher.work()
        assert (it.join().state, it.join().conversation_id) == (JoinState.STARTED, "c1")
        assert len(it.script.posts) == 1

    bench(test)


@pytest.mark.parametrize("names_it", [True, False])
def test_who_is_in_the_call_before_the_next_attempt_is_known_to_be_at_once(*, names_it: bool) -> None:
    """The answer was lost and the platform's word was not, whether it says which call it is about or not."""

    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        assert it.join().state is JoinState.PLANNED
        it.told(JoinState.JOINED, conversation_id="c1" if names_it else "")
        assert it.join().state is JoinState.JOINED
        for _ in range(2):
            it.now += timedelta(seconds=5)
            await it.dispatcher.work()
        assert (it.join().state, it.join().conversation_id) == (JoinState.JOINED, "c1")
        assert (len(it.script.posts), it.script.looked) == (1, ["c1"])
        assert it.said() == ["planned", "tried", "joined"]

    bench(test)


def test_a_call_that_ends_before_the_next_attempt_is_over_or_entered_again_at_once() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop", "drop"]
        await it.dispatcher.work()
        reason = "exception_encountered_during_conversation_startup"
        moved = it.told(JoinState.ENDED, reason=reason, conversation_id="c1")
        assert (it.join().state, it.join().entry) == (JoinState.PLANNED, 1)
        figures = CollectorRegistry()
        Fates(figures).moved(moved, reason, it.now)
        labels = {"state": "came-back", "reason": known_reason(reason)}
        assert figures.get_sample_value("pal_gateway_join_ends_total", labels) == 1
        it.now += timedelta(seconds=5)
        await it.dispatcher.work()
        assert it.script.keys == [it.join().id, it.join().order_id]
        it.told(JoinState.ENDED, reason="everybody left", conversation_id="c2")
        assert (it.join().state, it.join().wake_at) == (JoinState.ENDED, None)
        assert it.said() == ["planned", "tried", "tried", "tried", "ended"]

    bench(test)


def test_a_call_that_nobody_names_is_over_when_its_meeting_is() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        it.told(JoinState.JOINED)
        it.script.searches = ["blind"] * 9
        it.now += timedelta(seconds=5)
        await it.dispatcher.work()
        assert (it.join().state, it.script.searched) == (JoinState.JOINED, 1)
        it.now = it.join().until
        await it.dispatcher.work()
        assert (it.join().state, it.join().wake_at) == (JoinState.ENDED, None)
        assert len(it.script.posts) == 1

    bench(test)


def test_what_was_never_ordered_is_in_no_call() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        join = it.join()
        with it.engine.begin() as connection:
            assert not store.observe(connection, join.id, JoinState.JOINED, now=it.now, conversation_id="c1")
        assert it.join().state is JoinState.PLANNED

    bench(test)


@pytest.mark.parametrize("answer", ["drop", "lose"])
def test_who_is_cancelled_after_a_lost_answer_does_not_stay_in_the_call(answer: str) -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = [answer]
        await it.dispatcher.work()
        it.drop("u1")
        await it.dispatcher.work()
        assert (it.join().state, it.join().reason, it.script.ended) == (JoinState.CANCELLED, "cancelled", ["c1"])

    bench(test)


def test_a_pal_that_goes_after_a_lost_answer_does_not_stay_in_the_call() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        with it.engine.begin() as connection:
            assert store.forget_pal(connection, "p1", it.now) == 1
        await it.dispatcher.work()
        assert (it.join().state, it.join().reason, it.script.ended) == (JoinState.CANCELLED, "pal-removed", ["c1"])

    bench(test)


def test_a_second_invitation_waits_until_it_is_known_what_came_of_the_first() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.plan(uid="u2")
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        assert [join.state for join in it.joins()] == [JoinState.PLANNED] * 2
        for _ in range(3):
            it.now += timedelta(seconds=1)
            await it.dispatcher.work()
        assert [(join.state, join.conversation_id) for join in it.joins()] == [(JoinState.STARTED, "c1")] * 2
        assert len(it.script.posts) == 1

    bench(test)


def test_who_leaves_a_room_is_out_before_the_next_one_goes_in() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        it.drop("u1")
        it.plan(uid="u2")
        await it.dispatcher.work()
        assert (len(it.script.posts), it.script.ended) == (1, ["c1"])
        it.now += timedelta(seconds=1)
        await it.dispatcher.work()
        assert len(it.script.posts) == 2

    bench(test)


def test_a_call_that_is_found_to_be_left_is_not_taken_for_one_of_those_that_have_none_yet() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.plan(uid="u2", room="xyz-defg-hij", later=timedelta(minutes=5))
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        it.drop("u1")
        it.now += timedelta(minutes=5)
        with it.engine.begin() as connection:
            leaving, other = store.claim(connection, it.now, "me", LEASE, 10)
        assert other.conversation_id is None
        await it.dispatcher.carry_out(leaving)
        assert it.script.ended == ["c1"]

    bench(test)


def test_what_ended_meanwhile_is_missed_and_not_joined() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.now = START + timedelta(hours=1)
        await it.dispatcher.work()
        assert (it.join().state, it.join().reason) == (JoinState.MISSED, "ended-before-we-could-join")
        assert it.script.posts == []

    bench(test)


def test_who_was_there_all_the_same_has_missed_nothing() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["drop"]
        await it.dispatcher.work()
        assert it.join().state is JoinState.PLANNED
        it.script.verbose = {"status": "ended"}
        # The gateway was down until the meeting was over.
        it.now = START + timedelta(hours=1)
        await it.dispatcher.work()
        assert (it.join().state, it.join().broken_at, len(it.script.posts)) == (JoinState.ENDED, None, 1)

    bench(test)


def test_an_answer_that_is_still_not_found_after_the_end_is_missed() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = [503]
        await it.dispatcher.work()
        assert it.join().broken_at is None
        it.now = START + timedelta(hours=1)
        await it.dispatcher.work()
        assert (it.join().state, it.join().broken_at) == (JoinState.MISSED, it.now)

    bench(test)


def test_only_what_nobody_knows_of_is_to_be_told() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "me", LEASE, 10)
            store.save_joins(connection, (replace(claimed, state=JoinState.LEAVING),), (claimed,), now=it.now)
            # Cancelled while its request was under way.
            assert store.settle(connection, claimed, now=it.now, state=JoinState.FAILED, broken_at=it.now)
        assert (it.join().state, it.join().broken_at) == (JoinState.LEAVING, None)
        with it.engine.begin() as connection:
            store.add_order(connection, an_order("me"), it.now)
        it.script.answers = [400]
        await it.dispatcher.order(an_order("me"))
        assert {join.broken_at for join in it.joins()} == {None}

    bench(test)


def test_a_late_join_of_a_running_meeting_is_sent() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.now = START + timedelta(minutes=55)
        await it.dispatcher.work()
        assert it.join().state is JoinState.STARTED

    bench(test)


def test_a_dead_ones_claim_is_taken_over_after_its_lease_and_its_late_word_does_not_count() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (theirs,) = store.claim(connection, it.now, "dead", LEASE, 10)
        assert await it.dispatcher.work() == 0
        it.now = START + LEASE
        await it.dispatcher.work()
        assert (it.join().state, it.join().owner) == (JoinState.STARTED, "me")
        with it.engine.begin() as connection:
            assert not store.settle(connection, theirs, now=it.now, state=JoinState.FAILED)
        assert it.join().state is JoinState.STARTED

    bench(test)


def test_a_join_dropped_on_its_way_is_ended_at_the_platform() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "me", LEASE, 10)
            dropped = replace(claimed, state=JoinState.LEAVING, reason="cancelled")
            store.save_joins(connection, (dropped,), (claimed,), now=it.now)
            # Its POST went through meanwhile.
            assert store.settle(connection, claimed, now=it.now, state=JoinState.STARTED, conversation_id="c9")
        assert it.join().state is JoinState.LEAVING
        await it.dispatcher.work()
        assert (it.join().state, it.script.ended) == (JoinState.CANCELLED, ["c9"])

    bench(test)


def test_a_callback_that_comes_before_the_answer_is_kept() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "me", LEASE, 10)
            assert store.observe(connection, claimed.id, JoinState.JOINED, now=it.now)
            store.settle(connection, claimed, now=it.now, state=JoinState.STARTED, conversation_id="c1")
        assert (it.join().state, it.join().conversation_id) == (JoinState.JOINED, "c1")

    bench(test)


def test_a_callback_names_the_call_whose_answer_was_lost() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "one that dies", LEASE, 10)
            assert store.observe(connection, claimed.id, JoinState.JOINED, now=it.now, conversation_id="c7")
        it.now += LEASE
        await it.dispatcher.work()
        assert (it.join().state, it.join().conversation_id) == (JoinState.JOINED, "c7")
        assert it.script.looked == ["c7"]

    bench(test)


def test_who_is_told_to_be_in_a_call_before_the_answer_comes_is_in_that_call() -> None:
    """The process that sent it died: the next invitation to the room shares the call all the same."""

    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "dead", LEASE, 10)
            assert store.observe(connection, claimed.id, JoinState.JOINED, now=it.now, conversation_id="c1")
        assert (it.join().state, it.join().conversation_id) == (JoinState.JOINED, "c1")
        it.plan(uid="u2")
        await it.dispatcher.work()
        assert [join.conversation_id for join in it.joins()] == ["c1", "c1"]
        assert it.script.posts == []

    bench(test)


def test_a_call_that_fails_before_the_answer_is_written_down_is_entered_again_at_once() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "me", LEASE, 10)
            reason = "exception_encountered_during_conversation_startup"
            ended = JoinState.ENDED
            assert store.observe(connection, claimed.id, ended, now=it.now, reason=reason, conversation_id="c1")
            store.settle(
                connection, claimed, now=it.now, state=JoinState.STARTED, conversation_id="c1", wake_at=it.now + LEASE
            )
        join = it.join()
        assert (join.state, join.entry, join.conversation_id) == (JoinState.PLANNED, 1, None)
        assert join.wake_at == it.now + timedelta(seconds=5)

    bench(test)


def test_of_two_meetings_in_a_call_that_was_too_long_the_one_that_is_over_does_not_hold_it() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=120)
        it.plan(minutes=30, uid="u2")
        await it.dispatcher.work()
        long, short = sorted(it.joins(), key=lambda join: join.uid)
        it.now += timedelta(hours=1)
        reason = "max_call_duration reached"
        with it.engine.begin() as connection:
            assert store.observe(connection, long.id, JoinState.ENDED, now=it.now, reason=reason, conversation_id="c1")
        long, short = sorted(it.joins(), key=lambda join: join.uid)
        assert (long.state, long.entry, short.state) == (JoinState.PLANNED, 1, JoinState.ENDED)
        it.now += timedelta(seconds=5)
        await it.dispatcher.work()
        long, short = sorted(it.joins(), key=lambda join: join.uid)
        assert (long.state, long.conversation_id) == (JoinState.STARTED, "c2")

    bench(test)


def test_a_word_about_an_earlier_call_does_not_end_this_one() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        join = it.join()
        with it.engine.begin() as connection:
            assert not store.observe(
                connection, join.id, JoinState.ENDED, now=it.now, conversation_id="c-of-another-attempt"
            )
            assert store.observe(connection, join.id, JoinState.ENDED, now=it.now, conversation_id="c1")
        assert it.join().state is JoinState.ENDED

    bench(test)


def test_a_call_that_hangs_keeps_no_other_waiting() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.script.answers = ["hang"]
        dispatcher = it.dispatcher
        assert await dispatcher.begin() == 1
        await it.script.hanging.wait()
        it.plan(uid="u2", room="xyz-defg-hij")
        assert await dispatcher.begin() == 1
        while (second := it.joins()[1]).state is JoinState.CLAIMED:
            await asyncio.sleep(0.01)
        assert second.state is JoinState.STARTED
        assert it.joins()[0].state is JoinState.CLAIMED
        it.script.go_on.set()
        await dispatcher.finish()
        assert it.joins()[0].state is JoinState.STARTED

    bench(test)


def test_two_invitations_to_one_room_are_one_call_until_both_are_gone() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        it.plan(uid="u2")
        assert await it.dispatcher.work() == 2
        assert [(join.state, join.conversation_id) for join in it.joins()] == [(JoinState.STARTED, "c1")] * 2
        assert len(it.script.posts) == 1
        for left in (0, 1):
            it.drop(("u1", "u2")[left])
            await it.dispatcher.work()
            assert len(it.script.ended) == left
        assert {join.state for join in it.joins()} == {JoinState.CANCELLED}

    bench(test)


def test_two_meetings_after_each_other_in_one_room_are_two_calls_one_after_the_other() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=30)
        it.plan(minutes=30, uid="u2", later=timedelta(minutes=30))
        await it.dispatcher.work()
        it.now = START + timedelta(minutes=29)
        await it.dispatcher.work()
        first, second = sorted(it.joins(), key=lambda join: join.starts)
        assert (first.state, second.state, it.script.ended) == (JoinState.STARTED, JoinState.PLANNED, [])
        assert second.wake_at == START + timedelta(minutes=30)
        it.now = START + timedelta(minutes=30)
        await it.dispatcher.work()
        first, second = sorted(it.joins(), key=lambda join: join.starts)
        assert (first.state, first.reason) == (JoinState.ENDED, "next-meeting-in-the-room")
        assert (second.state, second.conversation_id, it.script.ended) == (JoinState.STARTED, "c2", ["c1"])

    bench(test)


def test_who_waits_for_a_room_waits_for_the_last_of_those_who_share_it() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=15, uid="u0")
        it.plan(minutes=30)
        it.plan(minutes=30, uid="u2", later=timedelta(minutes=30))
        await it.dispatcher.work()
        it.now = START + timedelta(minutes=29)
        await it.dispatcher.work()
        assert it.script.ended == []
        it.now = START + timedelta(minutes=30)
        await it.dispatcher.work()
        assert it.script.ended == ["c1"]
        assert {join.conversation_id for join in it.joins()} == {"c1", "c2"}

    bench(test)


def test_a_call_that_is_over_unheard_is_not_shared() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        it.plan(uid="u2")
        it.script.verbose = {"status": "ended"}
        await it.dispatcher.work()
        first, second = sorted(it.joins(), key=lambda join: join.uid)
        assert first.state is JoinState.ENDED
        assert (second.state, second.conversation_id) == (JoinState.STARTED, "c2")

    bench(test)


def test_a_late_second_invitation_to_a_room_joins_the_call_that_runs_and_ends_with_it() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        first = it.join()
        with it.engine.begin() as connection:
            assert store.observe(connection, first.id, JoinState.JOINED, now=it.now, conversation_id="c1")
        it.now = START + timedelta(minutes=10)
        it.plan(uid="u2")
        await it.dispatcher.work()
        assert [(join.state, join.conversation_id) for join in it.joins()] == [(JoinState.JOINED, "c1")] * 2
        assert len(it.script.posts) == 1
        with it.engine.begin() as connection:
            assert store.observe(connection, first.id, JoinState.ENDED, now=it.now, conversation_id="c1")
        assert {join.state for join in it.joins()} == {JoinState.ENDED}

    bench(test)


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        ({"status": "active"}, JoinState.STARTED, None),
        ({"status": "active", "events": [{"event_type": "system.replica_joined"}]}, JoinState.JOINED, None),
        ({"status": "active", "system.replica_joined": {"timestamp": "…"}}, JoinState.JOINED, None),
        (
            {"status": "ended", "shutdown_reason": "participant_left_timeout"},
            JoinState.ENDED,
            "participant_left_timeout",
        ),
        ({"status": "ended"}, JoinState.ENDED, None),
        ({}, JoinState.STARTED, None),
    ],
)
def test_a_call_that_stays_silent_is_looked_at(said: dict[str, Any], state: JoinState, reason: str | None) -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        it.script.verbose = said
        it.now += timedelta(minutes=10)
        assert await it.dispatcher.work() == 1
        again = None if state is JoinState.ENDED else it.now + timedelta(minutes=10)
        assert (it.join().state, it.join().reason, it.join().wake_at) == (state, reason, again)
        assert len(it.script.posts) == 1

    bench(test)


def test_what_a_callback_says_while_a_call_is_looked_at_counts() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        it.now += timedelta(minutes=10)
        with it.engine.begin() as connection:
            (claimed,) = store.claim(connection, it.now, "me", timedelta(seconds=60), 10)
            assert store.observe(
                connection, claimed.id, JoinState.ENDED, now=it.now, reason="left", conversation_id="c1"
            )
        await it.dispatcher.carry_out(claimed)
        assert (it.join().state, it.join().reason, it.join().wake_at) == (JoinState.ENDED, "left", None)

    bench(test)


def test_two_processes_send_one_pal_into_one_room_once() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            (first,) = store.claim(connection, it.now, "one", timedelta(seconds=60), 10)
        it.plan(uid="u2")
        with it.engine.begin() as connection:
            (second,) = store.claim(connection, it.now, "two", timedelta(seconds=60), 10)
        it.script.answers = ["hang"]
        sending = asyncio.create_task(it.dispatcher_of("one").carry_out(replace(first, owner="one")))
        await asyncio.sleep(0)
        # Each may see the other; whoever does gives way, and nobody is sent twice.
        await it.dispatcher_of("two").carry_out(second)
        it.script.go_on.set()
        await sending
        for _ in range(3):
            it.now += timedelta(seconds=1)
            await it.dispatcher_of("two").work()
        assert {(join.state, join.conversation_id) for join in it.joins()} == {(JoinState.STARTED, "c1")}
        assert len(it.script.posts) == 1

    bench(test)


def test_who_is_due_with_one_whose_answer_was_lost_waits_until_that_is_found() -> None:
    """Both are claimed at once by one process, the one that was not tried yet first."""

    async def test(it: Bench) -> None:
        it.plan(uid="u2")
        it.script.answers = ["lose"]
        await it.dispatcher.work()
        it.plan(uid="u1")
        it.now += timedelta(seconds=3)
        with it.engine.begin() as connection:
            due = {join.uid: join for join in store.claim(connection, it.now, it.dispatcher.owner, LEASE, 10)}
        await it.dispatcher.carry_out(due["u1"])
        await it.dispatcher.carry_out(due["u2"])
        it.now += timedelta(seconds=2)
        await it.dispatcher.work()
        assert {join.conversation_id for join in it.joins()} == {"c1"}
        assert len(it.script.posts) == 1

    bench(test)


def test_an_order_gives_way_to_another_process() -> None:
    async def test(it: Bench) -> None:
        it.plan()
        with it.engine.begin() as connection:
            store.claim(connection, it.now, "one", timedelta(seconds=60), 10)
        order = an_order(owner="two")
        with it.engine.begin() as connection:
            store.add_order(connection, order, it.now)
        answer = await it.dispatcher_of("two").order(order)
        assert isinstance(answer, Refused)
        assert answer.status == 409
        assert it.script.posts == []

    bench(test)


def test_who_was_not_let_in_goes_in_again_until_the_end() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=10)
        lobby = "bot_could_not_join_meeting_it_was_probably_ended"
        for entry in range(20):
            await it.dispatcher.work()
            join = it.join()
            if join.state is not JoinState.STARTED:
                break
            assert (join.entry, join.conversation_id, it.script.keys[-1]) == (entry, f"c{entry + 1}", join.order_id)
            with it.engine.begin() as connection:
                assert not store.observe(connection, f"{join.id}-77", JoinState.ENDED, now=it.now, reason=lobby)
                assert store.observe(
                    connection,
                    join.order_id,
                    JoinState.ENDED,
                    now=it.now,
                    reason=lobby,
                    conversation_id=join.conversation_id or "",
                )
                # The same word again, or about the call before, counts for nothing.
                assert not store.observe(
                    connection,
                    join.order_id,
                    JoinState.ENDED,
                    now=it.now,
                    reason=lobby,
                    conversation_id=join.conversation_id or "",
                )
            it.now = it.join().wake_at or it.now
        assert (it.join().state, it.join().reason, it.join().entry) == (JoinState.ENDED, lobby, 8)
        assert len(set(it.script.keys)) == len(it.script.posts) == 9
        assert it.now < START + timedelta(minutes=10)

    bench(test)


@pytest.mark.parametrize(
    "reason",
    ["end_conversation_endpoint_hit", "participant_left_timeout reached", "removed by host", "host denied entry", ""],
)
def test_who_was_told_to_leave_stays_out(reason: str) -> None:
    async def test(it: Bench) -> None:
        it.plan()
        await it.dispatcher.work()
        join = it.join()
        with it.engine.begin() as connection:
            store.observe(connection, join.id, JoinState.ENDED, now=it.now, reason=reason, conversation_id="c1")
        assert (it.join().state, it.join().reason) == (JoinState.ENDED, reason or None)
        it.now += timedelta(minutes=20)
        assert await it.dispatcher.work() == 0

    bench(test)


def test_a_meeting_longer_than_the_longest_call_is_entered_again() -> None:
    async def test(it: Bench) -> None:
        it.plan(minutes=180)
        await it.dispatcher.work()
        it.now, join = START + timedelta(minutes=59), it.join()
        with it.engine.begin() as connection:
            store.observe(
                connection,
                join.id,
                JoinState.ENDED,
                now=it.now,
                reason="max_call_duration reached",
                conversation_id="c1",
            )
        it.now += timedelta(seconds=5)
        await it.dispatcher.work()
        assert (it.join().state, it.join().conversation_id, it.join().entry) == (JoinState.STARTED, "c2", 1)

    bench(test)


def test_an_order_whose_answer_was_lost_is_taken_back() -> None:
    async def test(it: Bench) -> None:
        order = an_order(owner="me")
        with it.engine.begin() as connection:
            store.add_order(connection, order, it.now)
        it.script.answers = ["lose"]
        answer = await it.dispatcher.order(order)
        assert isinstance(answer, Refused)
        assert (it.join().state, it.join().conversation_id) == (JoinState.LEAVING, None)
        it.now += timedelta(seconds=15)
        await it.dispatcher.work()
        assert (it.join().state, it.join().reason) == (JoinState.CANCELLED, "platform-unreachable")
        assert it.script.ended == ["c1"]

    bench(test)


def test_a_series_is_planned_further_as_time_goes_on() -> None:
    async def test(it: Bench) -> None:
        it.plan("FREQ=DAILY")
        before = len(it.joins())
        it.now = START + timedelta(days=30)
        await it.dispatcher.work()
        joins = it.joins()
        assert joins[-1].starts == START + timedelta(days=89)
        assert len(joins) == before + 30
        assert sum(join.state is JoinState.MISSED for join in joins) == 30

    bench(test)


def test_what_is_due_waits_for_a_few_events_that_are_planned_further_and_not_for_all() -> None:
    async def test(it: Bench) -> None:
        for number in range(2 * REFILLS + 5):
            it.plan(uid=f"u{number}", later=timedelta(hours=2))
        it.plan(uid="due")
        with it.engine.begin() as connection:
            assert store.plan_anew(connection, it.now) == 2 * REFILLS + 6

        def behind() -> int:
            with it.engine.begin() as connection:
                return len(store.events_to_refill(connection, it.now, 1000))

        dispatcher = it.dispatcher
        assert [join.uid for join in dispatcher.claim(10)] == ["due"]
        assert behind() == REFILLS + 6
        await dispatcher.begin()
        assert behind() == 0

    bench(test)
