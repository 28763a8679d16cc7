"""Plays a page of the documentation as a reader would: types its commands, looks for what it shows. Shell.

Rules of this file:
- A fenced block `sh title="NAME"` is typed into the terminal NAME, a line after the other; one of the same name as a
  `text` block shows what is then to be seen there. Other blocks are not played.
- `…` in a shown line is anything, a line of its own: any lines. What is shown must come within `PATIENCE`.
- Run as a module it plays in a network of its own, where it may, so the ports that the page names are free.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE: Final = 60.0  # seconds for what a block shows; the slowest starts a gateway
ROOT: Final = Path(__file__).parent.parent
_BLOCK: Final = re.compile(r'^```(sh|text) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)


class NotAsShown(Exception):
    """A terminal shows something else than the page."""


@dataclass(frozen=True)
class Block:
    """What is typed into a terminal, or shown there."""

    is_typed: bool
    terminal: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page that are played, in their order."""
    for kind, terminal, text in _BLOCK.findall(page):
        yield Block(kind == "sh", terminal, text)


def pattern(shown: str) -> re.Pattern[str]:
    """What fits a block of shown lines."""
    lines = [".*" if line == "…" else r"[^\n]*".join(map(re.escape, line.split("…"))) for line in shown.splitlines()]
    text = "\n".join(lines).replace("\n.*\n", "\n(?:.*\n)*?").removesuffix("\n.*")
    return re.compile(f"^{text}$", re.MULTILINE)


class Terminal:
    """A shell in a folder; what it writes is kept in a file."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._log = log
        self._seen = 0
        with log.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash"],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def type(self, commands: str) -> None:
        """Write them; what was shown before is looked at no more."""
        assert self._shell.stdin is not None
        self._seen = len(self._text())
        self._shell.stdin.write(commands.encode())
        self._shell.stdin.flush()

    def look_for(self, shown: str) -> None:
        """Wait until it is there. Raises NotAsShown."""
        wanted, end = pattern(shown), time.monotonic() + PATIENCE
        while not (found := wanted.search(self._text(), self._seen)):
            if time.monotonic() > end:
                raise NotAsShown(f"This is not there:\n{shown}\nThis is:\n{self._text()[self._seen :]}")
            time.sleep(0.05)
        self._seen = found.end()

    def end(self) -> None:
        """Ctrl-C, and the end of what is typed; whoever does not end within seconds is killed."""
        assert self._shell.stdin is not None
        os.killpg(self._shell.pid, signal.SIGINT)
        self._shell.stdin.close()
        try:
            self._shell.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
            raise NotAsShown("Ctrl-C ends nothing.") from None

    def _text(self) -> str:
        return self._log.read_text("utf-8", "replace")


def play(page: Path, folder: Path) -> int:
    """Play a page in a folder that looks like the repository; how many blocks it has. Raises NotAsShown."""
    terminals: dict[str, Terminal] = {}
    found = list(blocks(page.read_text("utf-8")))
    try:
        for number, one in enumerate(found):
            if one.terminal not in terminals:
                terminals[one.terminal] = Terminal(folder, folder / f"terminal-{number}.log")
            terminal = terminals[one.terminal]
            terminal.type(one.text) if one.is_typed else terminal.look_for(one.text)
    finally:
        for terminal in reversed(terminals.values()):
            terminal.end()
    return len(found)


def clone(folder: Path) -> None:
    """What a reader has after `make setup`: the files of the repository, and `.venv`; `var` is empty."""
    for path in ROOT.iterdir():
        if path.name not in ("var", ".git"):
            (folder / path.name).symlink_to(path)
    (folder / "var").mkdir()


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(asked, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def alone() -> list[str]:
    """The words before a command that give it a network of its own; none where that is not allowed."""
    words = ["unshare", "--user", "--map-root-user", "--net", "--"]
    is_allowed = (
        shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    )
    return words if is_allowed else []


def main(page: Path) -> int:
    """Play a page; 0 when all is as shown."""
    if "--alone" in sys.argv:
        _raise_loopback()
    with tempfile.TemporaryDirectory() as folder:
        clone(Path(folder))
        try:
            print(play(page, Path(folder)))
        except NotAsShown as error:
            print(error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
