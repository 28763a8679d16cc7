"""Who may ask a target when: so many at once, at its pace, by rank."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from scheduler.gate import Gate
from scheduler.lanes import Pace
from scheduler.platform import Platform


def run(test: Callable[[Platform], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test(Platform("http://127.0.0.1:9", "key")))


class Guests:
    """Who passed, in turn; each stays until it is told to go."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self.leave = asyncio.Event()

    def come(self, name: str, rank: int = 1) -> asyncio.Task[None]:
        return asyncio.create_task(self._pass(name, rank))

    async def _pass(self, name: str, rank: int) -> None:
        async with self.gate.passed(rank):
            self.inside.append(name)
            await self.leave.wait()


async def turns() -> None:
    """Let all that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_so_many_at_once_and_the_smallest_rank_first() -> None:
    async def test(platform: Platform) -> None:
        guests = Guests(Gate(platform, 2))
        tasks = [guests.come("a"), guests.come("b"), guests.come("tried", 2), guests.come("c"), guests.come("d")]
        await turns()
        assert guests.inside == ["a", "b"]
        guests.leave.set()
        await asyncio.gather(*tasks)
        assert guests.inside == ["a", "b", "c", "d", "tried"]

    run(test)


def test_who_gives_up_waiting_takes_no_place_and_who_is_inside_leaves_one() -> None:
    async def test(platform: Platform) -> None:
        guests = Guests(Gate(platform, 1))
        inside, gone, last = guests.come("inside"), guests.come("gone"), guests.come("last")
        await turns()
        gone.cancel()
        await turns()
        assert guests.inside == ["inside"]
        inside.cancel()
        await turns()
        assert guests.inside == ["inside", "last"]
        guests.leave.set()
        await last

    run(test)


def test_nobody_passes_while_the_target_rests() -> None:
    async def test(platform: Platform) -> None:
        guests = Guests(Gate(platform, 5))
        guests.leave.set()
        rests_until = monotonic() + 0.2
        platform.pace = Pace(learnt=1000.0, refused_at=monotonic(), next_at=rests_until)
        late = guests.come("tried", 2)
        await turns()
        early = guests.come("newcomer")
        await asyncio.gather(late, early)
        assert monotonic() >= rests_until
        assert guests.inside == ["newcomer", "tried"]

    run(test)


def test_a_pace_is_kept() -> None:
    async def test(platform: Platform) -> None:
        guests = Guests(Gate(platform, 100))
        guests.leave.set()
        began = monotonic()
        platform.pace = Pace(learnt=100.0, refused_at=began, next_at=began)
        await asyncio.gather(*(guests.come(str(number)) for number in range(31)))
        assert monotonic() - began >= 0.29

    run(test)
