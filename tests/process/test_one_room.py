"""One PAL is in one room once, by whatever ways it is called there, and stays until the last of them is gone.

Rules of this file: a gateway as it is installed, mails by SMTP, orders by HTTP; what counts is what the platform made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from scheduler.clock import utc_now
from scheduler.joins import JoinState
from tests.process.outside import deliver
from tests.process.world import ANNA, Meeting, World, room, wait_for, world

_numbers = count(1000)


@pytest.fixture(scope="module")
def _one_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with one gateway."""
    with world(tmp_path_factory.mktemp("one-room")) as found:
        found.place().start()
        yield found


@pytest.fixture
def running(_one_gateway: World) -> World:
    """The same, with books of this test only."""
    _one_gateway.meetings.clear()
    return _one_gateway


def _first() -> Meeting:
    number = next(_numbers)
    return Meeting(f"first-{number}@google.com", room(number), utc_now() - timedelta(minutes=5))


WAYS = {
    "two organizers": lambda one: replace(one, uid=f"other-{one.uid}", organizer="eve@other.example"),
    "a forward": lambda one: replace(one, organizer="forwarder@acme.example", uid=f"forwarded-{one.uid}"),
    "another address of it": lambda one: replace(one, pal=ANNA.replace("@", "+team@"), uid=f"group-{one.uid}"),
    "a moved calendar": lambda one: replace(one, uid=f"moved-{one.uid}"),
    "the rest of a split series": lambda one: replace(
        one, uid=one.uid.replace("@", f"_R{one.starts:%Y%m%dT%H%M%S}@"), lines=("RRULE:FREQ=WEEKLY;COUNT=3",)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_one_call_until_both_are_gone(running: World, way: str) -> None:
    first = _first()
    second = WAYS[way](first)
    for one in (first, second):
        running.send(one)
    running.settle()
    (call,) = running.platform.of(first.url)
    _cancel(running, first)
    wait_for(lambda: _states(running, first) == {JoinState.CANCELLED}, "the first one is left")
    assert call["status"] == "active"
    _cancel(running, second)
    wait_for(lambda: call["status"] == "ended", "the second one is left, too")
    assert len(running.platform.of(first.url)) == 1


def test_an_order_by_http_shares_it(running: World) -> None:
    invited = _first()
    running.send(invited)
    running.settle()
    running.order(replace(invited, uid=f"ordered-{invited.uid}"))
    running.settle()
    (call,) = running.platform.of(invited.url)
    _cancel(running, invited)
    wait_for(lambda: _states(running, invited) == {JoinState.CANCELLED}, "the invitation is left")
    assert call["status"] == "active"


def test_one_mail_to_two_addresses_of_it_is_one_invitation(running: World) -> None:
    one = _first()
    running.send(one)
    running.send(replace(one, pal=ANNA.replace("@", "+team@")))
    running.settle()
    assert len(running.platform.of(one.url)) == 1


def _cancel(running: World, one: Meeting) -> None:
    answer = deliver(running.places[0].smtp, one.mail("CANCEL", 1), one.pal)
    assert answer.startswith("250"), answer


def _states(running: World, one: Meeting) -> set[JoinState]:
    """Of the joins whose instant has come."""
    return {join.state for join in running.joins() if join.uid == one.uid and join.starts < utc_now()}
