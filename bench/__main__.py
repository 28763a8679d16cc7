"""Runs the figures that are named, or all. Ends with 1 when a goal is missed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

FIGURES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "__main__", "row")
)


def main(names: list[str]) -> int:
    """Print a line for each row of each figure."""
    print(f"{'':58} {'ours':>16} | {'other side':>16} | {'ratio':>8} |")
    missed = 0
    for name in names or FIGURES:
        for row in import_module(f"bench.{name}").measure():
            print(row, flush=True)
            missed += not row.met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
