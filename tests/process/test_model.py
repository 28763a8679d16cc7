"""Random histories of mails, edits, callbacks, outages and deaths, held against a small model of what comes of them.

Excluded, each with its reason:
- Zones, RANGE=THISANDFUTURE, ADD, guests: what a message means is held by tests/gateway/test_itip_stateful.py.
- An organizer who sends dates alone and raises SEQUENCE of the series for more than its times: until all is delivered
  nobody can tell whether a date that was changed before is meant still.
- The same times twice for one series: without the message between them nobody can tell whether a date that was moved
  under the first was put back.
- A platform that acts on a request long after its sender gave up on it: who looks meanwhile cannot find it.
- The answer to a date that was accepted with its series, when the series alone is declined later: the date is joined,
  and its organizer, told of the series only, does not hear that.
- A meeting that is due in a room where the PAL's call was ended by somebody, and the callback about it has not come
  yet: it shares a call that is over, and hears of the end as the other one does.

HISTORIES in the environment says how many are played (60), HISTORIES_SEED which; each store has its own number.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import not_here
from tests.postgres import Postgres
from tests.process.model import Date, Organizer
from tests.process.rehearsal import ADDRESSES, RETURNS, START, STAYS_OUT, Stage, World, play, stage

HISTORIES = int(os.environ.get("HISTORIES", "60"))
ON_POSTGRESQL = max(5, HISTORIES // 20)
ROOMS = ("abc-defg-hij", "new-link-xyz", "")
AHEAD = (-5, 2, 2, 5, 10, 20, 60, 180, 1440)  # minutes from now to a start
LENGTHS = (30, 30, 10, 60, 120)  # minutes
WAITS = (1, 5, 30, 61, 130, 300, 1200, 3600, 86_400, 3 * 86_400)
FATES = ("429", "500", "lost", "gone", "400", "ok", "joined-first", "ended-first")
RELAY = ("later", "never-mind", "cut", "die", "ok")
TOLD = ("now", "now", "late", "lost", "twice")

Step = tuple[str, int, int, int]
Action = Callable[[World, int, int, int], Awaitable[None]]
Choice = TypeVar("Choice")
played: Counter[str] = Counter()


def pick(of: Sequence[Choice], number: int) -> Choice:
    return of[number % len(of)]


def organizer_of(world: World, number: int) -> Organizer | None:
    return pick(world.organizers, number) if world.organizers else None


async def invite(world: World, a: int, b: int, c: int) -> None:
    number = len(world.organizers) + 1
    organizer = Organizer(
        uid=f"u{number}",
        address=f"org{number % 2}@acme.example",
        pals=pick((ADDRESSES[:1], ADDRESSES[:1], ADDRESSES), c),
        is_whole=a % 2 == 1,
        count=pick((1, 1, 2, 3, 4), a),
        step=timedelta(days=pick((1, 7), b)),
        start=world.now.replace(microsecond=0) + timedelta(minutes=pick(AHEAD, b)),
        length=timedelta(minutes=pick(LENGTHS, c)),
        room=pick((*ROOMS[:1] * 3, *ROOMS), a + b),
    )
    world.organizers.append(organizer)
    world.says(organizer, organizer.invite(world.now), at_once=c % 4 != 0)


async def edit(world: World, a: int, b: int, c: int) -> None:
    organizer = organizer_of(world, a)
    if organizer is None or not organizer.is_live:
        return
    now = world.now
    said = (
        organizer.edit(now)
        if b % 3 == 0
        else organizer.relink(now, pick(ROOMS, c))
        if b % 3 == 1
        else organizer.resize(now, timedelta(minutes=pick(LENGTHS, c)))
    )
    world.says(organizer, said, at_once=b % 4 != 0)


async def reschedule(world: World, a: int, b: int, c: int) -> None:
    """Another time for the whole; one that was cancelled is invited again."""
    organizer = organizer_of(world, a)
    if organizer is not None:
        start = world.now.replace(microsecond=0) + timedelta(minutes=pick(AHEAD, b))
        world.says(organizer, organizer.reschedule(world.now, start), at_once=c % 4 != 0)


async def change_date(world: World, a: int, b: int, c: int) -> None:
    """One date is cancelled, moved, given another room, or put back."""
    organizer = organizer_of(world, a)
    if organizer is None or not organizer.is_live or organizer.count == 1:
        return
    index = b % organizer.count
    original = organizer.start + index * organizer.step
    start = world.now.replace(microsecond=0) + timedelta(minutes=pick(AHEAD, c))
    room = organizer.room
    date = pick((Date(None), Date(start, room), Date(original, pick(ROOMS, c)), Date(original, room)), b // 4)
    world.says(organizer, organizer.change(world.now, index, date), at_once=c % 4 != 0)


async def cancel(world: World, a: int, b: int, c: int) -> None:
    organizer = organizer_of(world, a)
    if organizer is not None and organizer.is_live:
        world.says(organizer, organizer.cancel(world.now), at_once=c % 4 != 0)


async def deliver(world: World, a: int, b: int, c: int) -> None:
    """What is on its way arrives, in any order."""
    if world.pending:
        world.deliver(world.pending.pop(a % len(world.pending)))


async def duplicate(world: World, a: int, b: int, c: int) -> None:
    if world.delivered:
        world.deliver(pick(world.delivered, a))


async def deliver_meanwhile(world: World, a: int, b: int, c: int) -> None:
    """A mail arrives in the middle of a round."""
    if world.pending:
        mail = world.pending.pop(a % len(world.pending))
        await world.work_meanwhile(b % 12, partial(world.deliver, mail))


async def wait(world: World, a: int, b: int, c: int) -> None:
    await world.pass_time(timedelta(seconds=pick(WAITS, a)))


async def wait_for_next(world: World, a: int, b: int, c: int) -> None:
    """Until just before or at what comes next."""
    due = world.next_due()
    if due is not None and due > world.now:
        await world.pass_time(due - world.now - timedelta(seconds=a % 2))


async def weather(world: World, a: int, b: int, c: int) -> None:
    """What happens to the platform's next requests."""
    world.platform.fates = [pick(FATES, one) for one in (a, b, c)][: 1 + a % 3]


async def relay_weather(world: World, a: int, b: int, c: int) -> None:
    world.stage.relay.fates = [pick(RELAY, one) for one in (a, b, c)][: 1 + a % 3]


async def call_ends(world: World, a: int, b: int, c: int) -> None:
    live = world.platform.live()
    if live:
        await world.call_ends(pick(live, a), pick((*RETURNS, *STAYS_OUT), b), pick(TOLD, c))


async def callback_again(world: World, a: int, b: int, c: int) -> None:
    """A callback about any call there was: it is true, and may be late, or have been heard before."""
    if world.platform.calls:
        call = pick(world.platform.calls, a)
        if call.ended is None or b % 2:
            await world.tell(call, "system.replica_joined", "")
        else:
            await world.tell(call, "system.shutdown", call.reason)


async def die(world: World, a: int, b: int, c: int) -> None:
    """A process ends in the middle of the next round."""
    due = world.process.dispatcher.next_due()
    if due is not None and due > world.now and b % 3:
        await world.pass_time(due - world.now - timedelta(microseconds=1))
        world.now += timedelta(microseconds=1)
    await world.die(a % 16)


async def down(world: World, a: int, b: int, c: int) -> None:
    await world.down(timedelta(seconds=pick(WAITS[3:-1], a)))


async def second(world: World, a: int, b: int, c: int) -> None:
    """A second process comes, or goes."""
    world.second = world.new_process() if world.second is None else None


async def order(world: World, a: int, b: int, c: int) -> None:
    await world.order(pick(ADDRESSES, a), pick(ROOMS[:2], b), c % 16 if c % 5 == 0 else None)


async def pal(world: World, a: int, b: int, c: int) -> None:
    """A PAL has another face, or goes."""
    if a % 4 == 3:
        world.remove(pick(ADDRESSES, b))
    else:
        world.change_face(pick(ADDRESSES, b))


ACTIONS: dict[str, Action] = {
    one.__name__: one
    for one in (
        invite, edit, reschedule, change_date, cancel, deliver, duplicate, deliver_meanwhile, wait, wait_for_next,
        weather, relay_weather, call_ends, callback_again, die, down, second, order, pal,
    )
}  # fmt: skip
OFTEN = ("invite", "change_date", "edit", "wait", "wait", "wait_for_next", "wait_for_next", "weather", "die")

numbers = st.integers(0, 59)
steps = st.tuples(st.sampled_from((*ACTIONS, *OFTEN)), numbers, numbers, numbers)
histories = st.lists(steps, min_size=6, max_size=24)


def run(there: Stage, history: list[Step]) -> None:
    async def whole(world: World) -> None:
        for name, *by in [("invite", *history[0][1:]), *history]:
            world.script.append(f"{world.now:%d %H:%M:%S} {name} {by}")
            await ACTIONS[name](world, by[0], by[1], by[2])
            played[name] += 1

    world = play(there, whole)
    played["histories"] += 1
    played["calls"] += len(world.platform.calls)
    played["replies"] += len(world.sent)
    played["days"] += (world.now - START).days


def check(there: Stage, number: int) -> None:
    played.clear()

    @seed(int(os.environ.get("HISTORIES_SEED", "1")))
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(histories)
    def each(history: list[Step]) -> None:
        run(there, history)

    each()
    print(f"\nplayed: {dict(played)}")
    assert played["histories"] >= number
    assert played["calls"] > number, played


@pytest.mark.timeout(7200)
def test_what_comes_of_any_history_is_what_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with stage("sqlite://", monkeypatch) as there:
        check(there, HISTORIES)


@pytest.mark.timeout(7200)
def test_it_is_the_same_on_postgresql(monkeypatch: pytest.MonkeyPatch, postgres: Postgres | str) -> None:
    if isinstance(postgres, str):
        not_here(postgres)
    with stage(postgres.store(), monkeypatch) as there:
        check(there, ON_POSTGRESQL)
