"""What a figure prints: ours, the other side from the same run, their ratio, and the goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line. `other` is the peer's or our own figure without the burden; `met`: whether the goal is."""

    name: str
    ours: float
    other: float
    unit: str
    goal: str
    met: bool

    def __str__(self) -> str:
        ratio = self.ours / self.other if self.other else float("nan")
        verdict = "met" if self.met else "MISSED"
        ours, other = (f"{figure:10.3f} {self.unit}" for figure in (self.ours, self.other))
        return f"{self.name:58} {ours:>16} | {other:>16} | {ratio:8.3f} | goal {self.goal}: {verdict}"


def percentile(figures: list[float], share: float) -> float:
    """The figure below which this share of them lies; 0 of none."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
