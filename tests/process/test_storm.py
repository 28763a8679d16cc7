"""A storm: gateways are killed at random, platform and relay fail at random, and mail keeps coming.

Rules of this file:
- SQLite with one process, PostgreSQL with four. The random numbers have a seed, the timing has none.
- A reply may come twice where the relay's answer was lost, or its gateway killed before it knew; never another mail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Lock
from time import monotonic
from typing import Final

import pytest

from tests.conftest import empty_store
from tests.process.outside import Fault
from tests.process.world import World, world

SECONDS: Final = float(os.environ.get("STORM_SECONDS", "8"))
LONG: Final = 60  # seconds in which every kind of fault comes
SENDERS: Final = 4
PLATFORM_FAULTS: Final = 0.3
RELAY_FAULTS: Final = 0.2
CALM: Final = 60.0  # seconds within which all is to be in order when the storm is over
LEASE: Final = 5.0  # seconds; longer than two time-outs, also on a machine that has much to do


@dataclass
class Storm:
    """Bad weather over a world, for some seconds."""

    world: World
    seed: int
    over: Event = field(default_factory=Event)
    kills: int = 0
    dice: Random = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)  # noqa: S311  weather

    def fault(self, share: float) -> Callable[[], Fault | None]:
        """Asked for each request: how it fails, if it does."""

        def roll() -> Fault | None:
            with self._lock:
                is_bad = not self.over.is_set() and self.dice.random() < share
                return self.dice.choice(list(Fault)) if is_bad else None

        return roll

    def send(self) -> None:
        while not self.over.is_set():
            self.world.send(self.world.running(), CALM)

    def kill(self) -> None:
        while not self.over.wait(self.dice.uniform(0.3, 2.0)):
            place = self.dice.choice(self.world.places)
            place.kill()
            place.start()
            self.kills += 1

    def blow(self, seconds: float) -> None:
        """Blow over, and let all come in order."""
        self.world.platform.fault, self.world.relay.fault = self.fault(PLATFORM_FAULTS), self.fault(RELAY_FAULTS)
        with ThreadPoolExecutor(SENDERS + 1) as pool:
            work = [pool.submit(self.kill), *(pool.submit(self.send) for _ in range(SENDERS))]
            self.over.wait(seconds)
            self.over.set()
            for one in work:
                one.result()


@pytest.mark.timeout(SECONDS + 2 * CALM)
@pytest.mark.parametrize(("kind", "places"), [("sqlite", 1), ("postgresql", 4)])
def test_a_storm_loses_nothing_and_doubles_nothing(
    kind: str, places: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = empty_store(kind, request, tmp_path)
    with world(tmp_path, url) as found:
        found.environment["KILL_LEASE"] = str(LEASE)
        found.platform.silence = LEASE
        for _ in range(places):
            found.place().start()
        storm, began = Storm(found, seed=places), monotonic()
        storm.blow(SECONDS)
        found.settle(CALM)
        books = found.balance()
        print(
            f"\n{kind}, {places} process(es), {SECONDS:g} s of storm: {books.mails} mails "
            f"({sum(found.offered.values())} offers), {storm.kills} kills, {found.platform.faults.total()} faults "
            f"of the platform, {found.relay.faults.total()} of the relay: 0 lost, 0 double, "
            f"{len(books.double_replies)} replies twice; {monotonic() - began:.0f} s"
        )
        books.check(books.double_replies)
        assert storm.kills
        assert found.platform.faults.total()
        if SECONDS >= LONG:  # a short one on a busy machine may lack a kind
            assert all(found.platform.faults[one] for one in Fault)
