"""The disk of the store is full: a small one (tmpfs) with a file on it that takes what room there is.

Rules of this file:
- 452 while there is no room, never 250 and never the end of the process; when there is room it goes on by itself.
- What was done outside before the disk was full is written down afterwards, and not done again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from scheduler.clock import utc_now
from tests.conftest import not_here
from tests.process.world import World, wait_for, world

SIZE: Final = "8m"
LEAVE: Final = 512 * 1024  # bytes of room for mails
MOST_MAILS: Final = 500  # far more than there is room for
PAGE: Final = 4096


@dataclass
class Disk:
    """A small disk."""

    folder: Path

    @property
    def filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all the room but `leave` bytes."""
        with self.filler.open("wb", buffering=0) as file:
            with suppress(OSError):
                while file.write(bytes(PAGE)):
                    pass
            assert not shutil.disk_usage(self.folder).free
            file.truncate(max(file.tell() - leave, 0))

    def make_room(self) -> None:
        self.filler.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk mounted at `folder`/disk; the test is skipped where nothing may be mounted."""
    found = Disk(folder / "disk")
    found.folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(found.folder)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        not_here(f"a small disk cannot be mounted: {getattr(error, 'stderr', '') or error}")
    try:
        yield found
    finally:
        subprocess.run(["umount", "--lazy", str(found.folder)], check=True)


@contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[World, Disk]]:
    with small_disk(folder) as disk, world(folder, f"sqlite:///{disk.folder}/gateway.db") as found:
        found.place().start()
        yield found, disk


def test_mails_get_452_until_there_is_room(tmp_path: Path) -> None:
    with on_a_small_disk(tmp_path) as (found, disk):
        disk.fill(LEAVE)
        refused = []
        for _ in range(MOST_MAILS):
            one = found.running()
            answer = found.offer(one)
            assert answer.startswith(("250 2.0.0", "452 4.3.1")), answer
            if answer.startswith("452"):
                refused.append(one)
                if len(refused) == 5:
                    break
        taken = len(found.meetings)
        assert taken
        assert len(refused) == 5
        wait_for(lambda: found.places[0].health() == 503, "it says that it is not ready", more=found.places[0].tail)
        disk.make_room()
        began = monotonic()
        for one in refused:
            assert found.offer(one).startswith("250")
        found.settle()
        found.balance().check()
        assert found.places[0].health() == 200
        print(
            f"\ndisk full: {taken} mails 250 with {LEAVE // 1024} KiB of room, then 452; all joined and answered "
            f"{monotonic() - began:.1f} s after there was room, without a restart: 0 lost, 0 double"
        )


WHEN: Final[dict[str, Callable[[World, Callable[[], None]], None]]] = {
    "the join was posted": lambda found, then: setattr(found.platform, "acted", then),
    "the reply was taken": lambda found, then: setattr(found.relay, "taken", then),
    "the callback was passed on": lambda found, then: setattr(found.platform, "told", then),
}


def test_what_was_done_when_the_disk_got_full_is_not_done_again(tmp_path: Path) -> None:
    with on_a_small_disk(tmp_path) as (found, disk):
        place, written = found.places[0], []
        for name, when in WHEN.items():

            def full(when: Callable[[World, Callable[[], None]], None] = when) -> None:
                when(found, lambda: None)
                disk.fill()

            when(found, full)
            before = place.log.read_text().count("disk is full")
            (found.order if "callback" in name else found.send)(found.running())
            wait_for(lambda n=before: place.log.read_text().count("disk is full") > n, name, more=place.tail)  # type: ignore[misc]
            assert found.offer(found.running()).startswith("452")
            wait_for(lambda: lease_is_over(found), f"{name}, and the lease is over")
            disk.make_room()
            began = monotonic()
            found.settle()
            written.append(f"{name}: {monotonic() - began:.1f} s")
            found.balance().check()
        assert list(found.platform.heard.values()) == [1] * len(found.platform.heard)
        assert found.platform.heard
        print(f"\ndisk full when {'; '.join(written)} after there was room, and done once")


def lease_is_over(found: World) -> bool:
    """Whether what was claimed would be claimed again by now."""
    joins = [join.wake_at for join in found.joins() if join.wake_at is not None]
    tables = ("outbox", "callbacks")
    others = [found.scalar(f"SELECT min(wake_at) FROM {table} WHERE state = 'queued'") for table in tables]  # noqa: S608
    now = utc_now()
    return any(at < now for at in joins) or any(
        at is not None and str(at) < f"{now:%Y-%m-%d %H:%M:%S}" for at in others
    )
