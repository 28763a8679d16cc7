"""`pal-gateway mails`: mails as they came. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.address import Role
from gateway.commands.common import ConfigOption, JsonOption, fail, opened, printable

if TYPE_CHECKING:
    from gateway.store import MailRow

app = typer.Typer(
    help="Mails as they came, those to postmaster@ and abuse@ too. Example: pal-gateway mails list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    role: Annotated[
        Role | None, typer.Option(help="Only those to this address of yours, which no PAL has. [default: all mails]")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the mails that came, the newest first.

    Example: pal-gateway mails list --role postmaster
    """
    from gateway import store

    with opened(None, config) as engine, engine.connect() as connection:
        for mail in store.find_mails(connection, role, limit):
            typer.echo(_mail_line(mail, as_json))


@app.command("show")
def show(
    mail_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in mails list.")],
    config: ConfigOption = None,
) -> None:
    """Show the header of a mail.

    Example: pal-gateway mails show m0123456789abcdef0123
    """
    from gateway import store

    with opened(None, config) as engine, engine.connect() as connection:
        mail = store.load_mail(connection, mail_id)
    if mail is None:
        fail(f"There is no mail {mail_id}; see pal-gateway mails list.", 1)
    typer.echo(_mail_line(mail, False))
    typer.echo("\n".join(header_lines(mail)))


def header_lines(mail: MailRow) -> list[str]:
    """The header of a mail for a terminal."""
    header = mail.raw.partition(b"\r\n\r\n")[0]
    return ["  " + printable(line) for line in header.decode("utf-8", "replace").split("\r\n")]


def _mail_line(mail: MailRow, as_json: bool) -> str:
    from gateway.replay import instant_text

    received = instant_text(mail.received_at)
    if as_json:
        row = {"id": mail.id, "received_at": received, "mail_from": mail.mail_from, "size": len(mail.raw)}
        more = {"recipients": list(mail.recipients), "message_id": mail.message_id}
        return json.dumps({**row, **more, "forgotten_at": instant_text(mail.forgotten_at)})
    if mail.forgotten_at is not None:
        return f"{mail.id}  {received}  forgotten on {mail.forgotten_at:%Y-%m-%d}"
    sender, recipients = printable(mail.mail_from) or "<>", printable(", ".join(mail.recipients))
    return f"{mail.id}  {received}  {sender} → {recipients}  {len(mail.raw)} bytes"
