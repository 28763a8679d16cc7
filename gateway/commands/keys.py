"""`pal-gateway keys`: who may ask over HTTP. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, check_words, fail, instant, opened

if TYPE_CHECKING:
    from gateway.keys import Key

app = typer.Typer(
    help="API keys: who may ask over HTTP. Example: pal-gateway keys list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("create")
def create(
    account: Annotated[
        str, typer.Option(metavar="NAME", help="The account whose PALs it opens; a new name is a new one.")
    ],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    allow_ip: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Where it may be used from. [default: anywhere]")
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="T", help="Until when. [default: for ever]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Create an API key and print it, once: what is kept of it is a hash.

    Example: pal-gateway keys create --account acme --name laptop --allow-ip 10.0.0.0/8 --expires 2027-01-01T00:00:00Z
    """
    from secrets import token_urlsafe

    from gateway import store
    from gateway.intake import fresh_id
    from gateway.keys import Key, digest, network_fault
    from scheduler.clock import utc_now

    now, networks = utc_now(), tuple(allow_ip or ())
    check_words(("An account", account), ("A name", name or "-"))
    fault = next(filter(None, map(network_fault, networks)), None)
    if fault is None and expires is not None and expires <= now:
        fault = "A key that has expired already opens nothing; --expires is to be ahead."
    if fault is not None:
        fail(fault, 2)
    secret = "pg_" + token_urlsafe(32)
    key = Key(fresh_id("k"), account, digest(secret), name, networks, now, expires)
    with opened(None, config) as engine, engine.begin() as connection:
        store.add_key(connection, key)
    typer.echo(secret)
    typer.echo(f"This is key {key.id} of {account}; it is not shown again.", err=True)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all API keys, without what they open with.

    Example: pal-gateway keys list
    """
    from gateway import store
    from scheduler.clock import utc_now

    now = utc_now()
    with opened(None, config) as engine, engine.connect() as connection:
        for key in store.all_keys(connection):
            typer.echo(_key_line(key, now, as_json))


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in keys list.")], config: ConfigOption = None
) -> None:
    """Let a key open nothing from now on.

    Example: pal-gateway keys revoke k0123456789abcdef0123
    """
    from gateway import store
    from scheduler.clock import utc_now

    with opened(None, config) as engine, engine.begin() as connection:
        revoked = store.revoke_key(connection, key_id, utc_now())
    if not revoked:
        fail(f"There is no key {key_id} that opens anything; see pal-gateway keys list.", 1)
    typer.echo(f"{key_id} opens nothing any more.")


def _key_line(key: Key, now: datetime, as_json: bool) -> str:
    from gateway.replay import instant_text

    expires, revoked = instant_text(key.expires_at), instant_text(key.revoked_at)
    if as_json:
        row = {"id": key.id, "account": key.account, "name": key.name, "networks": list(key.networks)}
        created = instant_text(key.created_at)
        return json.dumps({**row, "created_at": created, "expires_at": expires, "revoked_at": revoked})
    until = f"{'until' if key.is_valid(now) else 'expired'} {expires}" if expires else "for ever"
    until = f"revoked {revoked}" if revoked else until
    named = f" ({key.name})" if key.name else ""
    return f"{key.id}  {key.account}{named}  from {', '.join(key.networks) or 'anywhere'}  {until}"
