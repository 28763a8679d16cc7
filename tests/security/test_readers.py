"""Mails are read in processes of their own: what takes too long or too much is set aside, and delays nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from time import monotonic, sleep

import pytest
from sqlalchemy import select

from bench.hostile_mail import bomb
from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake
from gateway.pals import Pal, pal_id
from gateway.readers import Limits, Readers
from gateway.reading import read_mail
from gateway.verdict import Reason
from scheduler.database import connect

SAMPLES = Path(__file__).parent.parent.parent / "samples"
GOOD = (SAMPLES / "google/06-series.eml").read_bytes()
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = "anna@invite.example.com"

SLOW = bomb(1_500_000)
MARK = str(os.getpid())


@contextmanager
def reading(limits: Limits) -> Iterator[Readers]:
    readers = Readers(limits, Desk())
    try:
        readers.start()
        readers.read(GOOD, NOW)  # the nursery is up
        yield readers
    finally:
        readers.close()


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests start can be told from the readers of other tests, also when its parent is gone."""
    monkeypatch.setenv("STARTED_BY", MARK)


def processes() -> set[int]:
    """The process ids of all nurseries and readers that were started here, once they stay the same: between a nursery
    and the reader that it forks there is a process for a moment."""
    before, found = None, _seen()
    while found != before:
        sleep(0.03)
        before, found = found, _seen()
    return found


def _seen() -> set[int]:
    command = f"{sys.executable} -P -m gateway.reader".encode().replace(b" ", b"\0")
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            is_ours = f"STARTED_BY={MARK}".encode() in (path / "environ").read_bytes().split(b"\0")  # proc(5)
            state = (path / "stat").read_bytes().rpartition(b") ")[2][:1]
            if is_ours and state != b"Z" and (path / "cmdline").read_bytes().startswith(command):
                found.add(int(path.name))
    return found


def gone(pids: set[int], within: float) -> bool:
    deadline = monotonic() + within
    while monotonic() < deadline:
        if not pids & processes():
            return True
    return False


def test_a_reader_says_what_the_same_function_says_here() -> None:
    with reading(Limits()) as readers:
        for path in sorted(SAMPLES.rglob("*.eml")):
            raw = path.read_bytes()
            assert readers.read(raw, NOW) == read_mail(raw), path


def test_a_mail_that_takes_too_long_is_too_costly_and_the_next_one_is_read() -> None:
    with reading(Limits(size=1, seconds=0.3)) as readers:
        began = monotonic()
        found = readers.read(SLOW, NOW)
        assert (found.fault, found.detail) == (Reason.TOO_COSTLY, "it was not read within 0.3 s")
        assert monotonic() - began < 3  # a busy machine starts another reader late
        assert readers.read(GOOD, NOW) == read_mail(GOOD)


def test_a_mail_that_takes_too_much_memory_is_too_costly_and_the_next_one_is_read() -> None:
    with reading(Limits(size=1, megabytes=96)) as readers:
        found = readers.read(b"From: a@b.example\r\n\r\n" + b"\r\n" * 5_000_000, NOW)
        assert (found.fault, found.detail) == (Reason.TOO_COSTLY, "reading it took more memory than a reader has")
        assert readers.read(GOOD, NOW) == read_mail(GOOD)


def test_a_reader_that_is_killed_costs_no_mail() -> None:
    with reading(Limits(size=2)) as readers:
        before = processes()
        for pid in before:  # the readers and their nursery
            os.kill(pid, signal.SIGKILL)
        assert gone(before, 5)
        assert readers.read(GOOD, NOW) == read_mail(GOOD)


def test_readers_that_die_before_they_take_a_mail_are_not_its_fault() -> None:
    with reading(Limits(size=2)) as readers:
        nursery, *resting = sorted(processes())
        os.kill(nursery, signal.SIGSTOP)  # it takes the order for a new reader, and dies before it has forked one
        for pid in resting:
            os.kill(pid, signal.SIGKILL)
        end = Timer(0.2, os.kill, (nursery, signal.SIGKILL))
        end.start()
        assert readers.read(GOOD, NOW) == read_mail(GOOD)
        end.join()


def waits_while(readers: Readers, going: Callable[[], bool]) -> list[float]:
    """How long each good mail waited for its reading, in order of length."""
    waits = []
    while going():
        began = monotonic()
        assert readers.read(GOOD, NOW).fault is None
        waits.append(monotonic() - began)
    return sorted(waits)


def test_mails_that_spin_in_every_reader_do_not_keep_a_good_one_waiting() -> None:
    with reading(Limits(size=2, seconds=2)) as readers, ThreadPoolExecutor(4) as threads:
        end = monotonic() + 0.5
        quiet = waits_while(readers, lambda: monotonic() < end)
        slow = [threads.submit(readers.read, SLOW, NOW) for _ in range(4)]
        waits = waits_while(readers, lambda: not any(one.done() for one in slow))
        assert [one.result().fault for one in slow] == [Reason.TOO_COSTLY] * 4
    assert len(waits) > 5
    # What a busy machine adds, it adds without the spinning mails, too.
    assert waits[len(waits) // 2] < quiet[len(quiet) // 2] * 3 + 0.05


def test_what_is_too_costly_to_decide_is_found_out_in_the_reader() -> None:
    dates = ",".join(f"202603{day:02}T{hour:02}0100Z" for day in range(2, 30) for hour in range(8, 18))
    raw = GOOD.replace(b"SUMMARY:", f"RDATE:{dates}\r\nSUMMARY:".encode(), 1)
    with reading(Limits()) as readers:
        assert readers.read(raw, NOW, recipients=1).fault is None
        crowd = readers.read(raw, NOW, recipients=100)
        assert crowd.fault is Reason.TOO_COSTLY
        assert crowd.detail.startswith("deciding on it would take ")


def test_a_mail_set_aside_is_kept_with_its_bytes_and_its_reason() -> None:
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    with engine.begin() as connection:
        store.add_pal(connection, Pal(pal_id(ANNA), "Anna", ANNA, "face"), NOW)
    with reading(Limits(size=1, seconds=0.3)) as readers:
        intake = Intake(engine, Desk(), read=readers.read)
        (aside,) = intake.take(Incoming("m1", SLOW, "", (ANNA,)), NOW)
        (taken,) = intake.take(Incoming("m2", GOOD, "", (ANNA,)), NOW)
    assert (aside.decision.verdict, aside.decision.reason) == ("quarantined", "too-costly")
    assert taken.decision.verdict == "accepted"
    with engine.connect() as connection:
        assert connection.execute(select(store.mails.c.raw).where(store.mails.c.id == "m1")).scalar_one() == SLOW


_GATEWAY = """
import sys
from datetime import UTC, datetime
from gateway.decide import Desk
from gateway.readers import Limits, Readers
readers = Readers(Limits(size=2, seconds=1), Desk())
readers.start()
readers.read(b"", datetime.now(UTC))
print("ready", flush=True)
readers.read(sys.stdin.buffer.read(), datetime.now(UTC))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_reader_outlives_its_gateway(end: signal.Signals) -> None:
    before = processes()
    gateway = subprocess.Popen([sys.executable, "-c", _GATEWAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    with gateway.stdin, gateway.stdout:
        assert gateway.stdout.readline() == b"ready\n"
        gateway.stdin.write(SLOW)  # one of them spins while its gateway dies
        gateway.stdin.close()
        started = processes() - before
        assert len(started) >= 3  # on a busy machine there may be one more reader
        os.kill(gateway.pid, end)
        gateway.wait()
    assert gone(started, 5)


def test_ctrl_c_for_the_whole_group_does_not_stop_a_reader() -> None:
    with reading(Limits(size=1)) as readers:
        for pid in processes():
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert readers.read(GOOD, NOW).fault is None
        deadline = monotonic() + 5
        while len(processes()) != 2:  # one that was slow, on a busy machine, is replaced, and on its way out
            assert monotonic() < deadline
