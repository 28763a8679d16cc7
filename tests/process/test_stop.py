"""A stop by signal: what is under way is finished, what was not begun goes to others, and nothing is left behind."""

from __future__ import annotations

import signal
import smtplib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway import store
from gateway.demo import invitation
from scheduler.clock import utc_now
from scheduler.database import connect
from tests.process.platform import platform
from tests.process.processes import ANNA, Process, add_anna, send, serving, until
from tests.process.rows import due, joins, states, write

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine

TOLERANCE = 5.0  # seconds that a loaded machine may take for what is done at once


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    add_anna(store_url)
    engine = connect(store_url)
    yield engine
    engine.dispose()


def is_closed(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return False
    return True


def children(process: Process) -> list[int]:
    """The processes that it has started, and those that they have."""

    def below(pid: str) -> Iterator[int]:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from below(child)

    return list(below(str(process.popen.pid)))


def all_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def ends_well(process: Process, below: list[int]) -> None:
    """It has ended by itself, said nothing but log lines, and left nobody behind."""
    assert process.popen.wait(30) == 0
    assert process.said("gateway stopped")
    assert process.other == []
    until(lambda: all_gone(below))


def test_a_mail_under_way_is_taken_and_nobody_else_is_let_in(tmp_path: Path, store_url: str, engine: Engine) -> None:
    _, raw = invitation(ANNA, utc_now())
    with serving(store_url, tmp_path, "smtp") as process:
        port, below = process.ready()["smtp"], children(process)
        with smtplib.SMTP("127.0.0.1", port) as client, smtplib.SMTP("127.0.0.1", port) as idle:
            client.ehlo()
            client.mail("alex@acme.example")
            client.rcpt(ANNA)
            assert client.docmd("DATA")[0] == 354
            client.send(raw[: len(raw) // 2])
            process.popen.terminate()
            until(lambda: is_closed(port))
            assert idle.getreply()[0] == 421
            client.send(raw[len(raw) // 2 :] + b"\r\n.\r\n")
            assert client.getreply()[0] == 250
            assert client.getreply()[0] == 421
        ends_well(process, below)
    with engine.connect() as connection:
        assert len(store.find_mails(connection, None, 10)) == 1
    assert list(states(engine).values()) == ["planned"]


def test_what_is_under_way_is_finished(tmp_path: Path, store_url: str, engine: Engine) -> None:
    with (
        platform(hangs=lambda order: True) as there,
        serving(store_url, tmp_path, PLATFORM__BASE_URL=there.url) as process,
    ):
        port, below = process.ready()["smtp"], children(process)
        write(engine, due("a"), due("b"))
        until(lambda: sorted(there.names()) == ["a", "b"])
        process.popen.terminate()
        until(lambda: is_closed(port))
        there.released.set()
        ends_well(process, below)
    assert states(engine) == {"a": "started", "b": "started"}
    assert len(there.orders) == 2


def test_what_cannot_be_finished_goes_to_others_unless_its_order_has_left(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    """Of two, one is being ordered, and one is being looked for because it was tried before."""
    with (
        platform(hangs=lambda order: True, hangs_when_searched=True) as silent,
        serving(store_url, tmp_path, "scheduler", PLATFORM__BASE_URL=silent.url, **_SHORT) as process,
    ):
        process.ready()
        write(engine, due("ordered"), due("looked for", attempt=1))
        until(lambda: silent.orders and silent.searches)
        begun = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begun < 2 + TOLERANCE
        assert process.other == []
    found = joins(engine)
    ordered, looked_for = found["ordered"], found["looked for"]
    assert (ordered.state.value, ordered.owner is not None) == ("claimed", True)
    assert ordered.wake_at is not None
    assert ordered.wake_at > utc_now()
    assert (looked_for.state.value, looked_for.owner) == ("planned", None)
    with platform() as good, serving(store_url, tmp_path, "scheduler", PLATFORM__BASE_URL=good.url, **_SHORT):
        until(lambda: states(engine)["looked for"] == "started")
        assert states(engine)["ordered"] == "claimed"  # whoever takes it looks first, when its lease is over


_SHORT = {"STOP_SECONDS": 2, "HTTP__PORT": 9}


def test_a_reply_that_the_relay_does_not_take_goes_to_others(tmp_path: Path, store_url: str, engine: Engine) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as relay,
        serving(
            store_url,
            tmp_path,
            "smtp,scheduler",
            RELAY__HOST="127.0.0.1",
            RELAY__PORT=relay.getsockname()[1],
            PLATFORM__BASE_URL="http://127.0.0.1:9",
            **_SHORT,
        ) as process,
    ):
        uid, raw = invitation(ANNA, utc_now())
        send(process.ready()["smtp"], raw)
        connected, _ = relay.accept()  # and it says nothing
        with connected:
            assert process.stop() == 0
    with engine.begin() as connection:
        (letter,) = store.claim_letters(connection, utc_now(), "another", utc_now() - utc_now(), 10)
        assert store.letters_of(connection, uid, "queued") == [letter.id]
    assert process.other == []


def test_nothing_stays_claimed_that_nobody_carries_out(tmp_path: Path, store_url: str, engine: Engine) -> None:
    """Stopped in the midst of many claims, more than once: all of it is ordered in the end, each once."""
    names = [f"n{number}" for number in range(400)]
    with platform() as there:
        with ExitStack() as stack:
            running = [
                stack.enter_context(
                    serving(store_url, tmp_path, "scheduler", PLATFORM__BASE_URL=there.url, HTTP__PORT=9)
                )
                for _ in range(2)
            ]
            for process in running:
                process.ready()
            write(engine, *(due(name, pal_id=name) for name in names))
            until(lambda: len(there.orders) > 20)
            for process in running:
                process.popen.terminate()
            assert [process.popen.wait(30) for process in running] == [0, 0]
            assert [process.other for process in running] == [[], []]
        left = joins(engine)
        assert {join.state.value for join in left.values()} <= {"planned", "started"}
        assert all(join.owner is None for join in left.values() if join.state.value == "planned")
        with serving(store_url, tmp_path, "scheduler", PLATFORM__BASE_URL=there.url, HTTP__PORT=9):
            until(lambda: set(states(engine).values()) == {"started"})
        assert sorted(there.names()) == sorted(names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    add_anna(url)
    engine = connect(url)
    with (
        platform(hangs=lambda order: True) as there,
        serving(url, tmp_path, PLATFORM__BASE_URL=there.url, STOP_SECONDS=60) as process,
    ):
        port = process.ready()["smtp"]
        below = until(lambda: found if len(found := children(process)) > 2 else [])  # the nursery and its readers
        write(engine, due("a"))
        until(lambda: there.orders)
        process.popen.terminate()
        until(lambda: is_closed(port))
        assert process.popen.poll() is None
        assert process.stop(number, TOLERANCE) == -number
        until(lambda: all_gone(below))
    engine.dispose()


def test_a_store_that_hangs_does_not_keep_it_from_ending(tmp_path: Path, store_url: str, engine: Engine) -> None:
    with serving(store_url, tmp_path, "scheduler", PLATFORM__BASE_URL="http://127.0.0.1:9", **_SHORT) as process:
        process.ready()
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE joins")
            # On SQLite whoever has begun to write has locked it.
            process.popen.terminate()
            assert process.popen.wait(3 + TOLERANCE) in (0, -signal.SIGALRM)


def test_an_idle_one_ends_quickly(tmp_path: Path, store_url: str, engine: Engine) -> None:
    with serving(store_url, tmp_path) as process:
        process.ready()
        below, begun = children(process), time.monotonic()
        process.popen.send_signal(signal.SIGINT)
        ends_well(process, below)
        assert time.monotonic() - begun < TOLERANCE
