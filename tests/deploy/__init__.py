"""What is in deploy/, each file by the tool that its readers have, and by what a gateway takes.

Rules of this package: every variable that is set is a setting, every command and every file that is named exists.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, get_origin

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.kinds import ROLES
from gateway.settings import PREFIX, Settings
from tests.conftest import not_here
from tests.test_docs import CONFIG_FILE, setting_names

__all__ = ["DEPLOY", "ROLES", "ROOT", "Settings", "check_settings", "is_setting", "pins", "said", "tool"]

ROOT: Final = Path(__file__).parent.parent.parent
DEPLOY: Final = ROOT / "deploy"
FROM_FILE: Final = "_FILE"  # GATEWAY_STORE__URL_FILE names the file that GATEWAY_STORE__URL is read from


def is_setting(variable: str) -> bool:
    """Whether a gateway takes a variable of the environment."""
    known = {PREFIX + name.replace(".", "__").upper() for name in setting_names()}
    tables = tuple(
        f"{PREFIX}{name.upper()}__" for name, one in Settings.model_fields.items() if get_origin(one.annotation) is dict
    )
    is_known = variable.removesuffix(FROM_FILE) in known or variable == CONFIG_FILE
    return is_known or variable.startswith(tables)


def check_settings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file is taken: nobody answers at its port, and 2 would say that it is wrong."""
    monkeypatch.setenv(PREFIX + "METRICS__PORT", "1")
    done = CliRunner().invoke(app, ["readyz", "--config", str(path)])
    assert (done.exit_code, "No gateway answers" in done.output) == (1, True), done.output


def tool(name: str, package: str) -> str:
    """Where a program is; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        not_here(f"{name} is not installed (Debian's {package})")
    return found


def said(*command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """What a program says that ends with 0."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pins(lock: Path) -> dict[str, str]:
    """The version of each package of a lock."""
    return dict(re.findall(r"^([a-z0-9.\[\]-]+)==(\S+)", lock.read_text("utf-8"), re.MULTILINE))
