"""Runs the long forms of the process tests, and shows how far they are. `make chaos`.

Rules of this file: pytest decides, its words and its exit code are passed on; what is shown goes to stderr.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gateway.commands.progress import Progress, progress

LONG: Final = {"KILLS": "20", "STORM_SECONDS": "120", "CHAOS": "1", "HISTORIES": "5000"}
_COLLECTED: Final = re.compile(r"collected (\d+) items?(?: / \d+ deselected / (\d+) selected)?")
_DONE: Final = re.compile(r"(?:^|\s)(?:PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)(?: \(.*\))?\s*$")


def counted(lines: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Each line of pytest (-v -s) with how many tests were done by then, and of how many (0: not known yet)."""
    done = total = 0
    for line in lines:
        found = _COLLECTED.search(line)
        if found is not None:
            total = int(found[2] or found[1])
        # A test that prints says its outcome in a line of its own; the summary at the end repeats some.
        done = min(done + bool(_DONE.search(line)), total)
        yield line.rstrip("\n"), done, total


def passed_on(lines: Iterable[str], shown: Progress) -> None:
    """Say each line, and tell how far it is."""
    for line, done, total in counted(lines):
        shown.say(line)
        if total:
            shown.tell("chaos", done, total)


def main(words: Sequence[str]) -> int:
    """Run pytest with these words; its exit code."""
    command = [sys.executable, "-u", "-m", "pytest", "-v", "-s", "--timeout", "3600", *(words or ["tests/process"])]
    with (
        progress("tests") as shown,
        subprocess.Popen(
            command, env={**LONG, **os.environ}, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as run,
    ):
        assert run.stdout is not None
        passed_on(run.stdout, shown)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
