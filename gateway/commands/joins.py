"""`pal-gateway joins`: where PALs will be, and were; cancel one, try one again. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, known_pal, opened, settings_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from scheduler.joins import Join

app = typer.Typer(
    help="Joins: where PALs will be, and were. Example: pal-gateway joins list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    pal: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this PAL's.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only in this state; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List joins, by start.

    Example: pal-gateway joins list --pal anna@invite.example.com --state planned
    """
    import scheduler.store
    from gateway import store
    from scheduler.joins import JoinState

    for one in state or []:
        if one not in list(JoinState):
            fail(f"{one!r} is not a state of a join; they are {', '.join(JoinState)}.", 2)
    with opened(None, config) as engine, engine.connect() as connection:
        pal_id = known_pal(connection, pal).id if pal else None
        called = {one.id: one.address for one in store.all_pals(connection)}
        for join in scheduler.store.find_joins(connection, pal_id=pal_id, states=state or []):
            address = called.get(join.pal_id, join.pal_id)
            typer.echo(_join_json(join, address) if as_json else f"{join_line(join)}  {address}")


@app.command("cancel")
def cancel(
    join_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in joins list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a PAL away from one meeting: it is not joined, or the call is left within seconds.

    It stays so until the organizer gives the meeting another time or link, or invites anew. Nobody is written to.

    Example: pal-gateway joins cancel j0123456789abcdef0123
    """
    from gateway import interventions
    from scheduler.clock import utc_now

    with opened(None, config) as engine, engine.begin() as connection:
        line = _outcome(interventions.cancel(connection, join_id, utc_now()), connection, as_json)
    typer.echo(line)


@app.command("now")
def now(
    join_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in joins list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a PAL come to its meeting at once, before its time; it stays until the meeting ends.

    Example: pal-gateway joins now j0123456789abcdef0123
    """
    from gateway import interventions
    from scheduler.clock import utc_now

    with opened(None, config) as engine, engine.begin() as connection:
        line = _outcome(interventions.come_now(connection, join_id, utc_now()), connection, as_json)
    typer.echo(line)


@app.command("retry")
def retry(
    join_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in joins list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a PAL once more to a meeting that goes on: after a join that failed, was missed, ended or cancelled by hand.

    Example: pal-gateway joins retry j0123456789abcdef0123
    """
    from gateway import interventions
    from scheduler.clock import utc_now

    settings = settings_of(config)
    with opened(settings.store.url) as engine, engine.begin() as connection:
        done = interventions.retry(connection, join_id, utc_now(), settings.scheduling())
        line = _outcome(done, connection, as_json)
    typer.echo(line)


def _outcome(done: Join | str, connection: Connection, as_json: bool) -> str:
    """What is to be said once it is committed; a refusal ends the command."""
    from gateway import store

    if isinstance(done, str):
        fail(done, 1)
    pal = store.pal_with_id(connection, done.pal_id)
    address = pal.address if pal is not None and pal.address else done.pal_id
    return _join_json(done, address) if as_json else f"{join_line(done)}  {address}"


def _join_json(join: Join, address: str) -> str:
    from gateway.replay import join_json

    return json.dumps({"id": join.id, "pal": address, **join_json(join), "reason": join.reason})


def join_line(join: Join) -> str:
    reason = f" ({join.reason})" if join.reason else ""
    where = join.url if join.forgotten_at is None else f"forgotten on {join.forgotten_at:%Y-%m-%d}"
    return f"{join.id}  {join.starts:%Y-%m-%d %H:%M} UTC  {join.state}{reason}  {where}"
