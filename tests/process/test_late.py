"""Late: a gateway that was halted, or down when a join fell due, or whose platform and relay were not there.

Rules of this file:
- CI halts for some seconds with leases that are shorter, `CHAOS=1` for a minute.
- How one answer of the platform is taken (429 with Retry-After, 4xx) is in tests/scheduler/test_dispatch.py.
"""

from __future__ import annotations

import os
import smtplib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Final

import pytest

from scheduler.clock import JOINS_SWEEP, utc_now
from scheduler.joins import JoinState
from tests.conftest import empty_store
from tests.process.outside import Fault, platform, relay
from tests.process.world import QUEUED, Meeting, World, free_port, meeting, seconds, wait_for, world

HALT: Final = timedelta(seconds=60 if os.environ.get("CHAOS") else 3)  # longer than the leases in these tests
LEAD: Final = timedelta(minutes=1)
RESTARTED: Final = timedelta(seconds=5)  # within which a join is sent that fell due while the gateway was down
BACKOFF: Final = timedelta(seconds=1.5)  # the longest wait between two tries in these tests, with its jitter
SLOW: Final = timedelta(seconds=4)  # that a machine with much to do may take on top; the figures are printed


def since(instant: datetime, found: World) -> timedelta:
    """How long after an instant the last call was made."""
    return found.platform.posted_at[-1] - instant


def due_in(found: World, length: timedelta) -> Meeting:
    """A meeting that a PAL was invited to and is to come to after a while (a second less or more)."""
    one = meeting(next(found.numbers), utc_now() + LEAD + length)
    assert found.offer(one).startswith("250")
    return one


@pytest.mark.timeout(60 + 2 * HALT.total_seconds())
def test_who_was_halted_sends_what_is_due_at_once(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        place = found.place()
        place.start()
        due = due_in(found, timedelta(seconds=4))
        falls_due = found.join_of(due).at  # who is halted may hold the lock of the store
        wait_for(lambda: len(found.relay.sent) == 1, "the reply is sent")
        with smtplib.SMTP("127.0.0.1", place.smtp, timeout=HALT.total_seconds() + 10) as client:
            client.ehlo()
            with ThreadPoolExecutor() as pool:
                place.signal(SIGSTOP)
                place.halts()
                halted = utc_now()
                assert halted < falls_due
                answer = pool.submit(client.docmd, "NOOP")
                wait_for(lambda: utc_now() > max(halted + HALT, falls_due), "a while", 90)
                assert not answer.done()
                assert not found.platform.calls
                place.signal(SIGCONT)
                woken = utc_now()
                assert answer.result()[0] == 250
                told = utc_now() - woken
        wait_for(lambda: bool(found.platform.of(due.url)), "joined", more=place.tail)
        found.settle()
        found.balance().check()
        joined = since(woken, found)
        print(
            f"\nhalted for {seconds(woken - halted)}: mail answered after {seconds(told)}, "
            f"the join that fell due meanwhile posted after {seconds(joined)}"
        )
        assert told < SLOW
        assert joined < JOINS_SWEEP + SLOW


@pytest.mark.timeout(60 + 2 * HALT.total_seconds())
def test_who_was_halted_does_not_do_again_what_another_did(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Whoever is halted at a join is not to be in the middle of a reply: it would never hear whether that was taken.
    hold = {"REPLIES__HOLD_SECONDS": "3"}
    with world(tmp_path, empty_store("postgresql", request, tmp_path), **hold) as found:
        one, other = found.place(), found.place()
        one.start()
        done: dict[str, Callable[[Meeting], int]] = {
            "join: to be sent": lambda it: len(found.platform.of(it.url)),
            "reply: claimed": lambda it: sum(it.uid.encode() in sent.raw for sent in found.relay.sent),
        }
        for name, times in done.items():
            one.kill_at.write_text(f"{name}, SIGSTOP")
            it = found.running()
            assert found.offer(it).startswith("250")
            one.halts()
            halted = utc_now()
            other.start()
            wait_for(lambda it=it, times=times: times(it) == 1, f"{name}: another does it", more=other.tail)  # type: ignore[misc]
            wait_for(lambda since=halted: utc_now() > since + HALT, "a while", 90)  # type: ignore[misc]
            wait_for(lambda: not found.scalar(QUEUED), "the other has written down what it sent", more=other.tail)
            other.kill()  # so that what is seen from now on is done by the one that was halted
            one.signal(SIGCONT)
            later = found.running()
            found.send(later)
            found.settle()
            assert times(it) == 1, f"{name}: done again by the one that was halted"
            found.balance().check()
        said = one.log.read_text()
        assert "join left to the next claim" in said
        assert "reply lost to another" in said
        print(f"\nhalted for {seconds(HALT)} with a claim for a join, and for a reply: another took over, done once")


def test_what_fell_due_while_it_was_down(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        place = found.place()
        place.start()
        due = due_in(found, timedelta(seconds=3))
        over = meeting(next(found.numbers), utc_now() - LEAD, LEAD + timedelta(seconds=3))
        place.kill_at.write_text("mail: committed")
        assert found.offer(over) == ""
        place.dies()
        found.meetings = [due]
        wait_for(lambda: utc_now() > max(found.join_of(one).at for one in (due, over)) + timedelta(seconds=1), "due")
        wait_for(lambda: utc_now() > found.join_of(over).until, "the meeting is over")
        assert not found.platform.calls
        began = utc_now()
        place.start(wait=False)
        wait_for(lambda: bool(found.platform.of(due.url)), "joined after the restart", more=place.tail)
        found.settle()
        wait_for(lambda: found.join_of(over).state is JoinState.MISSED, "what is over is missed", more=place.tail)
        assert found.join_of(over).reason == "ended-before-we-could-join"
        assert not found.platform.of(over.url)
        wait_for(lambda: len(found.answers(over, "DECLINED")) > 0, "its organizer is told", more=place.tail)
        (told,) = found.answers(over, "DECLINED")
        assert b"it was over before" in told.raw.replace(b"=\r\n", b"")
        found.balance().check()
        print(
            f"\ndown when due: posted {seconds(since(began, found))} after the restart; what ended meanwhile is missed"
        )
        assert since(began, found) < RESTARTED


def test_platform_and_relay_are_not_there_and_come_back(tmp_path: Path) -> None:
    with world(tmp_path) as found, ExitStack() as back:
        ports = free_port(), free_port()
        found.platform.url = f"http://127.0.0.1:{ports[0]}"
        found.relay.port = ports[1]
        place = found.place()
        place.start()
        found.send(found.running())
        for what in ("join not taken", "reply not taken"):
            wait_for(lambda what=what: place.log.read_text().count(what) > 1, what)  # type: ignore[misc]
        found.platform, found.relay = back.enter_context(platform(ports[0])), back.enter_context(relay(ports[1]))
        returned = utc_now()
        found.settle()
        refused = since(returned, found)
        faults = [Fault.BUSY, Fault.BROKEN, Fault.SILENT]
        found.platform.fault = found.relay.fault = lambda: faults[0]
        for fault in (Fault.BUSY, Fault.BROKEN):
            faults[0] = fault
            found.send(found.running())
            wait_for(lambda fault=fault: found.platform.faults[fault] > 1, f"{fault} for a while")  # type: ignore[misc]
            assert len(found.platform.calls) == 1
        found.platform.fault = found.relay.fault = lambda: None
        returned = utc_now()
        found.settle()
        found.balance().check()
        print(
            f"\nplatform and relay back: joined after {seconds(refused)} (nobody there), "
            f"{seconds(since(returned, found))} (429, 500)"
        )
        assert max(refused, since(returned, found)) < JOINS_SWEEP + BACKOFF + SLOW


def test_a_platform_that_answers_nothing_for_a_while(tmp_path: Path) -> None:
    with world(tmp_path) as found:
        place = found.place()
        place.start()
        found.platform.silence = 1.5
        found.platform.fault = lambda: Fault.SILENT
        found.send(found.running())
        wait_for(lambda: bool(found.platform.faults[Fault.SILENT]), "it is asked")
        found.settle()
        found.balance().check()
        print("\nplatform that acts and says nothing: found by looking, one call")
