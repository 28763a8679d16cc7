"""What may be begun now, so that a target or a PAL that hangs takes no room from the others. Pure.

Rules of this file:
- Each kind of target has room of its own; a PAL that has its share under way waits.
- A target that left so many requests in a row unanswered is asked by one join at a time, with pauses (its circuit is
  open), until it answers. The others wait in the table as they are: nothing is tried less well or given up for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.joins import Join

ROOM: Final = 100  # joins under way to one kind of target; its clients have as many connections
SHARE: Final = 25  # of one PAL, from which on it gets no more
UNANSWERED: Final = 10  # requests in a row
FIRST_PAUSE: Final = 1.0  # seconds
LONGEST_PAUSE: Final = 15.0


@dataclass(frozen=True)
class Circuit:
    """Whether a target answers: how many requests it left unanswered in a row, and since when (monotonic seconds)."""

    unanswered: int = 0
    since: float = 0.0

    def after(self, *, answered: bool, at: float) -> Circuit:
        """The same once one more request has come to its end."""
        if answered:
            return Circuit()
        # Those that were under way with the one that opened it say nothing new.
        return self if self.is_open and at < self.probe_at else Circuit(self.unanswered + 1, at)

    @property
    def is_open(self) -> bool:
        """Whether joins have to wait."""
        return self.unanswered >= UNANSWERED

    @property
    def probe_at(self) -> float:
        """When the next one may ask (monotonic seconds)."""
        doublings = min(self.unanswered - UNANSWERED, 10)
        return self.since + min(FIRST_PAUSE * float(2**doublings), LONGEST_PAUSE)


@dataclass(frozen=True)
class Lanes:
    """What may be claimed: up to `room` joins of no `closed` kind and no `busy` PAL, and one of each kind in `probes`.

    `pauses`: in how many seconds one of a closed kind may be claimed, 0 for those in `probes`.
    """

    room: int = ROOM
    closed: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    probes: frozenset[str] = frozenset()
    pauses: tuple[tuple[str, float], ...] = ()

    @property
    def hold_back(self) -> bool:
        """Whether something that is due may have to wait."""
        return bool(self.closed or self.busy)


def lanes(under_way: Iterable[Join], circuits: Mapping[str, Circuit], at: float) -> Lanes:
    """What may be begun beside what is under way, at an instant (monotonic seconds). `circuits`: by kind of target."""
    joins = list(under_way)
    of_kind = Counter(str(join.target["kind"]) for join in joins)
    of_pal = Counter(join.pal_id for join in joins)
    is_open = {kind for kind, circuit in circuits.items() if circuit.is_open}
    closed = is_open | {kind for kind in circuits if of_kind[kind] >= ROOM}
    waits = {kind: circuits[kind].probe_at - at for kind in is_open if not of_kind[kind]}
    return Lanes(
        room=min((ROOM - of_kind[kind] for kind in circuits.keys() - closed), default=ROOM),
        closed=frozenset(closed),
        busy=frozenset(pal for pal, number in of_pal.items() if number >= SHARE),
        probes=frozenset(kind for kind, seconds in waits.items() if seconds <= 0),
        pauses=tuple((kind, max(seconds, 0.0)) for kind, seconds in waits.items()),
    )
