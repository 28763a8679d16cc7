"""A target that hangs, or is not there: what waits behind it are its own joins, and they lose nothing but time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import Engine

from gateway import store
from scheduler.database import connect
from scheduler.joins import Join
from scheduler.lanes import ROOM, UNANSWERED
from tests.process.platform import Platform, platform
from tests.process.processes import free_port, serving, until
from tests.process.rows import due, joins, states, write

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine

HANGING, GOOD = 300, 20
AT_MOST = 2.0  # seconds from the first order at all to the last of the good ones
ELSEWHERE = {"target": {"kind": "scenario_meeting", "scenario_id": "s1"}, "organizer": ""}


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = connect(store_url)
    store.migrate(engine)
    yield engine
    engine.dispose()


def in_time(hanging: Platform, good: Platform) -> bool:
    """Whether all good ones are sent; late is a fault."""
    names = [(name, at) for name, at in zip(good.names(), good.times, strict=False) if name.startswith("good")]
    if len(names) < GOOD:
        return False
    took = max(at for _, at in names) - min(hanging.times)
    print(f"the last of {GOOD} was sent {took:.2f} s after the first of {HANGING} that hang")
    assert took < AT_MOST
    return True


def tried(engine: Engine) -> list[Join]:
    return [join for join in joins(engine).values() if join.attempt and join.state.value == "planned"]


def test_the_joins_of_another_target_do_not_wait(tmp_path: Path, store_url: str, engine: Engine) -> None:
    """All of one target hang, and were due before."""
    stuck = (due(f"stuck{n}", pal_id=f"s{n}", request=ELSEWHERE) for n in range(HANGING))
    write(engine, *stuck, *(due(f"good{n}", pal_id=f"g{n}") for n in range(GOOD)))
    with platform(hangs=lambda order: True) as hanging, platform() as good:
        urls = {"PLATFORM__BASE_URL": good.url, "TARGETS__SCENARIO_MEETING__BASE_URL": hanging.url}
        key = {"TARGETS__SCENARIO_MEETING__API_KEY": "k"}
        values = {"HTTP__PORT": 9, "STOP_SECONDS": 1, **urls, **key}
        with serving(store_url, tmp_path, "scheduler", **values):
            until(lambda: in_time(hanging, good))
            until(lambda: len(hanging.orders) == 100)  # its room is full


def test_other_pals_of_the_same_target_do_not_wait(tmp_path: Path, store_url: str, engine: Engine) -> None:
    """All joins of one PAL hang, and were due before."""
    stuck = (due(f"stuck{n}", pal_id="stuck") for n in range(HANGING))
    write(engine, *stuck, *(due(f"good{n}", pal_id=f"g{n}") for n in range(GOOD)))
    with platform(hangs=lambda order: bool(order["pal_id"] == "stuck")) as there:
        values = {"HTTP__PORT": 9, "STOP_SECONDS": 1, "PLATFORM__BASE_URL": there.url}
        with serving(store_url, tmp_path, "scheduler", **values):
            until(lambda: in_time(there, there))


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_newcomer_does_not_wait_for_those_that_hang_again_and_again(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    """More joins than there is room for hang; the circuit is open when another PAL's is due."""
    write(engine, *(due(f"stuck{n}", pal_id=f"s{n % 30}") for n in range(ROOM + UNANSWERED)))
    with platform(hangs=lambda order: order["pal_id"].startswith("s")) as there:
        values = {"HTTP__PORT": 9, "STOP_SECONDS": 1, "PLATFORM__BASE_URL": there.url}
        with serving(store_url, tmp_path, "scheduler", **values) as process:
            until(lambda: process.said("target does not answer"))
            write(engine, due("good", pal_id="g"))
            began = monotonic()
            until(lambda: "good" in there.names())
            print(f"a newcomer was sent {monotonic() - began:.1f} s after it was due")


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_one_at_a_time_asks_a_target_that_is_not_there_until_it_is(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    write(engine, *(due(f"n{n}", pal_id=f"p{n}") for n in range(HANGING)))
    port = free_port()
    values = {"HTTP__PORT": 9, "PLATFORM__BASE_URL": f"http://127.0.0.1:{port}"}
    with serving(store_url, tmp_path, "scheduler", **values) as process:
        until(lambda: process.said("target does not answer"))
        # Each is tried once, since it could be another PAL's calls that hang; then one after the other asks.
        until(lambda: len(tried(engine)) == HANGING)
        before = sum(join.attempt for join in tried(engine))
        until(lambda: sum(join.attempt for join in tried(engine)) > before)
        assert sum(join.attempt for join in tried(engine)) < HANGING * 3 / 2
        with platform(port) as there:
            until(lambda: set(states(engine).values()) == {"started"})
            assert sorted(there.names()) == sorted(f"n{n}" for n in range(HANGING))
            assert process.said("target answers again")
            assert process.stop() == 0
    assert process.other == []
