"""Runs the figures that are named (`7`, `carry`), or all and writes RESULTS.md. Ends with 1 when a goal is missed.

What is named `pNN_…` has a goal of its own; the others are known for what they say of the burden.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import bench
from bench.figure import Row, said
from scheduler.clock import utc_now

HERE = Path(__file__).parent
NO_FIGURES = ("__init__", "__main__", "figure")
FIGURES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in (*NO_FIGURES, *bench.SHARED))
PARTS = ("aiosmtpd", "icalendar", "python-dateutil", "sqlalchemy", "psycopg", "aiohttp", "recurring-ical-events")


def main(names: list[str]) -> int:
    """Print a line for each row of each figure."""
    figures = [figure for name in names for figure in _called(name)] if names else FIGURES
    results: dict[str, list[Row]] = {}
    begun = monotonic()
    for name in figures:
        results[name] = import_module(f"bench.{name}").measure()
        for row in results[name]:
            print(row, flush=True)
            if row.where:
                print("\n".join(f"    {line}" for line in row.where.splitlines()), flush=True)
    if not names:
        (HERE / "RESULTS.md").write_text(_written(results, monotonic() - begun), encoding="utf-8")
    return 0 if all(row.met for rows in results.values() for row in rows) else 1


def _called(name: str) -> list[str]:
    """The figures of a goal's number, or the one of a name."""
    wanted = f"p{int(name):02}_" if name.isdecimal() else name
    found = [figure for figure in FIGURES if figure.startswith(wanted)]
    if not found:
        sys.exit(f"There is no figure {name}; there are {', '.join(FIGURES)}.")
    return found


def _written(results: dict[str, list[Row]], seconds: float) -> str:
    """RESULTS.md."""
    head = [
        "# Figures",
        "",
        f"`make bench` of {utc_now():%Y-%m-%d}, {seconds / 60:.0f} minutes: {_machine()}.",
        f"{_versions()}.",
        "",
        "Both sides of a row were measured in turns in this run; only the ratio means something elsewhere.",
        "",
        "| figure | ours | other side | ratio | goal | |",
        "|---|---|---|---|---|---|",
    ]
    lines, missed = [], []
    for rows in results.values():
        for row in rows:
            figures = f"{said(row.ours)} {row.unit} | {said(row.other)} {row.unit} | {said(row.ratio)}"
            name = row.name.replace("|", "\\|")
            lines.append(f"| {name} | {figures} | {row.goal} | {row.verdict} |")
            if row.where:
                missed += ["", f"## Where the time goes: {row.name}", "", "```", row.where, "```"]
    return "\n".join([*head, *lines, *missed, ""])


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.machine()}, Linux {platform.release().split('-')[0]}"


def _versions() -> str:
    parts = ", ".join(f"{name} {version(name)}" for name in PARTS)
    return f"Python {platform.python_version()}, {parts}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
