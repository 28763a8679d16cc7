"""One history on a clock that is set by hand: real desk, store, dispatchers and outbox between organizers, a platform
and a relay; after every step they are held against the model.

Rules of this file:
- Everything runs in one loop, and what the code gives to threads runs there at once: the same history is the same run,
  and a process can die at any of its awaits.
- A check is as strict as the weather allows: while nothing went wrong for SETTLE, a PAL is where it has to be at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import Engine, Row, select
from structlog.testing import capture_logs

import gateway.web
import scheduler.platform
import scheduler.store
from gateway import store
from gateway.api.house import House
from gateway.api.mirror import Mirror
from gateway.binding import Links
from gateway.decide import Desk
from gateway.domains import Domains
from gateway.feed import Feeds
from gateway.intake import Incoming, Intake, fresh_id
from gateway.orders import join_of, order_of
from gateway.outbox import Outbox, Via
from gateway.pals import Pal
from gateway.regrets import release
from gateway.web import Callbacks, make_app
from scheduler.database import connect, metadata
from scheduler.dispatch import LEASE, Dispatcher
from scheduler.joins import BROKEN, JoinState, Policy
from scheduler.platform import Refused
from tests.process.model import LEAD, TICK, Calendar, Meeting, Organizer, Said, mail_of
from tests.process.weather import MEET, Call, Letter, Platform, Relay

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOLD = timedelta(seconds=5)
SETTLE = timedelta(seconds=130)  # a lease and the longest wait between two tries
TAIL = timedelta(seconds=260)  # before the end of a meeting, in which who is not in may stay out
SILENCE = timedelta(minutes=20)  # how long a call whose end was not heard of counts as going on
COME_BACK = timedelta(seconds=125)  # how long the PAL may stay out before it enters again
POLICY = Policy()
ADDRESSES = ("anna@invite.example.com", "ben@invite.example.com")
UNDER_WAY = (JoinState.CLAIMED, JoinState.STARTED, JoinState.JOINED, JoinState.LEAVING)
RETURNS = (
    "max_call_duration reached",
    "bot_could_not_join_meeting_it_was_probably_ended",
    "exception_encountered_during_conversation_startup",
    "internal error occurred at step x",
)
STAYS_OUT = (
    "participant_left_timeout reached",
    "participant_absent_timeout reached",
    "daily_room_has_been_deleted",
    "end_conversation_endpoint_hit",
)


class Broken(AssertionError):
    """The code did what the model forbids."""


class AtOnce(ThreadPoolExecutor):
    """Runs what it is given where it is given it, so that a history has one order of events."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  it is the caller's, as in a thread
            done.set_exception(error)
        return done


class Wire(httpx.AsyncBaseTransport):
    """Where the platform's client leads: to the platform of the present history."""

    there: Platform | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.there is not None
        return await self.there.handle_async_request(request)


class Stage:
    """What all histories share: the store (emptied for each), the loop, the clients, the application for callbacks."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = connect(url)
        store.create_throwaway(self.engine)
        self.wire, self.relay = Wire(), Relay(lambda letter: None, lambda: None)
        self.platform = scheduler.platform.Platform("http://platform.example", "key")
        self.platform.look_every = SILENCE
        self.platform._client._transport = self.wire
        self.runner = asyncio.Runner()
        loop = self.runner.get_loop()
        loop.set_default_executor(AtOnce())
        self._server = self.runner.run(self.relay.start())
        self.callbacks = Callbacks(b"secret", "http://here.example")
        house = House(
            engine=self.engine,
            domains=Domains("invite.example.com", {}),
            feeds=Feeds(b"feeds", "http://here.example"),
            mirror=Mirror(self.engine, None),
            kinds=frozenset(["conversation"]),
            policy=POLICY,
            private=(),
            play_again=lambda *_: [],
            wake=lambda: None,
        )
        door = httpx.ASGITransport(make_app(house, self.callbacks))
        self.http = httpx.AsyncClient(transport=door, base_url="http://here.example")

    def empty(self) -> None:
        """Forget everything."""
        with self.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())

    def close(self) -> None:
        self._server.close()
        self.runner.run(self.platform.close())
        self.runner.close()
        self.engine.dispose()


@contextmanager
def stage(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage, its application's clock set by the history."""
    made = Stage(url)
    monkeypatch.setattr(gateway.web, "utc_now", lambda: World.present.now)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Process:
    """One process of the gateway, as far as it works off what waits."""

    dispatcher: Dispatcher
    outbox: Outbox


class World:
    """One history."""

    present: World

    def __init__(self, stage: Stage) -> None:
        World.present = self
        stage.empty()
        self.stage = stage
        self.now = START
        self.script: list[str] = []
        self.faults: list[str] = []
        self.pals = {address: Pal(f"p-{address[:3]}", address[:3], address, "face-0") for address in ADDRESSES}
        self.by_id = {pal.id: address for address, pal in self.pals.items()}
        self.removed: set[str] = set()
        self.organizers: list[Organizer] = []
        self.pending: list[tuple[Said, bytes, Organizer]] = []
        self.delivered: list[tuple[Said, bytes, Organizer]] = []
        self.calendars = {address: Calendar() for address in ADDRESSES}
        self.orders: dict[str, list[Meeting]] = defaultdict(list)  # by API; those that are certain
        self.maybe: dict[str, list[Meeting]] = defaultdict(list)  # by API; whose fate nobody was told
        self.timeline: dict[str, list[tuple[datetime, tuple[Meeting, ...]]]] = {a: [(START, ())] for a in ADDRESSES}
        self.faces: dict[str, list[tuple[datetime, str]]] = {a: [(START, "face-0")] for a in ADDRESSES}
        self.trouble = START - timedelta(days=1)
        self.round_began = START
        self.excused: set[tuple[str, str, datetime, str]] = set()
        self.away: dict[tuple[str, str], datetime] = {}  # until when a PAL may be out of a room
        self.unheard: dict[tuple[str, str], list[tuple[datetime, datetime]]] = defaultdict(list)
        self.rough: dict[tuple[str, str], datetime] = {}  # when a call there last ended by itself
        self.later: list[tuple[datetime, Call, str, str]] = []  # callbacks that are on their way
        self.sent: list[Letter] = []
        self.hushed: set[tuple[str, str]] = set()
        self.doubtful: set[str] = set()  # orders whose process died
        self.platform = Platform(
            lambda: self.now, self._step, self._entered, self._left, self.is_troubled, self.tell, self._refused
        )
        stage.wire.there = self.platform
        stage.relay.took, stage.relay.trouble, stage.relay.fates = self._took, self.is_troubled, []
        stage.relay.letters.clear()
        self._count = 0
        self.process = self.new_process()
        self.second: Process | None = None
        self.desk = Intake(stage.engine, Desk(hourly_per_organizer=1000), HOLD)
        with stage.engine.begin() as connection:
            for pal in self.pals.values():
                store.add_pal(connection, pal, START)

    # The clock, and what goes wrong.

    def _step(self, span: timedelta) -> None:
        self.now += span

    def is_troubled(self) -> None:
        """Something went wrong now."""
        self.trouble = self.now

    @property
    def is_calm(self) -> bool:
        return self.now >= self.trouble + SETTLE

    def new_process(self) -> Process:
        """A process that has just started."""
        self._count += 1
        owner, engine = f"process-{self._count}", self.stage.engine
        platforms = {"conversation": self.stage.platform}
        return Process(
            Dispatcher(
                engine, platforms, self.stage.callbacks.url, lambda: self.now, owner, POLICY, jitter=lambda: 0.0
            ),
            Outbox(engine, Via("127.0.0.1", self.stage.relay.port), lambda: self.now, owner),
        )

    # What the model holds.

    def wanted(self, address: str, at: datetime | None = None) -> tuple[Meeting, ...]:
        """The meetings of a PAL that were on at an instant (now), by what had been delivered then."""
        line = self.timeline[address]
        if at is None:
            return line[-1][1]
        return next(meetings for since, meetings in reversed(line) if since <= at)

    def remember(self, address: str) -> None:
        """What is wanted of a PAL has changed."""
        on = () if address in self.removed else (*self.calendars[address].meetings(), *self.orders[address])
        self.timeline[address].append((self.now, on))

    def _held(self, address: str, room: str, began: datetime) -> list[Meeting]:
        """The meetings that a call in a room may go on for: on until now, or until they were over."""
        found = [one for one in self.maybe[address] if one.room == room and address not in self.removed]
        for since, meetings in self.timeline[address]:
            for one in meetings:
                is_due = one.room == room and one.due <= self.now and began < one.until and since <= one.until
                if is_due and one in self.wanted(address, min(self.now, one.until - TICK)):
                    found.append(one)
        return found

    def _demanded(self, address: str) -> Iterator[Meeting]:
        """The meetings that a PAL has to sit in now."""
        for one in self.wanted(address):
            key = (address, one.room)
            is_rough = max(self.trouble, self.rough.get(key, START)) >= one.due - SETTLE
            if (
                one.due <= self.now < one.until - (TAIL if is_rough else timedelta())
                and (address, one.uid, one.start, one.room) not in self.excused
                and self.now >= self.away.get(key, START)
                and not any(one.due <= until and since < one.until for since, until in self.unheard[key])
            ):
                yield one

    # What the outside world says happened.

    def _entered(self, call: Call) -> None:
        address = self.by_id[call.pal]
        on = [one for since, meetings in self.timeline[address] if since >= self._seen(address) for one in meetings]
        on += self.maybe[address]
        its = [one for one in on if one.room == call.room and one.title == call.name]
        if not any(one.due <= self.now < one.until for one in its):
            self._fault(f"(3) {call.order} enters {call.room} for {call.name!r}, which is not on: {on}")
        is_order = call.name.startswith("order")  # what a caller ordered stays as it was ordered
        if not is_order and call.face not in [
            face for since, face in self.faces[address] if since >= self._seen_face(address)
        ]:
            self._fault(f"(3) {call.order} enters with the old face {call.face}")
        for other in self.platform.live(call.pal, call.room):
            self._fault(f"(2) {call.pal} is in {call.room} twice: {other.id} and for {call.order}")

    def _left(self, call: Call) -> None:
        """We ended a call; who is wanted there for another meeting goes in a moment later."""
        key = (self.by_id[call.pal], call.room)
        self.away[key] = max(self.away.get(key, START), self.now + timedelta(seconds=2))

    def _seen(self, address: str) -> datetime:
        """Since when what was wanted counts for a call that begins now: what the round may have read."""
        return max(since for since, _ in self.timeline[address] if since <= self.round_began)

    def _seen_face(self, address: str) -> datetime:
        return max(since for since, _ in self.faces[address] if since <= self.round_began)

    def _refused(self, pal: str, room: str, name: str) -> None:
        address = self.by_id[pal]
        for one in (*self.wanted(address), *self.maybe[address]):
            if one.room == room and one.title == name and one.due <= self.now:
                self.excused.add((address, one.uid, one.start, room))

    def _took(self, letter: Letter) -> None:
        known = self.stage.relay.letters[letter.message_id]
        if any(one.raw != letter.raw for one in known):
            self._fault(f"(5) {letter.message_id} went out with other bytes")
        if len(known) > 1 and known[-2].sure:
            self._fault(f"(5) {letter.message_id} went out twice: {letter.partstat} for {letter.uid}")
        if (letter.pal, letter.uid) in self.hushed:
            self._fault(f"(5) {letter.partstat} for {letter.uid}, which is cancelled")
        self.sent.append(letter)

    def _fault(self, text: str) -> None:
        self.faults.append(f"{self.now:%m-%d %H:%M:%S} {text}")

    # What organizers, callers and operators do.

    def says(self, organizer: Organizer, said: Said, *, at_once: bool) -> None:
        """A message is on its way, and may be there already."""
        mail = (said, mail_of(said, organizer), organizer)
        if at_once:
            self.deliver(mail)
        else:
            self.pending.append(mail)

    def deliver(self, mail: tuple[Said, bytes, Organizer]) -> None:
        """A message reaches the desk: 250 is the answer."""
        said, raw, organizer = mail
        self.script.append(f"{self.now:%d %H:%M:%S} delivered: {said}")
        recipients = tuple(organizer.pals)
        for played in self.desk.take(Incoming(fresh_id("m"), raw, "", recipients), self.now):
            self.script.append(f"    {played.pal.name}: {played.decision.verdict} {played.decision.reason or ''}")
        self.delivered.append(mail)
        for address in recipients:
            if address not in self.removed:
                self.calendars[address].take(said, self.now)
                is_off = self.calendars[address].is_cancelled(said.uid)
                (self.hushed.add if is_off else self.hushed.discard)((address, said.uid))
            self.remember(address)

    def change_face(self, address: str) -> None:
        if address in self.removed:
            return
        pal = self.pals[address] = replace(self.pals[address], face_id=f"face-{len(self.faces[address])}")
        with self.stage.engine.begin() as connection:
            store.save_pal(connection, pal, {})
            scheduler.store.change_attendant(connection, pal.attendant, self.now)
        self.faces[address].append((self.now, pal.face_id))

    def remove(self, address: str) -> None:
        """A PAL goes: what it promised is taken back."""
        if address in self.removed:
            return
        calendar = self.calendars[address]
        for (uid, original), answer in list(calendar.answers.items()):
            ahead = [one for one in calendar.meetings() if one.uid == uid and one.until > self.now]
            if answer == "ACCEPTED" and ahead:
                # Which of its dates are left to the series' answer is not followed here.
                calendar.answers.pop((uid, original))
                calendar.answers[uid, None] = "DECLINED"
        self.removed.add(address)
        with self.stage.engine.begin() as connection:
            release(connection, self.pals[address], self.now, POLICY)
            store.remove_pal(connection, self.pals[address].id)
        self.remember(address)

    async def order(self, address: str, room: str, dies_after: int | None) -> None:
        """A caller sends a PAL into a room now, and waits for the answer."""
        if address in self.removed:
            return
        self._count += 1
        name = f"order-{self._count}"
        order = order_of(
            {"meeting_url": MEET + room, "pal_id": self.pals[address].id, "conversation_name": name}, Links()
        )
        assert not isinstance(order, list)
        owner = self.process.dispatcher.owner
        join = join_of(order, self.pals[address], fresh_id("j"), self.now, owner, LEASE)
        meeting = Meeting(name, self.now, join.until, room, name)
        self.maybe[address].append(meeting)
        with self.stage.engine.begin() as connection:
            scheduler.store.add_order(connection, join, join.at)
        ordering = asyncio.ensure_future(self.process.dispatcher.order(join))
        if dies_after is not None:
            await self._die(ordering, dies_after)
            return
        answer = await ordering
        self.script.append(f"    order {name}: {answer}")
        if not isinstance(answer, Refused):
            self.orders[address].append(meeting)
            self.remember(address)
        if not (isinstance(answer, Refused) and answer.status is None):
            self.maybe[address].remove(meeting)

    async def _die(self, under_way: asyncio.Future[Any], ticks: int) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        # At this await and no later one: `finish` would let them go on for a moment.
        for task in {under_way, *(task for _, task in self.process.dispatcher._under_way.values())}:
            task.cancel()
        await asyncio.wait([under_way])
        await self.process.dispatcher.finish()
        self.is_troubled()
        self.process = self.new_process()

    async def tell(self, call: Call, event_type: str, reason: str) -> None:
        """A callback arrives."""
        path, body = call.told(event_type, self.now, reason)
        answer = await self.stage.http.post(path, content=body)
        self.script.append(f"{self.now:%d %H:%M:%S} callback {call.id} {event_type} {reason}: {answer.status_code}")

    async def call_ends(self, call: Call, reason: str, how: str) -> None:
        """The platform ends a call; `how` it says so: now, late, lost, twice."""
        key, address = (self.by_id[call.pal], call.room), self.by_id[call.pal]
        self.platform.end(call, reason)
        self.script.append(f"{self.now:%d %H:%M:%S} {call.id} ends: {reason} ({how})")
        self.rough[key] = self.now
        if reason in RETURNS:
            self.away[key] = self.now + COME_BACK + (timedelta() if how in ("now", "twice") else SILENCE)
        else:
            for one in (*self.wanted(address), *self.maybe[address]):
                if one.room == call.room and one.due <= self.now:
                    self.excused.add((address, one.uid, one.start, one.room))
            if how in ("late", "lost"):
                self.unheard[key].append((self.now, self.now + SILENCE))
        if how in ("now", "twice"):
            for _ in range(2 if how == "twice" else 1):
                await self.tell(call, "system.shutdown", reason)
        elif how == "late":
            self.later.append((self.now + timedelta(seconds=90), call, "system.shutdown", reason))

    # Work, and time.

    async def work(self) -> None:
        """All processes do what is due."""
        self.round_began = self.now
        async with asyncio.timeout(60):
            if self._is_due(self.process.dispatcher):
                others = [self.second.dispatcher.work()] if self.second is not None else []
                await asyncio.gather(self.process.dispatcher.work(), *others)
            if self._is_due(self.process.outbox):
                await self._send_replies()
        self.check()

    def _is_due(self, worker: Dispatcher | Outbox) -> bool:
        due = worker.next_due()
        return due is not None and due <= self.now

    async def work_meanwhile(self, ticks: int, what: Callable[[], object]) -> None:
        """Something happens while a round is under way."""
        self.round_began = self.now
        working = asyncio.ensure_future(self.process.dispatcher.work())
        for _ in range(ticks):
            await asyncio.sleep(0)
        what()
        await working
        await self.work()

    async def _send_replies(self) -> None:
        for process in filter(None, (self.process, self.second)):
            for letter in process.outbox.claim(20):
                sending = asyncio.ensure_future(process.outbox.carry_out(letter))
                self.stage.relay.die = partial(sending.cancel, None)
                await asyncio.wait([sending])

    async def die(self, ticks: int) -> None:
        """The process ends in the middle of a round; another one is started."""
        self.round_began = self.now
        await self.process.dispatcher.begin()
        await self._die(asyncio.ensure_future(asyncio.sleep(0)), ticks)

    async def down(self, span: timedelta) -> None:
        """Nobody works for a while; callbacks are lost."""
        self.process, self.second, self.now = self.new_process(), None, self.now + span
        self.later.clear()
        for call in self.platform.live():
            if call.time_is_up <= self.now:
                await self.call_ends(call, RETURNS[0], "lost")
        self.is_troubled()
        await self.work()

    def next_due(self) -> datetime | None:
        """When something is to be done next, inside or outside."""
        found = [self.process.dispatcher.next_due(), self.process.outbox.next_due(), self.platform.next_end()]
        found += [at for at, *_ in self.later]
        return min((one for one in found if one is not None), default=None)

    async def pass_time(self, span: timedelta) -> None:
        """Time passes, and everything is done when it is due."""
        until, rounds = self.now + span, 0
        await self.work()
        while (due := self.next_due()) is not None and due <= until:
            rounds = rounds + 1 if due <= self.now else 0
            if rounds > 30:
                raise Broken(f"(4) it never comes to rest at {self.now}: {self.rows()}")
            self.now = max(self.now, due)
            await self._outside_events()
            await self.work()
        self.now = max(self.now, until)
        self.check()

    async def _outside_events(self) -> None:
        for one in [one for one in self.later if one[0] <= self.now]:
            self.later.remove(one)
            await self.tell(*one[1:])
        for call in self.platform.live():
            if call.time_is_up <= self.now:
                await self.call_ends(call, RETURNS[0], "lost" if len(self.platform.calls) % 5 == 4 else "now")

    # The checks.

    def rows(self) -> Sequence[Row[Any]]:
        """All joins, as far as they are looked at here."""
        table = scheduler.store.joins.c
        of_join = select(table.id, table.pal_id, table.uid, table.starts, table.url, table.state, table.conversation_id)
        with self.stage.engine.connect() as connection:
            return connection.execute(of_join.add_columns(table.wake_at)).all()

    def check(self) -> None:
        """What holds after every round. Raises Broken."""
        self._raise_faults()
        rows = self.rows()
        for address, pal in self.pals.items():
            self._check_planned(address, [row for row in rows if row.pal_id == pal.id])
            if self.is_calm:
                self._check_rooms(address, pal)
        if self.is_calm:
            known = {row.conversation_id for row in rows if row.state in UNDER_WAY}
            for call in self.platform.live():
                if call.id not in known:
                    self._fault(f"(4) nobody minds {call}")
        self._raise_faults()

    def _raise_faults(self) -> None:
        faults = [*self.platform.faults, *self.faults]
        if faults:
            raise Broken("\n".join(faults))

    def _check_planned(self, address: str, rows: Sequence[Row[Any]]) -> None:
        """What is to come is planned, and nothing else."""
        planned = {
            (row.uid, row.starts, row.url.removeprefix(MEET))
            for row in rows
            if row.state in (JoinState.PLANNED, JoinState.CLAIMED) and row.starts - LEAD > self.now
        }
        wanted = {(one.uid, one.start, one.room) for one in self.wanted(address) if one.due > self.now}
        if planned != wanted:
            missing, extra = sorted(wanted - planned), sorted(planned - wanted)
            self._fault(f"(6) of {address}: not planned {missing}, planned {extra}")

    def _check_rooms(self, address: str, pal: Pal) -> None:
        """The PAL sits where it has to, and nowhere else."""
        live = self.platform.live(pal.id)
        rooms = [call.room for call in live]
        for one in self._demanded(address):
            if one.room not in rooms:
                self._fault(f"(1) {address} is not in {one.room} for {one}")
        for call in live:
            over = [one.until for _, on in self.timeline[address] for one in on if one.room == call.room]
            given_up = any(until <= self.now and self.trouble >= until - SETTLE for until in over)
            if not given_up and not self._held(address, call.room, call.began):
                self._fault(f"(3) {address} stays in {call.room} for nothing: {call}")

    async def end(self) -> None:
        """Everything is delivered, all is well from now on, and time goes on past the last date."""
        self.script.append("the end")
        for mail in list(self.pending):
            self.deliver(mail)
        self.pending.clear()
        self.platform.fates, self.stage.relay.fates = [], []
        await self.pass_time(SETTLE + timedelta(minutes=1))
        last = max((one.until for line in self.timeline.values() for _, on in line for one in on), default=self.now)
        await self.pass_time(max(last - self.now, timedelta()) + timedelta(hours=30))
        rows = self.rows()
        left = [row for row in rows if row.state in (JoinState.PLANNED, *UNDER_WAY) or row.wake_at is not None]
        if left or self.platform.live() or self.next_due() is not None:
            self._fault(f"(4) left at the end: {left} {self.platform.live()} {self.next_due()}")
        self._check_answers()
        self._raise_faults()

    def _check_answers(self) -> None:
        # What came to nothing was taken back.
        broken = {(self.by_id[row.pal_id], row.uid) for row in self.rows() if row.state in BROKEN}
        for address, calendar in self.calendars.items():
            for uid, original, answer in calendar.owed():
                said = self._last_answer(address, uid, original)
                if said != answer and not (said == "DECLINED" and (address, uid) in broken):
                    its = [one for one in self.sent if (one.pal, one.uid) == (address, uid)]
                    told = [(one.recurrence_id, one.partstat) for one in its]
                    self._fault(f"(5) {address} was to say {answer} to {uid} {original}, and said {told}")

    def _last_answer(self, address: str, uid: str, original: datetime | None) -> str | None:
        dates = ["" if original is None else f"{original:%Y%m%dT%H%M%SZ}", ""]
        said = {one.recurrence_id: one.partstat for one in self.sent if (one.pal, one.uid) == (address, uid)}
        return next((said[date] for date in dates if date in said), None)


def play(stage: Stage, history: Callable[[World], Any]) -> World:
    """Play one history to its end. Raises Broken, with what happened."""
    with capture_logs() as logs:
        world = World(stage)

        async def whole() -> None:
            await history(world)
            await world.end()

        try:
            stage.runner.run(whole())
            errors = [cast(dict[str, Any], one) for one in logs if one["log_level"] in ("error", "critical")]
            if errors:
                raise Broken(f"a fault of ours: {errors}")
        except (AssertionError, TimeoutError) as error:
            told = [f"{one.pop('event')}: {one}" for one in map(dict, logs)]
            raise Broken("\n".join([repr(error), str(error), *world.script, "", *told])) from error
    return world
