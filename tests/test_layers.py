"""Who may import whom: the scheduler never the gateway, pure modules only pure ones; pure modules ask no clock."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PURE = {
    "scheduler": {
        "scheduler", "recurrence", "zones", "event", "occurrences", "joins", "by_hand", "request", "retry", "targets",
        "lanes", "happening",
    },
    "gateway": {
        "gateway", "address", "ics", "zone_names", "binding", "itip", "pals", "senders", "verdict", "wording", "reply",
        "mime", "decide", "promises", "platforms", "documents", "keys", "reading", "domains", "feed",
        "precheck", "lookups", "signatures", "spf", "results", "authentication", "confirmation",
        "explain", "quotas", "bounces", "reports", "retention", "reasons", "page.views", "preview", "diagnosis",
        "webhooks", "kinds",
    },
}  # fmt: skip
PURE_LIBRARIES = {
    "dateutil", "dkim", "icalendar", "jsonpatch", "jsonpointer", "publicsuffixlist", "pydantic", "pydantic_core", "re2",
    "spf", "tzlocal.windows_tz",
}  # fmt: skip
# What of the standard library does I/O, asks the clock, or rolls dice.
IMPURE = {
    "asyncio", "ftplib", "http", "imaplib", "io", "multiprocessing", "os", "pathlib", "poplib", "random", "sched",
    "secrets", "select", "selectors", "shelve", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid",
}  # fmt: skip
CLOCK = {"now", "utcnow", "today"}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def is_pure(module: str) -> bool:
    """Whether one of our modules is on the list of pure ones, or inside a pure package."""
    room, _, rest = module.partition(".")
    return room in PURE and not PURE[room].isdisjoint({rest.partition(".")[0] or room, rest})


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, `from a import b` as both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def faults(module: str, source: str) -> list[str]:
    """What is wrong with the imports and calls of a module."""
    tree = ast.parse(source)
    names = set(imports(tree))
    found = [
        f"{module} imports {name}" for name in names if room_of(module) == "scheduler" and room_of(name) == "gateway"
    ]
    if is_pure(module):
        found += [f"{module} is pure and imports {name}" for name in names if not _may_import(name)]
        found += [f"{module} is pure and calls {call}" for call in _impure_calls(tree)]
    return found


def _may_import(name: str) -> bool:
    top = room_of(name)
    if top in PURE:
        # `from gateway.ics import Block` also yields gateway.ics.Block: judged by its module.
        return is_pure(name) or _is_attribute(name)
    if top in sys.stdlib_module_names or top == "__future__":
        return not any(name == one or name.startswith(one + ".") for one in IMPURE)
    return any(name == one or name.startswith(one + ".") for one in PURE_LIBRARIES)


def _is_attribute(name: str) -> bool:
    parent, _, last = name.rpartition(".")
    return is_pure(parent) and not _file(f"{parent}.{last}").exists()


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _impure_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in CLOCK:
                yield called.attr + "()"
            if isinstance(called, ast.Name) and called.id in ("open", "print", "input", "exec", "eval"):
                yield called.id + "()"


def modules() -> Iterator[tuple[str, Path]]:
    for room in PURE:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def test_every_arrow_points_the_right_way() -> None:
    found = [fault for module, path in modules() for fault in faults(module, path.read_text("utf-8"))]
    assert not found


def test_the_list_of_pure_modules_is_true() -> None:
    known = {module for module, _ in modules()}
    listed = {f"{room}.{name}" for room, names in PURE.items() for name in names if name != room}
    assert listed <= known


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scheduler.joins", "import socket"),
        ("scheduler.joins", "from asyncio import sleep"),
        ("scheduler.joins", "import sqlalchemy"),
        ("scheduler.joins", "from scheduler import store"),
        ("scheduler.store", "from gateway.pals import Pal"),
        ("scheduler.clock", "def late():\n    import gateway.app"),
        ("gateway.decide", "from gateway.intake import Intake"),
        ("gateway.platforms.zoom", "import httpx"),
        ("gateway.decide", "from datetime import datetime\nNOW = datetime.now()"),
        ("gateway.decide", "text = open('x').read()"),
    ],
)
def test_a_wrong_arrow_is_found(module: str, source: str) -> None:
    assert faults(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gateway.decide", "from scheduler.joins import plan"),
        ("gateway.intake", "import sqlalchemy\nfrom gateway import store"),
        ("scheduler.zones", "from zoneinfo import ZoneInfo"),
    ],
)
def test_a_right_arrow_is_not(module: str, source: str) -> None:
    assert not faults(module, source)
