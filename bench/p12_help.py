"""P12: what `pal-gateway --help` costs beside an interpreter that does nothing: CPU of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench.figure import Row, in_turns

GOAL = 12.0  # times
COMMAND = str(Path(sys.executable).with_name("pal-gateway"))


def measure() -> list[Row]:
    """One row; a missed goal names the modules that take longest to import."""
    ours, other = in_turns(lambda: _run(COMMAND, "--help"), lambda: _run(sys.executable, "-c", "pass"), clock=_cpu)
    met = ours <= GOAL * other
    name = "P12 CPU of pal-gateway --help, beside python -c pass"
    return [Row(name, ours * 1000, other * 1000, "ms", f"≤ {GOAL:g} ×", met, "" if met else _imports())]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _cpu() -> float:
    """Seconds of CPU, user's and system's, of all children that have ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _imports() -> str:
    """The imports that cost most by themselves."""
    command = [sys.executable, "-X", "importtime", COMMAND, "--help"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    rows = [line.removeprefix("import time:").split("|") for line in told.splitlines() if line.startswith("import")]
    costs = sorted(((int(row[0]), row[2].strip()) for row in rows[1:]), reverse=True)
    return "\n".join(f"{cost:8} µs  import {module}" for cost, module in costs[:14])
