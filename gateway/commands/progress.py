"""How far it is, where a person waits: a bar on a terminal, elsewhere plain lines; always on stderr. A door.

Rules of this file:
- stdout is the command's: nothing is told there. Its lines go by `say`, which keeps them whole beside a bar.
- What is short is not told of: plain lines come with each tenth of what is large, or when seconds have passed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import typer

EVERY: Final = 5.0  # seconds between plain lines
LARGE: Final = 100  # of which each tenth is told

Tell = Callable[[str, int, int], None]  # what it is of, how many are done, of how many


@dataclass(frozen=True)
class Progress:
    """`tell` says how far it is, `say` writes a line of the command itself."""

    tell: Tell
    say: Callable[[str], None] = typer.echo


@contextmanager
def progress(unit: str, *, at_least: int = 0, ends: bool = True) -> Iterator[Progress]:
    """Tell of what is counted in `unit` until the end of the block, where there are `at_least` of them. `ends`: the
    last line, or the full bar, stays."""
    if not sys.stderr.isatty():
        yield Progress(_Lines(unit, at_least, ends).tell)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=not ends, redirect_stdout=False, redirect_stderr=False) as bars:
        tasks = {}

        def tell(name: str, done: int, total: int) -> None:
            if total < at_least:
                return
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        # On one terminal a line must not stand in the bar; into a file it goes as it is.
        yield Progress(tell, console.out if sys.stdout.isatty() else typer.echo)


@dataclass
class _Lines:
    """Plain lines, for a log."""

    unit: str
    at_least: int
    ends: bool
    told_at: float = field(default_factory=monotonic)
    tenths: dict[str, int] = field(default_factory=dict)

    def tell(self, name: str, done: int, total: int) -> None:
        is_end = done == total
        if total < self.at_least or (is_end and not self.ends):
            return
        tenth, now = 10 * done // max(total, 1), monotonic()
        is_tenth = total >= LARGE and tenth > self.tenths.get(name, 0)
        if is_end or is_tenth or now - self.told_at >= EVERY:
            self.told_at, self.tenths[name] = now, tenth
            of = f"{done}" if is_end else f"{done} of {total}"
            typer.echo(f"{name}: {of} {self.unit}", err=True)
