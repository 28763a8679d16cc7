"""What the documentation names exists: scenarios, tests, the peers' stories, settings, figures."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic import BaseModel
from typer.main import get_command

from bench.__main__ import FIGURES
from gateway.cli import app
from gateway.config import load
from gateway.settings import PREFIX, Settings
from tests.peers.stories import stories
from tests.peers.test_eds_attendee import DIFFERENCES, MEASURED
from tests.scenario import read_scenarios

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
EDGE_CASES = ROOT / "docs" / "reference" / "edge-cases.md"
REPLIES = ROOT / "docs" / "reference" / "replies.md"
DEMANDS = ROOT / "tests" / "gateway" / "test_vendor_demands.py"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md")))
CASES = range(1, 45)

CONFIG_FILE = PREFIX + "CONFIG"  # says where the settings are, and is none itself

_ROW = re.compile(r"\| (\d+) \| .* \|")
_STORY = re.compile(r"([=≠]) `([a-z]+/[^`]+)`")


def rows() -> dict[int, list[str]]:
    """The cells of each case's row."""
    lines = [line for line in EDGE_CASES.read_text("utf-8").splitlines() if _ROW.fullmatch(line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    numbers = [int(row[0]) for row in cells]
    assert len(numbers) == len(set(numbers)), "a case has two rows"
    return dict(zip(numbers, cells, strict=True))


def setting_names() -> Iterator[str]:
    """Every setting, with its section: `smtp.port`."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from (f"{name}.{inner}" for inner in section.model_fields)
        else:
            yield name


def readme_rows() -> Iterator[tuple[list[str], str]]:
    """The rows of README's table: names, and what it says of their defaults; `.port` after `relay.host` is
    `relay.port`."""
    table = README.read_text("utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            _, first, default, *_ = (cell.strip() for cell in line.split("|"))
            names: list[str] = []
            for name in re.findall(r"`([^`]+)`", first):
                names.append(names[-1].partition(".")[0] + name if name.startswith(".") else name)
            yield names, default


def readme_settings() -> list[str]:
    """The names in the first column of README's table."""
    return [name for names, _ in readme_rows() for name in names]


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    """The tests of a file, those of a class as `TestIt::test_that`, and the classes."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {node.name, *(f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))}
    return frozenset(name for name in found if name.lower().startswith("test"))


def test_every_case_has_its_row() -> None:
    assert sorted(rows()) == list(CASES)


def test_every_row_is_whole() -> None:
    assert {number: len(cells) for number, cells in rows().items()} == dict.fromkeys(CASES, 6)
    assert [number for number, cells in rows().items() if not all(cells)] == []


@pytest.mark.parametrize("number", CASES)
def test_what_holds_a_case_exists(number: int) -> None:
    titles = {scenario.title.partition(": ")[2] for scenario in read_scenarios()}
    cited = rows()[number][5].split("<br>")
    for one in cited:
        name = one.removeprefix("`").removesuffix("`")
        assert one == f"`{name}`"
        if name.startswith("tests/"):
            path, _, test = name.partition("::")
            assert test in names_in(ROOT / path), name
        else:
            assert name in titles, f"there is no scenario {name!r}"
    assert len(cited) == len(set(cited))


def test_what_is_said_of_evolution_is_what_was_measured() -> None:
    said = {story: sign for cells in rows().values() for sign, story in _STORY.findall(cells[4])}
    assert said.keys() <= {story.name for story in stories()}
    assert {story for story, sign in said.items() if sign == "≠"} == DIFFERENCES.keys()
    assert f"EDS {MEASURED}" in EDGE_CASES.read_text("utf-8")


def test_the_settings_in_the_readme_exist_once() -> None:
    named = readme_settings()
    assert len(named) > 15
    assert len(named) == len(set(named))
    assert set(named) <= set(setting_names())


def test_the_defaults_in_the_readme_are_those_of_the_settings() -> None:
    for names, shown in readme_rows():
        given = [one.strip(" `") for one in (re.split(r", (?![^\[]*\])", shown) if len(names) > 1 else [shown])]
        given *= len(names) if len(given) == 1 else 1
        for name, said in zip(names, given, strict=True):
            default: Any = Settings()
            for part in name.split("."):
                default = getattr(default, part)
            if said.startswith("–"):
                assert default in ("", None, "sandbox"), name
            else:
                assert said == (default if isinstance(default, str) else json.dumps(default)), name


def toml_blocks() -> Iterator[Any]:
    """Each block of settings that the documentation shows; those within a list are indented."""
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S)):
            yield pytest.param(textwrap.dedent(block), id=f"{page.stem}-{number}")


@pytest.mark.parametrize("block", list(toml_blocks()))
def test_the_settings_that_are_shown_can_be_used(block: str, tmp_path: Path) -> None:
    shown = tmp_path / "gateway.toml"
    shown.write_text(block, "utf-8")
    load(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = set(setting_names())
    sections = "|".join({name.partition(".")[0] for name in known if "." in name})
    text = page.read_text("utf-8")
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)(?=[`\s=])", text))
    assert {name for name in named if not name.endswith(".py")} <= known
    variables = {PREFIX + name.replace(".", "__").upper() for name in known} | {CONFIG_FILE}
    found = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    # A table's own names follow: GATEWAY_DOMAINS__ACME.
    tables = tuple(
        f"{PREFIX}{name.upper()}__" for name, one in Settings.model_fields.items() if get_origin(one.annotation) is dict
    )
    assert {name.removesuffix("_FILE") for name in found if not name.startswith(tables)} <= variables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:gateway|scheduler|tests|docs|samples)/[A-Za-z0-9_/.-]+)(?=[`:])", text)
    links = [one for one in re.findall(r"\]\(([^)#]+)", text) if "://" not in one]
    assert [one for one in named if not (ROOT / one).exists()] == []
    assert [one for one in links if not (page.parent / one).exists()] == []


def commands(group: object, *words: str) -> Iterator[str]:
    """`outbox retry` and the like, and the groups."""
    for name, one in getattr(group, "commands", {}).items():
        yield " ".join((*words, name))
        yield from commands(one, *words, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    known = set(commands(get_command(app)))
    groups = {name.partition(" ")[0] for name in known if " " in name}
    named = re.findall(r"(?<!--namespace )(?<!docker exec )pal-gateway ([a-z]+)(?: ([a-z]+))?", page.read_text("utf-8"))
    found = {f"{one} {two}".strip() if one in groups else one for one, two in named}
    assert found <= known


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_lists_are_read_alike_by_all_who_draw_pages(page: Path) -> None:
    """What mkdocs draws them with wants four spaces below a number, and an empty line above a list."""
    text = re.sub(r"^ *```.*?^ *```$", "```", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n {1,3}\S.*", page.read_text("utf-8")) == []
    assert re.findall(r"^ {1,3}```", page.read_text("utf-8"), re.MULTILINE) == []
    assert re.findall(r"^(?! *(?:[-*] |\d+\. )| {2}).+\n(?:- |1\. ).*", text, re.MULTILINE) == []


def test_the_documentation_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    pages = [path.read_text("utf-8") for path in tmp_path.rglob("*.html")]
    assert len(pages) >= len(PAGES) - 1  # the README is none of them
    loaded = [
        one
        for page in pages
        for one in re.findall(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=\"?([^\s>\"]+)", page)
    ]
    assert loaded
    assert [one for one in loaded if "//" in one] == []


@pytest.mark.parametrize("number", range(1, 16))
def test_each_goal_has_its_figure_and_its_result(number: int) -> None:
    (figure,) = [name for name in FIGURES if name.startswith(f"p{number:02}_")]
    assert callable(import_module(f"bench.{figure}").measure)
    assert re.search(rf"^\| P{number} ", (ROOT / "bench" / "RESULTS.md").read_text("utf-8"), re.MULTILINE)


def test_each_demand_on_a_reply_has_its_row_its_source_and_its_test() -> None:
    text = REPLIES.read_text("utf-8")
    table = text.partition("\n## The demands\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    demands = cells[1:]
    assert {len(row) for row in cells} == {5}
    assert sorted(row[4].strip("`") for row in demands) == sorted(names_in(DEMANDS))
    assert [row[1] for row in demands if not re.search(r"RFC \d|\]\[|measured", row[2])] == []
    cited, defined = set(re.findall(r"\]\[([a-z0-9-]+)\]", text)), set(re.findall(r"^\[([a-z0-9-]+)\]: ", text, re.M))
    assert cited == defined
