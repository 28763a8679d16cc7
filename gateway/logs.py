"""One line per fate, for people or as JSON. Shell.

Rules of this file:
- A line names ids and verdicts; never a body, and a subject only where the operator asked for it (`log_subjects`).
- Whatever is in a value, a line stays one line: what is not printable is written as an escape, and what is long is cut.
- Of a fault its type and where it came about is said, never its words: they may be anything that was read.
- What other libraries log goes the same way, from warnings on.
"""

from __future__ import annotations

import logging
import math
import sys
import traceback
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LONGEST: Final = 1000  # characters of one value
FRAMES: Final = 30  # of a traceback, the innermost
OWN_KEYS: Final = frozenset({"exc_info", "exception"})  # they hold no text from outside

# aiosmtpd prints every SMTP command at INFO and what it does not know at WARNING.
LEVELS: Final = {"mail.log": logging.ERROR, "mail.debug": logging.ERROR, "apscheduler": logging.ERROR}


def configure(style: str) -> None:
    """Log to stderr: `people` (aligned text), `json` (one object a line), or `silent` (warnings only)."""
    level = logging.WARNING if style == "silent" else logging.INFO
    structlog.configure(
        processors=processors(style, colors=sys.stderr.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _take_in_others()


def processors(style: str, *, colors: bool = False) -> list[Processor]:
    """What makes a line out of what is said."""
    as_json = style == "json"
    last: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=18)
    )
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso" if as_json else "%H:%M:%S", utc=as_json),
        _without_words,
        _on_one_line,
        last,
    ]


def _on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        # Nearly all, at once: a line is written for every mail and join.
        if type(value) is str and len(value) <= LONGEST and value.isprintable():
            continue
        if key not in OWN_KEYS:
            event[key] = _plain(value)
    return event


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return printable(str(value))


def printable(text: str) -> str:
    """A text without anything that a terminal, or who reads line by line, takes for more than text; cut."""
    cut = f"{text[:LONGEST]}…" if len(text) > LONGEST else text
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def _without_words(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The traceback of a fault, and of those that led to it, without what they say."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_told(error))
    return event


def _told(error: BaseException) -> list[str]:
    lines: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        lines = [
            *_frames(following.__traceback__),
            f"{type(following).__module__}.{type(following).__qualname__}",
            *lines,
        ]
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return lines


def _frames(found: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(found)[-FRAMES:]
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


class _Others(logging.Handler):
    """Takes in what is logged by the standard library's means: the first line of it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said, log = record.getMessage().partition("\n")[0], structlog.get_logger()
            say = log.error if record.levelno >= logging.ERROR else log.warning
            say(said, logger=record.name, **({"exc_info": record.exc_info} if record.exc_info else {}))
        except Exception:  # noqa: BLE001  who logs is not to be disturbed
            self.handleError(record)


def _take_in_others() -> None:
    root = logging.getLogger()
    if not any(isinstance(one, _Others) for one in root.handlers):
        root.addHandler(_Others(logging.WARNING))
    for name in ("uvicorn.access", "uvicorn.error", "apscheduler", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)
