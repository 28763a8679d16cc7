"""One line per fate, for people or as JSON. Shell.

Rules of this file: a line names ids and verdicts; never a body, never a subject.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(style: str) -> None:
    """Log to stderr: `people` (aligned text), `json` (one object a line), or `silent` (warnings only)."""
    level = logging.WARNING if style == "silent" else logging.INFO
    # aiosmtpd prints every SMTP command at INFO and what it does not know at WARNING, uvicorn every request.
    for name in ("uvicorn.access", "uvicorn.error", "apscheduler", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mail.log", "mail.debug"):
        logging.getLogger(name).setLevel(logging.ERROR)
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso" if style == "json" else "%H:%M:%S", utc=style == "json"),
    ]
    if style == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=18, exception_formatter=structlog.dev.plain_traceback
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
