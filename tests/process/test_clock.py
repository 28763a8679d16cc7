"""The wall clock is stepped by an hour, forward and back, under a running gateway (libfaketime; timers are left alone).

Rules of this file:
- What became due in a step forward is done within a sweep; what is due after a step back is done at its new time.
- `FAKETIME_TIMESTAMP_FILE` holds the offset of the gateway's wall clock, and is read at each question.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from scheduler.clock import JOINS_SWEEP, utc_now
from scheduler.joins import JoinState
from tests.conftest import not_here
from tests.process.world import World, meeting, seconds, wait_for, world

HOUR: Final = timedelta(hours=1)
LEAD: Final = timedelta(minutes=1)
SLOW: Final = timedelta(seconds=4)  # that a machine with much to do may take on top; the figures are printed


@dataclass
class WallClock:
    """The wall clock of a gateway, stepped by a test."""

    file: Path

    def step_to(self, offset: timedelta) -> None:
        """Let it go before (or behind) the machine's by `offset`, at once."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{offset.total_seconds():+.0f}\n")
        os.replace(fresh, self.file)

    def environment(self) -> dict[str, str]:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            not_here("libfaketime is not installed (tests/peers/install.sh installs it)")
        return {
            "LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1", "KILL_LEASE": "10",
        }  # fmt: skip


def test_steps_of_the_wall_clock(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.step_to(timedelta())
    with world(tmp_path) as found:
        found.environment |= clock.environment()
        found.command = ("env",)  # the library is loaded into a program that begins
        place = found.place()
        place.start()
        now = utc_now()
        in_an_hour = meeting(1, now + HOUR + LEAD - timedelta(seconds=5))
        over_by_then = meeting(2, now + HOUR * 5 / 2, HOUR / 4)
        after_it = meeting(3, now + 2 * HOUR)
        for one in (in_an_hour, over_by_then, after_it):
            assert found.offer(one).startswith("250")
        found.meetings.remove(over_by_then)
        wait_for(lambda: len(found.relay.sent) == 3, "all are answered", more=place.tail)
        assert not found.platform.calls

        forward = posted_after_step(found, clock, HOUR, in_an_hour.url)

        clock.step_to(timedelta())
        soon = meeting(4, utc_now() + LEAD + timedelta(seconds=3))
        later = meeting(5, utc_now() + HOUR / 2)
        for one in (soon, later):
            assert found.offer(one).startswith("250")
        due = found.join_of(soon).at
        wait_for(lambda: bool(found.platform.of(soon.url)), "joined at its new time", more=place.tail)
        back = found.platform.posted_at[-1] - due
        assert timedelta() <= back < JOINS_SWEEP + SLOW
        assert not found.platform.of(later.url)
        again = posted_after_step(found, clock, HOUR / 2, later.url)

        assert not found.platform.of(after_it.url)
        final = posted_after_step(found, clock, 2 * HOUR, after_it.url)
        clock.step_to(3 * HOUR)
        wait_for(lambda: found.join_of(over_by_then).state is JoinState.MISSED, "what ended in the step is missed")
        assert found.join_of(over_by_then).reason == "ended-before-we-could-join"
        assert not found.platform.of(over_by_then.url)
        found.settle()
        found.balance().check()
        print(
            "\nwall clock stepped: +1 h: a join due in it posted after "
            f"{seconds(forward)}; -1 h: at its new time + {seconds(back)}; "
            f"+30 min: {seconds(again)}; +90 min: {seconds(final)}; ended in a step: missed: 0 lost, 0 double"
        )
        assert max(forward, again, final) < JOINS_SWEEP + SLOW


def test_a_step_while_something_is_under_way(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.step_to(timedelta())
    with world(tmp_path) as found:
        found.environment |= clock.environment()
        found.command = ("env",)
        place = found.place()
        place.start()

        def step(table: str, offset: timedelta) -> None:
            """Its lease ends while the answer is on its way, and it is claimed again."""
            found.platform.acted = lambda: None
            clock.step_to(offset)
            again = f"SELECT count(*) FROM {table} WHERE attempt > 1"  # noqa: S608
            wait_for(lambda: found.scalar(again) == 1, "claimed again", more=place.tail)

        found.platform.acted = lambda: step("joins", HOUR)
        found.send(meeting(1, utc_now() - LEAD, 4 * HOUR))
        wait_for(lambda: found.is_settled(), "joined and answered", more=place.tail)
        found.relay.taken = lambda: step("outbox", 2 * HOUR)
        found.send(meeting(2, utc_now() - LEAD, 4 * HOUR))
        found.settle()
        found.balance().check()
        print("\nwall clock stepped while a join, and a reply, was under way: claimed again, done once")


def posted_after_step(found: World, clock: WallClock, offset: timedelta, url: str) -> timedelta:
    """How long after a step of the clock to `offset` a call is made."""
    began = utc_now()
    clock.step_to(offset)
    wait_for(lambda: bool(found.platform.of(url)), "what is due is joined", more=found.places[0].tail)
    return found.platform.posted_at[-1] - began
