"""The first change that CONTRIBUTING.md shows: its diffs apply to this tree, and its command is red, then green."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import not_here

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
NEEDED = ("gateway", "scheduler", "tests", "pyproject.toml")
RED = [
    "test_a_room_is_recognised_and_rebuilt[https://meet.example.org/table/k7-x2?from=mail]",
    "test_the_canonical_form_is_read_as_itself[https://meet.example.org/table/k7-x2]",
    "test_every_platform_has_a_form_here",
    "test_scenario[01-main-path: Roundtable is recognised, and cannot be joined yet]",
]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, '' for those that name none."""
    found = re.findall(r"^```([a-z]*)\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def change(tree: Path, diff: str) -> None:
    done = subprocess.run(["git", "apply", "-"], cwd=tree, input=diff, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def tried(tree: Path) -> tuple[int, set[str]]:
    """The exit code of the command that is shown, run in a tree, and which tests failed."""
    (shown,) = [line for block in blocks("") for line in block.splitlines() if "Roundtable" in line]
    python, *arguments = shlex.split(shown)
    assert python == ".venv/bin/python"
    command = [sys.executable, *arguments, "-p", "no:cacheprovider", "-p", "no:schemathesis", "-q"]
    done = subprocess.run(command, cwd=tree, text=True, capture_output=True, check=False)
    return done.returncode, set(re.findall(r"^FAILED \S+::(test_.*?\]|test_\w+)(?: - .*)?$", done.stdout, re.MULTILINE))


@pytest.mark.timeout(180)  # two runs of pytest
def test_the_first_change_is_red_then_green(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        not_here("git")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)  # with what is compiled: half the time
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    red, green = blocks("diff")
    change(tmp_path, red)
    assert tried(tmp_path) == (1, set(RED))
    change(tmp_path, green)
    assert tried(tmp_path) == (0, set())


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", CONTRIBUTING))))
def test_what_is_to_be_made_can_be_made(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
