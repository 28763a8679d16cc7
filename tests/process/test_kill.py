"""kill -9 between each two steps: from DATA to 250, from claim to POST to record, from the relay's 250 to record, from
what happened to the message about it.

Rules of this file:
- Each kill is a real SIGKILL of the gateway's process; it is started again, and the books are compared.
- CI kills at each point three times (twice on SQLite, once on PostgreSQL), `make chaos` twenty times.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from time import monotonic
from typing import Final

import pytest
from sqlalchemy import select

from gateway import store_webhooks
from gateway.pals import DEFAULT_ACCOUNT
from gateway.store_webhooks import deliveries
from gateway.telling import SHARE
from gateway.webhooks import event_of
from scheduler.clock import utc_now
from scheduler.journal import journal
from tests.conftest import not_here
from tests.process.outside import HOOKS
from tests.process.victim import POINTS
from tests.process.world import Place, World, wait_for, world

ROUNDS: Final = int(os.environ.get("KILLS", "3"))
AT_ONCE: Final = 3  # worlds
MAY_TELL_TWICE: Final = "onward: taken"  # passed on, and not written down: Webhook-Id is the same


@dataclass
class Round:
    """Every point once, in one world."""

    world: World
    place: Place
    may_double: set[str] = field(default_factory=set)  # the relay had it, and the gateway died before it knew
    kills: int = 0

    def run(self) -> None:
        webhook = store_webhooks.fresh_webhook(DEFAULT_ACCOUNT, self.world.platform.url + HOOKS, (), utc_now())
        with self.world.engine.begin() as connection:
            store_webhooks.add(connection, webhook)
        self.place.start()
        for name in POINTS:
            self.kill(name, partial(self.place.kill_at.write_text, name))
        self.kill("platform: before its answer", lambda: self.dying("platform"))
        self.kill("relay: before its 250", lambda: self.dying("relay"))
        self.is_told()

    def is_told(self) -> None:
        """What happened was told, each thing by one message; twice only where it died before it knew."""
        wait_for(self.world.is_told, "what happened is told")
        with self.world.engine.connect() as connection:
            kinds = connection.execute(select(journal.c.kind)).scalars().all()
            sent = connection.execute(select(deliveries.c.id).where(deliveries.c.state == "sent")).scalars().all()
        heard = self.world.platform.hooks
        assert sorted(heard) == sorted(sent)
        assert len(sent) == len([kind for kind in kinds if event_of(kind) is not None])
        assert sum(times - 1 for times in heard.values()) <= SHARE * self.kills

    def dying(self, whom: str) -> None:
        """The gateway dies while another waits to answer it."""

        def die() -> None:
            self.world.platform.acted = self.world.relay.taken = lambda: None
            self.place.signal(SIGKILL)

        if whom == "platform":
            self.world.platform.acted = die
        else:
            self.world.relay.taken = die

    def kill(self, name: str, arm: Callable[[], object]) -> None:
        arm()
        one = self.world.running()
        sending = Thread(target=self.world.order if name.startswith("onward") else self.world.send, args=(one,))
        sending.start()
        self.place.dies()
        self.may_double |= self.world.between_relay_and_record()
        self.place.start()
        sending.join()
        self.world.settle()
        self.world.balance().check(self.may_double)
        told = [times for times in self.world.platform.heard.values() if times > 1]
        assert not told or MAY_TELL_TWICE in POINTS[: self.kills + 1], f"passed on twice at {name!r}"
        self.kills += 1


@pytest.mark.timeout(180 * ROUNDS)
def test_nothing_is_lost_or_doubled_wherever_it_is_killed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    began = monotonic()
    postgres = request.getfixturevalue("postgres")
    if isinstance(postgres, str):
        not_here(postgres)
    with ExitStack() as stack:
        rounds = []
        for number in range(ROUNDS):
            folder = tmp_path / str(number)
            folder.mkdir()
            found = stack.enter_context(world(folder, postgres.store() if number % 3 == 2 else ""))
            rounds.append(Round(found, found.place()))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for running in [pool.submit(one.run) for one in rounds]:
                running.result()
        kills, books = sum(one.kills for one in rounds), [one.world.balance() for one in rounds]
        mails, twice = sum(one.mails for one in books), sum(len(one.double_replies) for one in books)
        print(
            f"\n{kills} kills at {len(POINTS) + 2} points, {mails} mails: 0 lost, 0 double joins, {twice} replies "
            f"twice (the relay had them, the gateway did not know); {monotonic() - began:.0f} s"
        )
        assert all(one.kills == len(POINTS) + 2 for one in rounds)
