"""`pal-gateway pals`: who can be invited, and by whom. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, check_words, fail, known_pal, opened, settings_of
from gateway.commands.joins import join_line

if TYPE_CHECKING:
    from gateway.pals import Pal

app = typer.Typer(
    help="PALs: who can be invited, and by whom. Example: pal-gateway pals list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("add")
def add(
    address: Annotated[str, typer.Argument(help="Its e-mail address in its account's domain.")],
    name: Annotated[str | None, typer.Option(help="Its name. [default: from the address]")] = None,
    face: Annotated[str | None, typer.Option(help="The face_id it joins with.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="ENTRY", help="Who may invite it. [default: anyone]")
    ] = None,
    zone: Annotated[str | None, typer.Option(metavar="NAME", help="Time zone for events that name none.")] = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="The account that it belongs to.")] = "default",
    config: ConfigOption = None,
) -> None:
    """Add a PAL, so that it can be invited.

    Example: pal-gateway pals add anna@invite.example.com --face r90bbd427f71 --allow '.*@acme\\.com'
    """
    from sqlalchemy.exc import IntegrityError

    from gateway import store
    from gateway.address import domain_of
    from gateway.intake import fresh_id
    from scheduler.clock import utc_now

    settings = settings_of(config)
    # A fresh id: the PAL that had this address before it was renamed keeps its own.
    pal = replace(new_pal(address, name, face, tuple(allow or ()), zone), id=fresh_id("p"), account=account)
    check_words(("An account", account))
    domain = settings.mail_domains().of(account)
    if domain_of(pal.address) != domain:
        of = f"account {account} (setting domains)" if account in settings.domains else "this gateway (setting domain)"
        fail(f"{pal.address} is not in {domain}, the domain of {of}.", 2)
    with opened(settings.store.url) as engine:
        try:
            with engine.begin() as connection:
                store.add_pal(connection, pal, utc_now())
        except IntegrityError:
            fail(f"{pal.address} is taken; choose another.", 1)
    typer.echo(f"{pal.name} can now be invited at {pal.address}.")


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all PALs.

    Example: pal-gateway pals list
    """
    from gateway import store

    with opened(None, config) as engine, engine.connect() as connection:
        for pal in store.all_pals(connection):
            typer.echo(_pal_line(pal, as_json))


@app.command("show")
def show(
    address: Annotated[str, typer.Argument(help="Its e-mail address.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one PAL and what it will attend.

    Example: pal-gateway pals show anna@invite.example.com
    """
    import scheduler.store

    with opened(None, config) as engine, engine.connect() as connection:
        pal = known_pal(connection, address)
        typer.echo(_pal_line(pal, as_json))
        if not as_json:
            for join in scheduler.store.find_joins(connection, pal_id=pal.id, states=["planned"], limit=20):
                typer.echo("  " + join_line(join))


@app.command("remove")
def remove(address: Annotated[str, typer.Argument(help="Its e-mail address.")], config: ConfigOption = None) -> None:
    """Remove a PAL; what it was going to attend is cancelled, running calls are left, its organizers are told.

    Example: pal-gateway pals remove anna@invite.example.com
    """
    from gateway import regrets, store
    from gateway.logs import configure
    from scheduler.clock import utc_now

    settings = settings_of(config)
    configure("silent")
    with opened(settings.store.url) as engine, engine.begin() as connection:
        pal = known_pal(connection, address)
        dropped = regrets.release(connection, pal, utc_now(), settings.scheduling())
        store.remove_pal(connection, pal.id)
    typer.echo(f"{pal.address} cannot be invited any more; {dropped} joins were cancelled.")


def new_pal(address: str, name: str | None, face: str | None, allowlist: tuple[str, ...], zone: str | None) -> Pal:
    """A PAL from words of the command line; wrong ones end the command."""
    from gateway.address import normal
    from gateway.pals import Pal, allowlist_fault, pal_id, username_fault
    from scheduler.zones import iana_names

    comparable = normal(address)
    local = comparable.partition("@")[0]
    if not comparable:
        fail(f"{address!r} is not an e-mail address.", 2)
    fault = username_fault(local) or allowlist_fault(allowlist)
    if fault is not None:
        fail(fault, 2)
    check_words(("A name", "-" if name is None else name))
    if zone is not None and zone not in iana_names():
        fail(f"{zone!r} is not a time zone; write one like Europe/Berlin.", 2)
    return Pal(pal_id(comparable), name or local.capitalize(), comparable, face or "sandbox-face", allowlist, zone)


def _pal_line(pal: Pal, as_json: bool) -> str:
    if as_json:
        return json.dumps(
            {
                "pal_id": pal.id,
                "pal_name": pal.name,
                "conferencing_email": pal.address,
                "default_face_id": pal.face_id,
                "allowlist": list(pal.allowlist),
                "zone": pal.zone,
            }
        )
    return f"{pal.address}  {pal.name}  invited by {', '.join(pal.allowlist) or 'anyone'}"
