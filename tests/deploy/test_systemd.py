"""The units in deploy/systemd: systemd reads them, and says how far what it starts is exposed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.app import OVERTIME
from tests.deploy import DEPLOY, ROLES, Settings, is_setting, said, tool

UNITS: Final = ("pal-gateway.service", "pal-gateway@.service")
EXPOSED: Final = (
    1.6  # of 10, as systemd 252 reckons; what is left is the network, port 25, and readers that limit themselves
)
OWN: Final = {"Description", "ExecStart", "EnvironmentFile"}


def lines(unit: str) -> list[tuple[str, str]]:
    text = (DEPLOY / "systemd" / unit).read_text("utf-8")
    return re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE)


@pytest.fixture(params=["pal-gateway.service", *(f"pal-gateway@{role}.service" for role in ROLES)])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit as it would be installed, with a gateway that is there."""
    name = str(request.param)
    text = (DEPLOY / "systemd" / re.sub(r"@.*\.", "@.", name)).read_text("utf-8")
    path = tmp_path / name
    path.write_text(text.replace("/opt/pal-gateway/bin", str(Path(sys.executable).parent)), "utf-8")
    return path


def test_systemd_takes_it(unit: Path) -> None:
    assert said(tool("systemd-analyze", "systemd"), "verify", "--man=no", unit) == ""


def test_little_is_exposed(unit: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    told = said(analyze, "security", "--offline=true", f"--threshold={EXPOSED * 10:.0f}", "--no-pager", unit)
    assert re.search(r"Overall exposure level for \S+: [\d.]+ OK", told), told


def test_systemd_knows_whom_to_run_it_as(tmp_path: Path) -> None:
    sysusers = tool("systemd-sysusers", "systemd")
    (tmp_path / "etc").mkdir()
    said(sysusers, "--root", tmp_path, DEPLOY / "systemd" / "pal-gateway.sysusers")
    assert dict(lines(UNITS[0]))["User"] in (tmp_path / "etc" / "passwd").read_text("utf-8")


@pytest.mark.parametrize("name", UNITS)
def test_it_is_started_by_what_the_gateway_says(name: str) -> None:
    found = dict(lines(name))
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert found["RestartPreventExitStatus"] == "2"
    variables = re.findall(r"\bGATEWAY_[A-Z_]+", (DEPLOY / "systemd" / name).read_text("utf-8"))
    assert [one for one in variables if not is_setting(one)] == []


def test_both_units_are_alike() -> None:
    one, other = ([line for line in lines(name) if line[0] not in OWN] for name in UNITS)
    assert one == other


def test_a_stop_has_the_time_that_it_may_take() -> None:
    assert float(dict(lines(UNITS[0]))["TimeoutStopSec"]) > Settings.model_fields["stop_seconds"].default + OVERTIME
