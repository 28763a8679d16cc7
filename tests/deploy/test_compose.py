"""deploy/compose.yaml: Compose itself reads it, and what it names exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy import DEPLOY, is_setting, said, tool
from tests.test_deploy import is_command

FILE = DEPLOY / "compose.yaml"


def composed() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text("utf-8")))


def services() -> dict[str, dict[str, Any]]:
    return dict(composed()["services"])


def gateways() -> list[dict[str, Any]]:
    return [one for one in services().values() if one["image"] == "pal-gateway"]


def test_compose_reads_it(tmp_path: Path) -> None:
    """By its plugin for Docker where that is, else by Debian's docker-compose, which is older and knows no `name`."""
    docker = shutil.which("docker")
    has_plugin = (
        docker and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    )
    command = [docker, "compose"] if docker and has_plugin else [tool("docker-compose", "docker-compose")]
    lines = FILE.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "deploy" / "secrets").mkdir(parents=True)
    (tmp_path / "deploy" / "postfix").mkdir()
    (tmp_path / "deploy" / "compose.yaml").write_text(
        "".join(one for one in lines if not one.startswith("name:")), "utf-8"
    )
    for name in composed()["secrets"]:
        (tmp_path / "deploy" / "secrets" / name).write_text("s", "utf-8")
    done = said(
        *command,
        "-f",
        "deploy/compose.yaml",
        "config",
        cwd=tmp_path,
        environment={**os.environ, "DOMAIN": "pals.example"},
    )
    found = yaml.safe_load(done)["services"]
    assert found.keys() == services().keys()
    assert found["gateway-2"]["environment"]["GATEWAY_DOMAIN"] == "pals.example"


def test_two_gateways_are_alike_and_each_is_a_gateway() -> None:
    first, second = gateways()
    differ = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert differ == {"build", "ports", "networks"}
    assert [name for name in first["environment"] if not is_setting(name)] == []


def test_each_health_check_of_ours_is_a_command() -> None:
    for one in gateways():
        assert one["healthcheck"]["test"][:2] == ["CMD", "pal-gateway"]
        assert is_command(one["healthcheck"]["test"][2:])


@pytest.mark.parametrize("name", sorted(services()))
def test_each_is_hardened_and_looked_at(name: str) -> None:
    one = services()[name]
    assert one["read_only"]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["healthcheck"]["test"][0] == "CMD"
    assert "privileged" not in one


def test_what_is_named_exists() -> None:
    all_of_it = composed()
    for one in services().values():
        assert set(one.get("secrets", ())) <= all_of_it["secrets"].keys()
        assert {mount.partition(":")[0] for mount in one.get("volumes", ())} <= all_of_it["volumes"].keys()
        assert set(one["networks"]) <= all_of_it["networks"].keys()
        assert one.get("depends_on", {}).keys() <= services().keys()
        files = [value for name, value in one.get("environment", {}).items() if name.endswith("_FILE")]
        assert {value.removeprefix("/run/secrets/") for value in files} <= set(one.get("secrets", ()))
        build = one.get("build")
        assert build is None or (DEPLOY / build["context"] / build["dockerfile"]).exists()


def test_postfix_passes_on_for_the_gateways_alone() -> None:
    """Were the whole network among them, strangers whose connections Docker passes on itself could send through it."""
    own = sorted(f"{one['networks']['inner']['ipv4_address']}/32" for one in gateways())
    assert services()["postfix"]["build"]["args"]["SENDS_THROUGH"].split() == own
    taken = re.findall(r"^ARG (\w+)", (DEPLOY / "postfix" / "Containerfile").read_text("utf-8"), re.MULTILINE)
    assert services()["postfix"]["build"]["args"].keys() <= set(taken)
