"""Log lines: one line is one fate, whatever is in it; no words of a fault; other libraries' lines like ours."""

from __future__ import annotations

import io
import json
import logging
from contextlib import redirect_stderr
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import LONGEST, configure

HOSTILE = (
    "two\nlines", "carriage\rreturn", "\r\n12:00:00 [info     ] mail accepted", "\x1b[2J\x1b[31mred", "nul\x00",
    "\u2028separator\u2029", "next\x85line", "\u202eright to left", "\ud800 half a pair", '"}\n{"event": "forged"}',
    "x" * 100_000, "\x9b31m", "tab\tbed", "ü 日本 🎉",
)  # fmt: skip
WRITTEN = "the body of a mail"


pytestmark = pytest.mark.usefixtures("logs_as_they_were")


def said(style: str, what: str = "event", **values: Any) -> str:
    """What is written when something is said."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure(style)
        structlog.get_logger("x").info(what, **values)
    return stream.getvalue()


@pytest.mark.parametrize("style", ["json", "people"])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_stays_one_line(style: str, text: str) -> None:
    line = said(style, value=text)
    assert line.endswith("\n")
    assert line[:-1].isprintable()  # no end of a line, and no escape of a terminal
    assert len(line.splitlines()) == 1
    assert len(line) < 6 * LONGEST + 200
    line.encode()  # what cannot be written as UTF-8 is not in it
    if style == "json":
        assert json.loads(line)["event"] == "event"


@given(st.text(st.characters(exclude_categories=()), max_size=50), st.sampled_from(["json", "people"]))
def test_no_text_makes_another_line(text: str, style: str) -> None:
    line = said(style, value=text, other=[text], more={text: text}, number=float("nan"))
    assert line[:-1].isprintable()
    if style == "json":
        found = json.loads(line, parse_constant=lambda name: pytest.fail(name))
        assert found.keys() == {"event", "level", "timestamp", "value", "other", "more", "number"}


def broken() -> None:
    try:
        int(WRITTEN)
    except ValueError as error:
        raise KeyError(WRITTEN) from error


@pytest.mark.parametrize("style", ["json", "people"])
def test_a_fault_says_where_and_not_what(style: str) -> None:
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure(style)
        try:
            broken()
        except KeyError as error:
            structlog.get_logger().exception("mail quarantined", mail="m1")
            structlog.get_logger().error("fault", exc_info=error)
    told = stream.getvalue()
    assert WRITTEN not in told
    assert told.count("builtins.ValueError") == told.count("builtins.KeyError") == 2
    assert told.count("in broken") == 4
    if style == "json":
        assert [json.loads(line)["event"] for line in told.splitlines()] == ["mail quarantined", "fault"]


def test_other_libraries_lines_are_lines_like_ours() -> None:
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure("json")
        configure("json")  # each is said once all the same
        logging.getLogger("some.library").info("not said")
        logging.getLogger("some.library").warning("%s is odd", "this\nand that")
        logging.getLogger("mail.log").warning("EHLO")
        try:
            broken()
        except KeyError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    lines = [json.loads(line) for line in stream.getvalue().splitlines() if line.startswith("{")]
    assert [(one["event"], one["logger"]) for one in lines] == [
        ("this", "some.library"), ("Exception in ASGI application", "uvicorn.error"),
    ]  # fmt: skip
    assert WRITTEN not in json.dumps(lines)
    assert "in broken" in lines[1]["exception"]
