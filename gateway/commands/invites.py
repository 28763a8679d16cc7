"""`pal-gateway invites`: what was decided, and who sent it. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, known_pal, opened

if TYPE_CHECKING:
    from gateway.store import InviteRow

app = typer.Typer(
    help="Invitations: what was decided on them, and who sent them. Example: pal-gateway invites list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    pal: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this PAL's.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="VERDICT", help="Only those decided like this.")] = None,
    confirmations: Annotated[
        bool, typer.Option("--confirmations", help="Only Google's questions whether mail may be forwarded to a PAL.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was decided, the newest first.

    Example: pal-gateway invites list --pal anna@invite.example.com --verdict rejected
    """
    from gateway import store
    from gateway.verdict import Verdict

    if verdict is not None and verdict not in list(Verdict):
        fail(f"{verdict!r} is not a verdict; they are {', '.join(Verdict)}.", 2)
    with opened(None, config) as engine, engine.connect() as connection:
        pal_id = known_pal(connection, pal).id if pal else None
        called = {one.id: one.address for one in store.all_pals(connection)}
        found = store.find_invites(connection, pal_id=pal_id, verdict=verdict, confirmations=confirmations, limit=limit)
        for invite in found:
            address = called.get(invite.pal_id, invite.pal_id)
            typer.echo(invite_json(invite, address) if as_json else _invite_line(invite, address))


def invite_json(invite: InviteRow, address: str, **more: object) -> str:
    from gateway.replay import instant_text

    instants = {name: instant_text(getattr(invite, name)) for name in ("decided_at", "forgotten_at")}
    return json.dumps({**vars(invite), "pal": address, **instants, **more})


def _invite_line(invite: InviteRow, address: str) -> str:
    reason = f" ({invite.reason})" if invite.reason else ""
    line = f"{invite.id}  {invite.decided_at:%Y-%m-%d %H:%M} UTC  {address}  {invite.verdict}{reason}"
    if invite.forgotten_at is not None:
        return f"{line}  forgotten on {invite.forgotten_at:%Y-%m-%d}"
    line += f"  from {invite.sender or 'nobody'}"
    if invite.authentication is not None:
        line += f", {'verified' if invite.authentication['auth_id'] else 'not verified'}"
    if invite.confirmation is not None:
        asks = invite.confirmation
        line += f"\n  {asks['mailbox']} wants to forward its mail here: code {asks['code']}, or open {asks['link']}"
    return line
