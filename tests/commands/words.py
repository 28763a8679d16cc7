"""Runs a command as a person or a program does: words in, lines and an exit code out.

Rules of this file:
- Each runs in a process of its own that is forked for it, with an environment, a folder and streams of its own. A test
  that is about the start of an interpreter starts one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from tempfile import TemporaryDirectory

import gateway.commands
from gateway.cli import main
from tests.forks import FORKS

ROOT = Path(__file__).parent.parent.parent

# They are imported by the command that needs them; here, once for all that are forked.
for module in iter_modules(gateway.commands.__path__, "gateway.commands."):
    import_module(module.name)


def run(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`pal-gateway` with these words, in a process of its own."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        told = words, cwd or Path.cwd(), {**os.environ, **(env or {})}, out, err
        process = FORKS.Process(target=_carry_out, args=told)
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def _carry_out(words: Sequence[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  ends with the process
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["pal-gateway", *words]
    main()
