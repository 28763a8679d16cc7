"""What is in deploy/ fits what a gateway says: each figure that is named is in a scrape, each command exists."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from gateway.cli import app
from tests.conftest import not_here
from tests.wire.test_main_path import running, settings_for
from tests.wire.test_watch import ask, figures

DEPLOY = Path(__file__).parent.parent / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
BOARD = DEPLOY / "grafana" / "pal-gateway.json"
OWN = re.compile(r"\b(?:pal_gateway|process|python)_[a-z_]+")
SELECTED = re.compile(r"([a-z_]+)\{([^}]*)\}")
BY_PROMETHEUS = {"job", "instance", "le"}  # labels that it sets itself, or that are of a histogram


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return list(group["rules"])


def board() -> dict[str, Any]:
    return dict(json.loads(BOARD.read_text("utf-8")))


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in board()["panels"] for target in panel.get("targets", ()))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What a gateway says that has just begun."""

    async def scrape() -> dict[str, float]:
        async with running(settings_for(tmp_path_factory.mktemp("gateway"))) as gateway:
            return figures((await ask(gateway.http_port, "/metrics")).text)

    return asyncio.run(scrape())


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The names of all figures, also of those that count nothing yet."""

    async def scrape() -> str:
        async with running(settings_for(tmp_path_factory.mktemp("gateway"))) as gateway:
            return (await ask(gateway.http_port, "/metrics")).text

    return asyncio.run(scrape())


def test_every_figure_that_is_named_is_in_a_scrape(families: str) -> None:
    there = set(re.findall(r"^# TYPE (\S+) ", families, re.MULTILINE))
    there |= {f"{name}_{suffix}" for name in there for suffix in ("bucket", "count", "sum")}
    named = {name for expression in expressions() for name in OWN.findall(expression)}
    assert len(named) > 15
    assert named <= there


def test_what_alerts_count_stands_at_0_from_the_start(scraped: dict[str, float]) -> None:
    """Prometheus sees no increase of a series that begins with 1."""
    for expression in (rule["expr"] for rule in rules() if "increase(" in rule["expr"]):
        name, _, labels = re.findall(r"increase\((\w+)(\{(.*?)\})?\[", expression)[0]
        wanted = dict(re.findall(r'(\w+)=~?"([^"]*)"', labels))
        found = [
            one
            for one in scraped
            if one.partition("{")[0] == name
            and all(re.search(rf"\b{label}=(?:{value})[,}}]", one) for label, value in wanted.items())
        ]
        assert found, expression
        assert {scraped[one] for one in found} == {0}


def test_every_label_that_is_asked_for_is_one() -> None:
    known = {"verdict", "reason", "code", "state", "outcome", "target", "role", "version"}
    for expression in expressions():
        asked = {label for _, inner in SELECTED.findall(expression) for label in re.findall(r"(\w+)[=!]", inner)}
        asked |= {one.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for one in by.split(",")}
        assert asked <= known | BY_PROMETHEUS, expression


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    action = rule["annotations"]["action"]
    assert rule["annotations"]["summary"].endswith(".")
    assert action.endswith(".")
    assert rule["labels"]["severity"] in ("warning", "critical")
    for words in re.findall(r"pal-gateway ([a-z ]+)", action):
        assert is_command(words.split()), words


def is_command(words: list[str]) -> bool:
    """Whether a command begins so; what follows it are its arguments."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    for word in words:
        if word not in commands:
            return False
        commands = getattr(commands[word], "commands", {})
        if not commands:
            return True
    return False


def test_the_board_can_be_imported() -> None:
    found = board()
    assert {one["name"] for one in found["templating"]["list"]} == {"datasource", "job"}
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    assert [panel["title"] for panel in found["panels"] if panel["type"] == "row"] == [
        "Now", "Mails", "Joins", "Replies, callbacks, webhooks", "Health",
    ]  # fmt: skip
    for panel in found["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel.get("targets", ()))


def test_prometheus_takes_the_rules_and_the_scrape(tmp_path: Path) -> None:
    """promtool is in Debian's package prometheus; it reads the queries of the dashboard, too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        not_here("promtool is not installed")
    # What Grafana fills in.
    spans = ((one.replace("$__rate_interval", "5m").replace("$job", ".+")) for one in expressions())
    rule = [{"record": f"board:{number}", "expr": span} for number, span in enumerate(spans)]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rule}]}), "utf-8")
    for words in (("rules", ALERTS), ("rules", tmp_path / "board.yml"), ("config", ALERTS.parent / "prometheus.yml")):
        done = subprocess.run([promtool, "check", *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_a_scrape(families: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        not_here("promtool is not installed")
    done = subprocess.run([promtool, "check", "metrics"], input=families, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "pal_gateway" in line]
    assert ours == []
