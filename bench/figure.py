"""What a figure prints, and how two sides are measured: in turns, and by the median.

Rules of this file:
- CPU time where both sides work in this process (other programs do not count then), wall time where they wait.
- A missed goal says where the time goes: `where` is a profile of our side, taken after the measurement.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

ROOT = Path(__file__).parent.parent
HOTTEST = 14  # functions of a profile


@dataclass(frozen=True)
class Row:
    """One line. `other` is the peer's figure, or our own without the burden; `met`: whether the goal is.

    `where`: of a goal that is missed, where the time goes, in lines of text.
    """

    name: str
    ours: float
    other: float
    unit: str
    goal: str
    met: bool
    where: str = ""

    @property
    def ratio(self) -> float:
        """Ours for each of the other's."""
        return self.ours / self.other if self.other else float("nan")

    @property
    def verdict(self) -> str:
        return "met" if self.met else "MISSED"

    def __str__(self) -> str:
        ours, other = (f"{said(figure)} {self.unit}" for figure in (self.ours, self.other))
        return f"{self.name:70} {ours:>16} | {other:>16} | {said(self.ratio):>8} | goal {self.goal}: {self.verdict}"


def said(figure: float) -> str:
    """A figure with three digits that count."""
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which this share of them lies; 0 of none."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def in_turns(
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    turns: int = 15,
    calls: int = 1,
    clock: Callable[[], float] = process_time,
) -> tuple[float, float]:
    """Seconds of one call of each: A B A B …, `calls` calls a turn, the medians of all turns but the first."""
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for side, call in enumerate((ours, other)):
            begun = clock()
            for _ in range(calls):
                call()
            if turn:
                took[side].append((clock() - begun) / calls)
    return median(took[0]), median(took[1])


def hottest(call: Callable[[], object], calls: int = 50) -> str:
    """Where the time of a call goes: the functions that take most by themselves, in µs a call."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(calls):
        call()
    profile.disable()
    stats = pstats.Stats(profile).get_stats_profile().func_profiles
    total = sum(one.tottime for one in stats.values())
    lines = [f"{total / calls * 1e6:8.0f} µs a call under the profiler, of which"]
    for name, one in sorted(stats.items(), key=lambda item: -item[1].tottime)[:HOTTEST]:
        place = f"{_short(one.file_name)}:{one.line_number} " if one.line_number else ""
        lines.append(f"{one.tottime / calls * 1e6:8.0f} µs  {place}{name}")
    return "\n".join(lines)


def _short(path: str) -> str:
    """A module's path without what is before its package."""
    parts = Path(path).parts
    for root in ("site-packages", ROOT.name):
        if root in parts:
            return "/".join(parts[parts.index(root) + 1 :])
    return parts[-1]
