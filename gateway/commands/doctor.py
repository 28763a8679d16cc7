"""`pal-gateway doctor`: is this installation as it should be, each line with its mend. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption


def doctor(
    selector: Annotated[
        str | None, typer.Option("--dkim-selector", metavar="NAME", help="The selector that your relay signs with.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the installation as it stands: settings, store, clock, DNS, ports, certificate, relay, platform.

    Nothing is changed and nothing is sent; exit 1 when something is not ok. Example: pal-gateway doctor
    """
    import asyncio

    from gateway.config import BadConfig, load
    from gateway.diagnosis import State, bad
    from gateway.doctor import Doctor
    from gateway.logs import configure
    from gateway.resolver import DnsResolver

    configure("silent")
    try:
        lines = asyncio.run(Doctor(load(config), DnsResolver(), selector).examine())
    except BadConfig as error:
        lines = [bad("settings", str(error), "mend them first: nothing else was looked at")]
    for line in lines:
        if as_json:
            typer.echo(json.dumps(line.as_json()))
        else:
            mend = f" → {line.mend}" if line.mend else ""
            typer.echo(f"{line.state:7}  {line.check}: {line.found}{mend}")
    if any(line.state is State.NOT_OK for line in lines):
        raise typer.Exit(1)
