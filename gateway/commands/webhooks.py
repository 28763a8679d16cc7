"""`pal-gateway webhooks`: who is told what happens, and what became of it. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, check_words, fail, opened, printable, settings_of

if TYPE_CHECKING:
    from gateway.store_webhooks import DeliveryRow, Webhook

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, as in webhooks list.")]

app = typer.Typer(
    help="Webhooks: programs that are told what happens. Example: pal-gateway webhooks list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where it is told.")],
    account: Annotated[str, typer.Option(metavar="NAME", help="The account whose PALs it is told of.")],
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Only this, such as join.failed; may be repeated. [default: all]"),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Let an address be told, and print the secret that messages are signed with, once.

    Example: pal-gateway webhooks add https://example.com/hooks --account acme --event join.failed --event join.missed
    """
    from gateway import store_webhooks
    from gateway.orders import callback_fault
    from gateway.outward import address_fault
    from gateway.webhooks import EVENTS
    from scheduler.clock import utc_now

    check_words(("An account", account))
    if callback_fault(url) is not None:
        fail(f"{url!r} is no http or https address.", 2)
    fault = address_fault(url, settings_of(config).callbacks.private_networks)
    if fault is not None:
        fail(fault, 2)
    for one in event or []:
        if one not in EVENTS:
            fail(f"{one!r} is not a type of event; they are {', '.join(EVENTS)}.", 2)
    webhook = store_webhooks.fresh_webhook(account, url, event or [], utc_now())
    with opened(None, config) as engine, engine.begin() as connection:
        store_webhooks.add(connection, webhook)
    typer.echo(webhook.secrets[0].value)
    typer.echo(f"This is the secret of webhook {webhook.id} of {account}; it is not shown again.", err=True)


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this account.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the webhooks, the newest first.

    Example: pal-gateway webhooks list
    """
    from gateway import store_webhooks

    with opened(None, config) as engine, engine.connect() as connection:
        after = None
        while True:
            found = store_webhooks.of_account(connection, account, after, 100)
            for webhook in found.rows:
                typer.echo(_webhook_line(webhook, as_json))
            after = found.next
            if after is None:
                return


@app.command("remove")
def remove(webhook_id: IdArgument, config: ConfigOption = None) -> None:
    """Remove a webhook, and what it was told.

    Example: pal-gateway webhooks remove w0123456789abcdef0123
    """
    from gateway import store_webhooks

    with opened(None, config) as engine, engine.begin() as connection:
        known = store_webhooks.find(connection, webhook_id)
        if known is not None:
            store_webhooks.remove(connection, known.id)
    if known is None:
        fail(_unknown(webhook_id), 1)
    typer.echo(f"{webhook_id} is told nothing any more.")


@app.command("deliveries")
def deliveries(
    webhook_id: IdArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what a webhook was told, the newest first, with what it answered.

    Example: pal-gateway webhooks deliveries w0123456789abcdef0123
    """
    from gateway import store_webhooks

    with opened(None, config) as engine, engine.connect() as connection:
        known = store_webhooks.find(connection, webhook_id)
        rows = store_webhooks.log_of(connection, webhook_id, None, limit).rows if known is not None else ()
    if known is None:
        fail(_unknown(webhook_id), 1)
    for row in rows:
        typer.echo(_delivery_line(row, as_json))


@app.command("retry")
def retry(
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in webhooks deliveries.")],
    config: ConfigOption = None,
) -> None:
    """Send a message once more, with the same webhook-id.

    Example: pal-gateway webhooks retry msg_0123456789abcdefghijklmn
    """
    from gateway import store_webhooks
    from scheduler.clock import utc_now

    with opened(None, config) as engine, engine.begin() as connection:
        done = store_webhooks.queue_again(connection, delivery_id, utc_now())
    if done is None or isinstance(done, str):
        fail(done or f"There is no delivery {delivery_id}; see pal-gateway webhooks deliveries.", 1)
    typer.echo(f"{done.id} is sent again by the gateway that serves.")


def _unknown(webhook_id: str) -> str:
    return f"There is no webhook {webhook_id}; see pal-gateway webhooks list."


def _webhook_line(webhook: Webhook, as_json: bool) -> str:
    from gateway.replay import instant_text

    since, disabled = instant_text(webhook.created_at), instant_text(webhook.disabled_at)
    if as_json:
        row = {"id": webhook.id, "account": webhook.account, "url": webhook.url, "events": list(webhook.events)}
        return json.dumps(
            {**row, "created_at": since, "disabled_at": disabled, "disabled_reason": webhook.disabled_reason}
        )
    state = f"  disabled {disabled}: {webhook.disabled_reason}" if disabled else ""
    return printable(
        f"{webhook.id}  {webhook.account}  {webhook.url}  {', '.join(webhook.events) or 'all events'}{state}"
    )


def _delivery_line(row: DeliveryRow, as_json: bool) -> str:
    from gateway.replay import instant_text

    created, settled, again = map(instant_text, (row.created_at, row.settled_at, row.wake_at))
    if as_json:
        what = {"id": row.id, "type": row.type, "state": row.state, "attempts": row.attempt, "status": row.status}
        times = {"created_at": created, "next_attempt_at": again, "settled_at": settled}
        return json.dumps({**what, "error": row.error, **times})
    more = [f"attempt {row.attempt}", f"again {again}" if again else "", row.error or ""]
    return printable("  ".join(filter(None, (row.id, created, row.state, row.type, *more))))
