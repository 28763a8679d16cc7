"""The image: hadolint takes it, what it installs is locked, its settings are taken. `make image-check` runs it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy import DEPLOY, ROOT, check_settings, is_setting, pins, said
from tests.test_deploy import is_command

FILES = (DEPLOY / "Containerfile", DEPLOY / "postfix" / "Containerfile")
CONTEXTS = {FILES[0]: ROOT, FILES[1]: DEPLOY / "postfix"}
RUN, BUILD = (DEPLOY / "requirements" / f"{name}.lock" for name in ("run", "build"))


def words(path: Path) -> str:
    """A Containerfile without its comments, a line for each instruction."""
    lines = (line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    return re.sub(r"\\\n\s*", " ", "\n".join(lines))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_hadolint_takes_it(path: Path) -> None:
    said(Path(sys.executable).with_name("hadolint"), "--failure-threshold", "style", path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_what_it_copies_is_there(path: Path) -> None:
    copied = [
        one for line in re.findall(r"^COPY (?!--from)(.*)$", words(path), re.MULTILINE) for one in line.split()[:-1]
    ]
    assert copied
    assert [one for one in copied if not (CONTEXTS[path] / one).exists()] == []


def test_what_it_copies_is_not_ignored() -> None:
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", words(FILES[0]), re.MULTILINE)
    assert sorted(let_in) == sorted(one.rstrip("/") for line in copied for one in line.split())


def test_its_own_user_and_its_health_are_ours() -> None:
    text = words(FILES[0])
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) >= 10_000
    assert is_command(re.findall(r'CMD \["pal-gateway", "(\w+)"\]', text))
    assert is_command(re.findall(r'^CMD \["(\w+)"\]', text, re.MULTILINE))
    assert [one for one in re.findall(r"\bGATEWAY_[A-Z_]+", text) if not is_setting(one)] == []


def test_its_settings_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    check_settings(DEPLOY / "container.toml", monkeypatch)


@pytest.mark.parametrize("lock", [RUN, BUILD], ids=lambda lock: lock.stem)
def test_what_it_installs_is_what_is_tested(lock: Path) -> None:
    assert pins(lock).items() <= pins(ROOT / "requirements.lock").items()


def test_what_runs_has_no_tool_of_a_developer() -> None:
    assert {"sqlalchemy", "aiosmtpd", "uvicorn"} <= pins(RUN).keys()
    assert {"pytest", "mypy", "ruff", "hatchling"}.isdisjoint(pins(RUN))


def test_each_dependency_is_locked_to_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {re.split(r"[^a-z0-9-]", one)[0] for one in project["dependencies"]}
    assert wanted <= {name.partition("[")[0] for name in pins(RUN)}
