"""`pal-gateway quarantine`: mails kept aside by a fault of ours or as too costly; play them again, forget them. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, opened, printable, settings_of
from gateway.commands.invites import invite_json
from gateway.commands.mails import header_lines

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gateway.intake import Intake
    from gateway.quarantine import Aside
    from gateway.settings import Settings

MailId = Annotated[str, typer.Argument(metavar="ID", help="The mail's id, as in quarantine list.")]

app = typer.Typer(
    help="Mails kept aside by a fault of ours, or as too costly. Example: pal-gateway quarantine list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the mails that are kept aside, the oldest first.

    Example: pal-gateway quarantine list
    """
    from gateway import quarantine, store

    with opened(None, config) as engine, engine.connect() as connection:
        for mail_id in store.mails_aside(connection):
            aside = quarantine.find(connection, mail_id)
            if aside is not None:
                typer.echo(json.dumps(aside.as_json()) if as_json else _line(aside))


@app.command("show")
def show(mail_id: MailId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show why a mail is kept aside, who sent it and how that was found out, and its header.

    Example: pal-gateway quarantine show m0123456789abcdef0123
    """
    from gateway.explain import story

    with opened(None, config) as engine, engine.connect() as connection:
        aside = _known(connection, mail_id)
    if as_json:
        for entry, address in zip(aside.entries, aside.addresses, strict=True):
            typer.echo(invite_json(entry, address))
        return
    typer.echo(_line(aside))
    for entry, address in zip(aside.entries, aside.addresses, strict=True):
        typer.echo("\n".join(story(vars(entry), address)))
    typer.echo("\n".join(header_lines(aside.mail)))


@app.command("replay")
def replay(
    mail_id: Annotated[str | None, typer.Argument(metavar="ID", help="The mail's id, as in quarantine list.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, the oldest first.")] = False,
    without_limits: Annotated[
        bool, typer.Option("--without-limits", help="Read it here, for as long as it takes; for one that you know.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a mail again at the same desk, as sent by whom it was found to be from, and as of now; replies go out.

    What fails again stays in quarantine. Limits are those of the settings (reading.seconds, reading.megabytes).

    Example: pal-gateway quarantine replay m0123456789abcdef0123
    """
    from gateway import quarantine, store
    from gateway.logs import configure
    from gateway.reading import read_here

    if (mail_id is None) is not every:
        fail("Name one mail (pal-gateway quarantine list), or --all.", 2)
    configure("silent")
    settings = settings_of(config)
    with opened(settings.store.url) as engine:
        with engine.connect() as connection:
            wanted = store.mails_aside(connection) if mail_id is None else [_known(connection, mail_id).mail.id]
        with quarantine.desk_of(engine, settings, read_here if without_limits else None) as intake:
            stayed = [one for one in wanted if not _replay_one(engine, settings, intake, one, as_json)]
    if stayed:
        raise typer.Exit(1)


@app.command("drop")
def drop(mail_id: MailId, config: ConfigOption = None) -> None:
    """Forget a mail that is kept aside; its organizer is not answered.

    Example: pal-gateway quarantine drop m0123456789abcdef0123
    """
    from gateway import store

    with opened(None, config) as engine, engine.begin() as connection:
        if not store.drop_aside(connection, mail_id):
            fail(_unknown(mail_id), 1)
    typer.echo(f"{mail_id} is forgotten.")


def _replay_one(engine: Engine, settings: Settings, intake: Intake, mail_id: str, as_json: bool) -> bool:
    """Play one again and say what came of it; False when it stays where it is."""
    from gateway import quarantine
    from gateway.intake import StoreAway
    from gateway.replay import shown
    from scheduler.clock import utc_now

    now = utc_now()
    try:
        played = quarantine.play_again(engine, intake, mail_id, now, checks=quarantine.checks_senders(settings))
    except StoreAway as error:
        fail(f"The store cannot be written: {error}.", 1)
    if isinstance(played, str):
        typer.echo(f"pal-gateway: {printable(played)}", err=True)
        return False
    with engine.connect() as connection:
        for one in played:
            line = shown(connection, mail_id, one, now + settings.scheduling().horizon)
            typer.echo(json.dumps(line.as_json()) if as_json else line.as_text())
    return True


def _known(connection: Connection, mail_id: str) -> Aside:
    from gateway import quarantine

    aside = quarantine.find(connection, mail_id)
    if aside is None:
        fail(_unknown(mail_id), 1)
    return aside


def _unknown(mail_id: str) -> str:
    return f"{mail_id} is not in quarantine; see pal-gateway quarantine list."


def _line(aside: Aside) -> str:
    row = aside.as_json()
    sender = f"{printable(row['sender']) or 'nobody'} ({'verified' if row['verified'] else 'not verified'})"
    return f"{row['id']}  {row['received_at']}  {sender} → {', '.join(aside.addresses)}  {row['reason']}: " + printable(
        row["detail"]
    )
