"""What may be begun beside what is under way; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from math import inf

import pytest

from scheduler.joins import Join
from scheduler.lanes import EASE, LEAST, LONGEST_PAUSE, LONGEST_REST, ROOM, SHARE, UNANSWERED, Circuit, Pace, lanes
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


def taken(number: int, at: float = 100.0) -> Pace:
    """The pace after so many that were taken at an instant."""
    pace = Pace()
    for _ in range(number):
        pace = pace.after(refused=False, at=at)
    return pace


def test_a_target_that_never_refused_is_asked_as_often_as_there_is_room() -> None:
    pace = taken(1000)
    for _ in range(1000):
        pace = pace.sent(100.0)
    assert (pace.rate(100.0), pace.next_at <= 100.0) == (inf, True)


def test_a_target_that_refuses_is_asked_as_often_as_it_took_and_a_little_more_with_time() -> None:
    pace = taken(50).after(refused=True, at=100.0)
    assert pace.learnt == EASE * 50
    assert [round(pace.rate(100.0 + seconds) / pace.learnt, 2) for seconds in (0, 1, 4, 8)] == [1, 1.06, 2, 5]
    assert pace.sent(100.0).sent(100.0).next_at == pytest.approx(
        99.9 + 2 / 45
    )  # a tenth of a second may be made up for


def test_what_was_under_way_with_the_first_refusal_makes_it_no_slower() -> None:
    pace = taken(50).after(refused=True, at=100.0)
    later = pace.after(refused=True, at=100.4).after(refused=False, at=100.5).after(refused=True, at=100.9)
    assert (later.learnt, later.refused_at) == (pace.learnt, pace.refused_at)
    more = pace
    for _ in range(20):
        more = more.after(refused=False, at=100.1)
    assert more.learnt > pace.learnt  # taken all the same


@pytest.mark.parametrize(("asked", "rest"), [(None, 1.0), (3.0, 3.0), (3600.0, LONGEST_REST)])
def test_two_refusals_in_a_row_are_a_rest_and_one_is_none(asked: float | None, rest: float) -> None:
    one = taken(50).after(refused=True, at=100.0, retry_after=asked)
    assert one.next_at == 0
    assert one.after(refused=True, at=100.0, retry_after=asked).next_at == 100.0 + rest
    between = one.after(refused=False, at=100.0).after(refused=True, at=100.0, retry_after=asked)
    assert between.next_at == 0


def test_a_target_that_refuses_everything_is_still_asked() -> None:
    assert Pace().after(refused=True, at=100.0).learnt == LEAST


@dataclass
class Target:
    """Takes `limit` requests a second, and so many at once; a refusal asks for a second of patience."""

    limit: float
    left: float = field(init=False)
    at: float = 100.0
    taken: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self.left = self.limit

    def takes(self, at: float) -> bool:
        self.left, self.at = min(self.limit, self.left + (at - self.at) * self.limit), at
        takes = self.left >= 1
        self.left -= takes
        self.taken, self.refused = self.taken + takes, self.refused + (not takes)
        return takes


@pytest.mark.parametrize("limit", [20, 50, 200, 1000])
@pytest.mark.parametrize("processes", [1, 3])
def test_it_finds_the_limit_and_is_seldom_refused(limit: int, processes: int) -> None:
    """A minute of processes that always have something to send, at most a hundred at once, answered after 0.1 s."""
    target, paces, under_way = Target(limit), [Pace()] * processes, [0] * processes
    answers: list[tuple[float, int, bool]] = []
    for tick in range(60_000):
        at = 100 + tick / 1000
        while answers and answers[0][0] <= at:
            _, which, takes = heappop(answers)
            under_way[which] -= 1
            paces[which] = paces[which].after(refused=not takes, at=at, retry_after=1.0)
        for which in range(processes):
            while under_way[which] < 100 and paces[which].next_at <= at:
                under_way[which] += 1
                paces[which] = paces[which].sent(at)
                heappush(answers, (at + 0.1, which, target.takes(at)))
    print(f"limit {limit}, {processes} processes: {target.taken / limit / 60:.0%} used, {target.refused} refused")
    assert target.taken >= 0.7 * limit * 60
    assert target.refused <= 0.1 * target.taken + 100 * processes
