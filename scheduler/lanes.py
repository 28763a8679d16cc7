"""What may be begun now, so that a target or a PAL that hangs takes no room from the others. Pure.

Rules of this file:
- Each kind of target has room of its own; a PAL that has its share under way waits.
- A join that was not tried yet goes before those that were: whoever hangs again and again keeps no newcomer waiting.
- A target that left so many requests in a row unanswered has an open circuit: those that were tried before ask one at a
  time, with pauses, until it answers. Who was not tried yet is not held back: it may be other PALs' calls that hang.
  Who waits stays in the table as it is: nothing is given up for it.
- A target that refuses because it is asked too often (429) is asked as often as it took last, and a little more with
  time, until it refuses again: it alone knows its limit, and how many others share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import exp, inf
from typing import Final

from scheduler.joins import Join

SENDING: Final = 100  # requests at once that send joins to one kind of target
ROOM: Final = 150  # joins under way to one: while some are being sent, the next are claimed and looked at already
SHARE: Final = 10  # of one PAL, from which on it gets no more
UNANSWERED: Final = 10  # requests in a row
FIRST_PAUSE: Final = 1.0  # seconds
LONGEST_PAUSE: Final = 15.0
SPAN: Final = 1.0  # seconds over which it is counted how often a target takes something
EASE: Final = 0.9  # of what it took when it refused, so that what it refused finds room, too
LEAST: Final = 5.0  # requests a second: even who is refused at once is not asked less often
DOUBLED: Final = 4.0  # seconds without a refusal after which it is asked twice as often; then faster and faster
FIRST_REST: Final = 1.0  # seconds in which it is not asked, where it does not say how long
LONGEST_REST: Final = 5.0  # what it says may concern one PAL only
BEHIND: Final = 0.1  # seconds of requests that may be made up for by whoever comes late


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
class Pace:
    """How often a target may be asked (instants in monotonic seconds): as often as there is room, until it refuses.

    `flow`: how many requests it took in the last SPAN, the older the less, at `heard_at`. `learnt`: how many a second
    it took when it refused (`refused_at`); 0: it never did. `next_at`: when it may be asked next.
    """

    flow: float = 0.0
    heard_at: float = 0.0
    refusals: int = 0  # in a row
    learnt: float = 0.0
    refused_at: float = 0.0
    next_at: float = 0.0

    def rate(self, at: float) -> float:
        """Requests a second."""
        if not self.learnt:
            return inf
        return self.learnt * (1 + ((at - self.refused_at) / DOUBLED) ** 2)

    def sent(self, at: float) -> Pace:
        """The same once one more request is on its way."""
        return replace(self, next_at=max(self.next_at, at - BEHIND) + 1 / self.rate(at))

    def after(self, *, refused: bool, at: float, retry_after: float | None = None) -> Pace:
        """The same once an answer came; `retry_after`: the seconds that a refusal asks for."""
        flow = self.flow * exp((self.heard_at - at) / SPAN)
        is_news = not self.learnt or at >= self.refused_at + SPAN  # otherwise it was under way with the one before
        if not refused:
            flow += 1
            learnt = self.learnt if is_news else max(self.learnt, EASE * flow / SPAN)
            return replace(self, flow=flow, heard_at=at, refusals=0, learnt=learnt)
        heard = replace(self, flow=flow, heard_at=at, refusals=self.refusals + 1)
        if is_news:
            heard = replace(heard, learnt=max(EASE * flow / SPAN, LEAST), refused_at=at)
        if heard.refusals == 1:  # it may concern one PAL only, and the pace is less from now on
            return heard
        rest = min(FIRST_REST if retry_after is None else retry_after, LONGEST_REST)
        return replace(heard, next_at=max(heard.next_at, at + rest))


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
