"""The reference of the commands, from what `--help` says. Reads no files.

Rules of this file: every word of it stands in the commands themselves; whoever finds it wanting mends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent
from typing import Any, Final

import typer
from typer.core import TyperGroup

from gateway.cli import app

HEAD: Final = """# Commands

Made from the code by `make generated`; `pal-gateway COMMAND --help` says the same.

Every command ends with 0 when it did what it was told, with 1 when something is not there, cannot be read or is not
well, and with 2 for wrong usage or settings; one sentence on stderr then says the mend. Where there is `--json`, each
line of the output is one JSON object. A command that needs settings reads the file of `--config`, or of
`GATEWAY_CONFIG`, and `GATEWAY_…` from the environment: see [settings](settings.md).
"""


def page() -> str:
    """The page `docs/reference/commands.md`."""
    root: Any = typer.main.get_command(app)
    parts = [text for name, one in sorted(root.commands.items()) for text in _of(one, f"pal-gateway {name}", 2)]
    return "\n".join([HEAD, *parts])


def _of(command: Any, words: str, depth: int) -> Iterator[str]:
    """A command, and those of its group."""
    said, _, example = dedent(command.help or "").strip().partition("Example:")
    yield f"{'#' * depth} {words}\n\n{said.strip()}\n"
    if isinstance(command, TyperGroup):
        for name, one in sorted(command.commands.items()):
            yield from _of(one, f"{words} {name}", depth + 1)
        return
    context = typer.Context(command, info_name=words)
    yield f"```text\n{' '.join([words, *command.collect_usage_pieces(context)])}\n```\n"
    rows = [row for parameter in command.get_params(context) if (row := _row(parameter, context)) is not None]
    if rows:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"
    yield f"Example: `{' '.join(example.split())}`\n"


def _row(parameter: Any, context: typer.Context) -> str | None:
    """A parameter as a row; None for `--help`, and for what help does not name."""
    record = parameter.get_help_record(context)
    if record is None or record[0] == "--help":
        return None
    name, meaning = (_cell(" ".join(text.split())) for text in record)
    return f"| `{name}` | {meaning} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
