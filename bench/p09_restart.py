"""How long a gateway takes from its start to its readiness where a million joins are planned, and where a thousand are.

`python -m gateway serve`, in all roles, until it says "gateway ready"; each finds the store as the one before left it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import monotonic

from bench.figure import Row
from bench.planned import FEW, MANY, copied
from tests.process.processes import serving

GOAL = 1.3
TURNS = 6


def measure() -> list[Row]:
    """The median of some restarts, in turns; the first of each is left out."""
    took: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        urls = copied(MANY, folder), copied(FEW, folder)
        for turn in range(TURNS):
            for side in (0, 1) if turn % 2 else (1, 0):  # who comes first in a turn is a little slower
                took[side].append(_restart(urls[side], folder))
    ours, other = (median(side[1:]) for side in took)
    name = "P9 restart to ready: 1,000,000 | 1,000 planned"
    return [Row(name, ours, other, "s", f"≤ {GOAL:g} ×", ours <= GOAL * other)]


def _restart(url: str, folder: Path) -> float:
    begun = monotonic()
    with serving(url, folder) as gateway:
        gateway.ready()
        seconds = monotonic() - begun
        assert gateway.stop() == 0
    return seconds
