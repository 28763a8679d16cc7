"""Starts EDS on a D-Bus session of its own, asks it, stops it. Touches processes and the directory it is given."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

SERVER: Final = Path(__file__).with_name("server.py")
SYSTEM_PYTHON: Final = "/usr/bin/python3"  # the one that Debian's bindings are for
ANSWER_WITHIN: Final = 20.0  # seconds; an answer takes 10 ms, the first one of a session 400 ms
STOP_WITHIN: Final = 10.0  # seconds


class Missing(Exception):
    """EDS is not installed here; the message says which part."""


class Refused(Exception):
    """EDS did not take a message; its own words."""


@dataclass(frozen=True)
class Held:
    """A component as EDS holds it. `date` is its RECURRENCE-ID as EDS writes it, None for a master."""

    uid: str
    date: str | None
    sequence: int
    partstats: dict[str, str]
    text: str


class Eds:
    """A calendar of EDS. `version` is the server's."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors
        first = self._read()
        if "missing" in first:
            raise Missing(first["missing"])
        self.version = str(first["ready"])

    def reset(self) -> None:
        """Begins an empty calendar."""
        self._ask(op="reset")

    def receive(self, ics: str) -> None:
        """Hands an iTIP message to EDS. Raises Refused."""
        self._ask(op="receive", ics=ics)

    def answer(self, ics: str) -> None:
        """Hands an attendee's REPLY to the organizer's calendar. Raises Refused."""
        self._ask(op="answer", ics=ics)

    def held(self) -> list[Held]:
        """What the calendar holds."""
        return [Held(**one) for one in self._ask(op="dump")["objects"]]

    def occurrences(self, after: datetime, before: datetime) -> list[tuple[datetime, datetime]]:
        """(start, end) in UTC of what starts in the window, by start."""
        answer = self._ask(op="instances", **{"from": after.isoformat(), "to": before.isoformat()})
        return [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in answer["occurrences"]]

    def _ask(self, **request: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_WITHIN)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            why = "ended" if ready else f"said nothing for {ANSWER_WITHIN:.0f} s"
            raise RuntimeError(f"the EDS server {why}: {self._errors.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def session(home: Path) -> Iterator[Eds]:
    """EDS with `home` as its HOME, on a private D-Bus, until the end of the block. Raises Missing."""
    for program in ("dbus-run-session", SYSTEM_PYTHON):
        if shutil.which(program, path="/usr/bin:/bin") is None:
            raise Missing(f"{program} is not installed")
    errors = home / "errors"
    with errors.open("w") as stderr, _started(home, stderr.fileno()) as process:
        try:
            yield Eds(process, errors)
        finally:
            _stop(process)


def _started(home: Path, stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dbus-run-session", "--", SYSTEM_PYTHON, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=_environment(home),
        start_new_session=True,  # so that all of it can be ended, and nothing else
    )


def _environment(home: Path) -> dict[str, str]:
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_RUNTIME_DIR": str(runtime),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        # No settings daemon and no virtual file systems on this bus.
        "GSETTINGS_BACKEND": "memory",
        "GIO_USE_VFS": "local",
    }


def _stop(process: subprocess.Popen[str]) -> None:
    """The end of stdin ends the server, that ends the bus, and that the daemons on it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
