"""`pal-gateway config`: are the settings right, and which are in force. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gateway.commands.common import ConfigOption, JsonOption

if TYPE_CHECKING:
    from gateway.config import Read

app = typer.Typer(
    help="The settings: are they right, which are in force. Example: pal-gateway config check",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("check")
def check(config: ConfigOption = None) -> None:
    """Say all that is wrong with the settings, and what is likely a mistake; nothing is opened or asked.

    Exit 2 when the gateway could not start with them. Example: pal-gateway config check --config gateway.toml
    """
    from gateway.advice import doubts, refusals

    found = _read(config)
    wrong = found.faults + tuple(refusals(found.settings))
    for sentence in wrong:
        typer.echo(f"pal-gateway: {sentence}", err=True)
    if wrong:
        raise typer.Exit(2)
    for sentence in doubts(found.settings, found.origins):
        typer.echo(f"warning: {sentence}")
    typer.echo("The settings can be used.")


@app.command("show")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the settings in force, as TOML that can be read back, each with where it comes from; secrets are hidden.

    Example: pal-gateway config show --config gateway.toml
    """
    from gateway.in_force import as_toml, in_force

    found = _read(config)
    for sentence in found.faults:
        typer.echo(f"pal-gateway: {sentence}", err=True)
    if found.faults:
        raise typer.Exit(2)
    lines = in_force(found)
    for line in (json.dumps(one.as_json()) for one in lines) if as_json else as_toml(lines):
        typer.echo(line)


def _read(path: Path | None) -> Read:
    from gateway.config import read

    return read(path, None, os.environ)
