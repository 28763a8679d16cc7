"""What may be begun beside what is under way; the clock is an argument."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.joins import Join
from scheduler.lanes import LONGEST_PAUSE, ROOM, SHARE, UNANSWERED, Circuit, lanes
from tests.scheduler.test_dispatch import an_order

CLOSED, KINDS = Circuit(), ("conversation", "scenario_meeting")
CONVERSATION, NONE = frozenset({"conversation"}), frozenset[str]()


def joins(number: int, kind: str = "conversation", pal: str = "") -> list[Join]:
    one = replace(an_order("us"), request={"target": {"kind": kind}})
    return [replace(one, pal_id=pal or f"p{n}") for n in range(number)]


def failed(times: int, at: float = 0.0) -> Circuit:
    """A circuit after so many unanswered requests in a row, the probes as early as they may be."""
    circuit = Circuit()
    for _ in range(times):
        circuit = circuit.after(answered=False, at=max(at, circuit.probe_at) if circuit.is_open else at)
    return circuit


def test_each_kind_has_room_of_its_own() -> None:
    found = lanes(joins(ROOM, "scenario_meeting"), dict.fromkeys(KINDS, CLOSED), 0.0)
    assert (found.full, found.room, found.hold_back) == (frozenset({"scenario_meeting"}), ROOM, True)


@pytest.mark.parametrize(("number", "room"), [(0, ROOM), (1, ROOM - 1), (ROOM - 1, 1)])
def test_there_is_room_until_it_is_full(number: int, room: int) -> None:
    found = lanes(joins(number), {"conversation": CLOSED}, 0.0)
    assert (found.room, found.full, found.hold_back) == (room, NONE, False)


def test_a_pal_that_has_its_share_waits_and_others_do_not() -> None:
    assert lanes(joins(SHARE, pal="p"), {"conversation": CLOSED}, 0.0).busy == frozenset({"p"})
    assert lanes(joins(SHARE - 1, pal="p"), {"conversation": CLOSED}, 0.0).busy == NONE


def test_a_circuit_opens_after_so_many_in_a_row_and_closes_at_the_first_answer() -> None:
    assert not failed(UNANSWERED - 1).is_open
    assert not failed(UNANSWERED - 1).after(answered=True, at=0.0).after(answered=False, at=0.0).is_open
    assert failed(UNANSWERED).is_open
    assert not failed(UNANSWERED + 5).after(answered=True, at=99.0).is_open


def test_an_open_circuit_lets_one_through_after_a_pause_that_grows() -> None:
    circuit = failed(UNANSWERED, at=10.0)
    known = {"conversation": circuit}
    early = lanes((), known, 10.25)
    assert (early.open, early.probes, early.pauses) == (CONVERSATION, NONE, (("conversation", 0.75),))
    assert lanes((), known, 11.0).probes == CONVERSATION
    # While one is on its way, no other.
    asking = lanes([replace(one, attempt=2) for one in joins(1)], known, 11.0)
    assert (asking.open, asking.probes, asking.pauses) == (CONVERSATION, NONE, ())
    assert [failed(UNANSWERED + n).probe_at - failed(UNANSWERED + n).since for n in range(4)] == [1, 2, 4, 8]
    assert failed(UNANSWERED + 50).probe_at - failed(UNANSWERED + 50).since == LONGEST_PAUSE


def test_those_that_were_under_way_when_it_opened_make_the_pause_no_longer() -> None:
    circuit = failed(UNANSWERED, at=10.0)
    assert circuit.after(answered=False, at=10.5) == circuit


def test_another_kind_goes_on_beside_an_open_circuit() -> None:
    found = lanes(joins(3), {"conversation": CLOSED, "scenario_meeting": failed(UNANSWERED)}, 0.0)
    assert (found.room, found.open, found.full) == (ROOM - 3, frozenset({"scenario_meeting"}), NONE)
