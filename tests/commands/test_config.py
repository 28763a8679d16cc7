"""`pal-gateway config`: lines and exit codes; and `--version`."""

from __future__ import annotations

import json
from pathlib import Path

import gateway
from tests.commands.words import run


def test_what_is_right_is_said_with_what_is_doubtful(tmp_path: Path) -> None:
    done = run("config", "check", cwd=tmp_path, env={"GATEWAY_SENDERS__SENDER_AUTH": "off"})
    assert (done.returncode, done.stderr) == (0, "")
    doubt, end = done.stdout.splitlines()
    assert doubt.startswith("warning: senders.sender_auth is off")
    assert end == "The settings can be used."
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_is_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[smtp]\nprot = 1\n[store]\nurl = 'here'")
    done = run("config", "check", "--config", str(path), env={"GATEWAY_HTTP__PORT": "x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["smtp.prot", "http.port:", "store.url"]
    assert {line.split()[0] for line in done.stderr.splitlines()} == {"pal-gateway:"}
    shown = run("config", "show", "--config", str(path))
    assert (shown.returncode, shown.stdout, "smtp.prot" in shown.stderr) == (2, "", True)


def test_the_settings_in_force_for_programs(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2")
    env = {"GATEWAY_RELAY__PASSWORD_FILE": "password", "GATEWAY_SMTP__PORT": "26"}
    done = run("config", "show", "--json", cwd=tmp_path, env=env)
    assert (done.returncode, "hunter2" in done.stdout) == (0, False)
    lines = {line["setting"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines["smtp.port"] == {
        "setting": "smtp.port", "value": 26, "hidden": False, "source": "environment", "variable": "GATEWAY_SMTP__PORT",
        "file": "",
    }  # fmt: skip
    assert lines["relay.password"] == {
        "setting": "relay.password", "value": "…", "hidden": True, "source": "secret file",
        "variable": "GATEWAY_RELAY__PASSWORD_FILE", "file": "password",
    }  # fmt: skip


def test_the_version_is_said() -> None:
    assert run("--version").stdout == f"pal-gateway {gateway.__version__}\n"
