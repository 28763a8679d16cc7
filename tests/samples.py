"""Plays the folders of samples/ again: each is one story, told to one PAL at one instant.

`python -m tests.samples` shows what differs from the .expect files; with `--write` it writes them.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway import store
from gateway.decide import Desk
from gateway.intake import Intake
from gateway.logs import configure
from gateway.pals import Pal, pal_id
from gateway.replay import files, play
from scheduler.database import connect

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ADDRESS = "anna@invite.example.com"


def stories() -> list[Path]:
    """The folders."""
    return sorted(path for path in SAMPLES.iterdir() if path.is_dir())


def tell(folder: Path) -> Iterator[tuple[Path, str]]:
    """(sample, what the desk says to it), in order."""
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    pal = Pal(pal_id(ADDRESS), "Anna", ADDRESS, "face")
    with engine.begin() as connection:
        store.add_pal(connection, pal, NOW)
    intake = Intake(engine, Desk())
    for path in files(folder):
        shown = play(intake, engine, path, [pal], NOW, timedelta(days=60))
        yield path, "\n".join(one.as_text().partition(" → ")[2] for one in shown) + "\n"


def differences() -> Iterator[str]:
    """Lines of a diff, none when all is as expected."""
    for folder in stories():
        for path, said in tell(folder):
            expect = path.with_suffix(".expect")
            wanted = expect.read_text("utf-8") if expect.exists() else ""
            yield from difflib.unified_diff(
                wanted.splitlines(), said.splitlines(), str(expect), str(path), lineterm="", n=1
            )


def write() -> None:
    """Take what the desk says now as expected."""
    for folder in stories():
        for path, said in tell(folder):
            path.with_suffix(".expect").write_text(said, "utf-8")


if __name__ == "__main__":
    configure("silent")
    if "--write" in sys.argv:
        write()
    found = list(differences())
    print("\n".join(found) or f"{sum(len(list(tell(folder))) for folder in stories())} samples as expected")
    sys.exit(1 if found else 0)
