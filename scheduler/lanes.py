"""What may be begun now, so that a target or a PAL that hangs takes no room from the others. Pure.

Rules of this file:
- Each kind of target has room of its own; a PAL that has its share under way waits.
- A join that was not tried yet goes before those that were: whoever hangs again and again keeps no newcomer waiting.
- A target that left so many requests in a row unanswered has an open circuit: those that were tried before ask one at a
  time, with pauses, until it answers. Who was not tried yet is not held back: it may be other PALs' calls that hang.
  Who waits stays in the table as it is: nothing is given up for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.joins import Join

SENDING: Final = 100  # requests at once that send joins to one kind of target
ROOM: Final = 150  # joins under way to one: while some are being sent, the next are claimed and looked at already
SHARE: Final = 10  # of one PAL, from which on it gets no more
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
    """What may be claimed: up to `room` joins of no `full` kind and no `busy` PAL, of `open` kinds only those that were
    not tried yet, and one more of each kind in `probes`.

    `pauses`: in how many seconds one of an open kind may be claimed, 0 for those in `probes`. `is_full`: every kind is.
    """

    room: int = ROOM
    is_full: bool = False
    full: frozenset[str] = frozenset()
    open: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    probes: frozenset[str] = frozenset()
    pauses: tuple[tuple[str, float], ...] = ()

    @property
    def hold_back(self) -> bool:
        """Whether something that is due may have to wait."""
        return bool(self.full or self.open or self.busy)


def lanes(under_way: Iterable[Join], circuits: Mapping[str, Circuit], at: float) -> Lanes:
    """What may be begun beside what is under way, at an instant (monotonic seconds). `circuits`: by kind of target."""
    joins = list(under_way)
    of_kind = Counter(str(join.target["kind"]) for join in joins)
    of_pal = Counter(join.pal_id for join in joins)
    is_open = {kind for kind, circuit in circuits.items() if circuit.is_open}
    full = {kind for kind in circuits if of_kind[kind] >= ROOM}
    tried = Counter(str(join.target["kind"]) for join in joins if join.attempt > 1)
    waits = {kind: circuits[kind].probe_at - at for kind in is_open - full if not tried[kind]}
    return Lanes(
        room=min((ROOM - of_kind[kind] for kind in circuits.keys() - full), default=ROOM),
        is_full=full == circuits.keys(),
        full=frozenset(full),
        open=frozenset(is_open),
        busy=frozenset(pal for pal, number in of_pal.items() if number >= SHARE),
        probes=frozenset(kind for kind, seconds in waits.items() if seconds <= 0),
        pauses=tuple((kind, max(seconds, 0.0)) for kind, seconds in waits.items()),
    )
