"""`pal-gateway joins`: where PALs will be, and were. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, known_pal, opened

if TYPE_CHECKING:
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
    from gateway.replay import join_json
    from scheduler.joins import JoinState

    for one in state or []:
        if one not in list(JoinState):
            fail(f"{one!r} is not a state of a join; they are {', '.join(JoinState)}.", 2)
    with opened(None, config) as engine, engine.connect() as connection:
        pal_id = known_pal(connection, pal).id if pal else None
        called = {one.id: one.address for one in store.all_pals(connection)}
        for join in scheduler.store.find_joins(connection, pal_id=pal_id, states=state or []):
            address = called.get(join.pal_id, join.pal_id)
            row = {"id": join.id, "pal": address, **join_json(join), "reason": join.reason}
            typer.echo(json.dumps(row) if as_json else f"{join_line(join)}  {address}")


def join_line(join: Join) -> str:
    reason = f" ({join.reason})" if join.reason else ""
    return f"{join.id}  {join.starts:%Y-%m-%d %H:%M} UTC  {join.state}{reason}  {join.url}"
